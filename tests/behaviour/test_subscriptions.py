"""Subscriptions: one upstream per registration, the last value for late-comers, in order."""

from __future__ import annotations

import threading
from typing import Any, cast

import anyio
import pytest

from cluster_client import Client, ClientClosedError, ConfigurationError, EncodeError, cluster
from support.listening import Recorder
from support.registry import Registry, Role, Upstream, registry_client, registry_in_role

K = {"path": "/k"}


async def test_values_arrive_in_order(client: Client[Registry]) -> None:
    seen = Recorder()
    await client.subscribe(K, seen)
    for number in range(300):
        await client.set_data("/k", number)
    await seen.until(*range(300))


async def test_a_late_subscriber_gets_the_last_value_at_once(client: Client[Registry]) -> None:
    early, late = Recorder(), Recorder()
    await client.subscribe(K, early)
    await client.set_data("/k", 1)
    await client.set_data("/k", 2)
    await early.until(1, 2)
    await client.subscribe(K, late)
    await late.until(2)


async def test_subscribers_of_all_processes_share_one_upstream_subscription(
    upstream: Upstream, port: int
) -> None:
    async with (
        registry_client(upstream, port) as leader,
        registry_client(upstream, port) as one,
        registry_client(upstream, port) as two,
    ):
        recorders = [Recorder() for _ in range(6)]
        for index, recorder in enumerate(recorders):
            await (leader, one, two)[index % 3].subscribe(K, recorder)
        await two.set_data("/k", "v")
        for recorder in recorders:
            await recorder.until("v")
        assert upstream.events.count("subscribe /k") == 1


async def test_the_order_of_a_registrations_keys_does_not_matter(
    client: Client[Registry], upstream: Upstream
) -> None:
    one, two = Recorder(), Recorder()
    await client.subscribe({"path": "/k", "zone": "a"}, one)
    await client.subscribe({"zone": "a", "path": "/k"}, two)
    await client.set_data("/k", 1)
    await one.until(1)
    await two.until(1)
    assert upstream.events.count("subscribe /k") == 1


async def test_unsubscribing_reaches_upstream_with_the_last_subscriber(
    client: Client[Registry], upstream: Upstream
) -> None:
    one, two = Recorder(), Recorder()
    await client.subscribe(K, one)
    await client.subscribe(K, two)
    await client.unsubscribe(K, one)
    await client.set_data("/k", 1)
    await two.until(1)
    assert one.values == []
    assert "unsubscribe /k" not in upstream.events
    await client.unsubscribe(K)
    while upstream.listeners["/k"]:
        await anyio.wait_all_tasks_blocked()
    assert upstream.events[-1] == "unsubscribe /k"
    await client.unsubscribe(K)  # what is not subscribed may be unsubscribed


async def test_subscribing_anew_gives_the_present_value_and_not_a_stale_one(
    client: Client[Registry], upstream: Upstream
) -> None:
    seen = Recorder()
    await client.subscribe(K, seen)
    await client.set_data("/k", 1)
    await seen.until(1)
    await client.unsubscribe(K)
    await client.set_data("/k", 2)
    again = Recorder()
    await client.subscribe(K, again)
    await again.until(2)


async def test_subscription_iterates_and_ends_upstream(
    client: Client[Registry], upstream: Upstream
) -> None:
    upstream.data["/k"] = 0
    seen: list[int] = []
    async with client.subscription(K) as values:
        async for value in values:
            seen.append(value)
            if value == 3:
                break
            await client.set_data("/k", value + 1)
    assert seen == [0, 1, 2, 3]
    while upstream.listeners["/k"]:
        await anyio.wait_all_tasks_blocked()


async def test_last_gives_the_last_value_without_waiting(client: Client[Registry]) -> None:
    with pytest.raises(LookupError, match="is not subscribed to"):
        client.last(K)
    seen = Recorder()
    await client.subscribe(K, seen)
    with pytest.raises(LookupError, match="has had no value yet"):
        client.last(K)
    assert client.last(K, None) is None
    await client.set_data("/k", {"n": 1})
    await seen.until({"n": 1})
    assert client.last(K) == {"n": 1}


async def test_no_listener_gets_an_object_that_another_one_can_change(
    client: Client[Registry], upstream: Upstream
) -> None:
    def greedy(value: list[int]) -> None:
        value.clear()

    seen = Recorder()
    await client.subscribe(K, greedy)
    await client.subscribe(K, seen)
    await client.set_data("/k", [1, 2])
    await seen.until([1, 2])
    assert client.last(K) == [1, 2]
    assert upstream.data["/k"] == [1, 2]


async def test_a_listener_may_be_a_coroutine_function(client: Client[Registry]) -> None:
    seen = Recorder()

    async def listener(value: int) -> None:
        await anyio.lowlevel.checkpoint()
        seen(value)

    await client.subscribe(K, listener)
    for number in range(20):
        await client.set_data("/k", number)
    await seen.until(*range(20))


