"""JavaScript's side of values: numbers, JSON text, undefined, errors."""

from __future__ import annotations

import copy
import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import Json
from cluster_protocol.codecs import UNDEFINED, JavaScriptError
from cluster_protocol.codecs._javascript import (
    from_base36,
    in_key_order,
    inexact_integer,
    is_double,
    json_text,
    number_text,
    to_base36,
)

from ._values import json_values, nested
from ._vectors import Vector, each, load, untag

# --------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1, "1"),
        (1.0, "1"),
        (-1.0, "-1"),
        (0.5, "0.5"),
        (-123.25, "-123.25"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (-1.5e16, "-15000000000000000"),
        (1.2345678901234568e20, "123456789012345680000"),
        (2**60, "1152921504606847000"),
        (-(2**60), "-1152921504606847000"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e21, "1e+21"),
        (10**21, "1e+21"),
        (-1.25e21, "-1.25e+21"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (0.0001, "0.0001"),
        (0.00001, "0.00001"),
        (-0.000015, "-0.000015"),
        (0.000001, "0.000001"),
        (0.00000123, "0.00000123"),
        (1e-7, "1e-7"),
        (-1.5e-7, "-1.5e-7"),
        (5e-324, "5e-324"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_a_number_is_spelt_as_string_of_it(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(allow_nan=False))
def test_a_numbers_text_is_read_as_the_number(number: float) -> None:
    assert float(number_text(number)) == number


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**23, 10**400, -(10**400)])
def test_an_int_that_is_no_double_has_no_text(number: int) -> None:
    assert not is_double(number)
    for function in (number_text, to_base36):
        with pytest.raises(ValueError, match="an int that no double is equal to"):
            function(number)


@pytest.mark.parametrize("number", [0, 2**53, -(2**53), 2**53 + 2, 10**22, 2**1023, 0.5, math.nan])
def test_other_numbers_are_doubles(number: float) -> None:
    assert is_double(number)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (35, "Z"),
        (36, "10"),
        (-36, "-10"),
        (2**53 - 1, "2GOSA7PA2GV"),
        (2**53, "2GOSA7PA2GW"),
        (-(2.0**53), "-2GOSA7PA2GW"),
        (2**60, "8RC4KBDVSS00"),
        (1e21, "5V1J4F4DS7C000"),
        (-1e25, "-198EXBVSHGPS00000"),
        (1.5e300, "N87FT250O8W" + 182 * "0"),
    ],
)
def test_an_integral_number_in_base_36_is_v8s(number: float, text: str) -> None:
    assert to_base36(number) == text


@pytest.mark.parametrize("number", [0.5, -1e-300, math.nan, math.inf, -math.inf])
def test_other_numbers_are_not_written_in_base_36(number: float) -> None:
    with pytest.raises(ValueError, match="is not integral"):
        to_base36(number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-0", 0),
        ("00Z", 35),
        ("-10", -36),
        ("2GOSA7PA2GW", 2**53),
        ("2GOSA7PA2GX", 2**53),
        ("8RC4KBDVSS00", 1152921504606846976),
        ("5V1J4F4DS7C000", int(1.0000000000000001e21)),
        ("-198EXBVSHGPS00000", int(-9.999999999999999e24)),
        ("0" * 100 + "Z", 35),
        ("-" + "0" * 100, 0),
        ("NAN", 30191),
        ("Z" * 198, int(float(36**198))),
    ],
)
def test_a_text_in_base_36_is_read_as_v8_reads_it(text: str, number: int) -> None:
    read = from_base36(text)

    assert type(read) is int
    assert read == pytest.approx(number, rel=1e-14, abs=0)
    if len(text) < 20:
        assert read == number


@pytest.mark.parametrize(("text", "number"), [("Z" * 250, math.inf), ("-1" + "0" * 250, -math.inf)])
def test_what_is_too_great_for_a_double_is_infinite(text: str, number: float) -> None:
    assert from_base36(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "--1",
        "+1",
        "a",
        " 1",
        "1\n",
        "1_0",
        "1.5",
        "1-",
        "1|2",
        "é",
        "\u0661",
        "1" * 20 + "a",
    ],
)
def test_what_is_no_number_in_base_36_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number in base 36"):
        from_base36(text)


def test_a_number_of_a_million_digits_is_read_in_time() -> None:
    assert from_base36("Z" * 1_000_000) == math.inf
    assert from_base36("0" * 1_000_000) == 0


@given(st.integers(-(2**53), 2**53))
def test_base_36_up_to_2_53_is_exact(number: int) -> None:
    text = to_base36(number)

    assert from_base36(text) == number == int(text, 36)


# ------------------------------------------------------------- JSON's spelling


@each("javascript_text.json")
def test_a_vector_is_spelt_as_json_stringify_does(vector: Vector) -> None:
    assert json_text(untag(vector["value"])) == vector["text"]


def test_vectors_have_names_of_their_own() -> None:
    names = [vector["name"] for vector in load("javascript_text.json")]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "2": 1.5, "10": [], "1": {"z": 0, "0": -0.0}},
         '{"1":{"0":0,"z":0},"10":[],"2":1.5,"b":1}'),
        ({"b": [{"d": 1, "c": 2}], "a": True}, '{"a":true,"b":[{"c":2,"d":1}]}'),
        ([1e21, None, "1.5"], '[1e+21,null,"1.5"]'),
    ],
)  # fmt: skip
def test_keys_can_be_sorted_for_a_text_that_does_not_depend_on_their_order(
    value: Json, text: str
) -> None:
    assert json_text(value, sort_keys=True) == text


