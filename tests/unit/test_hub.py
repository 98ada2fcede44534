"""The leader's subscriptions: one upstream per registration, and every value in order."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from cluster_client import ConfigurationError, Delegate, Gap
from cluster_client._delegates import DelegateTable
from cluster_client._hub import SubscriptionHub
from cluster_client._inbox import MAX_INBOX, PER_TURN
from cluster_client._real_client import RealClient
from cluster_client._registrations import check_registration
from cluster_client._subscriptions import Listener
from cluster_client.errors import LinkClosedError
from cluster_protocol.codecs import Codec, JsonCodec, MsgpackCodec
from support.logs import LogRecorder

REG = check_registration({"path": "/k", "zone": 1})
SAME = check_registration({"zone": 1, "path": "/k"})
OTHER = check_registration({"path": "/other"})


class Watched:
    def subscribe(self, reg: Any, listener: Listener) -> None: ...
    def unsubscribe(self, reg: Any, listener: Listener) -> None: ...


class FakeRealClient:
    """Keeps account of what is asked of it; lets the test hold it up and make it fail."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.listeners: list[Callable[[Any], None]] = []
        self.fail: dict[str, Exception] = {}
        self.gate = anyio.Event()
        self.gate.set()

    async def invoke_part(self, target: str, reg: Any, listener: Callable[[Any], None]) -> None:
        self.events.append(f"{target} {reg['path']}")
        await self.gate.wait()
        if target in self.fail:
            raise self.fail[target]
        if target in ("subscribe", "watch"):
            self.listeners.append(listener)
        else:
            self.listeners.remove(listener)
        reg["path"] = "spoilt by the real client"

    def notify(self, value: Any) -> None:
        for listener in self.listeners:
            listener(value)


class Receiver:
    """A subscriber."""

    def __init__(self, codec: Codec | None = None, *, events: bool = False) -> None:
        self.codec: Codec = codec or MsgpackCodec()
        self.events = events
        self.values: list[Any] = []
        self.keys: set[str] = set()
        self.encoded: list[bytes] = []

    def deliver(self, key: str, data: bytes) -> None:
        self.keys.add(key)
        self.encoded.append(data)
        self.values.append(self.codec.decode(data))

    def miss(self, key: str, gap: Gap) -> None:
        self.keys.add(key)
        self.values.append(gap)


@dataclass
class Running:
    hub: SubscriptionHub
    real: FakeRealClient
    log: LogRecorder
    tasks: anyio.abc.TaskGroup
    receivers: list[Receiver] = field(default_factory=list)


@asynccontextmanager
async def running_hub(
    *, broadcast: bool = True, table: DelegateTable | None = None
) -> AsyncGenerator[Running]:
    real, log = FakeRealClient(), LogRecorder()
    async with anyio.create_task_group() as tasks:
        hub = SubscriptionHub(
            cast("RealClient", real),
            table or DelegateTable(Watched, {}),
            codec=MsgpackCodec(),
            tasks=tasks,
            broadcast=broadcast,
            log=log,
        )
        yield Running(hub, real, log, tasks)
        tasks.cancel_scope.cancel()


# ---------------------------------------------------------------- upstream


async def test_one_upstream_subscription_serves_all_subscribers() -> None:
    async with running_hub() as running:
        one, two = Receiver(), Receiver()
        await running.hub.settle(running.hub.add(REG, "one's key", one))
        await running.hub.settle(running.hub.add(SAME, "two's key", two))
        assert running.real.events == ["subscribe /k"]
        running.real.notify([1])
        assert one.values == two.values == [[1]]
        assert (one.keys, two.keys) == ({"one's key"}, {"two's key"})


async def test_each_registration_has_its_own() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        await running.hub.settle(running.hub.add(OTHER, "other", receiver))
        assert running.real.events == ["subscribe /k", "subscribe /other"]


async def test_the_upstream_subscription_ends_with_the_last_subscriber() -> None:
    async with running_hub() as running:
        one, two = Receiver(), Receiver()
        await running.hub.settle(running.hub.add(REG, "k", one))
        running.hub.add(REG, "k", two)
        running.hub.remove(REG, one)
        running.hub.remove(REG, one)
        running.hub.remove(OTHER, one)
        await wait_all_tasks_blocked()
        running.real.notify(1)
        assert (one.values, two.values) == ([], [1])
        running.hub.remove(SAME, two)
        await wait_all_tasks_blocked()
        assert running.real.events == ["subscribe /k", "unsubscribe /k"]
        assert running.hub._upstreams == {}


