"""Options whose effect shows between processes."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from cluster_client import (
    APIClientBase,
    Client,
    EncodeError,
    LeaderUnavailableError,
    PortOccupiedError,
    cluster,
)
from cluster_protocol.codecs import JsonCodec, MsgpackCodec
from support.listening import Recorder
from support.registry import Registry, Upstream, registry_client
from support.times import scaled


class LoudCodec(JsonCodec):
    """A codec of the user's own."""

    name = "loud"

    def encode(self, value: object, /) -> bytes:
        return super().encode(value).replace(b"quiet", b"QUIET")


async def test_a_codec_of_ones_own_is_used_in_both_roles(upstream: Upstream, port: int) -> None:
    async with (
        registry_client(upstream, port, transcode=LoudCodec()) as leader,
        registry_client(upstream, port, transcode=LoudCodec()) as follower,
    ):
        assert await leader.echo("quiet") == "QUIET"
        assert await follower.echo("quiet") == "QUIET"


async def test_peers_meet_at_a_codec_that_both_have(upstream: Upstream, port: int) -> None:
    async with (
        registry_client(upstream, port, transcode=LoudCodec()) as leader,
        registry_client(upstream, port, transcode=JsonCodec()) as follower,
    ):
        seen, heard = Recorder(), Recorder()
        await follower.subscribe({"path": "/k"}, seen)
        await leader.subscribe({"path": "/k"}, heard)
        with pytest.raises(EncodeError, match="codec 'json': it is of type bytes"):
            await follower.echo(b"bytes")
        await follower.set_data("/k", "quiet")
        await seen.until("QUIET")  # the leader keeps values in its own codec
        await heard.until("QUIET")


class Broken(MsgpackCodec):
    """A codec that does not keep to the rules."""

    name = "broken"

    def encode(self, value: object, /) -> bytes:
        raise ZeroDivisionError

    def decode(self, data: bytes, /) -> object:
        raise ZeroDivisionError


async def test_a_codec_that_breaks_fails_the_call(upstream: Upstream, port: int) -> None:
    async with registry_client(upstream, port, transcode=Broken()) as client:
        with pytest.raises(EncodeError, match="codec 'broken' failed: ZeroDivisionError"):
            await client.echo(1)


async def test_heartbeats_go_to_and_fro(upstream: Upstream, port: int) -> None:
    async with (
        registry_client(upstream, port),
        registry_client(upstream, port, heartbeat_interval=scaled(0.01)) as follower,
    ):
        role: Any = follower._membership._role
        while role.round_trip is None:  # noqa: ASYNC110 - time itself is the event
            await anyio.sleep(scaled(0.01))
        assert await follower.echo(1) == 1


async def test_format_key_makes_registrations_one(upstream: Upstream, port: int) -> None:
    def by_path(reg: Any) -> str:
        return str(reg["path"])

    async with registry_client(upstream, port, format_key=by_path) as client:
        one, two = Recorder(), Recorder()
        await client.subscribe({"path": "/k", "user": 1}, one)
        await client.subscribe({"path": "/k", "user": 2}, two)
        await client.set_data("/k", 1)
        await one.until(1)
        await two.until(1)
        assert upstream.events.count("subscribe /k") == 1
        with pytest.raises(EncodeError, match=r"format_key failed for \{'no': 1\}: KeyError"):
            await client.subscribe({"no": 1}, one)


async def test_an_http_server_on_the_port_is_told_from_a_leader(
    upstream: Upstream, port: int
) -> None:
    async def answer(stream: Any) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        with pytest.raises(PortOccupiedError, match=f"port {port} .* sent b'HTTP/1.1 400"):
            async with registry_client(upstream, port):
                raise AssertionError("opened")
        tasks.cancel_scope.cancel()


async def test_a_silent_program_on_the_port_is_not_waited_for_in_vain(
    upstream: Upstream, port: int
) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener:
        with pytest.raises(LeaderUnavailableError, match="said nothing within"):
            async with registry_client(
                upstream, port, max_wait_time=scaled(0.2), response_timeout=scaled(0.1)
            ):
                raise AssertionError("opened")


async def test_a_facade_offers_the_clients_surface(upstream: Upstream, port: int) -> None:
    class API(APIClientBase[Registry]):
        data_client = Registry
        cluster_options = {"port": port}

    api = API(upstream)
    async with anyio.create_task_group() as tasks:
        assert await tasks.start(api.run) is api
        seen = Recorder()
        await api.subscribe({"path": "/k"}, seen)
        await api.publish({"path": "/k", "value": 1}, sticky=True)
        await seen.until(1)
        assert api.last({"path": "/k"}) == 1
        assert api.last({"path": "/none"}, "nothing") == "nothing"
        await api.unpublish({"path": "/k", "value": 1})
        await api.unsubscribe({"path": "/k"}, seen)
        assert (api.is_leader, api.resent_calls) == (True, 0)
        assert api.epoch is not None
        await api.aclose()


async def test_the_clients_own_error_is_not_a_group(upstream: Upstream, port: int) -> None:
    client: Client[Registry] = cluster(Registry, port=port).create(upstream, "one too many")
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3 were given"):
        async with client:
            raise AssertionError("opened")
