"""A conversation of two Node processes, recorded, with one of them replaced by ours.

Ours says byte for byte what Node's said, but for the differences that are listed here. They are
all that a Node process can see of it. The request ids are mapped: Node counts them per process and
from 1, we count per link, with a line feed for the registration (SPEC 2.2, 3.1).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.abc
import pytest

from cluster_client import Client, RemoteInvokeError, cluster
from cluster_protocol import HEADER_SIZE, Frame, FrameDecoder, encode_frame
from cluster_protocol.codecs import SerializeJsonCodec
from support.times import scaled
from wire._vectors import load

CONVERSATION: Final = load("node_conversation.json")
CODEC: Final = SerializeJsonCodec()
REG: Final = {"dataId": "d1"}


def frames(sender: str) -> list[Frame]:
    """Return what a side said in the recording."""
    decoder = FrameDecoder()
    for vector in CONVERSATION:
        if vector["from"] == sender:
            decoder.receive_data(bytes.fromhex(vector["hex"]))
    found: list[Frame] = []
    while (frame := decoder.next_frame()) is not None:
        found.append(frame)
    return found


RESULT: Final = CODEC.decode(frames("leader")[1].application)
VALUE: Final = CODEC.decode(frames("leader")[4].application)


class BoomError(Exception):
    code = "E_BOOM"


class RegistryClient:
    """Does what the recorded real client did."""

    def __init__(self) -> None:
        self.fired: list[Any] = []

    async def get_data(self, key: str) -> Any:
        assert key == "k1"
        return RESULT

    async def fail(self, what: str) -> None:
        raise BoomError(f"boom {what}")

    async def nothing(self) -> None: ...

    async def fire_and_forget(self, what: Any) -> None:
        self.fired.append(what)

    def subscribe(self, reg: dict[str, Any], listener: Any) -> None:
        self.subscribed, self.listener = reg, listener

    def publish(self, reg: dict[str, Any]) -> None:
        assert reg["dataId"] == self.subscribed["dataId"]
        self.listener(reg["value"])


def client(port: int, **options: Any) -> Client[RegistryClient]:
    builder = cluster(RegistryClient, port=port, camel_case=True, **options)
    return builder.delegate("fire_and_forget", "invoke_oneway").create()


class Peer:
    """The far end of a connection, played by the test."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._decoder = FrameDecoder()

    async def say(self, frame: Frame) -> None:
        await self.stream.send(encode_frame(frame))

    async def hear(self) -> Frame:
        while (frame := self._decoder.next_frame()) is None:
            self._decoder.receive_data(await self.stream.receive())
        return frame


def differences(ours: Frame, nodes: Frame) -> dict[str, tuple[Any, Any]]:
    """Return what differs, by its place: ours and Node's."""
    found: dict[str, tuple[Any, Any]] = {}
    if encode_frame(ours) == encode_frame(nodes):
        return found
    assert ours.is_response == nodes.is_response
    if ours.timeout_ms != nodes.timeout_ms:
        found["timeout"] = (ours.timeout_ms, nodes.timeout_ms)
    if ours.connection != nodes.connection:
        our_members, node_members = json.loads(ours.connection), json.loads(nodes.connection)
        for member in {*our_members, *node_members}:
            if our_members.get(member) != node_members.get(member):
                found[f"connection.{member}"] = (our_members.get(member), node_members.get(member))
    if ours.application != nodes.application:
        our_value, node_value = CODEC.decode(ours.application), CODEC.decode(nodes.application)
        if isinstance(our_value, dict) and isinstance(node_value, dict):
            assert list(our_value) == list(node_value)  # in the same order, too
            for member in our_value:
                if our_value[member] != node_value[member]:
                    found[f"application.{member}"] = (our_value[member], node_value[member])
        else:
            found["application"] = (ours.application, nodes.application)
    assert found, (ours, nodes)
    return found


def test_the_recording_is_read_again_as_it_was() -> None:
    said = [bytes.fromhex(vector["hex"]) for vector in CONVERSATION]
    assert [encode_frame(f) for f in frames("follower")] == [
        data
        for data, vector in zip(said, CONVERSATION, strict=True)
        if vector["from"] == "follower"
    ]
    assert min(map(len, said)) > HEADER_SIZE


async def test_our_leader_answers_as_nodes_did(port: int) -> None:
    """Everything but two application objects is the same."""
    answers = iter(frames("leader"))
    found: dict[str, tuple[Any, Any]] = {}
    async with client(port), await anyio.connect_tcp("127.0.0.1", port) as stream:
        node = Peer(stream)
        for frame in frames("follower"):
            await node.say(frame)
            kind = json.loads(frame.connection)
            answered = kind["type"] in ("register_channel", "heartbeat")
            if answered or kind.get("method") == "publish" or kind.get("oneway") is False:
                expected = next(answers)
                for place, both in differences(await node.hear(), expected).items():
                    found[f"{kind.get('method', kind['type'])} {place}"] = both
    assert next(answers, None) is None
    assert set(found) == {"fail application.stack", "nothing application"}
    ours, nodes = found["fail application.stack"]
    assert nodes == "BoomError: boom x"
    assert ours.startswith("Traceback")  # Python's
    assert ours.endswith("BoomError: boom x\n")
    assert found["nothing application"] == (b"^^^^-3", b"^^^^-5")  # None is null, not undefined


@asynccontextmanager
async def node_leader(port: int) -> AsyncIterator[anyio.abc.Listener[Any]]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener:
        yield listener


async def test_our_follower_asks_as_nodes_did(port: int) -> None:
    """Everything is the same but for the offer, which Node ignores."""
    found: dict[str, tuple[Any, Any]] = {}
    heard: list[Frame] = []
    ended = anyio.Event()

    async def play(stream: anyio.abc.SocketStream) -> None:
        """Play Node's leader: answer what comes as it did, and compare."""
        async with stream:
            await converse(Peer(stream))

    async def converse(ours: Peer) -> None:
        answers = {(f.is_response, f.request_id): f for f in frames("leader")}
        for nodes in frames("follower"):
            frame = await ours.hear()
            heard.append(frame)
            kind = json.loads(nodes.connection)
            for place, both in differences(
                frame._replace(request_id=nodes.request_id), nodes
            ).items():
                found[f"{kind.get('method', kind['type'])} {place}"] = both
            answer = answers.get((True, nodes.request_id))
            if not nodes.is_response and answer is not None:
                await ours.say(answer._replace(request_id=frame.request_id))
            if kind.get("method") == "publish":
                await ours.say(answers[False, 1])
        ended.set()
        await anyio.sleep_forever()

    async with node_leader(port) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, play)
        interval = scaled(1)
        async with client(port, is_leader=False, heartbeat_interval=interval) as api:
            assert await api.get_data("k1") == RESULT
            with pytest.raises(RemoteInvokeError) as caught:
                await api.fail("x")
            assert (caught.value.remote_name, caught.value.code) == ("BoomError", "E_BOOM")
            assert await api.nothing() is None
            await api.fire_and_forget({"a": 1})
            async with api.subscription(REG) as values:
                await api.publish({**REG, "value": VALUE})
                assert await anext(values) == VALUE
            await ended.wait()
        tasks.cancel_scope.cancel()
    assert set(found) == {"register_channel connection.offer"}
    assert found["register_channel connection.offer"][1] is None
    requests = [frame.request_id for frame in heard if not frame.is_response]
    assert requests == [10, *range(1, len(requests))]
