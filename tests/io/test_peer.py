"""The leader's side of one follower, whose part the test plays frame by frame."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import _clock, _turns
from cluster_client._calls import CallExecutor
from cluster_client._clock import Deadline, to_microseconds
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import NodeDialect, PeerDialect
from cluster_client._event_queue import MAX_WAITING_VALUES
from cluster_client._hub import SubscriptionHub
from cluster_client._link import Link
from cluster_client._outbox import HIGH_WATER
from cluster_client._outgoing import MAX_UNACKNOWLEDGED, MAX_UNACKNOWLEDGED_BYTES
from cluster_client._peer import Peer
from cluster_client._registrations import check_registration
from cluster_client._snapshots import Snapshot
from cluster_client._states import LinkState
from cluster_client._workers import Workers
from cluster_client.options import ClientOptions
from cluster_protocol import (
    EVENTS,
    VALUES_TAKEN,
    Agreement,
    Cancel,
    Failure,
    Frame,
    FrameDecoder,
    Goodbye,
    GoodbyeAck,
    Heartbeat,
    HeartbeatAck,
    Invoke,
    InvokeResult,
    Json,
    Message,
    RegisterChannel,
    RegisterChannelResult,
    Subscribe,
    SubscribeAck,
    SubscribeResult,
    SubscribeResultAck,
    Unsubscribe,
    ValuesMissed,
    ValuesTaken,
    encode_frame,
    join_arguments,
    pack_call,
)
from cluster_protocol import Snapshot as SnapshotMessage
from cluster_protocol.codecs import MsgpackCodec
from support.links import AGREED
from support.logs import LogRecorder
from support.real_clients import Provided, real_client
from support.registry import Registry, Upstream
from support.times import scaled
from support.transports import FramePeer, MemoryTransport, connected_pair
from support.waiting import until

CODEC = MsgpackCodec()
REG: Json = {"path": "/k"}
ODD: Json = {"no": "id"}
KEY = check_registration(REG).key


ONE_BY_ONE = replace(AGREED, features=AGREED.features - {VALUES_TAKEN})
"""As an older follower of ours acknowledges values, and Node's."""


@dataclass
class Serving:
    """A peer that serves, and the follower's end of its link."""

    peer: Peer
    transport: MemoryTransport
    follower: FramePeer
    calls: CallExecutor
    hub: SubscriptionHub
    upstream: Upstream
    log: LogRecorder
    tasks: anyio.abc.TaskGroup
    ended: anyio.Event = field(default_factory=anyio.Event)
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def run(self) -> None:
        await self.peer.run()
        self.ended.set()

    def send(self, message: Message, application: bytes = b"") -> int:
        request_id = next(self.ids)
        self.follower.request(request_id, message, application)
        return request_id

    def send_call(
        self, method: str, *args: Any, deadline: Deadline | None = None, **kwargs: Any
    ) -> int:
        until = Deadline.never() if deadline is None else deadline
        body = pack_call(to_microseconds(until.at), CODEC.encode([args, kwargs]))
        return self.send(Invoke(method, len(args), packed=True), body)

    async def answer_to(self, request_id: int) -> tuple[Message, Any]:
        """Return what the next frame says, which must be the answer."""
        frame, message = await self.follower.receive_message()
        assert (frame.is_response, frame.request_id) == (True, request_id)
        return message, CODEC.decode(frame.application) if frame.application else None

    async def next_value(self) -> tuple[Frame, str, Any]:
        """Return the next frame, which must bring a value, its key and the value."""
        frame, message = await self.follower.receive_message()
        assert isinstance(message, SubscribeResult)
        return frame, message.key, CODEC.decode(frame.application)


@asynccontextmanager
async def serving(
    agreement: Agreement | None = AGREED, *, may_lead: bool = False, **options: Any
) -> AsyncGenerator[Serving]:
    """Serve one follower of a registry until the end of the ``async with``."""
    here, there = connected_pair()
    log = LogRecorder()
    upstream = Upstream()
    table = DelegateTable(Registry, {})
    real = real_client(Registry, upstream, log=log)
    link = Link(here, FrameDecoder(), agreement=agreement, log=log, wait_for_reader=True)
    checked = ClientOptions.build({"name": "registry", **options})
    async with real.open(), anyio.create_task_group() as tasks:
        calls = CallExecutor(Provided(real), table, log)
        tasks.start_soon(calls.watch_deadlines)
        hub = SubscriptionHub(real, table, codec=CODEC, tasks=tasks, broadcast=True, log=log)
        dialect = NodeDialect(CODEC) if agreement is None else PeerDialect(CODEC)
        peer = Peer(
            link,
            dialect,
            calls=calls,
            hub=hub,
            tasks=tasks,
            workers=Workers(tasks, log),
            options=checked,
            may_lead=may_lead,
            log=log,
        )
        serves = Serving(peer, here, FramePeer(there), calls, hub, upstream, log, tasks)
        tasks.start_soon(serves.run)
        yield serves
        tasks.cancel_scope.cancel()


