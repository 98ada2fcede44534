"""Registering users' own classes: what is accepted, and what is said of the rest."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field, make_dataclass
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from cluster_client import ConfigurationError, register_type
from cluster_protocol.codecs import REGISTERED_TYPES, MsgpackCodec

CODEC = MsgpackCodec()


@pytest.fixture(autouse=True)
def no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after each test what it has registered."""
    monkeypatch.setattr(REGISTERED_TYPES, "by_name", dict(REGISTERED_TYPES.by_name))
    monkeypatch.setattr(REGISTERED_TYPES, "by_class", dict(REGISTERED_TYPES.by_class))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module that registers a class."""
    (tmp_path / "users_module.py").write_text(
        "from dataclasses import dataclass\n"
        "from cluster_client import register_type\n"
        "@register_type\n"
        "@dataclass\n"
        "class Point:\n"
        "    x: int\n"
        "register_type(complex, name='complex', encode=lambda c: [c.real, c.imag],\n"
        "              decode=lambda parts: complex(*parts))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "users_module"
    sys.modules.pop("users_module", None)


@dataclass
class Point:
    x: int
    y: int = 0


class Colour(Enum):
    RED = "#f00"


class Rights(Flag):
    READ = 1


class Plain:
    pass


class Number(IntEnum):
    ONE = 1


class Mask(IntFlag):
    ONE = 1


class Row(NamedTuple):
    key: str


class Moment(dt.datetime):
    pass


def travel(value: object) -> object:
    return CODEC.decode(CODEC.encode(value))


# -------------------------------------------------------------------- accepted


@pytest.mark.parametrize("value", [Point(1, 2), Colour.RED, Rights.READ], ids=str)
def test_dataclasses_and_enumerations_need_no_functions(value: object) -> None:
    assert register_type(type(value)) is type(value)
    assert travel([value]) == [value]


def test_the_name_is_module_and_class_by_default() -> None:
    register_type(Point)

    assert REGISTERED_TYPES.by_name[f"{__name__}.Point"].cls is Point


def test_it_is_a_decorator() -> None:
    @register_type
    @dataclass(frozen=True, slots=True)
    class Bare:
        x: int

    @register_type(name="named")
    @dataclass
    class Named:
        x: int

    @register_type(name="own", encode=lambda own: own.parts, decode=lambda parts: Own(*parts))
    class Own:
        def __init__(self, *parts: int) -> None:
            self.parts = parts

    own = travel(Own(1, 2))
    assert travel([Bare(1), Named(2)]) == [Bare(1), Named(2)]
    assert isinstance(own, Own)
    assert own.parts == (1, 2)
    assert {"named", "own"} <= REGISTERED_TYPES.by_name.keys()


@pytest.mark.parametrize("value", [deque([1]), 1j, range(3)], ids=repr)
def test_any_other_class_travels_by_its_functions(value: Any) -> None:
    functions: dict[type, tuple[Any, Any]] = {
        deque: (list, deque),
        complex: (lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
        range: (lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    }
    encode, decode = functions[type(value)]
    register_type(type(value), encode=encode, decode=decode)

    assert travel(value) == value


def test_a_kind_of_a_type_that_is_carried_wins_by_its_exact_class() -> None:
    moment = Moment(2024, 1, 2)
    assert type(travel(moment)) is dt.datetime

    register_type(Moment, encode=Moment.isoformat, decode=Moment.fromisoformat)

    assert type(travel(moment)) is Moment
    assert type(travel(dt.datetime(2024, 1, 2))) is dt.datetime


# --------------------------------------------------------------------- refused


def refusal(cls: Any, **arguments: Any) -> str:
    before = dict(REGISTERED_TYPES.by_class)
    with pytest.raises(ConfigurationError) as caught:
        register_type(cls, **arguments)
    assert REGISTERED_TYPES.by_class == before
    return str(caught.value)


@pytest.mark.parametrize("thing", [3, Point(1), list[int], "Point"], ids=repr)
def test_what_is_no_class_is_refused(thing: object) -> None:
    assert refusal(thing) == f"{thing!r} is not a class"


@pytest.mark.parametrize("name", ["", "x" * 129, "é" * 65, "\ud800", 3, b"x"], ids=repr)
def test_a_name_is_short_text(name: object) -> None:
    assert refusal(Point, name=name).startswith("a type's name must be text of 1 to 128 bytes")


@pytest.mark.parametrize("name", ["x", "é" * 64])
def test_a_name_of_up_to_128_bytes_is_fine(name: str) -> None:
    register_type(Point, name=name)

    assert travel(Point(1)) == Point(1)


def test_a_class_that_needs_functions_says_so() -> None:
    assert refusal(Plain).startswith(
        f"{__name__}.Plain is neither a dataclass nor an enumeration, and so needs both functions"
    )


def test_a_kind_of_dataclass_may_hold_more_than_its_fields() -> None:
    class Kind(Point):
        pass

    assert "is neither a dataclass nor" in refusal(Kind)


@pytest.mark.parametrize(
    "functions",
    [{"encode": str}, {"decode": str}, {"encode": str, "decode": 3}, {"encode": 3, "decode": str}],
    ids=str,
)
def test_one_function_is_not_enough(functions: dict[str, Any]) -> None:
    expected = f"{__name__}.Point needs both functions, encode and decode, or none"
    assert refusal(Point, **functions) == expected


@pytest.mark.parametrize(
    ("cls", "base"),
    [(Number, "int"), (Mask, "int"), (Row, "tuple"), (type("Text", (str,), {}), "str")],
)
def test_what_msgpack_writes_itself_never_gets_here(cls: type, base: str) -> None:
    for functions in ({}, {"encode": str, "decode": str}):
        text = refusal(cls, **functions)
        assert text.endswith(f"it is a kind of {base}, and so its instances arrive as plain {base}")


@pytest.mark.parametrize(
    "cls",
    [int, bool, str, dict, bytearray, type(None), dt.datetime, dt.date, Decimal, UUID, set],
)
def test_what_is_carried_needs_no_registration(cls: type) -> None:
    assert refusal(cls, encode=str, decode=str).endswith("it is carried already")


def test_a_dataclass_that_cannot_be_made_of_its_fields_needs_functions() -> None:
    @dataclass
    class Secret:
        name: str
        key: InitVar[str]

    @dataclass
    class Own:
        name: str

        def __init__(self) -> None:
            self.name = "own"

    @dataclass(init=False)
    class Without:
        name: str

    for cls, why in ((Secret, "missing a required argument: 'key'"), (Own, ""), (Without, "")):
        text = refusal(cls)
        assert "cannot be made of its fields" in text
        assert why in text
    register_type(Secret, encode=lambda value: value.name, decode=lambda name: Secret(name, "k"))
    assert travel(Secret("a", "k")) == Secret("a", "k")


def test_an_init_var_with_a_default_is_fine() -> None:
    @register_type
    @dataclass
    class Box:
        size: int
        factor: InitVar[int] = 2
        area: int = field(init=False)

        def __post_init__(self, factor: int) -> None:
            self.area = self.size * factor

    assert travel(Box(3, 5)) == Box(3, 5)


# -------------------------------------------------------------------- conflicts


def test_a_name_belongs_to_one_class() -> None:
    register_type(Point, name="point")

    assert refusal(Colour, name="point") == (
        f"the name 'point' is taken by {__name__}.Point; {__name__}.Colour needs another one"
    )


def test_a_class_has_one_name() -> None:
    register_type(Point, name="point")

    assert refusal(Point, name="dot") == (
        f"{__name__}.Point is registered as 'point' already, and cannot be 'dot', too"
    )


def test_registering_twice_is_the_same_as_once() -> None:
    for cls in (Point, Colour, Rights, Point, Colour, Rights):
        register_type(cls)
    for _ in range(2):
        register_type(complex, encode=lambda value: [value.real], decode=lambda parts: parts[0])
        register_type(deque, encode=list, decode=deque)


def test_the_same_class_with_other_functions_is_refused() -> None:
    register_type(Point)
    register_type(deque, encode=list, decode=deque)

    for functions in ({"encode": list, "decode": list}, {"encode": sorted, "decode": deque}):
        assert refusal(deque, **functions).startswith("collections.deque is registered with other")
    assert "other functions" in refusal(Point, encode=lambda _: 1, decode=lambda _: Point(1))


def test_a_module_may_be_reloaded(module: str) -> None:
    first = importlib.import_module(module)
    old = first.Point(1)

    second = importlib.reload(first)

    assert second.Point is not type(old)
    assert type(travel(second.Point(1))) is second.Point
    assert type(travel(old)) is second.Point
    assert travel(1j) == 1j


def test_classes_that_only_share_their_name_are_told_apart() -> None:
    """A function that makes classes gives all of them one name."""
    register_type(make_dataclass("Made", ["x"]))

    assert "is taken by" in refusal(make_dataclass("Made", ["y"]))
