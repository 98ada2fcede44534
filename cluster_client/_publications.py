"""A client's standing declarations: published again to every new leader (SPEC section 10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cluster_client.errors import ConfigurationError
from cluster_protocol import Json

MAX_DECLARATIONS: Final = 1000


class Declaration:
    """What is declared under one key.

    Attributes:
        reg: The latest publication.
        accepted: Whether some leader has acknowledged it; only then it is replayed.
    """

    __slots__ = ("accepted", "reg")

    def __init__(self, reg: Json) -> None:
        self.reg = reg
        self.accepted = False


class DeclarationTable:
    """The sticky publications of one client, the latest per key."""

    def __init__(self) -> None:
        self._by_key: dict[str, Declaration] = {}

    def __iter__(self) -> Iterator[tuple[str, Declaration]]:
        return iter(list(self._by_key.items()))

    def declare(self, key: str, reg: Json) -> Declaration:
        """Replace what stands under *key*.

        Raises:
            ConfigurationError: If there are too many keys.
        """
        if key not in self._by_key and len(self._by_key) >= MAX_DECLARATIONS:
            raise ConfigurationError(
                f"{MAX_DECLARATIONS} sticky publications stand already; unpublish some, or give "
                f"publish_key, so that a later one replaces an earlier one"
            )
        declaration = self._by_key[key] = Declaration(reg)
        return declaration

    def get(self, key: str) -> Declaration | None:
        return self._by_key.get(key)

    def restore(self, key: str, declaration: Declaration) -> None:
        """Let an earlier declaration stand again: its replacement was not accepted."""
        self._by_key[key] = declaration

    def withdraw(self, key: str) -> Declaration | None:
        """Remove what stands under *key*, and return it."""
        return self._by_key.pop(key, None)