# ------------------------------------------------------------------- calls


async def test_a_packed_call_is_answered_with_its_result() -> None:
    async with serving() as serves:
        call = serves.send_call("get_data", "/none", default=5)
        assert await serves.answer_to(call) == (InvokeResult(success=True), 5)


async def test_nodes_form_of_a_call_is_answered_too() -> None:
    async with serving(None) as serves:
        arguments = join_arguments([CODEC.encode("/none"), CODEC.encode(5)])
        call = serves.send(Invoke("get_data", 2), arguments)
        assert await serves.answer_to(call) == (InvokeResult(success=True), 5)


async def test_a_call_that_fails_is_answered_with_the_error() -> None:
    async with serving() as serves:
        call = serves.send_call("fail", "/k")
        message, value = await serves.answer_to(call)
        assert message == InvokeResult(success=False)
        failure = Failure.from_value(value)
        assert (failure.name, failure.message, failure.code) == ("RegistryError", "no /k", "E_PATH")


async def test_a_method_that_is_not_delegated_is_not_called() -> None:
    async with serving() as serves:
        call = serves.send_call("__init__", None)
        message, value = await serves.answer_to(call)
        assert message == InvokeResult(success=False)
        assert "does not delegate it" in Failure.from_value(value).message


@pytest.mark.parametrize(
    "application",
    [
        b"short",
        pack_call(0, b"\xc1 is not msgpack"),
        pack_call(0, CODEC.encode("no list")),
        pack_call(0, CODEC.encode([[], {}, None])),
        pack_call(0, CODEC.encode([{}, []])),
        pack_call(0, CODEC.encode([[], {1: 2}])),
    ],
    ids=["no deadline", "not msgpack", "no list", "three parts", "wrong parts", "no names"],
)
async def test_malformed_arguments_fail_only_their_call(application: bytes) -> None:
    async with serving() as serves:
        call = serves.send(Invoke("echo", 1, packed=True), application)
        message, value = await serves.answer_to(call)
        assert message == InvokeResult(success=False)
        assert Failure.from_value(value).name == "RemoteProtocolError"
        call = serves.send_call("echo", 1)
        assert await serves.answer_to(call) == (InvokeResult(success=True), 1)


async def test_a_oneway_call_is_executed_and_not_answered() -> None:
    async with serving() as serves:
        body = pack_call(0, CODEC.encode([["/k", 1], {}]))
        serves.send(Invoke("set_data", 2, oneway=True, packed=True), body)
        call = serves.send_call("echo", "next")
        assert await serves.answer_to(call) == (InvokeResult(success=True), "next")
        assert serves.upstream.data == {"/k": 1}


async def test_a_oneway_call_that_fails_is_logged() -> None:
    async with serving() as serves:
        body = pack_call(0, CODEC.encode([["/k"], {}]))
        serves.send(Invoke("fail", 1, oneway=True, packed=True), body)
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.log.of("oneway_call_failed") == [{"method": "fail"}]


async def test_a_call_whose_caller_has_given_up_is_not_run() -> None:
    async with serving() as serves:
        serves.send_call("set_data", "/k", 1, deadline=Deadline.after(-1))
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.upstream.executed == []
        assert serves.calls.running == 0


async def test_a_call_is_cancelled_at_its_deadline() -> None:
    async with serving() as serves:
        serves.send_call("wait_at_gate", "slow", deadline=Deadline.after(scaled(0.2)))
        await serves.upstream.cancelled.wait()
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.calls.running == 0


async def test_a_cancelled_call_is_not_answered() -> None:
    async with serving() as serves:
        call = serves.send_call("wait_at_gate", "slow")
        await serves.upstream.entered.wait()
        serves.send(Cancel(call))
        await serves.upstream.cancelled.wait()
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.calls.running == 0


