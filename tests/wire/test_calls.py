"""Application objects of `Invoke`: Node's arguments and our packed call (SPEC 3.2, 6.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import (
    NO_DEADLINE,
    RemoteProtocolError,
    join_arguments,
    pack_call,
    split_arguments,
    unpack_call,
)
from cluster_protocol.codecs import MsgpackCodec

from ._vectors import Vector, each, exactly, load, parametrize, untag

# -------------------------------------------------------------- Node's arguments


@each("packed_calls.json", "argument_lists")
def test_a_list_of_arguments_holds_in_both_directions(vector: Vector) -> None:
    arguments = [bytes.fromhex(argument) for argument in vector["arguments"]]

    assert join_arguments(arguments).hex() == vector["hex"]
    assert split_arguments(bytes.fromhex(vector["hex"]), len(arguments)) == arguments


@each("packed_calls.json", "invalid_argument_lists")
def test_an_invalid_list_of_arguments_is_refused(vector: Vector) -> None:
    with pytest.raises(RemoteProtocolError):
        split_arguments(bytes.fromhex(vector["hex"]), vector["count"])


@parametrize([v for v in load("node_conversation.json") if v["connection"]["type"] == "invoke"])
def test_nodes_arguments_are_split_and_joined_as_node_does(vector: Vector) -> None:
    application = vector["application"].encode()

    arguments = split_arguments(application, vector["connection"]["argLength"])

    assert all(argument.count(b"^") == 4 for argument in arguments)  # serialize-json's five parts
    assert join_arguments(arguments) == application


def test_arguments_may_come_from_any_iterable() -> None:
    assert join_arguments(argument for argument in (b"a", b"")) == b"\0\0\0\1a\0\0\0\0"


@pytest.mark.parametrize(
    ("application", "count", "text"),
    [
        (b"\0\0\0\1a", 2, "2 arguments announced, 1 are there"),
        (b"\0\0\0\1a\0\0\0\5bc", 2, "argument 1 announces 5 bytes, 2 are there"),
        (b"\0\0\0\1abc", 1, "2 bytes follow the last of 1 arguments"),
    ],
)
def test_an_error_tells_what_was_announced_and_what_was_there(
    application: bytes, count: int, text: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=f"^{text}$"):
        split_arguments(application, count)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_arguments_come_out_as_they_went_in(arguments: list[bytes]) -> None:
    assert split_arguments(join_arguments(arguments), len(arguments)) == arguments


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(0, 2**60))
def test_arguments_split_only_into_as_many_as_they_are(arguments: list[bytes], count: int) -> None:
    if count != len(arguments):
        with pytest.raises(RemoteProtocolError):
            split_arguments(join_arguments(arguments), count)


@given(st.binary(max_size=60), st.integers(0, 10) | st.integers(0, 10**100))
def test_any_bytes_are_arguments_or_the_peers_error(application: bytes, count: int) -> None:
    try:
        arguments = split_arguments(application, count)
    except RemoteProtocolError:
        return
    assert join_arguments(arguments) == application


# ---------------------------------------------------------------- packed calls


@each("packed_calls.json", "packed")
def test_a_packed_call_holds_in_both_directions(vector: Vector) -> None:
    deadline = untag(vector["deadline_us"])
    arguments = bytes.fromhex(vector["encoded_arguments"])

    assert pack_call(deadline, arguments).hex() == vector["hex"]
    assert unpack_call(bytes.fromhex(vector["hex"])) == (deadline, arguments)


@each("packed_calls.json", "packed")
def test_a_packed_calls_arguments_are_a_value_of_the_codec(vector: Vector) -> None:
    codec, arguments = MsgpackCodec(), untag(vector["arguments"])

    assert codec.encode(arguments).hex() == vector["encoded_arguments"]
    _, encoded = unpack_call(bytes.fromhex(vector["hex"]))
    assert exactly(codec.decode(encoded)) == exactly(arguments)


@each("packed_calls.json", "invalid_packed")
def test_a_call_too_short_for_a_deadline_is_refused(vector: Vector) -> None:
    with pytest.raises(RemoteProtocolError, match="has no deadline"):
        unpack_call(bytes.fromhex(vector["hex"]))


def test_a_deadline_of_0_is_none() -> None:
    assert NO_DEADLINE == 0
    assert pack_call(NO_DEADLINE, b"arguments") == bytes(8) + b"arguments"


@given(st.integers(0, 2**64 - 1), st.binary())
def test_any_packed_call_comes_out_as_it_went_in(deadline: int, arguments: bytes) -> None:
    assert unpack_call(pack_call(deadline, arguments)) == (deadline, arguments)


@given(st.binary(max_size=20))
def test_any_bytes_are_a_packed_call_or_the_peers_error(application: bytes) -> None:
    try:
        deadline, arguments = unpack_call(application)
    except RemoteProtocolError:
        assert len(application) < 8
    else:
        assert pack_call(deadline, arguments) == application
