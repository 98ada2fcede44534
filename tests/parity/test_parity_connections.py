"""Connections, registrations and the port, as the original's suite treats them."""

from __future__ import annotations

import socket
from typing import Any

import anyio
import anyio.abc
import pytest

from cluster_client import (
    APIClientBase,
    ClientClosedError,
    ClientState,
    ConfigurationError,
    PortOccupiedError,
    _election,
    _server,
    cluster,
)
from cluster_client._states import LinkState
from cluster_protocol import (
    FEATURES,
    Frame,
    FrameDecoder,
    Heartbeat,
    Invoke,
    InvokeResult,
    Offer,
    RegisterChannel,
    RegisterChannelResult,
    decode_message,
    encode_frame,
    pack_call,
)
from cluster_protocol.codecs import MsgpackCodec
from support.links import open_link
from support.listening import Recorder
from support.logs import LogRecorder
from support.registry import Registry, Upstream, registry_client
from support.times import scaled

CODEC = MsgpackCodec()


# ------------------------------------------------------------- one connection


async def test_a_request_comes_with_its_timeout_and_closing_twice_is_once() -> None:
    async with open_link() as running:
        running.peer.request(7, Heartbeat(), timeout_ms=1000)
        await anyio.wait_all_tasks_blocked()
        [(frame, message)] = running.requests
        assert message == Heartbeat()
        assert (frame.is_response, frame.request_id, frame.timeout_ms) == (False, 7, 1000)
        assert frame.application == b""
        running.link.close("no more")
        running.link.close("no more")
        await running.ended.wait()
        assert await running.peer.receive_to_the_end() == []
        assert running.link.state is LinkState.CLOSED


async def test_a_frame_that_is_not_json_closes_the_connection() -> None:
    async with open_link() as running:
        broken = Frame(False, 1, 1000, b'{"foo":"bar"|')
        running.peer.transport.outgoing.put(encode_frame(broken))
        await running.ended.wait()
        assert running.requests == []
        assert await running.peer.receive_to_the_end() == []
        assert len(running.log.of("link_protocol_error")) == 1


# -------------------------------------------------------------- registrations


async def test_a_registration_that_is_lost_is_made_again(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = _election.receive_registration
    registrations = 0

    async def be_deaf_at_first(*arguments: Any) -> Any:
        nonlocal registrations
        registration = await receive(*arguments)
        registrations += 1
        if registrations == 1:
            await anyio.sleep_forever()
        return registration

    monkeypatch.setattr(_server, "receive_registration", be_deaf_at_first)
    upstream = Upstream()
    patient = cluster(Registry, port=port, max_wait_time=scaled(10), response_timeout=scaled(0.1))
    patient.delegate("echo", response_timeout=scaled(5))
    async with registry_client(upstream, port), patient.create(upstream) as follower:
        assert not follower.is_leader
        assert await follower.echo("joined") == "joined"
    assert registrations >= 2


class Registering:
    """A follower of which only the frames are known."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._decoder = FrameDecoder()

    async def register(self, request_id: int) -> None:
        offer = Offer((CODEC.name,), FEATURES, pid=1)
        await self.send(request_id, RegisterChannel("Registry", offer).encode())

    async def send(self, request_id: int, connection: bytes, application: bytes = b"") -> None:
        frame = Frame(False, request_id, 3000, connection, application)
        await self._stream.send(encode_frame(frame))

    async def receive(self) -> tuple[Frame, object]:
        while (frame := self._decoder.next_frame()) is None:
            self._decoder.receive_data(await self._stream.receive())
        return frame, decode_message(frame.connection, is_response=frame.is_response)


async def test_a_leader_that_is_registered_with_again_serves_on(port: int) -> None:
    async with registry_client(Upstream(), port), await anyio.connect_tcp("127.0.0.1", port) as tcp:
        follower = Registering(tcp)
        await follower.register(1)
        _, answer = await follower.receive()
        assert isinstance(answer, RegisterChannelResult)
        await follower.register(2)
        call = pack_call(0, CODEC.encode([["hello"], {}]))
        await follower.send(3, Invoke("echo", 1, packed=True).encode(), call)
        frame, answer = await follower.receive()
        assert (frame.request_id, answer) == (3, InvokeResult(success=True))
        assert CODEC.decode(frame.application) == "hello"


async def test_nothing_is_subscribed_when_the_client_is_closed(port: int) -> None:
    upstream = Upstream()
    async with registry_client(upstream, port), registry_client(upstream, port) as follower:
        await follower.aclose()
        with pytest.raises(ClientClosedError):
            await follower.subscribe({"path": "/k"}, Recorder())
        assert upstream.listeners == {}


class RegistryAPI(APIClientBase[Registry]):
    data_client = Registry

    async def echo(self, value: str) -> str:
        return f"facade {await self._client.echo(value)}"


async def test_a_follower_that_came_first_is_served_when_its_leader_comes(port: int) -> None:
    waits = LogRecorder()

    def on_port(cls: type[Any], /, **options: Any) -> Any:
        return cluster(cls, **options, port=port, max_wait_time=scaled(10), **role)

    role: dict[str, Any] = {"is_leader": False, "logger": waits}
    follower = RegistryAPI(Upstream(), cluster=on_port)
    role = {"is_leader": True}
    leader = RegistryAPI(Upstream(), cluster=on_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run)
        while not waits.of("no_leader_yet"):
            await anyio.wait_all_tasks_blocked()
        async with leader:
            while follower.state is not ClientState.FOLLOWING:
                await anyio.wait_all_tasks_blocked()
            assert await follower.echo("hello") == "facade hello"
            await follower.aclose()


async def test_a_follower_that_came_first_gets_the_error_of_its_leaders_start(port: int) -> None:
    waits = LogRecorder()
    gate = anyio.Event()
    errors: list[Exception] = []

    class Failing:
        async def start(self) -> None:
            await gate.wait()
            raise ValueError("init failed")

    async def open_client(**options: Any) -> None:
        builder = cluster(Failing, port=port, max_wait_time=scaled(10), **options)
        with pytest.raises(ValueError, match="init failed") as caught:
            async with builder.create():
                raise AssertionError("opened")
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: open_client(is_leader=False, logger=waits))
        while not waits.of("no_leader_yet"):
            await anyio.wait_all_tasks_blocked()
        tasks.start_soon(lambda: open_client(is_leader=True))
        while not _server._servers().get(port) or not _server._servers()[port].waiting["Failing"]:
            await anyio.wait_all_tasks_blocked()
        gate.set()
    assert len(errors) == 2


# ------------------------------------------------------------------- the port


async def test_who_must_lead_says_that_another_program_has_the_port(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        client = registry_client(Upstream(), port, is_leader=True)
        with pytest.raises(PortOccupiedError, match=f"port {port} .*'Registry' has is_leader=True"):
            async with client:
                raise AssertionError("opened")
        await client.aclose()


@pytest.mark.parametrize("wrong", [None, "foo", "0", 0, 1.5])
def test_a_port_is_a_number_that_a_port_can_have(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"port={wrong!r} must be an integer"):
        cluster(Registry, port=wrong)