async def test_a_call_that_is_cancelled_in_the_next_frame_is_not_answered() -> None:
    async with serving() as serves:
        call = serves.send_call("wait_at_gate", "slow")
        serves.send(Cancel(call))
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.calls.running == 0


async def test_the_cancellation_of_a_call_that_does_not_run_is_ignored() -> None:
    async with serving() as serves:
        serves.send(Cancel(1000))
        call = serves.send_call("echo", 1)
        assert await serves.answer_to(call) == (InvokeResult(success=True), 1)


async def test_a_request_id_that_is_still_in_use_closes_the_link() -> None:
    async with serving() as serves:
        call = serves.send_call("wait_at_gate", "slow")
        await serves.upstream.entered.wait()
        serves.ids = itertools.count(call)
        serves.send_call("echo", 1)
        await serves.ended.wait()
        assert serves.peer.link.reason == f"request id {call} is not above {call}, the last"


async def test_the_calls_of_a_follower_that_is_gone_are_cancelled() -> None:
    async with serving() as serves:
        serves.send_call("wait_at_gate", "slow")
        await serves.upstream.entered.wait()
        await serves.follower.transport.aclose()
        await serves.upstream.cancelled.wait()
        await serves.ended.wait()
        await wait_all_tasks_blocked()
        assert serves.calls.running == 0


async def test_a_call_that_comes_too_late_is_refused() -> None:
    async with serving() as serves:
        serves.calls.refusing = True
        call = serves.send_call("set_data", "/k", 1)
        message, value = await serves.answer_to(call)
        assert message == InvokeResult(success=False, refused=True)
        assert Failure.from_value(value).name == "RefusedError"
        assert serves.upstream.executed == []


async def test_a_request_of_unknown_type_is_ignored() -> None:
    async with serving() as serves:
        frame = Frame(False, 0, 0, b'{"type":"of the future"}')
        serves.follower.transport.outgoing.put(encode_frame(frame))
        call = serves.send_call("echo", 1)
        assert await serves.answer_to(call) == (InvokeResult(success=True), 1)
        assert serves.log.of("request_ignored") == [{"request": b'{"type":"of the future"}'}]


# ----------------------------------------------------------- subscriptions


async def test_a_subscription_is_confirmed_and_brings_values() -> None:
    async with serving(ONE_BY_ONE) as serves:
        subscription = serves.send(Subscribe(KEY, REG))
        assert await serves.answer_to(subscription) == (SubscribeAck(success=True), None)
        serves.upstream.data["/k"] = 1
        serves.upstream.notify("/k")
        frame, key, value = await serves.next_value()
        assert (key, value) == (KEY, 1)
        assert frame.timeout_ms == 3000


async def test_values_come_under_the_key_that_the_follower_sent() -> None:
    async with serving() as serves:
        serves.upstream.data["/k"] = 1
        serves.send(Subscribe("its own key", REG))
        _, key, _ = await serves.next_value()
        assert key == "its own key"


async def test_a_node_follower_gets_no_confirmation() -> None:
    async with serving(None) as serves:
        serves.send(Subscribe(KEY, REG))
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.upstream.events == ["open", "subscribe /k"]


async def test_a_subscription_that_fails_is_answered_with_the_error() -> None:
    async with serving() as serves:
        subscription = serves.send(Subscribe("key", {"no path": True}))
        message, value = await serves.answer_to(subscription)
        assert message == SubscribeAck(success=False)
        assert Failure.from_value(value).name == "KeyError"


async def test_a_subscription_that_the_end_of_leadership_cuts_off_is_not_answered() -> None:
    async with serving() as serves:
        serves.hub.close()
        serves.send(Subscribe(KEY, REG))
        await wait_all_tasks_blocked()
        serves.hub.close()
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.upstream.events == ["open"]


async def test_unsubscribing_reaches_the_real_client() -> None:
    async with serving() as serves:
        await serves.answer_to(serves.send(Subscribe(KEY, REG)))
        serves.send(Unsubscribe(KEY, REG))
        await wait_all_tasks_blocked()
        assert serves.upstream.events == ["open", "subscribe /k", "unsubscribe /k"]


async def test_a_follower_that_is_gone_is_unsubscribed() -> None:
    async with serving() as serves:
        await serves.answer_to(serves.send(Subscribe(KEY, REG)))
        await serves.follower.transport.aclose()
        await serves.ended.wait()
        await wait_all_tasks_blocked()
        assert serves.upstream.events == ["open", "subscribe /k", "unsubscribe /k"]


