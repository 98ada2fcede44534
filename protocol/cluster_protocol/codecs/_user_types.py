"""Types of users' own, which travel under a name (SPEC 4.1, code 9).

A table says which classes there are and how they are written. A peer can only
choose among the names in it: no class is ever looked up because of what arrived.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from cluster_protocol.errors import RemoteProtocolError

MAX_NAME: Final = 128
"""Bytes that a name may have (SPEC 4.1)."""

Encode = Callable[[Any], object]
Decode = Callable[[Any], object]

_LONGEST_TEXT: Final = 200


class MisfitError(ValueError):
    """What arrived does not fit the class; the text is ours and holds nothing that arrived."""


@dataclass(frozen=True, slots=True)
class UserType:
    """A class and its form on the wire.

    Attributes:
        name: On the wire.
        cls: Only values of exactly this class are meant, not those of a subclass.
        encode: Makes a value that the codec carries.
        decode: Makes an instance of what *encode* returned, as it arrived.
    """

    name: str
    cls: type
    encode: Encode
    decode: Decode


class UserTypes:
    """The types that a codec carries besides its own.

    Attributes:
        by_name: For values that arrive.
        by_class: For values that are sent.
    """

    def __init__(self, *types: UserType) -> None:
        self.by_name: dict[str, UserType] = {}
        self.by_class: dict[type, UserType] = {}
        for user_type in types:
            self.add(user_type)

    def add(self, user_type: UserType) -> None:
        """Let values of a type be sent and arrive; replaces what had its name or class."""
        self.by_name[user_type.name] = user_type
        self.by_class[user_type.cls] = user_type

    def decode(self, name: str, value: object) -> object:
        """Make an instance of the type *name*.

        Raises:
            RemoteProtocolError: If there is no such type, or its function fails.
                Does not show *value*.
        """
        user_type = self.by_name.get(name)
        if user_type is None:
            raise RemoteProtocolError(
                f"type {name[:MAX_NAME]!r} is not registered in this process; "
                f"call register_type here, too"
            )
        try:
            return user_type.decode(value)
        except MisfitError as exc:
            reason = str(exc)
        except Exception as exc:
            raise RemoteProtocolError(
                f"a value of type {name!r} cannot be made: its decode raised {type(exc).__name__}"
            ) from exc
        raise RemoteProtocolError(f"a value of type {name!r} cannot be made: {reason}")


REGISTERED_TYPES: Final = UserTypes()
"""The types of this process; filled when modules are imported, and never emptied."""


def dataclass_functions(cls: type) -> tuple[Encode, Decode]:
    """Return how a dataclass travels: as the map of its fields.

    It is made by calling the class, so ``__post_init__`` runs. Fields that the
    constructor does not take are sent, too, and set afterwards, past
    ``__setattr__`` and so also if it is frozen. A field that is missing gets its
    default, and one that is unknown is dropped: a peer may be older or newer.
    """
    taken = [field.name for field in fields(cls) if field.init]
    set_later = [field.name for field in fields(cls) if not field.init]
    needed = {
        field.name
        for field in fields(cls)
        if field.init and field.default is MISSING and field.default_factory is MISSING
    }

    def encode(value: Any) -> dict[str, object]:
        content = {name: getattr(value, name) for name in taken}
        for name in set_later:
            if hasattr(value, name):  # it may have no value yet
                content[name] = getattr(value, name)
        return content

    def decode(content: Any) -> object:
        if not isinstance(content, dict):
            raise MisfitError("a map of fields is needed")
        missing = needed - content.keys()
        if missing:
            raise MisfitError(f"without {', '.join(sorted(missing))}, which has no default")
        value = cls(**{name: content[name] for name in taken if name in content})
        for name in set_later:
            if name in content:
                object.__setattr__(value, name, content[name])
        return value

    return encode, decode


def enum_functions(cls: type[enum.Enum]) -> tuple[Encode, Decode]:
    """Return how an enumeration travels: a member as its name, flags as their number.

    A combination of flags has no name of its own. Names hold longer than values:
    those of `enum.auto` change with the order, and others may not be carried at all.
    """
    if issubclass(cls, enum.Flag):
        return _value_of, cls

    def decode(name: Any) -> object:
        try:
            return cls[name]
        except (KeyError, TypeError):
            raise MisfitError("no member of that name is known here") from None

    return _name_of, decode


def _value_of(member: Any) -> object:
    return member.value


def _name_of(member: Any) -> object:
    return member.name


def tell(exc: Exception) -> str:
    """Return class and text of an error of users' code, whose ``__str__`` may fail, too."""
    try:
        text = str(exc)[:_LONGEST_TEXT]
    except Exception:
        text = "(its text could not be made)"
    return f"{type(exc).__name__}: {text}"
