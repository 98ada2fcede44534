"""Subscriptions to events: each value counts, and where some are missing it is told."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from cluster_client import APIClientBase, Client, Gap, cluster
from cluster_client._event_queue import MAX_WAITING_VALUES
from cluster_client._outgoing import MAX_UNACKNOWLEDGED
from support.listening import Recorder
from support.logs import LogRecorder
from support.registry import Registry, Role, Upstream, registry_client
from support.sessions import Service, sessions_client
from support.times import scaled

K = {"path": "/k"}
BURST = 800
"""Values at once: more than a state's subscriber in another process gets all of."""


class Bursts:
    """A real client whose values come as fast as can be, in the event loop or from a thread."""

    def __init__(self) -> None:
        self.listeners: list[Any] = []
        self.sent = 0

    def subscribe(self, reg: Any, listener: Any) -> None:
        self.listeners.append(listener)

    def unsubscribe(self, reg: Any, listener: Any) -> None:
        self.listeners.remove(listener)

    async def emit(self, count: int) -> None:
        self._emit(count)

    async def emit_in_thread(self, count: int) -> None:
        thread = threading.Thread(target=self._emit, args=(count,))
        thread.start()
        thread.join()  # the event loop does not come to it before

    def _emit(self, count: int) -> None:
        for _ in range(count):
            for listener in list(self.listeners):
                listener(self.sent)
            self.sent += 1


def new_client(port: int, **options: Any) -> Client[Bursts]:
    return cluster(
        Bursts, port=port, response_timeout=scaled(5), max_wait_time=scaled(10), **options
    ).create()


@asynccontextmanager
async def bursts_in_role(role: Role, port: int, **options: Any) -> AsyncIterator[Client[Bursts]]:
    options = {"single_mode": role == "single", **options}
    async with new_client(port, **options) as first:
        if role == "leader":
            yield first
            return
        async with new_client(port, **options) as second:
            yield second


@pytest.fixture
async def bursts(role: Role, port: int) -> AsyncIterator[Client[Bursts]]:
    async with bursts_in_role(role, port) as client:
        yield client


async def test_no_event_is_left_out(bursts: Client[Bursts]) -> None:
    seen = Recorder()
    await bursts.subscribe(K, seen, events=True)
    await bursts.emit(BURST)
    await seen.until(*range(BURST))
    await bursts.emit_in_thread(BURST)
    await seen.until(*range(2 * BURST))


async def test_events_may_be_iterated_over(bursts: Client[Bursts]) -> None:
    async with bursts.subscription(K, events=True) as values:
        await bursts.emit(BURST)
        assert [await anext(values) for _ in range(BURST)] == list(range(BURST))


async def test_a_late_subscriber_to_events_gets_no_old_one(
    client: Client[Registry], upstream: Upstream
) -> None:
    state, early, late = Recorder(), Recorder(), Recorder()
    await client.subscribe(K, state)
    await client.subscribe(K, early, events=True)
    await client.set_data("/k", 1)
    await state.until(1)
    await early.until(1)
    await client.subscribe(K, late, events=True)
    await client.set_data("/k", 2)
    await late.until(2)
    await early.until(1, 2)
    await state.until(1, 2)
    assert upstream.events.count("subscribe /k") == 1


async def test_a_state_that_joins_the_events_gets_the_last_value(client: Client[Registry]) -> None:
    events, state = Recorder(), Recorder()
    await client.subscribe(K, events, events=True)
    assert client.last(K, "nothing") == "nothing"
    await client.set_data("/k", 1)
    await events.until(1)
    assert client.last(K) == 1
    await client.subscribe(K, state)
    await state.until(1)
    await client.set_data("/k", 2)
    await state.until(1, 2)
    await events.until(1, 2)


async def test_states_and_events_end_one_by_one(
    client: Client[Registry], upstream: Upstream
) -> None:
    state, events = Recorder(), Recorder()
    await client.subscribe(K, state)
    await client.subscribe(K, events, events=True)
    await client.unsubscribe(K, state)
    await client.set_data("/k", 1)
    await events.until(1)
    assert state.values == []
    assert "unsubscribe /k" not in upstream.events
    await client.subscribe(K, state)
    await state.until(1)
    await client.unsubscribe(K, events)
    await client.set_data("/k", 2)
    await state.until(1, 2)
    assert events.values == [1]
    await client.subscribe(K, events, events=True)
    await client.unsubscribe(K)
    while upstream.listeners["/k"]:
        await anyio.wait_all_tasks_blocked()


async def test_subscribers_of_all_kinds_in_several_processes_share_one_upstream_subscription(
    upstream: Upstream, port: int
) -> None:
    async with (
        registry_client(upstream, port) as leader,
        registry_client(upstream, port) as one,
        registry_client(upstream, port) as two,
    ):
        recorders = [Recorder() for _ in range(6)]
        for index, recorder in enumerate(recorders):
            await (leader, one, two)[index % 3].subscribe(K, recorder, events=index % 2 == 0)
        for value in range(20):
            await two.set_data("/k", value)
        for index, recorder in enumerate(recorders):
            if index % 2 == 0:
                await recorder.until(*range(20))
            else:
                await recorder.until_last(19)
        assert upstream.events.count("subscribe /k") == 1