@pytest.mark.parametrize(
    "message",
    [Subscribe("key", ODD), Unsubscribe("key", ODD)],
    ids=["subscribe", "unsubscribe"],
)
async def test_a_registration_that_the_leaders_format_key_refuses_closes_the_link(
    message: Message,
) -> None:
    async with serving(format_key=lambda reg: reg["id"]) as serves:
        serves.send(message)
        await serves.ended.wait()
        assert serves.peer.link.reason == "format_key failed for {'no': 'id'}: KeyError('id')"


async def test_a_key_that_cannot_be_sent_back_closes_the_link() -> None:
    async with serving() as serves:
        text = b'{"type":"subscribe","key":"\\ud800","reg":1}'
        serves.follower.transport.outgoing.put(encode_frame(Frame(False, 1, 0, text)))
        await serves.ended.wait()
        assert serves.peer.link.reason.startswith("connection object is not JSON")


# ------------------------------------------- the window of values on their way


def values_of(frames: list[Frame]) -> list[Any]:
    return [CODEC.decode(frame.application) for frame in frames]


async def fill_window(serves: Serving) -> list[Frame]:
    """Deliver as many values as may be on their way, and return their frames."""
    for number in range(MAX_UNACKNOWLEDGED):
        serves.peer._values.deliver("a", CODEC.encode(number))
    frames = [await serves.follower.receive() for _ in range(MAX_UNACKNOWLEDGED)]
    assert values_of(frames) == list(range(MAX_UNACKNOWLEDGED))
    return frames


async def test_only_so_many_values_are_on_their_way() -> None:
    async with serving() as serves:
        await fill_window(serves)
        serves.peer._values.deliver("a", CODEC.encode("too many"))
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()


async def test_an_acknowledgement_makes_room_for_one_value() -> None:
    async with serving(ONE_BY_ONE) as serves:
        frames = await fill_window(serves)
        serves.peer._values.deliver("a", CODEC.encode("first"))
        serves.peer._values.deliver("b", CODEC.encode("second"))
        serves.follower.answer(frames[0], SubscribeResultAck())
        assert (await serves.next_value())[1:] == ("a", "first")
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        serves.follower.answer(frames[1], SubscribeResultAck())
        assert (await serves.next_value())[1:] == ("b", "second")


async def test_of_the_values_that_wait_the_latest_of_each_registration_counts() -> None:
    async with serving(ONE_BY_ONE) as serves:
        frames = await fill_window(serves)
        for number in range(1000):
            serves.peer._values.deliver("a", CODEC.encode(number))
            serves.peer._values.deliver("b", CODEC.encode(-number))
        for frame in frames:
            serves.follower.answer(frame, SubscribeResultAck())
        assert (await serves.next_value())[1:] == ("a", 999)
        assert (await serves.next_value())[1:] == ("b", -999)
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()


async def test_between_our_peers_many_values_are_acknowledged_at_once() -> None:
    async with serving() as serves:
        frames = await fill_window(serves)
        assert {frame.request_id for frame in frames} == {0}
        for name in ("a", "b", "c"):
            serves.peer._values.deliver(name, CODEC.encode(name))
        serves.send(ValuesTaken(2))
        assert (await serves.next_value())[1:] == ("a", "a")
        assert (await serves.next_value())[1:] == ("b", "b")
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        serves.send(ValuesTaken(10**6))  # more than there ever were
        assert (await serves.next_value())[1:] == ("c", "c")
        assert serves.peer._values.unacknowledged == 1


MIB = 1 << 20


def deliver_bytes(serves: Serving, key: str, size: int, fill: bytes = b"x") -> None:
    serves.peer._values.deliver(key, CODEC.encode(fill * size))


async def test_only_so_many_bytes_are_on_their_way() -> None:
    async with serving() as serves:
        values = serves.peer._values
        for index in range(10):
            deliver_bytes(serves, f"key {index}", MIB)
        assert values.unacknowledged == 3  # a fourth one is a little more than 4 MiB with the rest
        assert values.unacknowledged_bytes <= MAX_UNACKNOWLEDGED_BYTES
        for index in range(3):
            assert (await serves.next_value())[1] == f"key {index}"
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        serves.send(ValuesTaken(2))
        assert (await serves.next_value())[1] == "key 3"
        assert (await serves.next_value())[1] == "key 4"
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert values.unacknowledged == 3


