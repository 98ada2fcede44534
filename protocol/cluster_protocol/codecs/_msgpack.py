"""msgpack with extension types for Python's common values (SPEC 4.1)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

import msgpack

from cluster_protocol.codecs._path import find_unencodable
from cluster_protocol.errors import RemoteProtocolError, UnencodableValueError

# Extension codes, part of the wire: never give one a second meaning.
_BIG_INT: Final = 1
_DATETIME: Final = 2
_DATE: Final = 3
_TIMEDELTA: Final = 4
_DECIMAL: Final = 5
_UUID: Final = 6
_SET: Final = 7
_FROZENSET: Final = 8


class MsgpackCodec:
    """msgpack; besides its own types: big ints, dates, Decimal, UUID, sets.

    A tuple arrives as a list, a tuple as a dict's key as a tuple.
    """

    name: ClassVar[str] = "msgpack"

    def encode(self, value: object, /) -> bytes:
        """Return the bytes; see `Codec.encode`."""
        try:
            packed: bytes = msgpack.packb(value, default=_to_extension)
        except (TypeError, ValueError, OverflowError, RecursionError) as exc:
            culprit = find_unencodable(value, _is_leaf, _is_key)
            path, reason = culprit or ("value", str(exc))
            raise UnencodableValueError(self.name, path, reason) from exc
        return packed

    def decode(self, data: bytes, /) -> object:
        """Return the value; see `Codec.decode`."""
        try:
            return _unpack(data)
        # A hostile peer's extensions can make the constructors raise these;
        # ArithmeticError is Decimal's and datetime's complaint.
        except (*_UNPACK_ERRORS, TypeError) as exc:
            raise RemoteProtocolError(f"not msgpack: {type(exc).__name__}: {exc}") from exc


_UNPACK_ERRORS: Final = (ValueError, ArithmeticError, RecursionError, msgpack.UnpackException)


def _unpack(data: bytes) -> object:
    try:
        return msgpack.unpackb(data, ext_hook=_from_extension, strict_map_key=False)
    except TypeError:
        # A list cannot be a key. It was a tuple, then: rare, so only now by the slow way.
        return msgpack.unpackb(
            data, ext_hook=_from_extension, strict_map_key=False, object_pairs_hook=_dict_of_pairs
        )


def _dict_of_pairs(pairs: Iterable[tuple[object, object]]) -> dict[object, object]:
    return {_frozen(key): value for key, value in pairs}


def _frozen(key: object) -> object:
    return tuple(map(_frozen, key)) if isinstance(key, list) else key


def _to_extension(value: object) -> msgpack.ExtType:
    """Encode what msgpack itself cannot; called for nothing else."""
    match value:
        case int():
            size = value.bit_length() // 8 + 1
            return msgpack.ExtType(_BIG_INT, value.to_bytes(size, "big", signed=True))
        case dt.datetime():  # before date, its base class
            return msgpack.ExtType(_DATETIME, value.isoformat().encode())
        case dt.date():
            return msgpack.ExtType(_DATE, value.isoformat().encode())
        case dt.timedelta():
            fields = (value.days, value.seconds, value.microseconds)
            return msgpack.ExtType(_TIMEDELTA, msgpack.packb(fields))
        case Decimal():
            return msgpack.ExtType(_DECIMAL, str(value).encode())
        case UUID():
            return msgpack.ExtType(_UUID, value.bytes)
        case frozenset():
            return msgpack.ExtType(_FROZENSET, msgpack.packb(list(value), default=_to_extension))
        case set():
            return msgpack.ExtType(_SET, msgpack.packb(list(value), default=_to_extension))
        case _:
            raise TypeError(f"type {type(value).__name__}")


def _from_extension(code: int, data: bytes) -> object:
    decode = _DECODERS.get(code)
    if decode is None:
        raise ValueError(f"extension {code} is not known")
    return decode(data)


def _unpack_list(data: bytes) -> list[Any]:
    # Members of a set are hashable, so their lists are tuples.
    items = msgpack.unpackb(data, ext_hook=_from_extension, strict_map_key=False, use_list=False)
    if not isinstance(items, tuple):
        raise ValueError(f"an extension holds {type(items).__name__}, not a list")
    return list(items)


def _to_timedelta(data: bytes) -> dt.timedelta:
    days, seconds, microseconds = _unpack_list(data)
    return dt.timedelta(days, seconds, microseconds)


_DECODERS: Final[dict[int, Callable[[bytes], object]]] = {
    _BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    _DATETIME: lambda data: dt.datetime.fromisoformat(data.decode()),
    _DATE: lambda data: dt.date.fromisoformat(data.decode()),
    _TIMEDELTA: _to_timedelta,
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UUID: lambda data: UUID(bytes=data),
    _SET: lambda data: set(_unpack_list(data)),
    _FROZENSET: lambda data: frozenset(_unpack_list(data)),
}

_LEAVES: Final = (
    *(bool, int, float, bytes, bytearray, memoryview),
    *(dt.datetime, dt.date, dt.timedelta, Decimal, UUID),
)


def _is_leaf(value: object) -> bool:
    if isinstance(value, (set, frozenset)):
        return all(_is_key(item) for item in value)
    if isinstance(value, str):
        return _is_text(value)
    return value is None or isinstance(value, _LEAVES)


def _is_key(key: object) -> bool:
    return all(map(_is_key, key)) if isinstance(key, tuple) else _is_leaf(key)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True
