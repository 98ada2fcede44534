"""Instances of users' classes as arguments, results and values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pytest

from cluster_client import Client, EncodeError, RemoteInvokeError, register_type
from cluster_protocol import RemoteProtocolError
from cluster_protocol.codecs import REGISTERED_TYPES, MsgpackCodec, UserTypes
from support.listening import Recorder
from support.logs import LogRecorder
from support.registry import Registry, Role, Upstream, registry_client

K = {"path": "/k"}


class Zone(Enum):
    EAST = 1


@dataclass(frozen=True)
class Host:
    name: str
    zone: Zone = Zone.EAST


class Gauge:
    """Fails where its test wants it to."""

    def __init__(self, number: int) -> None:
        self.number = number


def read_gauge(gauge: Gauge) -> int:
    return 60 // gauge.number


def make_gauge(number: int) -> Gauge:
    if number == 1:
        raise LookupError("no such gauge")
    return Gauge(number)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the types for one test only."""
    monkeypatch.setattr(REGISTERED_TYPES, "by_name", dict(REGISTERED_TYPES.by_name))
    monkeypatch.setattr(REGISTERED_TYPES, "by_class", dict(REGISTERED_TYPES.by_class))
    register_type(Zone, name="zone")
    register_type(Host, name="host")
    register_type(Gauge, name="gauge", encode=read_gauge, decode=make_gauge)


async def test_arguments_and_results(client: Client[Registry], upstream: Upstream) -> None:
    hosts = [Host("a"), {Host("b"): {Zone.EAST}}]

    await client.set_data("/k", hosts)

    assert upstream.data["/k"] == hosts
    assert upstream.data["/k"][0] is not hosts[0]
    assert await client.get_data("/k", default=Host("none")) == hosts


async def test_values_of_a_subscription(client: Client[Registry], upstream: Upstream) -> None:
    seen = Recorder()
    await client.subscribe(K, seen)
    await client.set_data("/k", Host("a"))
    await client.set_data("/k", [Host("b")])
    await seen.until(Host("a"), [Host("b")])
    assert client.last(K) == [Host("b")]
    async with client.subscription(K) as values:
        assert await anext(values) == [Host("b")]


async def test_an_exceptions_arguments(role: Role, upstream: Upstream, port: int) -> None:
    upstream.fail_start = ValueError("lost", Host("a"))
    with pytest.raises(ValueError, match="lost") as caught:
        async with registry_client(upstream, port):
            pass
    assert caught.value.args == ("lost", Host("a"))


async def test_what_cannot_be_encoded_is_told_to_the_caller(
    client: Client[Registry], upstream: Upstream
) -> None:
    with pytest.raises(EncodeError, match=r"arguments of 'set_data': value\[0\]\[1\]\['g'\].*Zero"):
        await client.set_data("/k", {"g": Gauge(0)})
    assert upstream.executed == []
    upstream.data["/k"] = [Gauge(0)]
    with pytest.raises(EncodeError, match=r"result of 'get_data': value\[0\].*encode raised Zero"):
        await client.get_data("/k")


async def test_a_decode_that_fails_breaks_one_call(
    client: Client[Registry], upstream: Upstream
) -> None:
    with pytest.raises((RemoteProtocolError, RemoteInvokeError), match="its decode raised LookupE"):
        await client.set_data("/k", Gauge(60))
    assert upstream.executed == []
    upstream.data["/k"] = Gauge(60)
    with pytest.raises(RemoteProtocolError, match="'gauge' cannot be made: its decode raised Loo"):
        await client.get_data("/k")
    assert await client.echo(1) == 1


# --------------------------------------------------- registered in one process


def stranger() -> MsgpackCodec:
    """Return the codec of a process that has registered nothing."""
    return MsgpackCodec(UserTypes())


# The errors name the innermost type: it arrives first.


async def test_the_leader_does_not_know_the_type(upstream: Upstream, port: int) -> None:
    async with (
        registry_client(upstream, port, transcode=stranger()),
        registry_client(upstream, port) as follower,
    ):
        with pytest.raises(RemoteInvokeError, match="type 'zone' is not registered in this proc"):
            await follower.set_data("/k", Host("a"))
        assert upstream.executed == []
        upstream.data["/k"] = Host("a")
        with pytest.raises(EncodeError, match=r"result of 'get_data': value .*Host, which is not"):
            await follower.get_data("/k")
        assert await follower.echo("link is whole") == "link is whole"


async def test_the_follower_does_not_know_the_type(upstream: Upstream, port: int) -> None:
    async with (
        registry_client(upstream, port) as leader,
        registry_client(upstream, port, transcode=stranger()) as follower,
    ):
        with pytest.raises(
            EncodeError, match=r"arguments of 'set_data': value\[0\]\[1\] .*Host, w"
        ):
            await follower.set_data("/k", Host("a"))
        await leader.set_data("/k", Host("a"))
        with pytest.raises(RemoteProtocolError, match="type 'zone' is not registered in this proc"):
            await follower.get_data("/k")
        assert await follower.echo("link is whole") == "link is whole"


async def test_a_listener_misses_values_of_a_type_that_its_process_does_not_know(
    upstream: Upstream, port: int
) -> None:
    log = LogRecorder()
    async with (
        registry_client(upstream, port) as leader,
        registry_client(upstream, port, transcode=stranger(), logger=log) as follower,
    ):
        seen = Recorder()
        await follower.subscribe(K, seen)
        await leader.set_data("/k", Host("a"))
        await leader.set_data("/k", "b")
        await seen.until("b")
        async with follower.subscription(K) as values:
            while await anext(values) != "b":
                pass
            await leader.set_data("/k", Host("c"))
            with pytest.raises(RemoteProtocolError, match="type 'zone' is not registered"):
                await anext(values)
        await leader.set_data("/k", "d")
        await seen.until("b", "d")
    assert len(log.of("listener_failed")) == 2
