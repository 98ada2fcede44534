"""Connection objects: what a frame is about (SPEC sections 3 and 6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import (
    HEADER_SIZE,
    Agreement,
    Cancel,
    Frame,
    Goodbye,
    GoodbyeAck,
    Heartbeat,
    HeartbeatAck,
    Invoke,
    InvokeResult,
    Json,
    LocalProtocolError,
    Message,
    Offer,
    RealClientState,
    RegisterChannel,
    RegisterChannelResult,
    RegistrationChallenge,
    RegistrationPending,
    RegistrationProof,
    RemoteProtocolError,
    Snapshot,
    StreamCredit,
    StreamItem,
    Subscribe,
    SubscribeAck,
    SubscribeResult,
    SubscribeResultAck,
    UnknownMessage,
    Unsubscribe,
    ValuesMissed,
    ValuesTaken,
    decode_message,
    encode_frame,
)

from ._feeding import bytewise, feed
from ._values import json_values, nested
from ._vectors import Vector, each, load, parametrize

CLASSES: Final[tuple[type[Message], ...]] = (
    *(RegisterChannel, RegisterChannelResult, RegistrationPending, Invoke, InvokeResult),
    *(Subscribe, SubscribeAck, Unsubscribe, SubscribeResult, SubscribeResultAck),
    *(Heartbeat, HeartbeatAck, Cancel, Goodbye, GoodbyeAck, UnknownMessage),
    *(StreamItem, StreamCredit, RealClientState, Snapshot, ValuesTaken, ValuesMissed),
    *(RegistrationChallenge, RegistrationProof),
)

written = parametrize([v for v in load("frames.json") if not v.get("decode_only")])


def message_of(vector: Vector) -> Message:
    """Return the message that a vector's fields tell."""
    fields: dict[str, Any] = dict(vector["fields"])
    if fields.get("offer"):
        fields["offer"] = offer_of(fields["offer"])
    if fields.get("agreement"):
        agreement = fields["agreement"]
        fields["agreement"] = Agreement(
            **{**agreement, "features": frozenset(agreement["features"])}
        )
    if "channels" in fields:
        fields["channels"] = tuple(fields["channels"])
    classes: dict[str, Callable[..., Message]] = {cls.type: cls for cls in CLASSES}
    return classes[vector["message"]](**fields)


def offer_of(offer: Mapping[str, Any]) -> Offer:
    return Offer(
        **{
            **offer,
            "codecs": tuple(offer["codecs"]),
            "features": frozenset(offer["features"]),
            "channels": tuple(offer["channels"]),
        }
    )


def received(frame: Frame) -> Message:
    return decode_message(frame.connection, is_response=frame.is_response)


# --------------------------------------------------------------------- vectors


@written
def test_a_vector_is_written_byte_for_byte(vector: Vector) -> None:
    message = message_of(vector)
    frame = Frame(
        is_response=message.is_response,
        request_id=vector["request_id"],
        timeout_ms=vector["timeout_ms"],
        connection=message.encode(),
        application=bytes.fromhex(vector["application"]),
    )

    assert encode_frame(frame).hex() == vector["hex"]


@each("frames.json")
def test_a_vector_is_read_as_its_message(vector: Vector) -> None:
    data = bytes.fromhex(vector["hex"])
    for chunks in ([data], bytewise(data), [data + data[:30]]):
        [frame] = feed(chunks).frames
        assert received(frame) == message_of(vector)


@each("frames.json")
def test_a_vectors_connection_object_is_the_one_in_its_bytes(vector: Vector) -> None:
    [frame] = feed([bytes.fromhex(vector["hex"])]).frames

    assert json.loads(frame.connection) == vector["connection"]


@each("invalid_frames.json", "messages")
def test_an_invalid_vector_is_refused_and_the_frame_behind_it_is_not(vector: Vector) -> None:
    good = encode_frame(Frame(False, 2, 0, Heartbeat().encode()))
    data = bytes.fromhex(vector["hex"]) + good
    for chunks in ([data], bytewise(data)):
        bad, heartbeat = feed(chunks).frames
        assert vector["error"] == "RemoteProtocolError"
        with pytest.raises(RemoteProtocolError):
            received(bad)
        assert received(heartbeat) == Heartbeat()


@each("node_conversation.json")
def test_nodes_messages_are_read_and_written_as_node_does(vector: Vector) -> None:
    [frame] = feed([bytes.fromhex(vector["hex"])]).frames

    message = received(frame)

    assert not isinstance(message, UnknownMessage)
    assert message.type == vector["connection"]["type"]
    assert message.encode() == frame.connection