async def test_a_subscriber_that_is_gone_is_forgotten_everywhere() -> None:
    async with running_hub() as running:
        gone, there = Receiver(), Receiver()
        for registration in (REG, OTHER):
            await running.hub.settle(running.hub.add(registration, "k", gone))
        running.hub.add(OTHER, "k", there)
        running.hub.remove_everywhere(gone)
        await wait_all_tasks_blocked()
        assert running.real.events[2:] == ["unsubscribe /k"]
        assert set(running.hub._upstreams) == {OTHER.identity}


async def test_a_quick_change_of_mind_reaches_the_real_client_in_order() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        running.real.gate = anyio.Event()
        running.hub.add(REG, "k", receiver)
        await wait_all_tasks_blocked()
        running.hub.remove(REG, receiver)
        upstream = running.hub.add(REG, "k", receiver)
        await wait_all_tasks_blocked()
        assert running.real.events == ["subscribe /k"]
        running.real.gate.set()
        await running.hub.settle(upstream)
        assert running.real.events == ["subscribe /k"]
        assert len(running.real.listeners) == 1


async def test_whoever_leaves_while_the_subscription_is_made_is_unsubscribed_after_it() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        running.real.gate = anyio.Event()
        running.hub.add(REG, "k", receiver)
        await wait_all_tasks_blocked()
        running.hub.remove(REG, receiver)
        running.real.gate.set()
        await wait_all_tasks_blocked()
        assert running.real.events == ["subscribe /k", "unsubscribe /k"]
        assert running.real.listeners == []
        assert running.hub._upstreams == {}


async def test_whoever_comes_while_it_is_being_ended_is_subscribed_anew() -> None:
    async with running_hub() as running:
        old, new = Receiver(), Receiver()
        await running.hub.settle(running.hub.add(REG, "k", old))
        running.real.notify("old value")
        running.real.gate = anyio.Event()
        running.hub.remove(REG, old)
        await wait_all_tasks_blocked()
        upstream = running.hub.add(REG, "k", new)
        running.real.gate.set()
        await running.hub.settle(upstream)
        assert running.real.events == ["subscribe /k", "unsubscribe /k", "subscribe /k"]
        running.real.notify("new value")
        assert new.values[-1] == "new value"


async def test_an_ended_subscription_brings_no_more_values() -> None:
    async with running_hub() as running:
        old, new = Receiver(), Receiver()
        await running.hub.settle(running.hub.add(REG, "k", old))
        (ended,) = running.real.listeners
        running.hub.remove(REG, old)
        await wait_all_tasks_blocked()
        await running.hub.settle(running.hub.add(REG, "k", new))
        ended("from a listener that was unsubscribed")
        assert (old.values, new.values) == ([], [])


async def test_a_subscription_that_fails_is_told_to_everybody_who_waits_for_it() -> None:
    async with running_hub() as running:
        one, two = Receiver(), Receiver()
        running.real.fail["subscribe"] = ValueError("no such path")
        running.real.gate = anyio.Event()
        upstreams = [running.hub.add(REG, "k", one)]
        await wait_all_tasks_blocked()
        upstreams.append(running.hub.add(REG, "k", two))
        running.real.gate.set()
        for upstream in upstreams:
            with pytest.raises(ValueError, match="no such path"):
                await running.hub.settle(upstream)
        assert running.hub._upstreams == {}
        assert running.log.of("subscribe_failed") == [
            {"key": REG.key, "error": "ValueError('no such path')"}
        ]

        running.real.fail.clear()
        await running.hub.settle(running.hub.add(REG, "k", one))
        running.real.notify(1)
        assert (one.values, two.values) == ([1], [])


