"""Plain JSON: what every language can read, and nothing more (SPEC 4.2)."""

from __future__ import annotations

import json
from typing import ClassVar

from cluster_protocol.codecs._path import find_unencodable
from cluster_protocol.errors import RemoteProtocolError, UnencodableValueError


class JsonCodec:
    """Values of JSON: None, bool, int, float, str, list, dict with string keys.

    A tuple becomes a list. Everything else is refused rather than bent:
    `json.dumps` alone would turn the key ``1`` into ``"1"``.
    """

    name: ClassVar[str] = "json"

    def encode(self, value: object, /) -> bytes:
        """Return JSON text in UTF-8; see `Codec.encode`."""
        culprit = find_unencodable(value, _is_leaf, _is_key)
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
            return json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise RemoteProtocolError(f"not JSON: {bytes(data[:80])!r}") from exc


def _is_leaf(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _is_key(key: object) -> bool:
    return isinstance(key, str)