async def test_one_value_of_any_size_is_always_on_its_way() -> None:
    async with serving() as serves:
        deliver_bytes(serves, "a", 2 * MAX_UNACKNOWLEDGED_BYTES)
        deliver_bytes(serves, "a", 2 * MAX_UNACKNOWLEDGED_BYTES, b"y")
        deliver_bytes(serves, "b", 1)
        assert len((await serves.next_value())[2]) == 2 * MAX_UNACKNOWLEDGED_BYTES
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        serves.send(ValuesTaken(1))
        assert (await serves.next_value())[2][:1] == b"y"
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        serves.send(ValuesTaken(1))
        assert (await serves.next_value())[1:] == ("b", b"x")
        serves.send(ValuesTaken(1))
        await wait_all_tasks_blocked()
        assert serves.peer._values.unacknowledged_bytes == 0


async def test_no_small_value_overtakes_a_big_one_that_waits() -> None:
    """Else an older value of a registration could come last, and a big one never."""
    async with serving() as serves:
        deliver_bytes(serves, "a", MAX_UNACKNOWLEDGED_BYTES - 100)
        deliver_bytes(serves, "b", 1000)
        deliver_bytes(serves, "b", 1)
        deliver_bytes(serves, "c", 1)
        await serves.next_value()
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        serves.send(ValuesTaken(1))
        assert (await serves.next_value())[1:] == ("b", b"x")
        assert (await serves.next_value())[1:] == ("c", b"x")


# ------------------------------------------------------------------- events


EVENTS_KEY = check_registration(REG).for_events.key


async def test_events_are_subscribed_to_beside_the_state() -> None:
    async with serving() as serves:
        serves.upstream.data["/k"] = 0
        serves.send(Subscribe(KEY, REG))
        assert (await serves.next_value())[1:] == (KEY, 0)
        assert (await serves.follower.receive_message())[1] == SubscribeAck(success=True)
        events = serves.send(Subscribe(EVENTS_KEY, REG, events=True))
        assert await serves.answer_to(events) == (SubscribeAck(success=True), None)
        serves.upstream.notify("/k")
        assert (await serves.next_value())[1:] == (KEY, 0)
        assert (await serves.next_value())[1:] == (EVENTS_KEY, 0)
        serves.send(Unsubscribe(KEY, REG))
        await wait_all_tasks_blocked()
        serves.upstream.notify("/k")
        assert (await serves.next_value())[1:] == (EVENTS_KEY, 0)
        serves.send(Unsubscribe(EVENTS_KEY, REG, events=True))
        await wait_all_tasks_blocked()
        assert serves.upstream.events == ["open", "subscribe /k", "unsubscribe /k"]
        assert serves.follower.has_nothing_to_read()


async def test_events_that_have_no_room_are_counted() -> None:
    async with serving() as serves:
        await serves.answer_to(serves.send(Subscribe(EVENTS_KEY, REG, events=True)))
        for number in range(MAX_UNACKNOWLEDGED + MAX_WAITING_VALUES + 3):
            serves.upstream.data["/k"] = number
            serves.upstream.notify("/k")
        for number in range(MAX_UNACKNOWLEDGED):
            assert (await serves.next_value())[2] == number
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        serves.send(ValuesTaken(2))
        frame, message = await serves.follower.receive_message()
        assert message == ValuesMissed(EVENTS_KEY, 3, "this process did not keep up")
        assert frame.request_id == 0
        assert (await serves.next_value())[2] == MAX_UNACKNOWLEDGED + 3
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()


@pytest.mark.parametrize("missing", [EVENTS, VALUES_TAKEN])
async def test_a_follower_that_knows_no_events_gets_a_state(missing: str) -> None:
    agreement = replace(AGREED, features=AGREED.features - {missing})
    async with serving(agreement) as serves:
        serves.upstream.data["/k"] = 0
        serves.send(Subscribe(EVENTS_KEY, REG, events=True))
        assert (await serves.next_value())[1:] == (EVENTS_KEY, 0)
        serves.hub.suspend("expired")
        await serves.follower.receive_message()  # the confirmation
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()


async def test_a_follower_that_is_gone_is_unsubscribed_from_events() -> None:
    async with serving() as serves:
        await serves.answer_to(serves.send(Subscribe(EVENTS_KEY, REG, events=True)))
        await serves.follower.transport.aclose()
        await serves.ended.wait()
        await wait_all_tasks_blocked()
        assert serves.upstream.events == ["open", "subscribe /k", "unsubscribe /k"]


# ------------------------------------------------- followers that do not read


