"""What a leader does with those that do not keep to the protocol: nobody else notices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from cluster_client import Client
from cluster_protocol import (
    FEATURES,
    Cancel,
    Failure,
    Frame,
    FrameDecoder,
    Invoke,
    InvokeResult,
    Message,
    Offer,
    RegisterChannel,
    RegisterChannelResult,
    RegistrationPending,
    Subscribe,
    SubscribeAck,
    Unsubscribe,
    decode_message,
    encode_frame,
    join_arguments,
    pack_call,
)
from cluster_protocol.codecs import MsgpackCodec
from support.registry import Registry, Upstream, registry_client

CODEC = MsgpackCodec()
OFFER = Offer(("msgpack",), FEATURES, pid=1)


class Stranger:
    """A peer that says what the test wants it to say."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._decoder = FrameDecoder()

    async def say(self, request_id: int, message: Message | bytes, body: bytes = b"") -> None:
        head = message if isinstance(message, bytes) else message.encode()
        await self.stream.send(encode_frame(Frame(False, request_id, 3000, head, body)))

    async def hear(self) -> tuple[Frame, Message]:
        while (frame := self._decoder.next_frame()) is None:
            self._decoder.receive_data(await self.stream.receive())
        return frame, decode_message(frame.connection, is_response=frame.is_response)

    async def register(self, offer: Offer | None = OFFER, channel: str = "Registry") -> None:
        await self.say(1, RegisterChannel(channel, offer))

    async def failure_of(self, message: Message | bytes, body: bytes = b"") -> Failure:
        await self.say(2, message, body)
        frame, answer = await self.hear()
        assert frame.request_id == 2
        assert answer == InvokeResult(success=False)
        return Failure.from_value(CODEC.decode(frame.application))

    async def is_dropped(self) -> bool:
        try:
            while await self.stream.receive():
                pass
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True
        return False


@pytest.fixture
async def leader(port: int) -> AsyncIterator[Client[Registry]]:
    async with registry_client(Upstream(), port) as client:
        yield client


@asynccontextmanager
async def stranger_on(port: int) -> AsyncIterator[Stranger]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Stranger(stream)


@asynccontextmanager
async def registered_on(port: int) -> AsyncIterator[Stranger]:
    async with stranger_on(port) as stranger:
        await stranger.register()
        _, answer = await stranger.hear()
        assert isinstance(answer, RegisterChannelResult)
        yield stranger


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x02",
        b"\x01\x00" + bytes(14) + b"\x7f\xff\xff\xff" + bytes(4),
        encode_frame(Frame(False, 1, 0, b"not json")),
        encode_frame(Frame(False, 1, 0, b"null")),
        encode_frame(Frame(False, 1, 0, b'{"type":"heartbeat"}')),
        encode_frame(Frame(False, 1, 0, b'{"type":"register_channel","channelName":3}')),
        encode_frame(Frame(False, 1, 0, b'{"type":"register_channel"}' + b" " * 5000)),
        encode_frame(Frame(False, 1, 0, RegisterChannel("Registry").encode(), b"body")),
    ],
    ids=lambda greeting: repr(greeting[:40]),
)
async def test_who_does_not_register_is_dropped(
    leader: Client[Registry], port: int, greeting: bytes
) -> None:
    async with stranger_on(port) as stranger:
        await stranger.stream.send(greeting)
        assert await stranger.is_dropped()
    assert await leader.echo(1) == 1


async def test_who_has_no_codec_in_common_is_dropped(leader: Client[Registry], port: int) -> None:
    async with stranger_on(port) as stranger:
        await stranger.register(Offer(("gob",), FEATURES, pid=1))
        assert await stranger.is_dropped()
    assert await leader.echo(1) == 1


async def test_who_wants_a_channel_that_is_not_there_is_told_to_wait(
    leader: Client[Registry], port: int
) -> None:
    async with stranger_on(port) as stranger:
        await stranger.register(channel="elsewhere")
        _, answer = await stranger.hear()
        assert isinstance(answer, RegistrationPending)
        assert (answer.starting, answer.channels) == (False, ("Registry",))


@pytest.mark.parametrize(
    "method",
    ["nothing", "constructor", "__init__", "_private", "__aexit__", "get_data.__globals__", ""],
)
async def test_only_delegated_methods_can_be_called(
    leader: Client[Registry], port: int, method: str
) -> None:
    async with registered_on(port) as stranger:
        body = pack_call(0, CODEC.encode([[], {}]))
        failure = await stranger.failure_of(Invoke(method, 0, packed=True), body)
        assert failure.name == "RefusedError"
        assert "Registry does not delegate it; it delegates echo, fail" in failure.message


