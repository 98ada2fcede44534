"""Following the path of an `UnencodableValueError` to the part that it tells of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID

from cluster_protocol import UnencodableValueError
from cluster_protocol.codecs import Codec


class Junk:
    """What no codec carries; told by its class, so that a test finds it again."""

    def __repr__(self) -> str:
        return "Junk()"


def refusal(codec: Codec, value: object) -> UnencodableValueError | None:
    """Return the error of encoding *value*, if there is one."""
    try:
        codec.encode(value)
    except UnencodableValueError as exc:
        return exc
    return None


def at(value: object, path: str) -> object:
    """Return the part of *value* at *path*, which is Python's notation."""
    names = {"value": value, "datetime": dt, "Decimal": Decimal, "UUID": UUID, "inf": float("inf")}
    part: object = eval(path, {"__builtins__": {"frozenset": frozenset}}, names)
    return part


def holds_itself(part: object, junk: tuple[type, ...], texts: tuple[str, ...] = ()) -> bool:
    """Whether *part* is junk, a set with junk, or a dict with junk in a key.

    A list with junk is not: the path must lead on into it.
    """

    def is_junk(item: object) -> bool:
        return isinstance(item, junk) or (isinstance(item, str) and item in texts)

    if isinstance(part, (dict, set, frozenset)):
        return any(map(is_junk, _flat(part)))
    return is_junk(part)


def _flat(parts: object) -> Iterator[object]:
    if isinstance(parts, (dict, set, frozenset, tuple)):
        for part in parts:
            yield from _flat(part)
    else:
        yield parts


def tells_the_culprit(
    error: UnencodableValueError,
    value: object,
    junk: tuple[type, ...],
    texts: tuple[str, ...] = (),
) -> bool:
    return holds_itself(at(value, error.path), junk, texts)