async def test_an_unsubscription_that_fails_is_logged_and_the_values_stop() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        running.real.fail["unsubscribe"] = ValueError("not connected")
        running.hub.remove(REG, receiver)
        await wait_all_tasks_blocked()
        assert running.log.of("unsubscribe_failed") == [
            {"key": REG.key, "error": "ValueError('not connected')"}
        ]
        running.real.notify("the real client goes on")
        assert receiver.values == []
        assert running.hub._upstreams == {}


async def test_a_real_client_without_unsubscribe_is_left_alone() -> None:
    class SubscribeOnly:
        def subscribe(self, reg: Any, listener: Listener) -> None: ...

    async with running_hub(table=DelegateTable(SubscribeOnly, {})) as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        running.hub.remove(REG, receiver)
        await wait_all_tasks_blocked()
        assert running.real.events == ["subscribe /k"]
        assert running.log.of("no_unsubscribe_method") == [{"key": REG.key}]
        running.real.notify("the real client goes on")
        assert receiver.values == []


async def test_a_real_client_without_subscribe_is_named() -> None:
    class Nothing:
        pass

    async with running_hub(table=DelegateTable(Nothing, {})) as running:
        with pytest.raises(ConfigurationError, match="Nothing has no method to subscribe"):
            await running.hub.settle(running.hub.add(REG, "k", Receiver()))


async def test_methods_of_other_names_are_called_by_them() -> None:
    class Renamed:
        def watch(self, reg: Any, listener: Listener) -> None: ...
        def forget(self, reg: Any, listener: Listener) -> None: ...

    table = DelegateTable(
        Renamed, {"watch": Delegate("subscribe"), "forget": Delegate("unsubscribe")}
    )
    async with running_hub(table=table) as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        running.hub.remove(REG, receiver)
        await wait_all_tasks_blocked()
        assert running.real.events == ["watch /k", "forget /k"]


async def test_a_real_client_cannot_spoil_a_registration() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        assert REG.reg == {"path": "/k", "zone": 1}
        running.hub.remove(REG, receiver)
        await wait_all_tasks_blocked()
        assert running.real.events == ["subscribe /k", "unsubscribe /k"]


# ------------------------------------------------------------------ values


async def test_a_later_subscriber_gets_the_last_value_at_once() -> None:
    async with running_hub() as running:
        await running.hub.settle(running.hub.add(REG, "k", Receiver()))
        running.real.notify(1)
        running.real.notify(2)
        late = Receiver()
        running.hub.add(REG, "k", late)
        assert late.values == [2]


async def test_a_value_is_what_it_was_when_it_came() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        value = [1]
        running.real.notify(value)
        value.append(2)
        late = Receiver()
        running.hub.add(REG, "k", late)
        assert receiver.values == late.values == [[1]]


async def test_a_value_is_encoded_once_per_codec() -> None:
    async with running_hub() as running:
        msgpack = [Receiver(), Receiver()]
        json = [Receiver(JsonCodec()), Receiver(JsonCodec())]
        for receiver in (*msgpack, *json):
            await running.hub.settle(running.hub.add(REG, "k", receiver))
        running.real.notify({"a": 1})
        assert all(receiver.values == [{"a": 1}] for receiver in (*msgpack, *json))
        assert msgpack[0].encoded[0] is msgpack[1].encoded[0]
        assert json[0].encoded[0] is json[1].encoded[0]


async def test_a_value_that_cannot_be_encoded_is_logged_and_skipped() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        running.real.notify({"lock": object()})
        running.real.notify("next")
        assert receiver.values == ["next"]
        (entry,) = running.log.of("value_not_encodable")
        assert entry["key"] == REG.key
        assert "value['lock']" in entry["error"]


async def test_a_value_that_a_poorer_codec_cannot_carry_skips_only_its_subscribers() -> None:
    async with running_hub() as running:
        rich, poor = Receiver(), Receiver(JsonCodec())
        await running.hub.settle(running.hub.add(REG, "rich", rich))
        await running.hub.settle(running.hub.add(REG, "poor", poor))
        running.real.notify({"bytes": b"\xff"})
        assert rich.values == [{"bytes": b"\xff"}]
        assert poor.values == []
        assert [entry["key"] for entry in running.log.of("value_not_encodable")] == ["poor"]


