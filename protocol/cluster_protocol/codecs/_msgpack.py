"""msgpack with extension types for Python's common values, and for users' own (SPEC 4.1)."""

from __future__ import annotations

import gc
from collections.abc import Callable
from copy import copy
from typing import Final, Self

import msgpack

from cluster_protocol.codecs._depth import (
    DEFAULT_DEPTH,
    MAX_DEPTH,
    Opener,
    check_max_depth,
    nesting_of,
    too_deep,
)
from cluster_protocol.codecs._msgpack_levels import TIMESTAMP_AS_DATETIME, Level
from cluster_protocol.codecs._path import find_unencodable
from cluster_protocol.codecs._user_types import REGISTERED_TYPES, UserTypes, tell
from cluster_protocol.errors import RemoteProtocolError, UnencodableValueError

_LARGE: Final = 65536
_SMALL: Final = 4096
"""Bytes up to which it is cheaper to count what may begin a list than to have it parsed."""
_OPENING: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))
"""The first bytes of lists and maps; in texts and numbers they may be anything."""


class MsgpackCodec:
    """msgpack; besides its own types: big ints, dates, Decimal, UUID, sets, users' types.

    A tuple arrives as a list, a tuple as a dict's key as a tuple. Sets and
    users' types nest up to 8 levels.

    Args:
        types: The users' types; as a rule those of the process.
        max_depth: How deeply values may nest, 1 to 500; what sets and users' types hold counts.
    """

    name: str = "msgpack"

    def __init__(
        self, types: UserTypes = REGISTERED_TYPES, *, max_depth: int = DEFAULT_DEPTH
    ) -> None:
        self._types = types
        self._max_depth = check_max_depth(max_depth)
        self._level = Level(types, max_depth=max_depth)
        self._slow_level = Level(types, tuple_keys=True)
        self._pack = self._level.pack  # bound once: it shows in small values
        self._from_extension = self._level.from_extension

    def with_max_depth(self, max_depth: int) -> Self:
        """Return the same codec with another limit."""
        other = copy(self)  # a subclass stays what it is
        MsgpackCodec.__init__(other, self._types, max_depth=max_depth)
        return other

    def encode(self, value: object, /) -> bytes:
        """Return the bytes; see `Codec.encode`."""
        try:
            entered = self._level.entered
            data = self._pack(value)  # see `_Packers`
            limit = self._max_depth
            if len(data) > limit and (
                len(data) > _SMALL or len(data) - len(data.translate(None, _OPENING)) > limit
            ):
                self._check_written(value, data, nests=self._level.entered is not entered)
            return data
        except Exception as exc:  # code of the values runs in there: a tzinfo may raise anything
            flaw = self._level.flaw
            path, reason = find_unencodable(value, flaw, flaw, self._max_depth) or (
                "value",
                tell(exc),
            )
            raise UnencodableValueError(self.name, path, reason) from exc

    def _check_written(self, value: object, data: bytes, *, nests: bool) -> None:
        """Fail if a value is nested too deeply; *nests* tells if there may be extensions in it."""
        if self._is_deeper(data) or (
            (nests or _STACK is None) and self._nests_deeper(value, self._opener)
        ):
            raise ValueError(too_deep(self._max_depth))

    def _opener(self, cls: type) -> Opener | None:
        user_type = self._types.by_class.get(cls)
        return None if user_type is None else lambda instance: (user_type.encode(instance),)

    def decode(self, data: bytes, /) -> object:
        """Return the value; see `Codec.decode`."""
        if len(data) > _LARGE and gc.isenabled():
            return self._decode_large(data)
        try:
            limit = self._max_depth
            if len(data) > limit and (
                len(data) > _SMALL or len(data) - len(data.translate(None, _OPENING)) > limit
            ):
                return self._decode_checked(data)
            try:
                return msgpack.unpackb(
                    data,
                    ext_hook=self._from_extension,
                    strict_map_key=False,
                    timestamp=TIMESTAMP_AS_DATETIME,
                )
            except TypeError:
                # A list cannot be a key. It was a tuple, then: rare, so only now by the slow way,
                # and from here for all levels, as else each of them could double the work.
                return self._slow_level.unpack(data)
        except RemoteProtocolError:
            raise
        # A hostile peer's extensions can make constructors fail, and so can what a user's class
        # does to be a key.
        except Exception as exc:
            raise RemoteProtocolError(f"not msgpack: {tell(exc)}") from exc

    def _decode_large(self, data: bytes) -> object:
        """Decode without the garbage collector: amid a tree that only grows there is none.

        It would look through the tree again and again, a quarter of the time. Afterwards it runs
        as if nothing had been; another thread that runs meanwhile, in a hook, does without, too.
        """
        gc.disable()
        try:
            return self.decode(data)
        finally:
            gc.enable()

    def _decode_checked(self, data: bytes) -> object:
        """Return the value of what may be nested too deeply."""
        if self._is_deeper(data):
            raise self._too_deep()
        types = _RecordedTypes(self._types)
        level = Level(types)
        try:
            value = level.unpack(data)
        except TypeError:  # as above
            types = _RecordedTypes(self._types)
            level = Level(types, tuple_keys=True)
            value = level.unpack(data)
        nests = level.entered is not None
        if (nests or _STACK is None) and self._nests_deeper(value, types.opener):
            raise self._too_deep()
        return value

    def _too_deep(self) -> RemoteProtocolError:
        return RemoteProtocolError(f"a value that nests deeper than {self._max_depth} levels")

    def _is_deeper(self, data: bytes) -> bool:
        """Tell whether a document nests too deeply; what extensions hold is not looked at.

        Its lists and maps are counted by the library's own parser, which makes no objects then:
        with so many lists around them that only *max_depth* more fit its stack.
        """
        if _STACK is None:
            return False
        parser = msgpack.Unpacker(max_buffer_size=0)
        parser.feed(b"\x91" * (_STACK - self._max_depth))
        parser.feed(data)
        try:
            parser.skip()
        except msgpack.StackError:
            return True
        except (ValueError, msgpack.UnpackException):
            return False  # broken: that is told by whoever decodes it
        return False

    def _nests_deeper(self, value: object, open_others: Callable[[type], Opener | None]) -> bool:
        limit = self._max_depth
        return nesting_of(value, limit, open_others=open_others) > limit