def test_every_message_has_a_vector() -> None:
    assert {vector["message"] for vector in load("frames.json")} == {cls.type for cls in CLASSES}


# -------------------------------------------------------------------- encoding


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        "\ud800",
        {"\udfff": 1},
        b"bytes",
        {(1, 2): 3},
        [{1, 2}],
        nested(100_000),
        10**5000,
    ],
    ids=["nan", "inf", "surrogate", "surrogate key", "bytes", "key", "set", "deep", "long int"],
)
def test_what_is_not_plain_json_is_not_sent(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"^subscribe: not plain JSON: "):
        Subscribe("key", value).encode()


def test_what_contains_itself_is_not_sent() -> None:
    value: list[Json] = []
    value.append(value)

    with pytest.raises(LocalProtocolError, match="not plain JSON"):
        Unsubscribe("key", value).encode()


def test_names_are_text_that_utf8_can_hold() -> None:
    with pytest.raises(LocalProtocolError, match=r"^register_channel: not plain JSON"):
        RegisterChannel("\ud800").encode()


def test_text_is_sent_as_utf8_and_not_as_escapes() -> None:
    assert SubscribeResult("é\N{GRINNING FACE}").encode() == (
        b'{"type":"subscribe_result","key":"\xc3\xa9\xf0\x9f\x98\x80"}'
    )


def test_our_members_are_left_out_where_node_has_none() -> None:
    """Node's own messages are sent byte for byte as Node sends them."""
    assert RegisterChannel("R").encode() == b'{"type":"register_channel","channelName":"R"}'
    assert b"packed" not in Invoke("get", 0).encode()
    assert b"refused" not in InvokeResult(success=False).encode()


def test_an_unknown_message_cannot_be_sent() -> None:
    with pytest.raises(LocalProtocolError, match="unknown type 'stream_open'"):
        UnknownMessage("stream_open").encode()


# -------------------------------------------------------------------- decoding


def test_members_that_are_not_known_are_ignored() -> None:
    connection = b'{"type":"cancel","call":5,"why":{"deep":[null]}}'

    assert decode_message(connection, is_response=False) == Cancel(5)


def test_an_unknown_type_is_handed_on_with_its_members() -> None:
    message = decode_message(b'{"type":"new","x":[1]}', is_response=True)

    assert message == UnknownMessage("new", {"type": "new", "x": [1]})


def test_a_request_and_a_response_of_the_same_bytes_are_told_apart() -> None:
    """Messages are remembered by their bytes; the kind of the frame is a part of it."""
    connection = b'{"type":"goodbye"}'
    for _ in range(2):
        assert decode_message(connection, is_response=False) == Goodbye()
        assert isinstance(decode_message(connection, is_response=True), UnknownMessage)


def test_an_error_is_raised_each_time() -> None:
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            decode_message(b'{"type":"cancel"}', is_response=False)


@pytest.mark.parametrize("size", [255, 256, 257, 100_000])
def test_a_message_of_any_length_is_read(size: int) -> None:
    empty = len(SubscribeResult("").encode())
    message = SubscribeResult("k" * (size - empty))

    assert len(message.encode()) == size
    assert decode_message(message.encode(), is_response=False) == message


@pytest.mark.parametrize("depth", [*range(900, 1010), 100_000])
def test_nesting_of_any_depth_is_read_or_refused(depth: int) -> None:
    """And showing it in an error's text does not break anything either."""
    deep = b"[" * depth + b"]" * depth
    for connection in (b'{"type":"cancel","call":%b}' % deep, deep):
        with pytest.raises(RemoteProtocolError):
            decode_message(connection, is_response=False)


