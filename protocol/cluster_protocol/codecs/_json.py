"""Plain JSON: what every language can read, and nothing more (SPEC 4.2)."""

from __future__ import annotations

import json
import math
from copy import copy
from typing import Final, Self

from cluster_protocol._members import parse_json
from cluster_protocol.codecs._depth import DEFAULT_DEPTH, check_max_depth, nesting_of
from cluster_protocol.codecs._path import find_unencodable, text_flaw, type_flaw
from cluster_protocol.errors import RemoteProtocolError, UnencodableValueError


class JsonCodec:
    """Values of JSON: None, bool, int, float, str, list, dict with string keys.

    A tuple becomes a list. Everything else is refused rather than bent:
    `json.dumps` alone would turn the key ``1`` into ``"1"``.

    Args:
        max_depth: How deeply values may nest, 1 to 500.
    """

    name: str = "json"

    def __init__(self, *, max_depth: int = DEFAULT_DEPTH) -> None:
        self._max_depth = check_max_depth(max_depth)

    def with_max_depth(self, max_depth: int) -> Self:
        """Return the same codec with another limit."""
        other = copy(self)  # a subclass stays what it is
        other._max_depth = check_max_depth(max_depth)  # noqa: SLF001 - its own
        return other

    def encode(self, value: object, /) -> bytes:
        """Return JSON text in UTF-8; see `Codec.encode`."""
        culprit = find_unencodable(value, _leaf_flaw, _key_flaw, self._max_depth)
        if culprit is not None:
            raise UnencodableValueError(self.name, *culprit)
        try:
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            return text.encode()
        except (ValueError, RecursionError) as exc:
            raise UnencodableValueError(self.name, "value", str(exc)) from exc

    def decode(self, data: bytes, /) -> object:
        """Return the value; see `Codec.decode`."""
        try:
            value = parse_json(data)
        except RecursionError as exc:
            raise self._too_deep() from exc
        except ValueError as exc:
            raise RemoteProtocolError(f"not JSON: {bytes(data[:80])!r}") from exc
        limit = self._max_depth
        if (
            len(data) > limit
            and data.count(b"[") + data.count(b"{") > limit
            and nesting_of(value, limit) > limit
        ):
            raise self._too_deep()
        return value

    def _too_deep(self) -> RemoteProtocolError:
        return RemoteProtocolError(f"a value that nests deeper than {self._max_depth} levels")


_MAX_INT_BITS: Final = 14_284
"""4,300 digits; Python reads no more (`sys.set_int_max_str_digits`)."""


def _leaf_flaw(value: object, _: int) -> str | None:
    match value:
        case None | bool():
            return None
        case str():
            return text_flaw(value)
        case int():
            return None if value.bit_length() <= _MAX_INT_BITS else "an int of over 4,300 digits"
        case float():
            return None if math.isfinite(value) else f"{value}, which JSON has not"
        case _:
            return type_flaw(value)


def _key_flaw(key: object, _: int) -> str | None:
    return text_flaw(key) if isinstance(key, str) else type_flaw(key)
