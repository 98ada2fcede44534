"""Application objects of `Invoke`: Node's arguments and our packed call (SPEC 3.2, 6.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from cluster_protocol.errors import RemoteProtocolError

__all__ = ["NO_DEADLINE", "join_arguments", "pack_call", "split_arguments", "unpack_call"]

NO_DEADLINE: Final = 0

_LENGTH: Final = struct.Struct(">I")
_DEADLINE: Final = struct.Struct(">Q")


def join_arguments(arguments: Iterable[bytes]) -> bytes:
    """Return Node's form: for each encoded argument its length and itself (SPEC 3.2)."""
    parts: list[bytes] = []
    for argument in arguments:
        parts += (_LENGTH.pack(len(argument)), argument)
    return b"".join(parts)


def split_arguments(application: bytes, count: int) -> list[bytes]:
    """Return the *count* encoded arguments of Node's form (SPEC 3.2).

    Raises:
        RemoteProtocolError: If the object is shorter or longer than its arguments.
    """
    arguments: list[bytes] = []
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        if start > len(application):
            raise RemoteProtocolError(f"{count} arguments announced, {index} are there")
        (size,) = _LENGTH.unpack_from(application, position)
        position = start + size
        if position > len(application):
            raise RemoteProtocolError(
                f"argument {index} announces {size} bytes, {len(application) - start} are there"
            )
        arguments.append(application[start:position])
    if position != len(application):
        raise RemoteProtocolError(
            f"{len(application) - position} bytes follow the last of {count} arguments"
        )
    return arguments


def pack_call(deadline_us: int, arguments: bytes) -> bytes:
    """Return a packed call (SPEC 6.2).

    Args:
        deadline_us: When the caller gives up, in microseconds of the host's
            monotonic clock; `NO_DEADLINE` if never.
        arguments: The codec's bytes of ``[positional, keyword]``.
    """
    return _DEADLINE.pack(deadline_us) + arguments


def unpack_call(application: bytes) -> tuple[int, bytes]:
    """Return deadline and encoded arguments of a packed call (SPEC 6.2).

    Raises:
        RemoteProtocolError: If it is too short to hold a deadline.
    """
    if len(application) < _DEADLINE.size:
        raise RemoteProtocolError(f"a packed call of {len(application)} bytes has no deadline")
    (deadline_us,) = _DEADLINE.unpack_from(application)
    return deadline_us, application[_DEADLINE.size :]
