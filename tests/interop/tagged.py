"""The tagged JSON of ``values.js``: JavaScript's values that JSON has not."""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

from cluster_protocol.codecs import UNDEFINED, JavaScriptError

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def untag(tagged: Any) -> Any:
    """Return the value as it is in Python: an integral number is an int."""
    match tagged:
        case list():
            return list(map(untag, tagged))
        case dict():
            [(tag, content)] = tagged.items()
            return _VALUES[tag](content)
        case _:
            return tagged


def _number(digits: str) -> float:
    (number,) = struct.unpack(">d", bytes.fromhex(digits))
    return int(number) if number.is_integer() else number


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {key: untag(value) for key, value in pairs}


_VALUES: Final[dict[str, Callable[[Any], Any]]] = {
    "$num": _number,
    "$buf": bytes.fromhex,
    "$date": lambda milliseconds: _EPOCH + dt.timedelta(milliseconds=milliseconds),
    "$undef": lambda _: UNDEFINED,
    "$map": _members,
    "$error": lambda parts: JavaScriptError(parts[0], parts[1], _members(parts[2])),
}


def exactly(value: Any) -> Any:
    """Return what is equal for values of the same types, order of keys and bits only."""
    match value:
        case float():
            return "float", "nan" if math.isnan(value) else value.hex()
        case list():
            return "list", [exactly(item) for item in value]
        case dict():
            return "dict", [(key, exactly(item)) for key, item in value.items()]
        case JavaScriptError():
            return "error", value.message, value.stack, exactly(value.fields)
        case _:
            return type(value).__name__, value