@pytest.mark.parametrize(
    ("connection", "text"),
    [
        (b"nonsense", "connection object is not JSON: b'nonsense'"),
        (b"[]", "connection object is not a JSON object: b'[]'"),
        (b"{}", "connection object without a type: b'{}'"),
        (b'{"type":"cancel"}', "cancel: 'call' must be an integer of 0 or more, got nothing"),
        (b'{"type":"subscribe","key":"k"}', "subscribe: 'reg' must be there, got nothing"),
        (
            b'{"type":"register_channel","channelName":"R","offer":{"codecs":{}}}',
            "register_channel.offer: 'codecs' must be a list of strings, got {}",
        ),
        (
            b'{"type":"invoke","method":"m","argLength":0,"oneway":"yes"}',
            "invoke: 'oneway' must be true or false, got 'yes'",
        ),
        (
            b'{"type":"subscribe_result","key":null}',
            "subscribe_result: 'key' must be a string, got None",
        ),
    ],
)
def test_an_error_tells_which_member_was_wrong_and_what_it_was(
    connection: bytes, text: str
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_message(connection, is_response=False)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    "connection",
    [b"x" * 1000, b"[" + b"1," * 1000 + b"1]", b'{"type":"cancel","call":"%b"}' % (b"x" * 1000)],
)
def test_an_error_shows_only_the_beginning_of_the_peers_bytes(connection: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_message(connection, is_response=False)

    assert len(str(caught.value)) < 200


# ------------------------------------------------------------------ properties

texts = st.text(max_size=10)
counts = st.integers(0, 2**53)
names = st.lists(texts, max_size=3).map(tuple)
features = st.frozensets(texts, max_size=3)
offers = st.builds(Offer, codecs=names, features=features, pid=counts, channels=names)
agreements = st.builds(Agreement, codec=texts, features=features, epoch=texts, pid=counts)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(RegisterChannel, texts, st.none() | offers),
    st.builds(RegisterChannelResult, st.none() | agreements),
    st.builds(RegistrationPending, starting=st.booleans(), pid=counts, channels=names),
    st.builds(
        Invoke,
        texts,
        counts,
        oneway=st.booleans(),
        packed=st.booleans(),
        credit=st.none() | counts,
    ),
    st.builds(InvokeResult, success=st.booleans(), refused=st.booleans()),
    st.builds(Subscribe, texts, json_values(), st.booleans()),
    st.builds(SubscribeAck, success=st.booleans()),
    st.builds(Unsubscribe, texts, json_values(), st.booleans()),
    st.builds(ValuesMissed, texts, st.none() | counts, texts),
    st.builds(ValuesTaken, counts),
    st.builds(SubscribeResult, texts),
    st.builds(Cancel, counts),
    st.builds(StreamItem, counts),
    st.builds(StreamCredit, counts, counts),
    st.builds(RealClientState, st.booleans(), texts),
    st.sampled_from([SubscribeResultAck(), Heartbeat(), HeartbeatAck(), Goodbye(), GoodbyeAck()]),
    st.just(Snapshot()),
)


@given(messages)
def test_any_message_comes_out_as_it_went_in(message: Message) -> None:
    assert decode_message(message.encode(), is_response=message.is_response) == message


def almost_messages() -> st.SearchStrategy[bytes]:
    """Objects with the members that messages have, of any kind, and some left out."""
    member_names = [
        *("channelName", "offer", "agreement", "starting", "pid", "channels", "method"),
        *("argLength", "oneway", "packed", "success", "refused", "key", "reg", "call"),
        *("codecs", "features", "codec", "epoch", "events", "count", "reason"),
    ]
    values = json_values(max_leaves=5) | st.dictionaries(
        st.sampled_from(member_names), json_values(max_leaves=3)
    )
    members = st.dictionaries(st.sampled_from(member_names), values)
    types = st.sampled_from([cls.type for cls in CLASSES]) | json_values(max_leaves=2)
    return st.builds(
        lambda type_, rest: json.dumps({"type": type_, **rest}).encode(), types, members
    )


@given(
    almost_messages()
    | st.binary()
    | json_values().map(lambda value: json.dumps(value).encode())
    | st.text().map(str.encode),
    st.booleans(),
)
def test_any_bytes_are_a_message_or_the_peers_error(connection: bytes, is_response: bool) -> None:
    try:
        message = decode_message(connection, is_response=is_response)
    except RemoteProtocolError:
        return
    assert isinstance(message, UnknownMessage) or message.is_response == is_response


@given(messages, st.data())
def test_a_message_cut_short_is_the_peers_error(message: Message, data: st.DataObject) -> None:
    connection = message.encode()
    size = data.draw(st.integers(0, len(connection) - 1))

    with pytest.raises(RemoteProtocolError):
        decode_message(connection[:size], is_response=message.is_response)


def test_a_header_and_a_message_are_a_frame() -> None:
    """The whole way, once: a message, its frame, its bytes, and back."""
    message = RegisterChannel("Registry", Offer(("msgpack",), frozenset({"packed"}), 4711, ("R",)))
    data = encode_frame(Frame(message.is_response, 1, 3000, message.encode()))

    [frame] = feed([data]).frames

    assert len(data) == HEADER_SIZE + len(message.encode())
    assert received(frame) == message
