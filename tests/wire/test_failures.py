"""Errors as they travel (SPEC 4.3)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import (
    Failure,
    RemoteProtocolError,
    decode_registration_outcome,
    encode_registration_outcome,
)
from cluster_protocol.codecs import Codec, JsonCodec, MsgpackCodec

from ._values import json_values, nested

FULL = Failure(
    name="LookupError",
    message="no such key",
    code="E_KEY",
    stack="Traceback …",
    args=("no such key", 7),
    fields={"key": "k"},
)

# --------------------------------------------------------------------- writing


def test_a_failure_begins_with_nodes_four_members() -> None:
    assert list(FULL.to_value()) == ["stack", "name", "message", "code", "args", "fields"]


def test_what_is_not_there_is_left_out() -> None:
    assert Failure("KeyError", "k").to_value() == {"stack": "", "name": "KeyError", "message": "k"}


def test_empty_args_are_told_and_empty_fields_are_not() -> None:
    value = Failure("KeyError", "", args=(), fields={}).to_value()

    assert value["args"] == []
    assert "fields" not in value


def test_a_falsy_code_is_a_code() -> None:
    assert Failure("OSError", "", code=0).to_value()["code"] == 0


# --------------------------------------------------------------------- reading


def test_a_failure_is_read_as_it_was_written() -> None:
    assert Failure.from_value(FULL.to_value()) == FULL


def test_nodes_failure_is_read() -> None:
    value = {"stack": "BoomError: boom", "name": "BoomError", "message": "boom", "code": "E_BOOM"}

    assert Failure.from_value(value) == Failure("BoomError", "boom", "E_BOOM", "BoomError: boom")


@pytest.mark.parametrize("empty", [{}, {"name": None, "message": None, "stack": None}])
def test_missing_members_get_a_stand_in(empty: dict[str, object]) -> None:
    assert Failure.from_value(empty) == Failure("Error", "")


def test_a_text_that_is_none_is_made_one() -> None:
    assert Failure.from_value({"name": 7, "message": ["a"], "stack": 1.5}) == Failure(
        "7", "['a']", stack="1.5"
    )


@pytest.mark.parametrize("args", [None, "text", 7, {"0": "a"}])
def test_args_that_are_no_list_are_not_told(args: object) -> None:
    assert Failure.from_value({"args": args}).args is None


@pytest.mark.parametrize("args", [["a", 1], ("a", 1)])
def test_args_become_a_tuple(args: object) -> None:
    assert Failure.from_value({"args": args}).args == ("a", 1)


@pytest.mark.parametrize("fields", [None, "text", [["a", 1]]])
def test_fields_that_are_no_mapping_are_none(fields: object) -> None:
    assert Failure.from_value({"fields": fields}).fields == {}


def test_names_of_fields_are_text() -> None:
    assert Failure.from_value({"fields": {1: "a"}}).fields == {"1": "a"}


@pytest.mark.parametrize("value", [None, "boom", 7, ["Error"]])
def test_an_error_is_a_mapping(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="must be a mapping, got"):
        Failure.from_value(value)


@pytest.mark.parametrize("member", ["name", "message", "stack"])
def test_a_text_that_cannot_be_shown_is_the_peers_error(member: str) -> None:
    """Such an int passes the codec, but Python refuses to write it out."""
    hostile = MsgpackCodec().decode(MsgpackCodec().encode({member: 10**5000}))

    with pytest.raises(RemoteProtocolError, match="text cannot be shown: "):
        Failure.from_value(hostile)
    with pytest.raises(RemoteProtocolError, match="text cannot be shown: "):
        decode_registration_outcome({"success": False, "error": hostile})


@pytest.mark.parametrize("depth", range(900, 1024, 3))
def test_a_text_nested_deeply_is_shown_or_the_peers_error(depth: int) -> None:
    """Some versions of Python show it, others raise RecursionError."""
    hostile = {"name": nested(depth, 0)}

    with suppress(RemoteProtocolError):
        assert Failure.from_value(hostile).name == "[" * depth + "0" + "]" * depth


# -------------------------------------------------------- outcome of a registration


def test_success_is_told_in_nodes_words() -> None:
    assert encode_registration_outcome(None) == {"success": True}
    assert decode_registration_outcome({"success": True}) is None


def test_a_failed_registration_tells_the_error() -> None:
    value = encode_registration_outcome(FULL)

    assert value == {"success": False, "error": FULL.to_value()}
    assert decode_registration_outcome(value) == FULL


@pytest.mark.parametrize("value", [{"success": False}, {"success": False, "error": None}])
def test_a_failed_registration_without_an_error_has_a_stand_in(value: object) -> None:
    assert decode_registration_outcome(value) == Failure("Error", "")


def test_an_error_beside_success_is_ignored() -> None:
    assert decode_registration_outcome({"success": True, "error": {"name": "E"}}) is None


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, [], "success", {}, {"success": None}, {"success": 1}, {"success": "true"}),
        pytest.param(10**5000, id="long int"),
        pytest.param(nested(1020), id="deep list"),
    ],
)
def test_an_outcome_needs_a_boolean_success(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="needs a boolean 'success'"):
        decode_registration_outcome(value)


def test_the_error_of_a_failed_registration_is_a_mapping() -> None:
    with pytest.raises(RemoteProtocolError, match="must be a mapping, got str"):
        decode_registration_outcome({"success": False, "error": "boom"})


# ------------------------------------------------------------------ properties

failures = st.builds(
    Failure,
    name=st.text(min_size=1),
    message=st.text(),
    code=st.none() | st.integers() | st.text(),
    stack=st.text(),
    args=st.none() | st.lists(json_values(max_leaves=3), max_size=3).map(tuple),
    fields=st.dictionaries(st.text(), json_values(max_leaves=3), max_size=3),
)


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec()], ids=["json", "msgpack"])
@given(failure=failures)
def test_any_failure_travels_through_any_codec(codec: Codec, failure: Failure) -> None:
    value = codec.decode(codec.encode(encode_registration_outcome(failure)))

    assert decode_registration_outcome(value) == failure


members = st.sampled_from(
    ["success", "error", "name", "message", "code", "stack", "args", "fields"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(members | st.integers(), inner),
    max_leaves=10,
)


@given(anything)
def test_any_value_is_a_failure_or_the_peers_error(value: object) -> None:
    for read in (Failure.from_value, decode_registration_outcome):
        try:
            failure = read(value)
        except RemoteProtocolError:
            continue
        assert failure is None or isinstance(failure.name, str)


def test_the_module_of_a_class_travels_where_it_is_told() -> None:
    told = Failure("QuotaError", "used up", module="shop.errors")
    assert told.to_value()["module"] == "shop.errors"
    assert Failure.from_value(told.to_value()) == told
    assert "module" not in Failure("QuotaError", "used up").to_value()
