"""Frames as they are written (SPEC section 2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import HEADER_SIZE, MAX_REQUEST_ID, Frame, LocalProtocolError, encode_frame

from ._vectors import Vector, each, load, parametrize

written = parametrize([v for v in load("frames.json") if not v.get("decode_only")])


@written
def test_a_vector_is_written_byte_for_byte(vector: Vector) -> None:
    frame = Frame(
        is_response=vector["response"],
        request_id=vector["request_id"],
        timeout_ms=vector["timeout_ms"],
        connection=connection_text(vector),
        application=bytes.fromhex(vector["application"]),
    )

    assert encode_frame(frame).hex() == vector["hex"]


@each("node_conversation.json")
def test_nodes_frames_are_made_of_a_header_and_two_objects(vector: Vector) -> None:
    whole = bytes.fromhex(vector["hex"])
    application = vector["application"].encode()
    connection = whole[HEADER_SIZE : len(whole) - len(application)]
    frame = Frame(
        is_response=whole[1] == 1,
        request_id=int.from_bytes(whole[4:12], "big"),
        timeout_ms=int.from_bytes(whole[12:16], "big"),
        connection=connection,
        application=application,
    )

    assert encode_frame(frame) == whole


@given(
    is_response=st.booleans(),
    request_id=st.integers(0, 2**64 - 1),
    timeout_ms=st.integers(-(2**31), 2**31 - 1),
    connection=st.binary(min_size=1),
    application=st.binary(),
)
def test_every_field_stands_at_its_place(
    *, is_response: bool, request_id: int, timeout_ms: int, connection: bytes, application: bytes
) -> None:
    data = encode_frame(Frame(is_response, request_id, timeout_ms, connection, application))

    assert HEADER_SIZE == 24
    assert data[0] == 1
    assert data[1] == is_response
    assert data[2:4] == b"\0\0"
    assert int.from_bytes(data[4:12], "big") == request_id
    assert int.from_bytes(data[12:16], "big", signed=True) == timeout_ms
    assert int.from_bytes(data[16:20], "big") == len(connection)
    assert int.from_bytes(data[20:24], "big") == len(application)
    assert data[24:] == connection + application


def test_a_frame_has_no_application_object_unless_given() -> None:
    assert Frame(False, 1, 0, b"{}").application == b""


def test_our_request_ids_stay_below_nodes_limit() -> None:
    assert MAX_REQUEST_ID == 2**30 - 1


def test_a_connection_object_is_never_empty() -> None:
    with pytest.raises(LocalProtocolError, match="this one is empty"):
        encode_frame(Frame(False, 1, 0, b"", b"application"))


@pytest.mark.parametrize("request_id", [-1, 2**64])
def test_a_request_id_is_an_unsigned_64_bit_integer(request_id: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"request id {request_id} "):
        encode_frame(Frame(False, request_id, 0, b"{}"))


@pytest.mark.parametrize("timeout_ms", [-(2**31) - 1, 2**31])
def test_a_timeout_is_a_signed_32_bit_integer(timeout_ms: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"timeout {timeout_ms} ms"):
        encode_frame(Frame(False, 1, timeout_ms, b"{}"))


def connection_text(vector: Vector) -> bytes:
    """Return the connection object as the frame has it, cut out by the lengths in the header."""
    whole = bytes.fromhex(vector["hex"])
    return whole[24 : 24 + int.from_bytes(whole[16:20], "big")]