FILL = 10
"""Results of `Large` that are as much as may wait to be written."""


class Large(dict[str, Any]):
    """What each call gets is large; knows how many did."""

    calls = 0

    def get(self, *_: Any) -> bytes:
        self.calls += 1
        return b"x" * (HIGH_WATER // FILL)


async def test_calls_of_a_follower_that_does_not_read_their_results_wait() -> None:
    async with serving() as serves:
        large = serves.upstream.data = Large()
        serves.transport.outgoing.capacity = 0
        for _ in range(200):
            serves.send_call("get_data", "/large")
        await wait_all_tasks_blocked()
        assert large.calls == FILL  # what makes the link congested, and not one more
        assert serves.calls.running == 200 - FILL
        serves.transport.outgoing.grow(math.inf)
        for _ in range(200):
            _, message = await serves.follower.receive_message()
            assert message == InvokeResult(success=True)
        assert large.calls == 200
        assert serves.calls.running == 0


async def test_calls_that_have_waited_for_their_reader_wait_for_no_slow_one_before_them() -> None:
    async with serving() as serves:
        serves.upstream.data = Large()
        serves.transport.outgoing.capacity = 0
        for _ in range(FILL):
            serves.send_call("get_data", "/large")
        for number in range(40):
            serves.send_call("wait_at_gate", str(number))
        last = serves.send_call("echo", "last")
        await wait_all_tasks_blocked()
        serves.transport.outgoing.grow(math.inf)
        for _ in range(FILL):
            await serves.follower.receive()
        assert await serves.answer_to(last) == (InvokeResult(success=True), "last")
        assert len(serves.upstream.executed) == 40


async def test_calls_that_have_waited_for_their_reader_do_not_all_go_on_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_turns, "PATIENCE", 3600)
    async with serving() as serves:
        large = serves.upstream.data = Large()
        serves.transport.outgoing.capacity = 0
        for _ in range(FILL):
            serves.send_call("get_data", "/large")
        for number in range(100):
            serves.send_call("wait_at_gate", str(number))
        await wait_all_tasks_blocked()
        assert (large.calls, serves.upstream.executed) == (FILL, [])
        serves.transport.outgoing.grow(math.inf)
        await serves.upstream.entered.wait()
        await wait_all_tasks_blocked()
        assert len(serves.upstream.executed) == 16
        serves.upstream.gate.set()
        while serves.calls.running:
            await wait_all_tasks_blocked()
        assert sorted(map(int, serves.upstream.executed)) == list(range(100))


async def test_a_call_that_waits_for_its_reader_is_not_run_when_its_caller_gives_up() -> None:
    async with serving() as serves:
        serves.upstream.data = Large()
        serves.transport.outgoing.capacity = 0
        for _ in range(FILL):
            serves.send_call("get_data", "/large")
        serves.send_call("set_data", "/late", 1, deadline=Deadline.after(scaled(0.2)))
        serves.send(Cancel(serves.send_call("set_data", "/cancelled", 1)))
        await wait_all_tasks_blocked()
        assert serves.calls.running == 1
        await until(lambda: not serves.calls.running)
        serves.transport.outgoing.grow(math.inf)
        for _ in range(FILL):
            await serves.follower.receive()
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.upstream.executed == []


async def test_calls_that_wait_for_their_reader_are_refused_when_leadership_ends() -> None:
    """Or a follower that does not read would delay the hand-over, and never learn of its calls."""
    async with serving() as serves:
        serves.upstream.data = Large()
        serves.transport.outgoing.capacity = 0
        for _ in range(FILL):
            serves.send_call("get_data", "/large")
        calls = {serves.send_call("set_data", "/k", number) for number in range(40)}
        await wait_all_tasks_blocked()
        assert serves.calls.running == 40
        serves.peer.refuse_calls()
        await wait_all_tasks_blocked()
        assert serves.calls.running == 0
        serves.transport.outgoing.grow(math.inf)
        for _ in range(FILL):
            await serves.follower.receive()
        for _ in range(40):
            frame, message = await serves.follower.receive_message()
            assert message == InvokeResult(success=False, refused=True)
            calls.remove(frame.request_id)
        assert serves.upstream.executed == []


