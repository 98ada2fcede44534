"""JavaScript's side of values: how it spells numbers and JSON, its undefined, its errors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from cluster_protocol.codecs._path import find_unencodable

MAX_EXACT: Final = 2**53
"""Up to here every integer is a double; beyond, some are."""


class Undefined(Enum):
    """JavaScript's undefined, where that must be told from null; has one member."""

    UNDEFINED = "undefined"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined.UNDEFINED


class JavaScriptError(Exception):
    """A JavaScript Error that travels as a value; it may also be raised.

    Two are equal if all that they carry is.

    Args:
        message: Its text.
        stack: Name, message and traceback, as JavaScript's ``error.stack``.
        fields: Other members, ``name`` and ``code`` for instance.

    Attributes:
        message: Its text.
        stack: Its traceback.
        fields: Its own enumerable members, in order.
    """

    def __init__(
        self, message: str = "", stack: str = "", fields: Mapping[str, object] | None = None
    ) -> None:
        self.message = message
        self.stack = stack
        self.fields: dict[str, object] = dict(fields or {})
        super().__init__(message, stack, self.fields)

    @property
    def name(self) -> str:
        """What JavaScript shows before the message: the field ``name``, or ``Error``."""
        name = self.fields.get("name", "Error")
        return name if isinstance(name, str) else "Error"

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JavaScriptError):
            return NotImplemented
        mine = (self.message, self.stack, self.fields)
        return mine == (other.message, other.stack, other.fields)

    def __hash__(self) -> int:
        return hash(
            (self.message, self.stack)
        )  # the fields can't be hashed: equal ones may collide


# --------------------------------------------------------------------- numbers


def is_double(number: float) -> bool:
    """Whether JavaScript has *number*: not every int is a double."""
    if not isinstance(number, int):
        return True
    try:
        return int(float(number)) == number
    except OverflowError:
        return False


def _double(number: float) -> float:
    if not is_double(number):
        raise ValueError("an int that no double is equal to")
    return float(number)


def number_text(number: float) -> str:
    """Return JavaScript's ``String(number)``.

    Raises:
        ValueError: If it is an int that no double is equal to.
    """
    text = repr(_double(number))
    # Both languages write the fewest digits that are read as the same double again. They differ
    # in when there is an exponent, and in how one is written.
    mantissa, _, exponent = text.removesuffix(".0").partition("e")
    if not exponent:
        return _UNLIKE_PYTHON.get(mantissa, mantissa)
    power = int(exponent)
    sign = "-" if number < 0 else ""
    digits = mantissa.lstrip("-").replace(".", "")
    if 0 < power < 21:  # noqa: PLR2004 - the bounds are JavaScript's: ECMA-262, Number::toString
        return sign + digits.ljust(power + 1, "0")
    if -7 < power < 0:  # noqa: PLR2004
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    return f"{mantissa}e{power:+d}"


_UNLIKE_PYTHON: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-0": "0"}


_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BASE: Final = 36


def to_base36(number: float) -> str:
    """Return ``number.toString(36).toUpperCase()`` of an integral number.

    Beyond 2**53 V8 doesn't write the exact number, but zeros for the digits that a double
    does not determine, and sometimes even another number; this returns the same.

    Raises:
        ValueError: If it is not integral, or an int that no double is equal to.

    Source:
        V8, ``DoubleToRadixCString`` in ``src/numbers/conversions.cc``.
    """
    double = _double(number)
    if not double.is_integer():
        raise ValueError(f"{double} is not integral")
    rest = abs(double)
    digits: list[str] = []
    while rest / _BASE >= MAX_EXACT:
        rest /= _BASE
        digits.append("0")
    while True:
        remainder = math.fmod(rest, _BASE)
        digits.append(_DIGITS[int(remainder)])
        rest = (rest - remainder) / _BASE
        if rest <= 0:
            break
    if double < 0:
        digits.append("-")
    return "".join(reversed(digits))


EXACT_DIGITS: Final = 10
"""As many digits in base 36 are always less than 2**53."""
_PART_DIGITS: Final = 5
"""V8 reads as many at once as are sure to fit 32 bits."""

_BASE36: Final = re.compile(r"-?[0-9A-Z]+")


