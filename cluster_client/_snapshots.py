"""What a real client hands over to its successor in another process (SPEC 8.7)."""

from __future__ import annotations

from typing import Any, Final

from cluster_client._encoding import encode
from cluster_client.errors import EncodeError
from cluster_protocol.codecs import MsgpackCodec

__all__ = ["Snapshot"]

LARGEST: Final = 1 << 20
"""Bytes; no more than the smallest limit of a frame (SPEC 8.7)."""
_CODEC: Final = MsgpackCodec()


class Snapshot:
    """A snapshot, encoded. It may be a password: nothing but `reveal` shows what it is.

    Args:
        data: As it travels (SPEC 6.8).
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    @classmethod
    def of(cls, value: object) -> Snapshot | None:
        """Return the snapshot of what a real client gave; ``None`` of ``None``.

        Raises:
            EncodeError: If it cannot be sent.
        """
        if value is None:
            return None
        data = encode(_CODEC, value, "snapshot")
        if len(data) > LARGEST:
            raise EncodeError(f"snapshot: {len(data)} bytes when encoded, the limit is {LARGEST}")
        return cls(data)

    @property
    def data(self) -> bytes:
        return self._data

    def reveal(self) -> Any:
        """Return what the real client gave, as a new object.

        Raises:
            RemoteProtocolError: If a peer sent what is not msgpack.
        """
        return _CODEC.decode(self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and self._data == other._data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<snapshot of {len(self._data)} bytes>"