def _stack_of_parser() -> int | None:
    """Return how many levels fit the stack of the library's parser; ``None`` if it has none."""

    def fits(depth: int) -> bool:
        parser = msgpack.Unpacker()
        parser.feed(b"\x91" * depth + b"\xc0")
        try:
            parser.skip()
        except msgpack.StackError:
            return False
        return True

    low, high = MAX_DEPTH, 1 << 16
    if msgpack.Unpacker.__module__ == "msgpack.fallback" or fits(high) or not fits(low):
        return None  # the library in Python, whose stack is the caller's; or an unknown one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


_STACK: Final = _stack_of_parser()


class _RecordedTypes(UserTypes):
    """Users' types that remember of what each instance was made, for one document.

    Args:
        types: What they are.
    """

    def __init__(self, types: UserTypes) -> None:
        super().__init__()
        self.by_name, self.by_class = types.by_name, types.by_class
        # The instances are kept, or another one could get the identity of one that has gone.
        self._made: dict[int, tuple[object, list[object]]] = {}
        self._classes: set[type] = set()

    def decode(self, name: str, value: object) -> object:
        """Make an instance; see `UserTypes.decode`."""
        instance = super().decode(name, value)
        self._made.setdefault(id(instance), (instance, []))[1].append(value)
        self._classes.add(type(instance))
        return instance

    def opener(self, cls: type) -> Opener | None:
        """Tell how to look at what instances of a class were made of."""
        return self._content if cls in self._classes else None

    def _content(self, instance: object) -> list[object]:
        return self._made.get(id(instance), (None, []))[1]