async def test_a_listener_that_raises_goes_on_getting_values(client: Client[Registry]) -> None:
    seen = Recorder()

    def listener(value: int) -> None:
        seen(value)
        raise ValueError(value)

    await client.subscribe(K, listener)
    await client.set_data("/k", 1)
    await client.set_data("/k", 2)
    await seen.until(1, 2)
    assert await client.echo("alive") == "alive"


async def test_a_slow_listener_holds_up_nobody_else(client: Client[Registry]) -> None:
    seen, gate = Recorder(), anyio.Event()

    async def slow(_: int) -> None:
        await gate.wait()

    await client.subscribe(K, slow)
    await client.subscribe(K, seen)
    for number in range(200):
        await client.set_data("/k", number)
    await seen.until_last(199)
    gate.set()


async def test_an_error_of_the_real_subscribe_reaches_the_subscriber(
    client: Client[Registry], upstream: Upstream
) -> None:
    with pytest.raises(KeyError, match="path"):
        await client.subscribe({"wrong": "/k"}, Recorder())
    assert client.last({"wrong": "/k"}, "nothing") == "nothing"
    upstream.data["/k"] = 1
    seen = Recorder()
    await client.subscribe(K, seen)
    await seen.until(1)


@pytest.mark.parametrize(
    ("reg", "complaint"),
    [
        ({"path": object()}, r"value\['path'\].*object"),
        ({1: "x"}, "key 1 is of type int"),
        ({"path": {1, 2}}, r"value\['path'\].*set"),
        ({"ratio": float("nan")}, r"value\['ratio'\].* nan"),
    ],
)
async def test_a_registration_must_be_plain_json(
    client: Client[Registry], reg: Any, complaint: str
) -> None:
    with pytest.raises(EncodeError, match=f"registration must be plain JSON.*{complaint}"):
        await client.subscribe(reg, Recorder())


async def test_a_listener_must_be_callable(client: Client[Registry]) -> None:
    with pytest.raises(ConfigurationError, match="listener=3 must be callable"):
        await client.subscribe(K, cast("Any", 3))


async def test_iterating_ends_with_the_client(role: Role, upstream: Upstream, port: int) -> None:
    waiting = anyio.Event()

    async def iterate(client: Client[Registry]) -> None:
        async with client.subscription(K) as values:
            waiting.set()
            with pytest.raises(ClientClosedError, match="is closed"):
                async for _ in values:
                    pass

    async with anyio.create_task_group() as tasks:
        async with registry_in_role(role, upstream, port) as client:
            tasks.start_soon(iterate, client)
            await waiting.wait()


async def test_one_of_many_gets_each_value_where_nothing_is_broadcast(
    upstream: Upstream, port: int
) -> None:
    async with (
        registry_client(upstream, port, is_broadcast=False) as leader,
        registry_client(upstream, port, is_broadcast=False) as follower,
    ):
        everything = Recorder()
        counts = [0, 0, 0]

        def listener(index: int) -> Any:
            def take(value: int) -> None:
                counts[index] += 1
                everything(value)

            return take

        await leader.subscribe(K, listener(0))
        await follower.subscribe(K, listener(1))
        await follower.subscribe(K, listener(2))
        for number in range(40):
            await leader.set_data("/k", number)
        while len(everything.values) < 40:
            await anyio.wait_all_tasks_blocked()
        assert sorted(everything.values) == list(range(40))
        assert min(counts) == 10
        late = Recorder()
        await follower.subscribe(K, late)
        with pytest.raises(ConfigurationError, match="no last value when is_broadcast=False"):
            follower.last(K)
        await anyio.wait_all_tasks_blocked()
        assert late.values == []


class Watched:
    """A real client whose values come from a thread of its own, as kazoo's do."""

    def __init__(self) -> None:
        self.listener: Any = None

    def subscribe(self, reg: Any, listener: Any) -> None:
        self.listener = listener

    def emit(self, count: int) -> None:
        thread = threading.Thread(target=lambda: [self.listener(n) for n in range(count)])
        thread.start()
        thread.join()


async def test_values_may_come_from_foreign_threads(role: Role, port: int) -> None:
    def new_client() -> Client[Watched]:
        return cluster(Watched, port=port).delegate("emit").create()

    async with new_client() as leader:
        if role == "leader":
            await values_of_a_thread_arrive_in_order(leader)
        else:
            async with new_client() as follower:
                await values_of_a_thread_arrive_in_order(follower)


async def values_of_a_thread_arrive_in_order(client: Client[Watched]) -> None:
    seen = Recorder()
    await client.subscribe("anything", seen)
    await client.emit(500)
    await seen.until_last(499)
    # A follower that cannot keep up is spared outdated values, but never gets them late.
    assert seen.values == sorted(set(seen.values))
    await client.unsubscribe("anything")
