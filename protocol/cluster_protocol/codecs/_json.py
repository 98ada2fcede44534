"""Plain JSON: what every language can read, and nothing more (SPEC 4.2)."""

from __future__ import annotations

import json
import math
from typing import Final

from cluster_protocol._members import parse_json
from cluster_protocol.codecs._path import find_unencodable, text_flaw, type_flaw
from cluster_protocol.errors import RemoteProtocolError, UnencodableValueError


class JsonCodec:
    """Values of JSON: None, bool, int, float, str, list, dict with string keys.

    A tuple becomes a list. Everything else is refused rather than bent:
    `json.dumps` alone would turn the key ``1`` into ``"1"``.
    """

    name: str = "json"

    def encode(self, value: object, /) -> bytes:
        """Return JSON text in UTF-8; see `Codec.encode`."""
        culprit = find_unencodable(value, _leaf_flaw, _key_flaw)
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
            return parse_json(data)
        except (ValueError, RecursionError) as exc:
            raise RemoteProtocolError(f"not JSON: {bytes(data[:80])!r}") from exc


_MAX_INT_BITS: Final = 14_284
"""4,300 digits; Python reads no more (`sys.set_int_max_str_digits`)."""


def _leaf_flaw(value: object) -> str | None:
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


def _key_flaw(key: object) -> str | None:
    return text_flaw(key) if isinstance(key, str) else type_flaw(key)
