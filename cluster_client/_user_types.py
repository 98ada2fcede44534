"""Registering users' own classes, so that their instances can be sent (SPEC 4.1)."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final, TypeVar, overload
from uuid import UUID

from cluster_client.errors import ConfigurationError
from cluster_protocol.codecs import REGISTERED_TYPES, UserType
from cluster_protocol.codecs._user_types import (
    MAX_NAME,
    Decode,
    Encode,
    dataclass_functions,
    enum_functions,
)

__all__ = ["register_type"]

_NATIVE: Final = (
    bool,
    int,
    float,
    str,
    bytes,
    bytearray,
    memoryview,
    list,
    tuple,
    dict,
    type(None),
)
"""msgpack writes these and their subclasses itself and asks nobody."""

_CARRIED: Final = (dt.datetime, dt.date, dt.timedelta, Decimal, UUID, set, frozenset)

T = TypeVar("T")


@overload
def register_type(
    cls: type[T],
    *,
    name: str | None = None,
    encode: Callable[[T], object] | None = None,
    decode: Callable[[Any], T] | None = None,
) -> type[T]: ...


@overload
def register_type(
    cls: None = None,
    *,
    name: str | None = None,
    encode: Callable[[Any], object] | None = None,
    decode: Callable[[Any], object] | None = None,
) -> Callable[[type[T]], type[T]]: ...


def register_type(
    cls: type[Any] | None = None,
    *,
    name: str | None = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
) -> type[Any] | Callable[[type[Any]], type[Any]]:
    """Let instances of a class be arguments, results and values; usable as a decorator.

    To be called in every process, as a rule where the class is defined. Only
    instances of exactly this class are meant; a subclass is registered by itself.

    Dataclasses and enumerations need no functions. A dataclass travels as its
    fields and is made by calling the class, so ``__post_init__`` runs. Fields with
    ``init=False`` are set after that; an `dataclasses.InitVar` is not kept by the
    class and so gets its default. Missing fields get their defaults and unknown
    ones are dropped, so processes of two versions understand each other. Members
    of an `enum.Enum` travel by name, those of an `enum.Flag` by value.

    The rules for values hold for what is inside, too: a tuple arrives as a list,
    also in a dataclass's field. If the field has to be a tuple, because the
    instance is a key or in a set, let ``__post_init__`` make it one.

    Args:
        cls: The class. Left out in ``@register_type(name=…)``.
        name: On the wire, 1 to 128 bytes; by default the class's module and
            qualified name. Give one to a class that may move, or that is in a
            program's main module, which has another name elsewhere.
        encode: Turns an instance into a value that can be sent, maybe with
            instances of registered types in it. Runs in whichever thread the
            value comes from.
        decode: Makes an instance of that again, as it arrived.

    Raises:
        ConfigurationError: If the class cannot be registered or needs functions,
            or if the name is taken by another class.
    """
    if cls is None:
        return lambda decorated: _register(decorated, name, encode, decode)
    return _register(cls, name, encode, decode)


def _register(
    cls: type[T], name: str | None, encode: Encode | None, decode: Decode | None
) -> type[T]:
    if not isinstance(cls, type):
        raise ConfigurationError(f"{cls!r} is not a class")
    if name is None:
        name = _title(cls)
    _check_name(name)
    _check_kind(cls)
    if encode is None and decode is None:
        encode, decode = _default_functions(cls)
    if not callable(encode) or not callable(decode):
        raise ConfigurationError(f"{_title(cls)} needs both functions, encode and decode, or none")
    user_type = UserType(name, cls, encode, decode)
    _check_conflicts(user_type)
    REGISTERED_TYPES.add(user_type)
    return cls


def _title(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _check_name(name: str) -> None:
    try:
        valid = isinstance(name, str) and 1 <= len(name.encode()) <= MAX_NAME
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise ConfigurationError(
            f"a type's name must be text of 1 to {MAX_NAME} bytes in UTF-8, got {name!r}"
        )


def _check_kind(cls: type) -> None:
    if cls in _NATIVE or cls in _CARRIED:
        raise ConfigurationError(f"{_title(cls)} needs no registration: it is carried already")
    for base in _NATIVE:
        if issubclass(cls, base):
            raise ConfigurationError(
                f"{_title(cls)} cannot be registered: it is a kind of {base.__name__}, and so its "
                f"instances arrive as plain {base.__name__}"
            )


def _default_functions(cls: type[Any]) -> tuple[Encode, Decode]:
    if issubclass(cls, enum.Enum):
        return enum_functions(cls)
    # In its own namespace: a subclass that is no dataclass itself may hold more than the fields.
    if "__dataclass_fields__" not in vars(cls):
        raise ConfigurationError(
            f"{_title(cls)} is neither a dataclass nor an enumeration, and so needs both "
            f"functions, encode and decode; on a dataclass, @register_type goes above @dataclass"
        )
    taken = dict.fromkeys(field.name for field in fields(cls) if field.init)
    try:
        inspect.signature(cls).bind(**taken)
    except TypeError as exc:
        raise ConfigurationError(
            f"{_title(cls)} cannot be made of its fields ({exc}), and so needs both functions, "
            f"encode and decode"
        ) from exc
    return dataclass_functions(cls)


def _check_conflicts(new: UserType) -> None:
    other = REGISTERED_TYPES.by_name.get(new.name)
    if other is not None and not _is_same_class(other.cls, new.cls):
        raise ConfigurationError(
            f"the name {new.name!r} is taken by {_title(other.cls)}; "
            f"{_title(new.cls)} needs another one"
        )
    known = REGISTERED_TYPES.by_class.get(new.cls)
    if known is None:
        return
    if known.name != new.name:
        raise ConfigurationError(
            f"{_title(new.cls)} is registered as {known.name!r} already, and cannot be "
            f"{new.name!r}, too"
        )
    if not (
        _is_same_function(known.encode, new.encode) and _is_same_function(known.decode, new.decode)
    ):
        raise ConfigurationError(
            f"{_title(new.cls)} is registered with other functions already, as {new.name!r}"
        )


def _is_same_class(old: type, new: type) -> bool:
    """Whether *new* is *old*, or its definition run again: a module was reloaded.

    The name alone says too little: a function can make many classes of one name.
    """
    if old is new:
        return True
    if _title(old) != _title(new):
        return False
    defined: Any = sys.modules.get(new.__module__)
    for name in new.__qualname__.split("."):
        defined = getattr(defined, name, None)
    return defined is old or defined is new


def _is_same_function(old: Encode, new: Encode) -> bool:
    """Whether *new* is *old*, or its definition run again."""
    code = getattr(new, "__code__", None)
    return old == new or (code is not None and code == getattr(old, "__code__", None))