async def test_a_listener_that_does_not_keep_up_learns_how_many_it_missed(
    bursts: Client[Bursts],
) -> None:
    gate, seen = anyio.Event(), Recorder()

    async def slow(value: Any) -> None:
        seen(value)
        await gate.wait()

    await bursts.subscribe(K, slow, events=True, on_gap=slow)
    await bursts.emit(1)
    await seen.until(0)
    for _ in range(10):
        await bursts.emit(MAX_WAITING_VALUES // 5)
    sent = 2 * MAX_WAITING_VALUES
    # What the last call has sent may be on its way to this process yet.
    everything = Recorder()
    await bursts.subscribe(K, everything, events=True)
    await bursts.emit(1)
    await everything.until_last(sent + 1)
    gate.set()
    await seen.until_last(sent + 1)
    first, gap, *rest = seen.values
    assert (first, gap) == (0, Gap("the listener did not keep up", sent + 1 - MAX_WAITING_VALUES))
    assert rest == list(range(sent + 2 - MAX_WAITING_VALUES, sent + 2))


async def test_a_process_that_does_not_keep_up_learns_how_many_it_missed(port: int) -> None:
    async with new_client(port) as leader, new_client(port) as follower:
        assert leader.is_leader
        count = MAX_UNACKNOWLEDGED + MAX_WAITING_VALUES + 50
        async with follower.subscription(K, events=True) as values:
            await leader.emit(count)  # at once: no acknowledgement comes in between
            got = [await anext(values) for _ in range(count - 49)]
    # Those that were on their way, what is missing, and what has waited.
    assert got[:MAX_UNACKNOWLEDGED] == list(range(MAX_UNACKNOWLEDGED))
    assert got[MAX_UNACKNOWLEDGED] == Gap("this process did not keep up", 50)
    assert got[MAX_UNACKNOWLEDGED + 1 :] == list(range(MAX_UNACKNOWLEDGED + 50, count))


async def test_gaps_that_nobody_takes_are_logged_and_counted(role: Role, port: int) -> None:
    log = LogRecorder()
    async with bursts_in_role(role, port, logger=log) as client:
        gate, seen = anyio.Event(), Recorder()

        async def slow(value: Any) -> None:
            seen(value)
            await gate.wait()

        await client.subscribe(K, slow, events=True)
        await client.emit(1)
        await seen.until(0)
        for _ in range(11):
            await client.emit(MAX_WAITING_VALUES // 10)
        everything = Recorder()
        await client.subscribe(K, everything, events=True)
        await client.emit(1)
        await everything.until_last(MAX_WAITING_VALUES * 11 // 10 + 1)
        gate.set()
        await seen.until_last(MAX_WAITING_VALUES * 11 // 10 + 1)
        (entry,) = log.of("events_missed")
        missed = MAX_WAITING_VALUES // 10 + 1
        assert entry == {
            "key": '$$events$$__{"path":"/k"}',
            "reason": "the listener did not keep up",
            "missed": missed,
            "gaps_so_far": 1,
            "missed_so_far": missed,
        }


async def test_the_loss_of_the_real_client_is_told_in_its_place(role: Role, port: int) -> None:
    service = Service()
    single = role == "single"
    async with sessions_client(service, port, single_mode=single) as first:
        async with sessions_client(service, port, single_mode=single) as second:
            client = first if role == "leader" else second
            state, events = Recorder(), Recorder()
            await client.subscribe(K, events, events=True, on_gap=events)
            await client.subscribe(K, state, on_gap=state)
            service.current.leadership.lost("expired")
            gap = Gap("the real client was lost: expired")
            await state.until("first of 1", gap, "first of 2")
            await events.until("first of 1", gap, "first of 2")


async def test_a_change_of_leader_is_a_gap_of_unknown_length(port: int) -> None:
    async with new_client(port) as leader, new_client(port) as follower:
        async with follower.subscription(K, events=True) as values:
            await leader.emit(2)
            assert [await anext(values) for _ in range(2)] == [0, 1]
            await leader.aclose()
            assert await anext(values) == Gap("another leader", None)
            await follower.emit(2)
            assert [await anext(values) for _ in range(2)] == [0, 1]


async def test_subscribing_to_events_does_not_wait_for_one(role: Role, port: int) -> None:
    async with bursts_in_role(role, port, subscribe_timeout=scaled(0.01)) as client:
        seen = Recorder()
        await client.subscribe(K, seen, events=True)
        await client.emit(1)
        await seen.until(0)


async def test_one_of_many_gets_each_event_where_nothing_is_broadcast(
    role: Role, port: int
) -> None:
    async with bursts_in_role(role, port, is_broadcast=False) as client:
        one, other, everything = Recorder(), Recorder(), Recorder()

        def both(recorder: Recorder) -> Any:
            def take(value: Any) -> None:
                recorder(value)
                everything(value)

            return take

        await client.subscribe(K, both(one), events=True)
        await client.subscribe(K, both(other), events=True)
        await client.emit(100)
        while len(everything.values) < 100:
            await anyio.wait_all_tasks_blocked()
        assert sorted(everything.values) == list(range(100))
        assert len(one.values) == len(other.values) == 50


class BurstsAPI(APIClientBase[Bursts]):
    data_client = Bursts


async def test_a_facade_subscribes_to_events_too(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BurstsAPI, "cluster_options", {"port": port})
    async with BurstsAPI() as leader, BurstsAPI() as api:
        assert leader.is_leader
        seen = Recorder()
        await api.subscribe(K, seen, events=True, on_gap=seen)
        async with api.subscription(K, events=True) as values:
            await api.emit(BURST)
            assert [await anext(values) for _ in range(BURST)] == list(range(BURST))
        await seen.until(*range(BURST))
