"""The levels of a msgpack document, one in the other: extension types, and what may be in them.

Lists and maps are the library's. A set, or a value of a registered type, holds a document of its
own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgpack

from cluster_protocol.codecs._depth import MAX_DEPTH, too_deep
from cluster_protocol.codecs._path import find_unencodable, text_flaw, type_flaw
from cluster_protocol.codecs._user_types import UserTypes, tell

__all__ = ["TIMESTAMP_AS_DATETIME", "Level"]

# Extension codes, part of the wire: never give one a second meaning.
_BIG_INT: Final = 1
_DATETIME: Final = 2
_DATE: Final = 3
_TIMEDELTA: Final = 4
_DECIMAL: Final = 5
_UUID: Final = 6
_SET: Final = 7
_FROZENSET: Final = 8
_USER_TYPE: Final = 9
TIMESTAMP_AS_DATETIME: Final = 3
"""msgpack reads its own extension -1 by itself and asks nobody; else it gave a class of its own."""

_MAX_NEST: Final = 8
"""How deeply sets and user types nest in each other. Each level is a msgpack of its own, whose
reader takes some 40 kB of C stack: without a limit a peer could overflow it and kill us."""
_LARGE: Final = 65536
_NEST_TOO_DEEP: Final = f"a nest of more than {_MAX_NEST} sets and registered types"


class Level:
    """One level of the nest of sets and users' types: what the hooks of its parser have to know.

    Args:
        types: The users' types.
        left: How many levels there may be below it.
        tuple_keys: Whether a list is taken as a key, as a tuple; slower.
        max_depth: How deeply values may nest, for errors.

    Attributes:
        entered: Another object whenever the next level has been entered.
    """

    __slots__ = ("_inner", "_left", "_max_depth", "_pairs_hook", "_types", "entered", "pack")

    def __init__(
        self,
        types: UserTypes,
        left: int = _MAX_NEST,
        *,
        tuple_keys: bool = False,
        max_depth: int = MAX_DEPTH,
    ) -> None:
        self._types = types
        self._left = left
        self._inner: Level | None = None
        self.entered: object = None
        self._pairs_hook = _dict_of_pairs if tuple_keys else None
        self._max_depth = max_depth
        self.pack = _Packers(self.to_extension).pack

    @property
    def is_last(self) -> bool:
        return not self._left

    @property
    def inner(self) -> Level:
        """The next level, made when it is needed first.

        Raises:
            ValueError: If there is none.
        """
        self.entered = object()
        if self._inner is None:
            if self.is_last:
                raise ValueError(_NEST_TOO_DEEP)
            tuple_keys = self._pairs_hook is not None
            self._inner = Level(
                self._types, self._left - 1, tuple_keys=tuple_keys, max_depth=self._max_depth
            )
        return self._inner

    # -------------------------------------------------------------- encoding

    def to_extension(self, value: object) -> msgpack.ExtType:
        """Encode what msgpack itself cannot; called for nothing else."""
        cls = type(value)
        encode = _ENCODERS.get(cls)
        if encode is not None:
            return encode(value, self)
        user_type = self._types.by_class.get(cls)
        if user_type is not None:
            inner = self.inner  # first: an encode that returns its own argument comes to an end
            named = [user_type.name, user_type.encode(value)]
            return msgpack.ExtType(_USER_TYPE, inner.pack(named))
        for base, encode in _ENCODERS.items():
            if isinstance(value, base):
                return encode(value, self)
        raise TypeError(f"type {cls.__name__}")

    # -------------------------------------------------------------- decoding

    def unpack(self, data: bytes) -> object:
        """Return the value; raises whatever its constructors raise."""
        return msgpack.unpackb(
            data,
            ext_hook=self.from_extension,
            strict_map_key=False,
            timestamp=TIMESTAMP_AS_DATETIME,
            object_pairs_hook=self._pairs_hook,
        )

    def unpack_members(self, data: bytes) -> list[Any]:
        """Return what a set holds."""
        return _unpack_list(data, self.inner.from_extension)

    def unpack_user_type(self, data: bytes) -> object:
        """Return an instance of a registered type."""
        match self.inner.unpack(data):
            case [str(name), value]:
                return self._types.decode(name, value)
        raise ValueError("a registered type is a list of its name and its value")

    def from_extension(self, code: int, data: bytes) -> object:
        decode = _DECODERS.get(code)
        if decode is None:
            raise ValueError(f"extension {code} is not known")
        return decode(data, self)

    # -------------------------------------------------- what is not encodable

    def flaw(self, value: object, room: int) -> str | None:
        """Say what is wrong with a leaf, a key or a set; ``None`` if it is carried.

        Args:
            value: The value.
            room: How deeply it may nest.
        """
        pending: list[tuple[object, int, Level]] = [(value, room, self)]
        while pending:
            part, room, level = pending.pop()
            if type(part) in self._types.by_class:
                flaw = level.user_type_flaw(part, room)
            elif isinstance(part, (set, frozenset, tuple)):  # a tuple is in a key or a set
                if not room:
                    flaw = too_deep(self._max_depth)
                elif isinstance(part, tuple):
                    pending.extend((item, room - 1, level) for item in part)
                    continue
                elif level.is_last:
                    return _NEST_TOO_DEEP
                else:
                    pending.extend((item, room - 1, level.inner) for item in part)
                    continue
            else:
                flaw = level.leaf_flaw(part)
            if flaw is not None:
                as_it_is = part is value or flaw == _NEST_TOO_DEEP
                return flaw if as_it_is else f"a {type(value).__name__} with a part that is {flaw}"
        return None

    def user_type_flaw(self, value: object, room: int) -> str | None:
        """Say what is wrong with an instance of a registered type."""
        if self.is_last:
            return _NEST_TOO_DEEP
        if not room:
            return too_deep(self._max_depth)
        try:
            content = self._types.by_class[type(value)].encode(value)
        except Exception as exc:
            return f"{type_flaw(value)}, whose encode raised {tell(exc)}"
        flaw = self.inner.flaw
        path, reason = find_unencodable(content, flaw, flaw, self._max_depth, room=room - 1) or (
            "",
            "",
        )
        if not path:
            return None
        if reason.endswith(_NEST_TOO_DEEP):
            return _NEST_TOO_DEEP
        return f"{type_flaw(value)}, in whose encoded form {path} cannot be: {reason}"

    def leaf_flaw(self, value: object) -> str | None:
        """Say what is wrong with what consists of no parts."""
        if isinstance(value, str):
            return text_flaw(value)
        try:
            self.pack(value)
        except TypeError:
            return f"{type_flaw(value)}, which is not registered (register_type)"
        except Exception as exc:  # a memoryview that was released, a tzinfo with a bug
            return f"{type_flaw(value)} and raises {tell(exc)}"
        return None


class _Packers:
    """Packers that are used again: to make one costs as much as to pack a small value.

    Each is out of the list while it is used, by another thread or by a hook within a value.

    Args:
        default: Encodes what msgpack itself cannot.
    """

    __slots__ = ("_default", "_free")

    def __init__(self, default: Callable[[object], msgpack.ExtType]) -> None:
        self._default = default
        self._free: list[msgpack.Packer] = []

    def pack(self, value: object) -> bytes:
        try:
            packer = self._free.pop()
        except IndexError:
            packer = msgpack.Packer(default=self._default)
        data: bytes = packer.pack(value)  # a packer that fails is not used again
        if len(data) <= _LARGE:  # it keeps its buffer
            self._free.append(packer)
        return data


# ---------------------------------------------------------- extension types


def _big_int(value: int, _: Level) -> msgpack.ExtType:
    size = value.bit_length() // 8 + 1
    return msgpack.ExtType(_BIG_INT, value.to_bytes(size, "big", signed=True))


def _timedelta(value: dt.timedelta, _: Level) -> msgpack.ExtType:
    fields = (value.days, value.seconds, value.microseconds)
    return msgpack.ExtType(_TIMEDELTA, msgpack.packb(fields))


_ENCODERS: Final[dict[type, Callable[[Any, Level], msgpack.ExtType]]] = {
    int: _big_int,
    # Before date, its base class: a subclass is written as the first one here that it is.
    dt.datetime: lambda value, _: msgpack.ExtType(_DATETIME, value.isoformat().encode()),
    dt.date: lambda value, _: msgpack.ExtType(_DATE, value.isoformat().encode()),
    dt.timedelta: _timedelta,
    Decimal: lambda value, _: msgpack.ExtType(_DECIMAL, str(value).encode()),
    UUID: lambda value, _: msgpack.ExtType(_UUID, value.bytes),
    frozenset: lambda value, level: msgpack.ExtType(_FROZENSET, level.inner.pack(list(value))),
    set: lambda value, level: msgpack.ExtType(_SET, level.inner.pack(list(value))),
}


def _to_timedelta(data: bytes, _: Level) -> dt.timedelta:
    days, seconds, microseconds = _unpack_list(data, msgpack.ExtType)
    return dt.timedelta(days, seconds, microseconds)


_DECODERS: Final[dict[int, Callable[[bytes, Level], object]]] = {
    _BIG_INT: lambda data, _: int.from_bytes(data, "big", signed=True),
    _DATETIME: lambda data, _: dt.datetime.fromisoformat(data.decode()),
    _DATE: lambda data, _: dt.date.fromisoformat(data.decode()),
    _TIMEDELTA: _to_timedelta,
    _DECIMAL: lambda data, _: Decimal(data.decode()),
    _UUID: lambda data, _: UUID(bytes=data),
    _SET: lambda data, level: set(level.unpack_members(data)),
    _FROZENSET: lambda data, level: frozenset(level.unpack_members(data)),
    _USER_TYPE: lambda data, level: level.unpack_user_type(data),
}


def _unpack_list(data: bytes, ext_hook: Callable[[int, bytes], object]) -> list[Any]:
    # Members of a set are hashable, so their lists are tuples.
    items = msgpack.unpackb(
        data,
        ext_hook=ext_hook,
        strict_map_key=False,
        timestamp=TIMESTAMP_AS_DATETIME,
        use_list=False,
    )
    if not isinstance(items, tuple):
        # No TypeError: that one says that a key was a list.
        raise ValueError(f"an extension holds {type(items).__name__}, not a list")  # noqa: TRY004
    return list(items)


def _dict_of_pairs(pairs: Iterable[tuple[object, object]]) -> dict[object, object]:
    return {_frozen(key): value for key, value in pairs}


def _frozen(key: object) -> object:
    return tuple(map(_frozen, key)) if isinstance(key, list) else key