@pytest.mark.parametrize(
    ("invoke", "body", "complaint"),
    [
        (Invoke("echo", 1, packed=True), b"short", "of 5 bytes has no deadline"),
        (Invoke("echo", 1, packed=True), pack_call(0, b"\xc1"), "not msgpack"),
        (Invoke("echo", 1, packed=True), pack_call(0, CODEC.encode(3)), "must hold a list and"),
        (
            Invoke("echo", 1, packed=True),
            pack_call(0, CODEC.encode([[], {1: 2}])),
            "mapping with string keys",
        ),
        (Invoke("echo", 2), join_arguments([CODEC.encode(1)]), "2 arguments announced, 1 are"),
        (Invoke("echo", 1), b"\xff\xff\xff\xff", "argument 0 announces 4294967295 bytes"),
        (Invoke("echo", 0), b"rest", "4 bytes follow the last of 0 arguments"),
    ],
)
async def test_a_broken_call_fails_alone(
    leader: Client[Registry], port: int, invoke: Invoke, body: bytes, complaint: str
) -> None:
    async with registered_on(port) as stranger:
        failure = await stranger.failure_of(invoke, body)
        assert complaint in failure.message
        await stranger.say(3, Invoke("echo", 1), join_arguments([CODEC.encode("fine")]))
        frame, answer = await stranger.hear()
        assert answer == InvokeResult(success=True)
        assert CODEC.decode(frame.application) == "fine"


async def test_arguments_that_do_not_fit_raise_type_error_at_the_caller(
    leader: Client[Registry], port: int
) -> None:
    async with registered_on(port) as stranger:
        body = pack_call(0, CODEC.encode([[1, 2, 3], {}]))
        assert (await stranger.failure_of(Invoke("echo", 3, packed=True), body)).name == "TypeError"


async def test_a_call_whose_deadline_has_passed_is_not_run(
    leader: Client[Registry], port: int
) -> None:
    async with registered_on(port) as stranger:
        await stranger.say(
            2, Invoke("set_data", 2, packed=True), pack_call(1, CODEC.encode([["/late", 1], {}]))
        )
        await stranger.say(
            3, Invoke("get_data", 1, packed=True), pack_call(0, CODEC.encode([["/late"], {}]))
        )
        frame, _ = await stranger.hear()
        assert (frame.request_id, CODEC.decode(frame.application)) == (3, None)


async def test_what_is_not_known_is_ignored(leader: Client[Registry], port: int) -> None:
    async with registered_on(port) as stranger:
        await stranger.say(2, b'{"type":"teleport"}')
        await stranger.say(3, Cancel(99))
        await stranger.say(4, Unsubscribe("never subscribed", {"path": "/k"}))
        await stranger.say(5, Invoke("echo", 1), join_arguments([CODEC.encode("fine")]))
        frame, _ = await stranger.hear()
        assert frame.request_id == 5


@pytest.mark.parametrize(
    "message",
    [
        Invoke("wait_at_gate", 1).encode().replace(b"1", b"-1"),
        b'{"type":"subscribe","key":"\\ud800","reg":{}}',
        b'{"type":"subscribe","key":"k","reg":{"n":1e999}}',
        b'{"type":"unSubscribe","key":"k","reg":"\\ud800"}',
        b"[]",
    ],
)
async def test_who_breaks_the_conversation_is_dropped(
    leader: Client[Registry], port: int, message: bytes
) -> None:
    async with registered_on(port) as stranger:
        await stranger.say(2, message)
        assert await stranger.is_dropped()
    assert await leader.echo(1) == 1


async def test_who_answers_what_was_never_asked_is_dropped(
    leader: Client[Registry], port: int
) -> None:
    async with registered_on(port) as stranger:
        answer = Frame(True, 99, 0, b'{"type":"heartbeat_res"}')
        await stranger.stream.send(encode_frame(answer))
        assert await stranger.is_dropped()
    assert await leader.echo(1) == 1


async def test_who_repeats_an_id_in_use_is_dropped(leader: Client[Registry], port: int) -> None:
    async with registered_on(port) as stranger:
        for _ in range(2):
            await stranger.say(2, Invoke("wait_at_gate", 1), join_arguments([CODEC.encode("x")]))
        assert await stranger.is_dropped()
    assert await leader.echo(1) == 1


async def test_a_refused_subscription_is_told(leader: Client[Registry], port: int) -> None:
    async with registered_on(port) as stranger:
        await stranger.say(2, Subscribe("k", {"wrong": 1}))
        frame, answer = await stranger.hear()
        assert answer == SubscribeAck(success=False)
        failure: Any = CODEC.decode(frame.application)
        assert (failure["name"], failure["args"]) == ("KeyError", ["path"])
