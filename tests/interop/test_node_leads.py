"""A Node process leads, with the original of the library; the followers are Python's."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from cluster_client import (
    Client,
    EncodeError,
    Gap,
    LeaderUnavailableError,
    OutcomeUnknownError,
    RefusedError,
    RemoteInvokeError,
    ResponseTimeoutError,
)
from cluster_protocol.codecs import JavaScriptError
from interop.registry import CHANNEL, Registry, registry_client
from support.node import MixedHost, NodeError, NodeWorker
from support.times import scaled
from support.waiting import until

REG = {"path": "/a"}


async def lead(host: MixedHost, **settings: Any) -> NodeWorker:
    """Have a Node process lead the registry."""
    leader = await host.spawn_node()
    await leader.open(CHANNEL, real="registry", port=host.port, **settings)
    assert await leader.is_leader(CHANNEL)
    return leader


@asynccontextmanager
async def follow(host: MixedHost, **settings: Any) -> AsyncIterator[Client[Registry]]:
    async with registry_client(host.port, **settings) as client:
        assert not client.is_leader
        yield client


@pytest.fixture
async def leader(host: MixedHost) -> NodeWorker:
    return await lead(host)


@pytest.fixture
async def client(leader: NodeWorker, host: MixedHost) -> AsyncIterator[Client[Registry]]:
    async with follow(host) as client:
        yield client


# ------------------------------------------------------------------- calls


async def test_a_method_is_called_by_its_name_in_javascript(
    client: Client[Registry], leader: NodeWorker
) -> None:
    await client.set_data("/a", {"list": [1, "b", None, True, 2.5]})
    assert await client.call(Registry.get_data, "/a") == {"list": [1, "b", None, True, 2.5]}
    assert await leader.call("getData", "/a", channel=CHANNEL) == {
        "list": [1, "b", None, True, 2.5]
    }
    assert await client.pid() == leader.pid


async def test_a_oneway_call_is_executed(client: Client[Registry]) -> None:
    await client.note("first")
    assert await client.notes() == ["first"]


async def test_an_error_comes_with_name_message_and_code(client: Client[Registry]) -> None:
    with pytest.raises(RemoteInvokeError) as caught:
        await client.fail("no luck", "E_LUCK")
    error = caught.value
    assert (error.remote_name, error.message, error.code) == ("BoomError", "no luck", "E_LUCK")
    assert "registry.js" in error.remote_stack
    assert error.fields == {}


async def test_nothing_and_undefined_are_none(client: Client[Registry]) -> None:
    assert await client.nothing() is None
    assert await client.get_data("/never set") is None


async def test_values_of_all_kinds_come_as_pythons(client: Client[Registry]) -> None:
    values = await client.call("values")
    error = values.pop("error")
    assert isinstance(error, JavaScriptError)
    assert (error.message, error.name, error.fields["code"]) == (
        "as a value",
        "BoomError",
        "E_VALUE",
    )
    assert math.isnan(values.pop("nan"))
    integers = values.pop("integers")
    assert integers[:-1] == [0, 1, -1, 35, 36, 2**31, -(2**31), 2**53]
    assert integers[-1] == 1.0000000000000001e21  # as Node's own reader has it
    assert values == {
        "buffer": b"\x00\x01\x7f\x80\xff",
        "emptyBuffer": b"",
        "date": dt.datetime(2023, 11, 14, 22, 13, 20, 123000, dt.UTC),
        "undefined": {"inside": None, "list": [None, None]},
        "true": True,
        "false": False,
        "null": None,
        "empty": {"string": "", "list": [], "object": {}},
        "text": "a b+c|d^e%fü😀\n",
        "minusZero": 0,
        "floats": [0.1 + 0.2, 1.5, -2.25, 1e-7, 5e-324],
        "infinities": [math.inf, -math.inf],
    }


@pytest.mark.parametrize(
    "value",
    [
        b"\x00\x01\xff" * 1000,
        dt.datetime(2026, 11, 25, 12, 0, 0, 1000, dt.UTC),
        {"1": "a", "b": [None, -0.5, 1e15, 2**53]},
        "x" * 100_000,
    ],
    ids=["bytes", "datetime", "dict", "text"],
)
async def test_an_argument_is_not_changed_on_its_way(client: Client[Registry], value: Any) -> None:
    assert await client.echo(value) == value


async def test_an_error_that_is_a_value_can_be_sent_back(client: Client[Registry]) -> None:
    error = (await client.call("values"))["error"]
    assert await client.echo([error]) == [error]


async def test_an_argument_that_javascript_has_not_is_refused(client: Client[Registry]) -> None:
    with pytest.raises(EncodeError, match=r"argument 0 of 'echo': value\['n'\].*2\*\*53"):
        await client.echo({"n": 2**53 + 1})
    with pytest.raises(EncodeError, match="set"):
        await client.echo({1, 2})
    assert await client.echo("fine") == "fine"


async def test_keyword_only_arguments_are_refused(client: Client[Registry]) -> None:
    with pytest.raises(TypeError, match=r"echo\(\): a Node process leads, .* and no loud"):
        await client.echo("x", loud=True)


async def test_streams_are_refused(client: Client[Registry]) -> None:
    with pytest.raises(RefusedError, match="a Node process leads, which does not stream"):
        async for _ in client.call(Registry.rows, 3):
            pass


async def test_many_calls_at_once_each_get_their_own_answer(client: Client[Registry]) -> None:
    async with anyio.create_task_group() as tasks:

        async def call(number: int) -> None:
            assert await client.slow(number % 7, number) == number

        for number in range(500):
            tasks.start_soon(call, number)


async def test_an_answer_that_comes_late_reaches_nobody(
    leader: NodeWorker, host: MixedHost
) -> None:
    async with follow(host, response_timeout=scaled(0.2)) as client:
        with pytest.raises(ResponseTimeoutError):
            await client.slow(400 * scaled(1), "late")
        for number in range(50):
            assert await client.echo(number) == number


# ------------------------------------------------------------ subscriptions


async def test_a_subscriber_gets_the_value_that_is_there_and_later_ones(
    client: Client[Registry], leader: NodeWorker
) -> None:
    await client.set_data("/a", 1)
    values: list[Any] = []
    await client.subscribe(REG, values.append)
    await until(lambda: values == [1])
    await leader.call("setData", "/a", 2, channel=CHANNEL)
    await until(lambda: values == [1, 2])
    async with client.subscription(REG) as late:
        assert await anext(late) == 2
    assert client.last(REG) == 2


async def test_of_events_every_one_comes_and_a_change_of_leader_is_a_gap(
    leader: NodeWorker, client: Client[Registry]
) -> None:
    await client.set_data("/a", 0)
    events: list[Any] = []
    states: list[Any] = []
    await client.subscribe(REG, events.append, events=True, on_gap=events.append)
    await until(lambda: events == [0])  # Node sends the last one to everybody
    await client.subscribe(REG, states.append)
    for number in range(1, 101):
        await client.set_data("/a", number)
    await until(lambda: states[-1:] == [100])
    assert events == list(range(101))
    assert (await leader.call("calls", channel=CHANNEL))["subscribe"] == 1
    await leader.kill()
    await until(lambda: client.is_leader)
    await client.set_data("/a", "again")
    await until(lambda: events[-1] == "again")
    assert events[101] == Gap("another leader", None)


async def test_subscribers_in_several_processes_all_get_a_value(
    client: Client[Registry], leader: NodeWorker, host: MixedHost
) -> None:
    values: list[Any] = []
    await client.subscribe(REG, values.append)
    other = await host.spawn_node()
    await other.open(CHANNEL, real="registry", port=host.port)
    await other.subscribe_to(REG, CHANNEL)
    await client.publish({**REG, "value": {"n": 1}})
    await until(lambda: values == [{"n": 1}])
    assert await other.values_until({"n": 1}, CHANNEL) == [{"n": 1}]
    assert await leader.call("calls", channel=CHANNEL) == {
        "subscribe": 1,
        "unSubscribe": 0,
        "publish": 1,
    }


@pytest.mark.parametrize(
    "reg",
    [
        {"path": "/k", "b": 1, "1": 2},
        {"10": 1, "9": 2, "path": "/k", "a": {"2": 0, "-1": 1, "01": 2, "1": 3}},
        {"path": "/k", "n": [1.0, -0.0, 1e21, 1e-7, 0.1 + 0.2, 2**53, 10**20]},
        {"path": "/k", "text": 'quote " \\ \n \x7f \u2028 ü 😀 </script>', "": None},
    ],
    ids=["integer-like", "reordered", "numbers", "text"],
)
async def test_a_registration_has_the_key_that_javascript_gives_it(
    client: Client[Registry], reg: dict[str, Any]
) -> None:
    """A Node leader answers under the key that it makes of the registration by itself."""
    values: list[Any] = []
    await client.subscribe(reg, values.append)
    await client.set_data("/k", 5)
    await until(lambda: values == [5])
    await client.unsubscribe(reg)
    await client.set_data("/k", 6)
    assert await client.get_data("/k") == 6
    assert values == [5]


@pytest.mark.parametrize("reg", ["plain text", ["list", True, None], 7])
async def test_a_registration_need_not_be_an_object(client: Client[Registry], reg: Any) -> None:
    values: list[Any] = []
    await client.subscribe(reg, values.append)
    await client.set_data(json.dumps(reg, separators=(",", ":")), 5)
    await until(lambda: values == [5])


async def test_a_registration_that_javascript_would_round_is_refused(
    client: Client[Registry],
) -> None:
    with pytest.raises(EncodeError, match=r"value\['id'\].*2\*\*53"):
        await client.subscribe({"id": 2**60 + 1}, print)


async def test_the_last_subscriber_that_goes_tells_the_leader(
    client: Client[Registry], leader: NodeWorker
) -> None:
    values: list[Any] = []
    await client.subscribe(REG, values.append)
    await client.unsubscribe(REG)
    await client.set_data("/a", 1)
    assert await client.get_data("/a") == 1
    types = [frame["connObj"]["type"] for frame in await leader.received()]
    assert types[1:3] == ["subscribe", "unSubscribe"]
    assert values == []


async def test_a_publication_is_made_and_a_sticky_one_again_to_the_next_leader(
    host: MixedHost, leader: NodeWorker, client: Client[Registry]
) -> None:
    await client.publish({**REG, "value": 1}, sticky=True)
    await client.publish({"path": "/b", "value": 2})
    assert await client.get_data("/a") == 1
    await leader.kill()
    await until(lambda: client.is_leader)
    while await client.get_data("/a") != 1:
        pass
    assert await client.get_data("/b") is None


# -------------------------------------------------------------- its lifetime


async def test_heartbeats_keep_the_link_open(host: MixedHost) -> None:
    interval = scaled(0.25)
    leader = await lead(host, heartbeat_interval=interval)
    async with follow(host, heartbeat_interval=interval) as client:
        epoch = client.epoch

        async def heartbeats() -> int:
            received = await leader.received()
            return sum(frame["connObj"]["type"] == "heartbeat" for frame in received)

        while await heartbeats() < 5:  # Node drops whom it did not hear for three intervals
            pass
        assert client.epoch == epoch
        assert await client.echo(1) == 1


async def test_a_client_that_closes_disturbs_nobody(
    host: MixedHost, leader: NodeWorker, client: Client[Registry]
) -> None:
    async with follow(host) as other:
        await other.subscribe(REG, print)
        assert await other.echo(1) == 1
    await client.publish({**REG, "value": 1})
    assert await client.get_data("/a") == 1
    # Node itself tells of values that the connection was closed upon.
    assert {error.name for error in await leader.errors(CHANNEL)} <= {"ClusterSocketCloseError"}


@pytest.mark.parametrize("end", [NodeWorker.kill, NodeWorker.exit], ids=["killed", "closed"])
async def test_when_it_ends_a_follower_leads(
    host: MixedHost, leader: NodeWorker, client: Client[Registry], end: Any
) -> None:
    values: list[Any] = []
    await client.subscribe(REG, values.append)
    first_epoch = client.epoch
    await end(leader)
    await until(lambda: client.is_leader)
    await client.set_data("/a", 1)
    await until(lambda: values == [1])
    assert client.epoch != first_epoch


async def test_a_call_in_flight_at_its_end_is_not_lost_silently(
    leader: NodeWorker, client: Client[Registry]
) -> None:
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(OutcomeUnknownError):
                await client.slow(60_000)

        tasks.start_soon(call)
        while not any(f["connObj"].get("method") == "slow" for f in await leader.received()):
            pass
        await leader.kill()


async def test_a_leader_whose_real_client_does_not_start_says_why(host: MixedHost) -> None:
    leader = await host.spawn_node()
    with pytest.raises(NodeError, match="no start"):
        await leader.open(
            CHANNEL, real="registry", keywords={"failStart": "no start"}, port=host.port
        )
    with pytest.raises(RemoteInvokeError, match="no start") as caught:
        async with registry_client(host.port):
            pass
    assert (caught.value.remote_name, caught.value.code) == ("BoomError", "E_START")


async def test_a_leader_that_starts_slowly_is_waited_for(host: MixedHost) -> None:
    leader = await host.spawn_node()
    async with anyio.create_task_group() as tasks:

        async def open_leader() -> None:
            await leader.open(
                CHANNEL,
                real="registry",
                keywords={"startDelay": 1500 * scaled(1)},
                port=host.port,
                is_leader=True,
            )

        tasks.start_soon(open_leader)
        # It tries again several times meanwhile.
        async with follow(host, is_leader=False, response_timeout=scaled(0.4)) as client:
            assert await client.pid() == leader.pid


async def test_a_channel_that_is_not_there_yet_is_waited_for(host: MixedHost) -> None:
    leader = await host.spawn_node()
    await leader.open("another", real="registry", port=host.port)
    async with anyio.create_task_group() as tasks:
        opened = anyio.Event()

        async def follow_later() -> None:
            async with follow(host, response_timeout=scaled(0.3)) as client:
                assert await client.pid() == leader.pid
                opened.set()

        tasks.start_soon(follow_later)
        registrations = 0
        while registrations < 2:
            frames = await leader.received()
            registrations = sum(f["connObj"].get("channelName") == CHANNEL for f in frames)
        assert not opened.is_set()
        await leader.open(CHANNEL, real="registry", port=host.port)
        await opened.wait()


async def test_a_channel_that_never_comes_is_told(host: MixedHost) -> None:
    leader = await host.spawn_node()
    await leader.open("another", real="registry", port=host.port)
    with pytest.raises(LeaderUnavailableError, match="said nothing"):
        async with registry_client(
            host.port, max_wait_time=scaled(0.5), response_timeout=scaled(0.2)
        ):
            pass
