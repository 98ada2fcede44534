"""msgpack with extension types for Python's common values (SPEC 4.1)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from typing import Any, Final, cast
from uuid import UUID

import msgpack

from cluster_protocol.codecs._path import (
    MAX_DEPTH,
    TOO_DEEP,
    find_unencodable,
    text_flaw,
    type_flaw,
)
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

_MAX_SET_DEPTH: Final = 8
"""How deeply sets nest. Each level is a msgpack of its own, whose reader takes
some 40 kB of C stack: without a limit a peer could overflow it and kill us."""
_SETS_TOO_DEEP: Final = f"a nest of more than {_MAX_SET_DEPTH} sets"


class MsgpackCodec:
    """msgpack; besides its own types: big ints, dates, Decimal, UUID, sets.

    A tuple arrives as a list, a tuple as a dict's key as a tuple. Sets nest up
    to 8 levels.
    """

    name: str = "msgpack"

    def encode(self, value: object, /) -> bytes:
        """Return the bytes; see `Codec.encode`."""
        try:
            return _packb(value, _to_extension)
        except Exception as exc:  # code of the values runs in there: a tzinfo may raise anything
            culprit = find_unencodable(value, _flaw, _flaw)
            path, reason = culprit or ("value", str(exc))
            raise UnencodableValueError(self.name, path, reason) from exc

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


def _to_extension(value: object, set_depth: int = 0) -> msgpack.ExtType:
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
            return msgpack.ExtType(_FROZENSET, _pack_members(value, set_depth))
        case set():
            return msgpack.ExtType(_SET, _pack_members(value, set_depth))
        case _:
            raise TypeError(f"type {type(value).__name__}")


def _pack_members(members: Iterable[object], set_depth: int) -> bytes:
    if set_depth == _MAX_SET_DEPTH:
        raise ValueError(_SETS_TOO_DEEP)
    return _packb(list(members), partial(_to_extension, set_depth=set_depth + 1))


def _packb(value: object, default: Callable[[object], msgpack.ExtType]) -> bytes:
    # msgpack has no types, and its source seems to say that the result may be None.
    return cast("bytes", msgpack.packb(value, default=default))


def _from_extension(code: int, data: bytes, set_depth: int = 0) -> object:
    decode = _DECODERS.get(code)
    if decode is None:
        raise ValueError(f"extension {code} is not known")
    return decode(data, set_depth)


def _unpack_members(data: bytes, set_depth: int) -> list[Any]:
    if set_depth == _MAX_SET_DEPTH:
        raise ValueError(_SETS_TOO_DEEP)
    return _unpack_list(data, partial(_from_extension, set_depth=set_depth + 1))


def _unpack_list(data: bytes, ext_hook: Callable[[int, bytes], object]) -> list[Any]:
    # Members of a set are hashable, so their lists are tuples.
    items = msgpack.unpackb(data, ext_hook=ext_hook, strict_map_key=False, use_list=False)
    if not isinstance(items, tuple):
        # No TypeError: that one says that a key was a list.
        raise ValueError(f"an extension holds {type(items).__name__}, not a list")  # noqa: TRY004
    return list(items)


def _to_timedelta(data: bytes, _: int) -> dt.timedelta:
    days, seconds, microseconds = _unpack_list(data, msgpack.ExtType)
    return dt.timedelta(days, seconds, microseconds)


_DECODERS: Final[dict[int, Callable[[bytes, int], object]]] = {
    _BIG_INT: lambda data, _: int.from_bytes(data, "big", signed=True),
    _DATETIME: lambda data, _: dt.datetime.fromisoformat(data.decode()),
    _DATE: lambda data, _: dt.date.fromisoformat(data.decode()),
    _TIMEDELTA: _to_timedelta,
    _DECIMAL: lambda data, _: Decimal(data.decode()),
    _UUID: lambda data, _: UUID(bytes=data),
    _SET: lambda data, set_depth: set(_unpack_members(data, set_depth)),
    _FROZENSET: lambda data, set_depth: frozenset(_unpack_members(data, set_depth)),
}


def _flaw(value: object) -> str | None:
    """Say what is wrong with a leaf, a key or a set; ``None`` if it is carried."""
    pending: list[tuple[object, int, int]] = [(value, 0, 0)]
    while pending:
        part, depth, set_depth = pending.pop()
        if depth > MAX_DEPTH:
            return TOO_DEEP
        match part:
            case set() | frozenset():
                if set_depth == _MAX_SET_DEPTH:
                    return _SETS_TOO_DEEP
                pending.extend((item, depth + 1, set_depth + 1) for item in part)
                continue
            case tuple():  # in a key or a set
                pending.extend((item, depth + 1, set_depth) for item in part)
                continue
            case _:
                flaw = _leaf_flaw(part)
        if flaw is not None:
            return flaw if part is value else f"a {type(value).__name__} with a part that is {flaw}"
    return None


def _leaf_flaw(value: object) -> str | None:
    if isinstance(value, str):
        return text_flaw(value)
    try:
        msgpack.packb(value, default=_to_extension)
    except TypeError:
        return type_flaw(value)
    except Exception as exc:  # a memoryview that was released, a tzinfo with a bug
        return f"{type_flaw(value)} and raises {type(exc).__name__}: {exc}"
    return None