async def test_without_broadcast_each_value_goes_to_one_subscriber_in_turn() -> None:
    async with running_hub(broadcast=False) as running:
        receivers = [Receiver(), Receiver(), Receiver()]
        for receiver in receivers:
            await running.hub.settle(running.hub.add(REG, "k", receiver))
        for number in range(6):
            running.real.notify(number)
        assert [len(receiver.values) for receiver in receivers] == [2, 2, 2]
        late = Receiver()
        running.hub.add(REG, "k", late)
        assert late.values == []


async def test_a_value_without_subscribers_is_dropped() -> None:
    async with running_hub(broadcast=False) as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        running.hub.remove(REG, receiver)
        running.real.notify("before the real client knows")
        assert receiver.values == []


async def test_after_the_close_nothing_is_delivered_or_begun() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        running.hub.close()
        running.real.notify("too late")
        running.hub.add(OTHER, "k", receiver)
        running.hub.remove(REG, receiver)
        await wait_all_tasks_blocked()
        assert receiver.values == []
        assert running.real.events == ["subscribe /k"]


async def test_whoever_waits_for_the_real_client_learns_of_the_close() -> None:
    async with running_hub() as running:
        running.real.gate = anyio.Event()
        settled, pending = Receiver(), Receiver()
        running.hub.add(OTHER, "other", settled)
        upstream = running.hub.add(REG, "k", pending)
        running.hub.close()
        with pytest.raises(LinkClosedError, match="leadership ends") as caught:
            await running.hub.settle(upstream)
        assert not caught.value.sent


# ---------------------------------------------------------- foreign threads


async def test_values_of_a_foreign_thread_arrive_in_order() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))

        def produce() -> None:
            for number in range(1000):
                running.real.notify(number)

        await anyio.to_thread.run_sync(produce)
        await until(receiver, 1000)
        assert receiver.values == list(range(1000))


async def until(receiver: Receiver, count: int) -> None:
    while len(receiver.values) < count:
        await wait_all_tasks_blocked()


async def test_a_value_of_the_loop_does_not_overtake_one_of_a_thread() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        thread = threading.Thread(target=running.real.notify, args=("thread",))
        thread.start()
        thread.join()  # on purpose without letting the event loop run
        running.real.notify("loop")
        assert receiver.values == []
        await until(receiver, 2)
        assert receiver.values == ["thread", "loop"]


async def test_a_listener_never_blocks_its_thread_and_the_oldest_values_go() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))

        def produce() -> None:
            for number in range(MAX_INBOX + 5):
                running.real.notify(number)

        thread = threading.Thread(target=produce)
        thread.start()
        thread.join()  # while the event loop is busy
        await until(receiver, MAX_INBOX)
        assert receiver.values == list(range(5, MAX_INBOX + 5))
        assert running.log.of("values_dropped") == [{"key": REG.key, "dropped": 5}]


async def test_what_threads_bring_keeps_nobody_waiting() -> None:
    async with running_hub() as running:
        loud, quiet = Receiver(), Receiver()
        await running.hub.settle(running.hub.add(REG, "k", loud))
        await running.hub.settle(running.hub.add(OTHER, "k", quiet))
        of_loud, of_quiet = running.real.listeners

        def produce() -> None:
            for number in range(9 * PER_TURN):
                of_loud(number)
            of_quiet("only one")

        thread = threading.Thread(target=produce)
        thread.start()
        thread.join()
        turns = [0]
        taken_before_quiet = None
        while len(loud.values) < 9 * PER_TURN:
            await checkpoint()
            turns.append(len(loud.values))
            if quiet.values and taken_before_quiet is None:
                taken_before_quiet = len(loud.values)
        assert max(after - before for before, after in pairwise(turns)) <= 2 * PER_TURN
        assert taken_before_quiet is not None
        assert taken_before_quiet <= 3 * PER_TURN
        assert loud.values == list(range(9 * PER_TURN))


async def test_values_of_one_registration_make_no_room_for_anothers() -> None:
    """Or the only value of a quiet one could get lost, which is its last."""
    async with running_hub() as running:
        quiet, loud = Receiver(), Receiver()
        await running.hub.settle(running.hub.add(REG, "k", quiet))
        await running.hub.settle(running.hub.add(OTHER, "k", loud))
        of_quiet, of_loud = running.real.listeners

        def produce() -> None:
            of_quiet("only one")
            for number in range(MAX_INBOX + 5):
                of_loud(number)

        thread = threading.Thread(target=produce)
        thread.start()
        thread.join()
        await until(loud, MAX_INBOX)
        assert quiet.values == ["only one"]


