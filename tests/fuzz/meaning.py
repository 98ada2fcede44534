"""Comparing values that were read, written and read again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from uuid import UUID

from cluster_protocol import UnencodableValueError
from cluster_protocol.codecs import JavaScriptError
from wire._vectors import Colour, Point

MAX_EXACT: Final = 2**53


def meaning(value: object, *, javascript: bool = False) -> object:
    """Return what is equal for values that mean the same.

    Types, zeros and NaNs are told apart, the order of keys is not.

    Args:
        value: What a codec gave.
        javascript: Whether there is one type of numbers, in which great ones are rounded.

    Raises:
        RecursionError: If it is nested too deeply to be looked at.
    """
    name = type(value).__name__

    def inner(part: object) -> object:
        return meaning(part, javascript=javascript)

    match value:
        case set() | frozenset():
            return name, frozenset(map(inner, value))
        case list() | tuple():
            return "list", tuple(map(inner, value))  # a tuple arrives as a list, but in a set
        case Mapping():
            return name, frozenset((inner(key), inner(item)) for key, item in value.items())
        case Point(x, y):
            return name, inner(x), inner(y)
        case JavaScriptError():
            return name, inner(value.message), inner(value.stack), inner(value.fields)
        case bool():
            return name, value
        case int() | float() if javascript:
            return "number", repr(float(value) + 0.0) if abs(value) <= MAX_EXACT else "great"
        case int():
            return name, value  # not its text: that has a limit
        case _:
            return name, repr(value)


def check_same(one: object, other: object, *, javascript: bool = False) -> None:
    """Check that two values mean the same, as far as anybody can look into them."""
    try:
        first, second = (meaning(value, javascript=javascript) for value in (one, other))
    except RecursionError:
        return
    assert first == second, f"{one!r} became {other!r}"


def may_be_refused(exc: UnencodableValueError) -> bool:
    """Tell whether a value that was read may be refused when it is to be written.

    A registered type may be written deeper than it was read, and readers take what Node may have
    written (SPEC 4.4).
    """
    return any(
        text in exc.reason for text in ("nested deeper than", "over 4,300 digits", "'__proto__'")
    )


CARRIED: Final = (
    *(type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset),
    *(dt.datetime, dt.date, dt.timedelta, Decimal, UUID, Point, Colour, JavaScriptError),
)


def check_types(value: object) -> None:
    """Check that nothing in a value is of a class that a codec does not document."""
    pending = [value]
    while pending:
        part = pending.pop()
        assert type(part) in CARRIED, type(part)
        if isinstance(part, dict):
            pending += [*part.keys(), *part.values()]
        elif isinstance(part, (list, tuple, set, frozenset)):
            pending += part
