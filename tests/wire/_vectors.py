"""The golden vectors of ``protocol/vectors``, and values told apart exactly."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from cluster_protocol.codecs import UserType, UserTypes
from cluster_protocol.codecs._user_types import dataclass_functions, enum_functions

Vector = dict[str, Any]

_FOLDER: Final = Path(__file__).parents[2] / "protocol" / "vectors"


@dataclass(frozen=True)
class Point:
    x: object
    y: object


class Colour(Enum):
    RED = "#f00"


TYPES: Final = UserTypes(
    UserType("point", Point, *dataclass_functions(Point)),
    UserType("colour", Colour, *enum_functions(Colour)),
)
"""The registered types of the vectors."""


def load(file: str, part: str | None = None) -> list[Vector]:
    """Return the vectors of *file*, or of one of its parts."""
    content = json.loads((_FOLDER / file).read_text(encoding="utf-8"))
    vectors: list[Vector] = content if part is None else content[part]
    return vectors


def each(file: str, part: str | None = None) -> pytest.MarkDecorator:
    """Run the test with each vector of *file* as argument ``vector``."""
    return parametrize(load(file, part))


def parametrize(vectors: list[Vector]) -> pytest.MarkDecorator:
    ids = [vector.get("name") for vector in vectors]
    return pytest.mark.parametrize("vector", vectors, ids=ids)


def untag(value: Any) -> Any:
    """Return the value that a vector writes with tags."""
    match value:
        case list():
            return [untag(item) for item in value]
        case dict():
            [(tag, content)] = value.items()
            return _TAGS[tag](content)
        case _:
            return value


_TAGS: Final[dict[str, Callable[[Any], object]]] = {
    "$int": int,
    "$float": float,
    "$bytes": bytes.fromhex,
    "$tuple": lambda items: tuple(untag(items)),
    "$map": lambda pairs: {untag(key): untag(value) for key, value in pairs},
    "$datetime": dt.datetime.fromisoformat,
    "$date": dt.date.fromisoformat,
    "$timedelta": lambda parts: dt.timedelta(*parts),
    "$decimal": Decimal,
    "$uuid": UUID,
    "$set": lambda items: set(untag(items)),
    "$frozenset": lambda items: frozenset(untag(items)),
    "$type": lambda named: TYPES.decode(named[0], untag(named[1])),
}


def exactly(value: object) -> object:
    """Return what is equal for values of the same types, order of keys, zeros and NaNs only.

    ``1 == True == 1.0`` and ``nan != nan``: not what a codec's tests want.
    """
    name = type(value).__name__
    match value:
        case set() | frozenset():
            return name, frozenset(map(exactly, value))
        case list() | tuple():
            return name, tuple(map(exactly, value))
        case Mapping():
            return name, tuple((exactly(key), exactly(item)) for key, item in value.items())
        case _:
            return name, repr(value)