async def test_a_value_that_waits_in_the_queue_is_dropped_at_the_close() -> None:
    async with running_hub() as running:
        receiver = Receiver()
        await running.hub.settle(running.hub.add(REG, "k", receiver))
        thread = threading.Thread(target=running.real.notify, args=("thread",))
        thread.start()
        thread.join()
        running.hub.close()
        await wait_all_tasks_blocked()
        assert receiver.values == []


def test_a_value_that_comes_after_the_loops_end_is_no_error(anyio_backend_name: str) -> None:
    real: list[FakeRealClient] = []

    async def main() -> None:
        async with running_hub() as running:
            await running.hub.settle(running.hub.add(REG, "k", Receiver()))
            real.append(running.real)

    anyio.run(main, backend=anyio_backend_name)
    thread = threading.Thread(target=real[0].notify, args=("late",))
    thread.start()
    thread.join()


# ------------------------------------------------------------------- events


async def test_no_old_value_is_sent_where_each_counts() -> None:
    async with running_hub() as running:
        await running.hub.settle(running.hub.add(REG, "k", Receiver()))
        running.real.notify(1)
        late = Receiver(events=True)
        running.hub.add(REG, "k", late)
        running.real.notify(2)
        assert late.values == [2]


async def test_states_and_events_share_one_upstream_subscription() -> None:
    async with running_hub() as running:
        state, events = Receiver(), Receiver(events=True)
        await running.hub.settle(running.hub.add(REG, "state", state))
        await running.hub.settle(running.hub.add(SAME.for_events, "events", events))
        running.real.notify(1)
        assert (state.values, events.values) == ([1], [1])
        running.hub.remove(REG, state)
        await wait_all_tasks_blocked()
        assert running.real.events == ["subscribe /k"]
        running.hub.remove(REG.for_events, events)
        await wait_all_tasks_blocked()
        assert running.real.events == ["subscribe /k", "unsubscribe /k"]


async def test_what_a_thread_had_no_room_for_is_told_in_its_place() -> None:
    async with running_hub() as running:
        events = Receiver(events=True)
        await running.hub.settle(running.hub.add(REG, "k", events))

        def produce() -> None:
            for number in range(MAX_INBOX + 5):
                running.real.notify(number)

        thread = threading.Thread(target=produce)
        thread.start()
        thread.join()
        await until(events, MAX_INBOX + 1)
        gap = Gap("the leader's event loop did not keep up", 5)
        assert events.values == [gap, *range(5, MAX_INBOX + 5)]


async def test_a_value_that_cannot_be_encoded_is_told_in_its_place() -> None:
    async with running_hub() as running:
        state, events, poor = Receiver(), Receiver(events=True), Receiver(JsonCodec(), events=True)
        for name, receiver in (("state", state), ("events", events), ("poor", poor)):
            await running.hub.settle(running.hub.add(REG, name, receiver))
        running.real.notify(1)
        running.real.notify(object())
        running.real.notify(b"\xff")
        thread = threading.Thread(target=running.real.notify, args=(object(),))
        thread.start()
        thread.join()
        running.real.notify(2)
        await until(events, 5)
        gap = Gap("a value could not be encoded", 1)
        assert state.values == [1, b"\xff", 2]
        assert events.values == [1, gap, b"\xff", gap, 2]
        poorer = Gap("a value could not be encoded for this process", 1)
        assert poor.values == [1, gap, poorer, gap, 2]


async def test_the_loss_of_the_real_client_stands_behind_what_it_said() -> None:
    async with running_hub() as running:
        state, events = Receiver(), Receiver(events=True)
        await running.hub.settle(running.hub.add(REG, "state", state))
        await running.hub.settle(running.hub.add(REG, "events", events))
        thread = threading.Thread(target=running.real.notify, args=("thread",))
        thread.start()
        thread.join()
        running.hub.suspend("expired")
        assert state.values == ["thread"]
        assert events.values == ["thread", Gap("the real client was lost: expired")]
