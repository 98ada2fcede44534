"""A real client with methods of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any

Reg = Mapping[str, Any]


class Registry:
    """A registry."""

    def __init__(self, hosts: str) -> None:
        self.hosts = hosts

    async def get_data(self, key: str, default: int = 0, *, strict: bool = False) -> int:
        """Return a value."""
        return default

    async def remove(self, key: str) -> bool:
        return True

    def size(self) -> int:
        return 0

    def rows(self, table: str) -> list[str]:
        return [table]

    async def history(self, key: str) -> AsyncIterator[str]:
        yield key

    def lines(self, path: str) -> Iterator[bytes]:
        yield path.encode()

    def chunks(self, path: str) -> Iterable[bytes]:
        return [path.encode()]

    async def search(self, text: str) -> AsyncIterator[float]:
        return self._found(text)

    async def _found(self, text: str) -> AsyncIterator[float]:
        yield float(text)

    def watch(self, reg: Reg, listener: Callable[[Any], None]) -> None: ...

    def subscribe_all(self) -> None: ...

    def publish(self, reg: Reg) -> None: ...

    @staticmethod
    async def parse(text: str) -> int:
        return int(text)


class Other:
    """A class that is not the real client's."""

    async def get_data(self, key: str) -> int:
        return 0