def from_base36(text: str) -> float:
    """Return ``parseInt(text, 36)``: an int, or an infinity if it is too great for a double.

    Beyond 2**53 the roundings are V8's. Takes time in proportion to the length of *text*,
    unlike ``int(text, 36)``.

    Raises:
        ValueError: If *text* is anything but an optional minus, digits and capitals.

    Source:
        V8, ``NumberParseIntHelper`` in ``src/numbers/conversions.cc``.
    """
    if _BASE36.fullmatch(text) is None:
        raise ValueError(f"not a number in base 36: {text[:80]!r}")
    if len(text) <= EXACT_DIGITS:
        return int(text, _BASE)
    digits = text.lstrip("-0")
    double = 0.0
    for start in range(0, len(digits), _PART_DIGITS):
        part = digits[start : start + _PART_DIGITS]
        double = double * _BASE ** len(part) + int(part, _BASE)
        if double == math.inf:
            break
    if text.startswith("-"):
        double = -double
    return double if math.isinf(double) else int(double)


# ------------------------------------------------------------------------ JSON

_ARRAY_INDEX: Final = re.compile("0|[1-9][0-9]{0,9}")
_MAX_ARRAY_INDEX: Final = 2**32 - 2


def in_key_order(members: dict[str, object]) -> dict[str, object]:
    """Return *members* in the order in which JavaScript keeps them.

    Keys that could be an array's indexes come first, and ascending.
    """
    indexes = sorted(filter(_is_array_index, members), key=int)
    if not indexes:
        return members
    return {**{key: members[key] for key in indexes}, **members}


def _is_array_index(key: str) -> bool:
    return _ARRAY_INDEX.fullmatch(key) is not None and int(key) <= _MAX_ARRAY_INDEX


def json_text(value: object, *, sort_keys: bool = False) -> str:
    """Return ``JSON.stringify(value)`` of plain JSON.

    An int that no double is equal to has no such text. It keeps all its digits: a registration
    with it never goes to Node, and two of them must not be taken for one. Where
    JavaScript writes just these digits for the double next to it, ``.0`` is added.

    Args:
        value: Plain JSON; a tuple is taken as a list.
        sort_keys: Whether all keys are sorted, for a text that does not depend on their order.
    """
    # One C call writes most registrations right, in a few microseconds. The search finds all
    # those that it may not: they have a float, a great int, or a key of digits only.
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort_keys)
    return text if _UNLIKE_JAVASCRIPT.search(text) is None else _write(value, sort_keys=sort_keys)


_UNLIKE_JAVASCRIPT: Final = re.compile(r'[0-9][.e]|[0-9]{16}|"[0-9]+":')


class _Written(str):
    """A piece of text among values that are still to be written."""

    __slots__ = ()


def _write(value: object, *, sort_keys: bool) -> str:
    pieces: list[str] = []
    pending: list[object] = [value]  # a stack, as recursion would need the caller's
    while pending:
        part = pending.pop()
        if isinstance(part, _Written):
            pieces.append(part)
        elif isinstance(part, dict):
            members = dict(sorted(part.items())) if sort_keys else in_key_order(part)
            pending.append(_Written("}"))
            for key, item in reversed(members.items()):
                pending += item, _Written(f",{json.dumps(key, ensure_ascii=False)}:")
            _open("{", pending, pieces)
        elif isinstance(part, (list, tuple)):
            pending.append(_Written("]"))
            for item in reversed(part):
                pending += item, _Written(",")
            _open("[", pending, pieces)
        elif isinstance(part, (int, float)) and not isinstance(part, bool):
            pieces.append(_json_number(part))
        else:
            pieces.append(json.dumps(part, ensure_ascii=False))
    return "".join(pieces)


def _open(bracket: str, pending: list[object], pieces: list[str]) -> None:
    """Put a bracket in the place of the comma that comes first, if there is anything in it."""
    head = str(pending.pop())
    pieces.append(bracket + head.removeprefix(","))


def _json_number(number: float) -> str:
    try:
        return number_text(number)
    except ValueError:
        digits = str(number)
        # From here on JavaScript writes an exponent, which cannot be mistaken.
        mistakable = abs(number) < 10**21 and number_text(float(number)) == digits
        return f"{digits}.0" if mistakable else digits


def inexact_integer(value: object) -> str | None:
    """Return the path of the first int that JavaScript cannot hold; ``None`` if there is none.

    Args:
        value: Plain JSON.
    """
    return (find_unencodable(value, _integer_flaw, lambda *_: None) or (None,))[0]


def _integer_flaw(value: object, _: int) -> str | None:
    return "inexact" if isinstance(value, int) and not is_double(value) else None