async def test_a_call_that_has_had_its_turn_ends_well_when_leadership_ends() -> None:
    async with serving() as serves:
        serves.upstream.data = Large()
        serves.transport.outgoing.capacity = 0
        for _ in range(FILL):
            serves.send_call("get_data", "/large")
        call = serves.send_call("wait_at_gate", "slow")
        await wait_all_tasks_blocked()
        serves.transport.outgoing.grow(math.inf)
        await serves.upstream.entered.wait()
        serves.peer.refuse_calls()
        serves.upstream.gate.set()
        for _ in range(FILL):
            await serves.follower.receive()
        assert await serves.answer_to(call) == (InvokeResult(success=True), "slow")


async def test_calls_that_wait_for_a_reader_who_dies_are_not_run() -> None:
    async with serving() as serves:
        serves.upstream.data = Large()
        serves.transport.outgoing.capacity = 0
        for _ in range(FILL):
            serves.send_call("get_data", "/large")
        serves.send_call("set_data", "/k", 1)
        await wait_all_tasks_blocked()
        serves.peer.link.close("it died")
        await serves.ended.wait()
        await wait_all_tasks_blocked()
        assert serves.calls.running == 0
        assert serves.upstream.executed == []


async def test_a_follower_that_does_not_read_gets_the_latest_snapshot_when_it_does() -> None:
    async with serving(may_lead=True) as serves:
        serves.upstream.data = Large()
        serves.transport.outgoing.capacity = 0
        for _ in range(FILL):
            serves.send_call("get_data", "/large")
        await wait_all_tasks_blocked()
        for number in range(100):
            serves.peer.hand_over(Snapshot(b"%d" % number))
        serves.transport.outgoing.grow(math.inf)
        for _ in range(FILL):
            await serves.follower.receive()
        frame, message = await serves.follower.receive_message()
        assert (message, frame.application) == (SnapshotMessage(), b"99")
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        serves.peer.hand_over(None)
        assert (await serves.follower.receive()).application == b""


async def test_a_follower_that_is_gone_costs_nothing() -> None:
    async with serving(ONE_BY_ONE) as serves:
        await fill_window(serves)
        serves.peer._values.deliver("a", CODEC.encode("waits"))
        await serves.follower.transport.aclose()
        await serves.ended.wait()
        assert serves.peer._values.unacknowledged == 0
        serves.peer._values.deliver("a", CODEC.encode("nobody is there"))
        assert serves.peer._values.unacknowledged == 0
        assert serves.peer.link.backlog == 0


# -------------------------------------------------------------- heartbeats


async def test_a_heartbeat_is_answered() -> None:
    async with serving() as serves:
        heartbeat = serves.send(Heartbeat())
        assert await serves.answer_to(heartbeat) == (HeartbeatAck(), None)


async def test_a_node_follower_that_is_silent_for_three_intervals_is_dropped() -> None:
    async with serving(None, heartbeat_interval=0.01) as serves:
        await serves.ended.wait()
        assert serves.peer.link.reason == "no heartbeat for 0.03 s"