def test_a_tuple_is_spelt_as_a_list() -> None:
    assert json_text((1, (2.5, ()))) == "[1,[2.5,[]]]"


def test_keys_that_are_in_order_are_left_alone() -> None:
    members: dict[str, object] = {"b": 1, "a": 2, "01": 3}

    assert in_key_order(members) is members


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2**53 + 1, "9007199254740993"),
        (-(2**64) - 1, "-18446744073709551617"),
        (10**23, "1" + "0" * 23),
        (10**400, "1" + "0" * 400),
    ],
)
def test_an_int_that_is_no_double_keeps_its_digits(number: int, text: str) -> None:
    assert json_text([number]) == f"[{text}]"


def test_two_ints_are_never_spelt_alike() -> None:
    """JavaScript writes the first one as the second one's digits."""
    assert json_text(2**60) == "1152921504606847000"
    assert json_text(1152921504606847000) == "1152921504606847000.0"
    assert json_text(-(2**60)) == "-1152921504606847000"
    assert json_text(-1152921504606847000) == "-1152921504606847000.0"


@given(st.integers(-(2**80), 2**80), st.integers(-(2**80), 2**80) | st.integers(-2000, 2000))
def test_different_ints_have_different_texts(one: int, step: int) -> None:
    other = one + step

    assert (json_text(one) == json_text(other)) == (one == other)


@given(json_values())
def test_a_text_is_json_of_the_same_value(value: Json) -> None:
    for sort_keys in (False, True):
        text = json_text(value, sort_keys=sort_keys)
        assert same(json.loads(text, parse_float=Decimal, parse_int=Decimal), value)


def same(read: Any, value: Any) -> bool:
    match value:
        case bool() | None | str():
            return bool(read == value)
        case int() | float():
            return read == value or float(read) == float(value)
        case list():
            return len(read) == len(value) and all(map(same, read, value))
        case _:
            return read.keys() == value.keys() and all(same(read[key], value[key]) for key in value)


@given(st.dictionaries(st.integers(0, 2**32).map(str) | st.text(max_size=3), st.integers(0, 9)))
def test_indexes_come_first_and_ascending(members: dict[str, object]) -> None:
    keys = list(json.loads(json_text(members)))
    indexes = [key for key in keys if key.isdecimal() and key.isascii() and key == str(int(key))]
    indexes = [key for key in indexes if int(key) < 2**32 - 1]

    assert keys[: len(indexes)] == sorted(indexes, key=int)
    assert keys[len(indexes) :] == [key for key in members if key not in indexes]


def test_a_deep_value_is_spelt_without_recursion() -> None:
    assert json_text(nested(490, 0.5)) == "[" * 490 + "0.5" + "]" * 490


# ---------------------------------------------------- ints that JavaScript has not


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (2**53 + 1, "value"),
        ({"a": [1, {"b": -(2**53) - 1}]}, "value['a'][1]['b']"),
        ([2**60, 10**400], "value[1]"),
    ],
)
def test_the_first_int_that_is_no_double_is_found(value: Json, path: str) -> None:
    assert inexact_integer(value) == path


@pytest.mark.parametrize(
    "value", [None, True, "9007199254740993", 2**53, -(2**60), 1e300, {"9007199254740993": [0]}]
)
def test_other_values_have_none(value: Json) -> None:
    assert inexact_integer(value) is None


# -------------------------------------------------------------------- undefined


def test_undefined_is_one_and_false() -> None:
    assert repr(UNDEFINED) == "UNDEFINED"
    assert not UNDEFINED
    assert UNDEFINED is not None
    assert copy.copy(UNDEFINED) is UNDEFINED
    assert copy.deepcopy([UNDEFINED])[0] is UNDEFINED


# ----------------------------------------------------------------------- errors


def test_an_error_tells_its_name_and_message() -> None:
    assert str(JavaScriptError("no such key")) == "Error: no such key"
    assert (
        str(JavaScriptError("no such key", fields={"name": "TypeError"}))
        == "TypeError: no such key"
    )
    assert str(JavaScriptError()) == "Error"
    assert JavaScriptError("a", fields={"name": 7}).name == "Error"


def test_an_error_has_fields_of_its_own() -> None:
    fields = {"code": "ENOENT"}
    error = JavaScriptError("a", "b", fields)
    error.fields["errno"] = -2

    assert fields == {"code": "ENOENT"}
    assert (error.message, error.stack) == ("a", "b")
    assert repr(error) == "JavaScriptError('a', 'b', {'code': 'ENOENT', 'errno': -2})"


def test_errors_are_equal_if_all_that_they_carry_is() -> None:
    error = JavaScriptError("a", "b", {"code": [1]})

    assert error == JavaScriptError("a", "b", {"code": [1]})
    assert hash(error) == hash(JavaScriptError("a", "b", {"code": [1]}))
    assert error != JavaScriptError("c", "b", {"code": [1]})
    assert error != JavaScriptError("a", "c", {"code": [1]})
    assert error != JavaScriptError("a", "b", {"code": [2]})
    assert error != ValueError("a", "b", {"code": [1]})


def test_an_error_can_be_raised_and_copied() -> None:
    with pytest.raises(JavaScriptError, match="Error: a") as caught:
        raise JavaScriptError("a", "b", {"code": 1})

    for twin in (copy.copy(caught.value), copy.deepcopy(caught.value)):
        assert type(twin) is JavaScriptError
        assert twin == caught.value