async def test_a_node_follower_is_not_dropped_while_it_waits_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Node sends no heartbeats meanwhile."""
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 10:
            serves.upstream.gate.set()
        await wait_all_tasks_blocked()
        clock.time += 30  # half the limit

    clock = ManualClock()
    monkeypatch.setattr(_clock, "now", clock)
    async with serving(None, heartbeat_interval=20) as serves:
        arguments = join_arguments([CODEC.encode("a")])
        call = serves.send(Invoke("wait_at_gate", 1), arguments)
        monkeypatch.setattr(anyio, "sleep", sleep)
        assert await serves.answer_to(call) == (InvokeResult(success=True), "a")
        await serves.ended.wait()
        assert looks == 11


async def test_a_node_follower_that_shows_signs_of_life_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        """Let the time pass; the first time the follower sends something meanwhile."""
        slept.append(seconds)
        clock.time += seconds - 10
        if len(slept) == 1:
            serves.send(Heartbeat())
            await wait_all_tasks_blocked()
        clock.time += 10

    clock = ManualClock()
    monkeypatch.setattr(_clock, "now", clock)
    async with serving(None, heartbeat_interval=20) as serves:
        monkeypatch.setattr(anyio, "sleep", sleep)
        await serves.ended.wait()
    # Heard 10 s before the limit of 60 s, so it is silent too long 50 s later.
    assert slept == [60, 50]


class ManualClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("agreement", "options"),
    [(AGREED, {}), (None, {"check_heartbeat": False})],
    ids=["our peer", "not checked"],
)
async def test_silence_alone_is_no_sign_of_death(
    agreement: Agreement | None, options: dict[str, Any]
) -> None:
    async with serving(agreement, heartbeat_interval=1e-6, **options) as serves:
        await wait_all_tasks_blocked()
        assert serves.peer.link.state is LinkState.OPEN


# ----------------------------------------------------------------- farewell


async def test_a_goodbye_waits_for_the_followers_last_request() -> None:
    async with serving() as serves:
        said = anyio.Event()
        serves.tasks.start_soon(say_goodbye, serves, math.inf, said)
        frame, message = await serves.follower.receive_message()
        assert message == Goodbye()
        last = serves.send_call("echo", "last")
        serves.follower.answer(frame, GoodbyeAck())
        await said.wait()
        assert await serves.answer_to(last) == (InvokeResult(success=True), "last")


async def say_goodbye(serves: Serving, limit: float, said: anyio.Event) -> None:
    await serves.peer.say_goodbye(limit)
    said.set()


async def test_a_goodbye_that_is_not_acknowledged_is_given_up() -> None:
    async with serving() as serves:
        await serves.peer.say_goodbye(0)


async def test_a_goodbye_to_a_follower_that_goes_meanwhile_ends() -> None:
    async with serving() as serves:
        said = anyio.Event()
        serves.tasks.start_soon(say_goodbye, serves, math.inf, said)
        await serves.follower.receive()
        await serves.follower.transport.aclose()
        await said.wait()


async def test_a_dismissal_waits_until_all_is_written_and_the_follower_has_gone() -> None:
    async with serving() as serves:
        serves.transport.outgoing.grow(10)
        call = serves.send_call("echo", "last words")
        await wait_all_tasks_blocked()
        dismissed = anyio.Event()
        serves.tasks.start_soon(dismiss, serves.peer, dismissed)
        assert await serves.answer_to(call) == (InvokeResult(success=True), "last words")
        assert await serves.follower.receive_to_the_end() == []
        assert not dismissed.is_set()
        await serves.follower.transport.aclose()
        await dismissed.wait()


async def dismiss(peer: Peer, dismissed: anyio.Event) -> None:
    await peer.dismiss()
    dismissed.set()


# --------------------------------------------------------------- Node follower


async def test_a_node_follower_is_told_of_an_error_what_it_knows() -> None:
    async with serving(None) as serves:
        call = serves.send(Invoke("fail", 1), join_arguments([CODEC.encode("/k")]))
        message, value = await serves.answer_to(call)
        assert message == InvokeResult(success=False)
        assert list(value) == ["stack", "name", "message", "code"]
        assert (value["name"], value["message"], value["code"]) == (
            "RegistryError",
            "no /k",
            "E_PATH",
        )


async def test_a_node_follower_gets_its_timeout_back() -> None:
    async with serving(None) as serves:
        for message in (Invoke("echo", 0), Heartbeat(), RegisterChannel("registry")):
            serves.follower.request(next(serves.ids), message, timeout_ms=1234)
            assert (await serves.follower.receive()).timeout_ms == 1234


async def test_a_node_follower_that_registers_again_is_accepted_again() -> None:
    async with serving(None) as serves:
        again = serves.send(RegisterChannel("registry"))
        assert await serves.answer_to(again) == (RegisterChannelResult(None), {"success": True})


async def test_a_call_of_node_is_cancelled_when_its_caller_gives_up() -> None:
    async with serving(None) as serves:
        arguments = join_arguments([CODEC.encode("a")])
        serves.follower.request(1, Invoke("wait_at_gate", 1), arguments, timeout_ms=1)
        await serves.upstream.cancelled.wait()
        await wait_all_tasks_blocked()
        assert serves.follower.has_nothing_to_read()
        assert serves.calls.running == 0


async def test_when_leadership_ends_a_node_followers_calls_are_refused_in_its_own_words() -> None:
    async with serving(None) as serves:
        running = serves.send(Invoke("wait_at_gate", 1), join_arguments([CODEC.encode("a")]))
        await serves.upstream.entered.wait()
        serves.peer.refuse_calls()
        late = serves.send(Invoke("echo", 1), join_arguments([CODEC.encode(1)]))
        frame, message = await serves.follower.receive_message()
        assert (frame.request_id, message) == (late, InvokeResult(success=False))
        assert b"refused" not in frame.connection  # which Node does not know
        assert Failure.from_value(CODEC.decode(frame.application)).name == "RefusedError"
        serves.upstream.gate.set()
        assert await serves.answer_to(running) == (InvokeResult(success=True), "a")
        assert serves.calls.running == 0
