"""A follower, whose leader's part the test plays frame by frame."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import EncodeError, Gap, RefusedError, RemoteInvokeError, ResponseTimeoutError
from cluster_client._clock import Deadline
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import CallRequest
from cluster_client._election import Joined
from cluster_client._follower import Follower
from cluster_client._registrations import check_registration
from cluster_client._session import ClientSpec, SessionEvents
from cluster_client._subscriptions import EncodedValue
from cluster_client.errors import LinkClosedError
from cluster_client.options import ClientOptions
from cluster_protocol import (
    EVENTS,
    NO_DEADLINE,
    SUBSCRIBE_ACK,
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
    RemoteProtocolError,
    Subscribe,
    SubscribeAck,
    SubscribeResult,
    SubscribeResultAck,
    Unsubscribe,
    ValuesMissed,
    ValuesTaken,
    encode_frame,
    join_arguments,
    unpack_call,
)
from cluster_protocol.codecs import Codec, JsonCodec, MsgpackCodec
from support.links import AGREED, LONG
from support.logs import LogRecorder
from support.registry import Registry
from support.transports import FramePeer, MemoryTransport, connected_pair

CODEC = MsgpackCodec()
CODECS: dict[str, Codec] = {"msgpack": CODEC}
NODE_CODEC = JsonCodec()  # any that is not the other one
TABLE = DelegateTable(Registry, {})
REG = check_registration({"path": "/k"})


@dataclass
class Following:
    """A follower that runs, and the leader's end of its link."""

    follower: Follower
    transport: MemoryTransport
    leader: FramePeer
    log: LogRecorder
    tasks: anyio.abc.TaskGroup
    told: list[Any] = field(default_factory=list)
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        await self.follower.run()
        self.ended.set()

    def start(self, what: Any, *args: Any) -> Attempt:
        attempt = Attempt()
        self.tasks.start_soon(attempt.run, what, *args)
        return attempt

    def call(self, name: str, *args: Any, timeout: float = LONG) -> Attempt:
        return self.start(self.follower.call, request(name, *args, timeout=timeout), LATER)


class Attempt:
    """What came of something that runs in a task of its own."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.result: Any = None
        self.error: Exception | None = None

    async def run(self, what: Any, *args: Any) -> None:
        try:
            self.result = await what(*args)
        except Exception as exc:
            self.error = exc
        self.ended.set()

    async def outcome(self) -> Any:
        await self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.result


LATER = Deadline.never()


def request(name: str, *args: Any, timeout: float = LONG, **kwargs: Any) -> CallRequest:
    method = TABLE.by_target[name]
    return CallRequest(method, *method.bind(args, kwargs), timeout)


@asynccontextmanager
async def following(
    agreement: Agreement | None = AGREED, **options: Any
) -> AsyncGenerator[Following]:
    """Run a follower until the end of the ``async with``."""
    here, there = connected_pair()
    log = LogRecorder()
    told: list[Any] = []

    def on_value(key: str, value: EncodedValue) -> None:
        told.append((key, value.decode()))

    checked = ClientOptions.build({"name": "registry", **options})
    follower = Follower(
        Joined(here, FrameDecoder(), agreement),
        ClientSpec(Registry, (), {}, TABLE, checked, CODECS, NODE_CODEC),
        SessionEvents(
            ready=lambda: told.append("ready"),
            ending=lambda: told.append("ending"),
            value=on_value,
            missed=lambda key, gap: told.append((key, gap)),
            real_client=lambda ready, reason: told.append((ready, reason)),
            snapshot=told.append,
        ),
        log,
    )
    async with anyio.create_task_group() as tasks:
        running = Following(follower, here, FramePeer(there), log, tasks, told)
        tasks.start_soon(running.run)
        yield running
        tasks.cancel_scope.cancel()


# ---------------------------------------------------------------- lifetime


async def test_a_follower_is_ready_at_once_and_ends_with_its_leader() -> None:
    async with following() as running:
        await wait_all_tasks_blocked()
        assert running.told == ["ready"]
        assert (running.follower.epoch, running.follower.leader_pid) == ("epoch", 1)
        assert not running.follower.is_leader
        await running.leader.transport.aclose()
        await running.ended.wait()
        assert running.transport.closed


async def test_a_follower_that_is_stopped_fails_its_calls() -> None:
    async with following() as running:
        call = running.call("echo", 1)
        await running.leader.receive()
        running.follower.stop()
        await running.ended.wait()
        with pytest.raises(LinkClosedError, match="the client is closed") as caught:
            await call.outcome()
        assert caught.value.sent


# -------------------------------------------------------------------- calls


async def test_a_call_travels_with_its_arguments_and_deadline() -> None:
    async with following() as running:
        attempt = running.start(
            running.follower.call, request("get_data", "/k", strict=True), LATER
        )
        frame, message = await running.leader.receive_message()
        assert message == Invoke("get_data", 1, packed=True)
        deadline, data = unpack_call(frame.application)
        assert deadline != NO_DEADLINE
        assert CODEC.decode(data) == [["/k"], {"strict": True}]
        running.leader.answer(frame, InvokeResult(success=True), CODEC.encode("value"))
        assert await attempt.outcome() == "value"


async def test_an_error_of_the_leader_is_raised() -> None:
    async with following() as running:
        call = running.call("fail", "/k")
        frame = await running.leader.receive()
        error = CODEC.encode(Failure("RegistryError", "no /k", code="E_PATH").to_value())
        running.leader.answer(frame, InvokeResult(success=False), error)
        with pytest.raises(RemoteInvokeError, match="RegistryError: no /k") as caught:
            await call.outcome()
        assert caught.value.code == "E_PATH"


async def test_a_call_without_an_answer_in_time_times_out() -> None:
    async with following() as running:
        with pytest.raises(ResponseTimeoutError) as caught:
            await running.follower.call(request("echo", 1, timeout=0), LATER)
        assert (caught.value.method, caught.value.timeout) == ("echo", 0)


async def test_an_answer_that_is_not_of_the_codec_fails_its_call() -> None:
    async with following() as running:
        success = InvokeResult(success=True)
        call = running.call("echo", 1)
        running.leader.answer(await running.leader.receive(), success, b"\xc1")
        with pytest.raises(RemoteProtocolError):
            await call.outcome()
        other = running.call("echo", 2)
        running.leader.answer(await running.leader.receive(), success, CODEC.encode(2))
        assert await other.outcome() == 2


async def test_an_answer_of_another_type_ends_the_link() -> None:
    async with following() as running:
        call, other = running.call("echo", 1), running.call("echo", 2)
        running.leader.answer(await running.leader.receive(), HeartbeatAck())
        for one in (call, other):
            with pytest.raises(LinkClosedError, match="expected invoke_result, got") as caught:
                await one.outcome()
            assert caught.value.sent
        assert len(running.log.of("link_protocol_error")) == 1


async def test_a_oneway_call_waits_for_nothing() -> None:
    async with following() as running:
        await running.follower.call_oneway(request("set_data", "/k", 1), LATER)
        frame, message = await running.leader.receive_message()
        assert message == Invoke("set_data", 2, oneway=True, packed=True)
        deadline, data = unpack_call(frame.application)
        assert deadline == NO_DEADLINE
        assert CODEC.decode(data) == [["/k", 1], {}]


async def test_a_refused_call_was_never_sent_and_ends_the_session() -> None:
    async with following() as running:
        calls = [running.call("echo", 1), running.call("echo", 2)]
        for _ in calls:
            frame = await running.leader.receive()
            refused = CODEC.encode(Failure("RefusedError", "leadership ends").to_value())
            running.leader.answer(frame, InvokeResult(success=False, refused=True), refused)
        for call in calls:
            with pytest.raises(LinkClosedError, match="the leader refused the call") as caught:
                await call.outcome()
            assert not caught.value.sent
        assert running.told == ["ready", "ending"]
        with pytest.raises(LinkClosedError, match="the link is draining"):
            await running.follower.call(request("echo", 3), LATER)


# ------------------------------------------------------------------ goodbye


async def test_a_goodbye_is_acknowledged_behind_the_last_request() -> None:
    async with following() as running:
        call = running.call("echo", "in flight")
        in_flight = await running.leader.receive()
        last = running.call("echo", "last")
        await wait_all_tasks_blocked()
        running.leader.request(7, Goodbye())
        await wait_all_tasks_blocked()
        late = running.call("echo", "late")
        last_frame, message = await running.leader.receive_message()
        assert isinstance(message, Invoke)
        frame, message = await running.leader.receive_message()
        assert (frame.request_id, message) == (7, GoodbyeAck())
        assert running.told == ["ready", "ending"]

        with pytest.raises(LinkClosedError) as caught:
            await late.outcome()
        assert not caught.value.sent
        with pytest.raises(LinkClosedError) as caught:
            await running.follower.call_oneway(request("echo", "late"), LATER)
        assert not caught.value.sent
        running.follower.unsubscribe(REG)
        await wait_all_tasks_blocked()
        assert running.leader.has_nothing_to_read()

        for frame, text in ((in_flight, "in flight"), (last_frame, "last")):
            running.leader.answer(frame, InvokeResult(success=True), CODEC.encode(text))
        assert await call.outcome() == "in flight"
        assert await last.outcome() == "last"


async def test_a_second_goodbye_changes_nothing() -> None:
    async with following() as running:
        for request_id in (1, 2):
            running.leader.request(request_id, Goodbye())
            frame, message = await running.leader.receive_message()
            assert (frame.request_id, message) == (request_id, GoodbyeAck())
        assert running.told == ["ready", "ending"]


async def test_a_request_of_unknown_type_is_ignored() -> None:
    async with following() as running:
        frame = Frame(False, 1, 0, b'{"type":"of the future"}')
        running.leader.transport.outgoing.put(encode_frame(frame))
        await wait_all_tasks_blocked()
        assert running.log.of("request_ignored") == [{"request": b'{"type":"of the future"}'}]
        assert not running.ended.is_set()


# ------------------------------------------------------------ subscriptions


async def test_a_subscription_waits_for_the_leaders_word() -> None:
    async with following() as running:
        attempt = running.start(running.follower.subscribe, REG)
        frame, message = await running.leader.receive_message()
        assert message == Subscribe(REG.key, REG.reg)
        await wait_all_tasks_blocked()
        assert not attempt.ended.is_set()
        running.leader.answer(frame, SubscribeAck(success=True))
        await attempt.outcome()


async def test_a_subscription_that_the_real_client_refuses_raises_its_error() -> None:
    async with following() as running:
        attempt = running.start(running.follower.subscribe, REG)
        frame = await running.leader.receive()
        error = CODEC.encode(
            Failure("KeyError", "'path'", args=("path",), module="builtins").to_value()
        )
        running.leader.answer(frame, SubscribeAck(success=False), error)
        with pytest.raises(KeyError, match="path"):
            await attempt.outcome()


async def test_a_subscription_without_an_answer_times_out() -> None:
    async with following(response_timeout=0.01) as running:
        with pytest.raises(ResponseTimeoutError) as caught:
            await running.follower.subscribe(REG)
        assert (caught.value.method, caught.value.timeout) == ("subscribe", 0.01)


async def test_a_value_is_handed_on_and_acknowledged() -> None:
    one_by_one = replace(AGREED, features=AGREED.features - {VALUES_TAKEN})
    async with following(one_by_one) as running:
        running.leader.request(3, SubscribeResult(REG.key), CODEC.encode([1]))
        frame, message = await running.leader.receive_message()
        assert (frame.request_id, message) == (3, SubscribeResultAck())
        assert running.told == ["ready", (REG.key, [1])]


async def test_values_that_came_together_are_acknowledged_together() -> None:
    async with following() as running:
        value = SubscribeResult(REG.key).encode()
        frames = [Frame(False, 0, 0, value, CODEC.encode(number)) for number in range(5)]
        running.leader.transport.outgoing.put(b"".join(map(encode_frame, frames)))
        assert (await running.leader.receive_message())[1] == ValuesTaken(5)
        assert running.told == ["ready", *((REG.key, number) for number in range(5))]
        await wait_all_tasks_blocked()
        assert running.leader.has_nothing_to_read()


async def test_unsubscribing_is_told_without_waiting() -> None:
    async with following() as running:
        running.follower.unsubscribe(REG)
        assert (await running.leader.receive_message())[1] == Unsubscribe(REG.key, REG.reg)


# ------------------------------------------------------------------- events


EVENTS_REG = REG.for_events


async def test_events_are_asked_for_beside_the_state() -> None:
    async with following() as running:
        assert running.follower.tells_events
        for registration in (REG, EVENTS_REG):
            attempt = running.start(running.follower.subscribe, registration)
            frame, message = await running.leader.receive_message()
            assert message == Subscribe(registration.key, REG.reg, events=registration.events)
            running.leader.answer(frame, SubscribeAck(success=True))
            await attempt.outcome()
        running.leader.request(0, SubscribeResult(EVENTS_REG.key), CODEC.encode(1))
        assert (await running.leader.receive_message())[1] == ValuesTaken(1)
        running.leader.request(0, ValuesMissed(EVENTS_REG.key, 5, "why"))
        assert (await running.leader.receive_message())[1] == ValuesTaken(1)
        running.leader.request(0, ValuesMissed(EVENTS_REG.key))
        assert (await running.leader.receive_message())[1] == ValuesTaken(1)
        assert running.told == [
            "ready",
            (EVENTS_REG.key, 1),
            (EVENTS_REG.key, Gap("why", 5)),
            (EVENTS_REG.key, Gap("the leader does not say why", None)),
        ]
        running.follower.unsubscribe(EVENTS_REG)
        assert (await running.leader.receive_message())[1] == Unsubscribe(
            EVENTS_REG.key, REG.reg, events=True
        )


@pytest.mark.parametrize("node", [False, True], ids=["an older one of ours", "a Node leader"])
async def test_a_leader_that_knows_no_events_is_asked_once(*, node: bool) -> None:
    older = replace(AGREED, features=AGREED.features - {EVENTS, SUBSCRIBE_ACK})
    codec = NODE_CODEC if node else CODEC
    async with following(None if node else older) as running:
        follower = running.follower
        assert not follower.tells_events

        async def receive(value: int, *keys: str) -> None:
            running.told.clear()
            running.leader.request(value, SubscribeResult(REG.key), codec.encode(value))
            await running.leader.receive_message()  # the acknowledgement
            assert sorted(running.told) == sorted((key, value) for key in keys)

        await follower.subscribe(EVENTS_REG)
        assert (await running.leader.receive_message())[1] == Subscribe(REG.key, REG.reg)
        await receive(1, EVENTS_REG.key)
        running.told.clear()
        await follower.subscribe(REG)  # a state has its last value at once
        assert running.told == [(REG.key, 1)]
        await receive(2, REG.key, EVENTS_REG.key)
        follower.unsubscribe(EVENTS_REG)
        await receive(3, REG.key)
        running.told.clear()
        await follower.subscribe(EVENTS_REG)
        assert running.told == []  # and events have not
        follower.unsubscribe(REG)
        await receive(4, EVENTS_REG.key)
        await wait_all_tasks_blocked()
        assert running.leader.has_nothing_to_read()
        follower.unsubscribe(EVENTS_REG)
        follower.unsubscribe(EVENTS_REG)
        assert (await running.leader.receive_message())[1] == Unsubscribe(REG.key, REG.reg)
        await wait_all_tasks_blocked()
        assert running.leader.has_nothing_to_read()
        await follower.subscribe(REG)
        await follower.subscribe(REG)  # again, as after a failure
        for _ in range(2):
            assert (await running.leader.receive_message())[1] == Subscribe(REG.key, REG.reg)


# --------------------------------------------------------------- heartbeats


@pytest.fixture
async def tick(monkeypatch: pytest.MonkeyPatch) -> anyio.Semaphore:
    """Stands in for the pause between two heartbeats: one comes with each release."""
    semaphore = anyio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        assert seconds == 20
        await semaphore.acquire()

    monkeypatch.setattr(anyio, "sleep", sleep)
    return semaphore


async def test_heartbeats_measure_the_round_trip(tick: anyio.Semaphore) -> None:
    async with following() as running:
        for _ in range(2):
            tick.release()
            frame, message = await running.leader.receive_message()
            assert message == Heartbeat()
            running.leader.answer(frame, HeartbeatAck())
            await wait_all_tasks_blocked()
            assert isinstance(running.follower.round_trip, float)


async def test_a_leader_that_answers_no_heartbeat_is_not_taken_for_dead(
    tick: anyio.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deadline, "remaining", 0.0)  # for an answer, and there is none
    async with following() as running:
        for _ in range(3):
            tick.release()
            await wait_all_tasks_blocked()
        frames = [await running.leader.receive_message() for _ in range(6)]
        assert [message for _, message in frames] == [
            part for frame, _ in frames[::2] for part in (Heartbeat(), Cancel(frame.request_id))
        ]
        assert running.follower.round_trip is None
        assert not running.ended.is_set()


async def test_heartbeats_end_when_the_leadership_does(tick: anyio.Semaphore) -> None:
    async with following() as running:
        running.leader.request(1, Goodbye())
        assert (await running.leader.receive_message())[1] == GoodbyeAck()
        tick.release()
        tick.release()
        await wait_all_tasks_blocked()
        assert running.leader.has_nothing_to_read()
        assert tick.value == 1  # nobody waits for the next one


# --------------------------------------------------------------- Node leader


async def test_a_node_leader_gets_nodes_form_of_a_call() -> None:
    async with following(None) as running:
        call = running.call("get_data", "/k", 5)
        frame, message = await running.leader.receive_message()
        assert message == Invoke("get_data", 2)
        assert frame.application == join_arguments([NODE_CODEC.encode("/k"), NODE_CODEC.encode(5)])
        running.leader.answer(frame, InvokeResult(success=True), NODE_CODEC.encode({"a": 1}))
        assert await call.outcome() == {"a": 1}


async def test_a_node_leaders_errors_have_four_members() -> None:
    async with following(None) as running:
        call = running.call("echo", 1)
        error = NODE_CODEC.encode({"name": "TypeError", "message": "m", "stack": "s", "code": "E"})
        running.leader.answer(await running.leader.receive(), InvokeResult(success=False), error)
        with pytest.raises(RemoteInvokeError) as caught:
            await call.outcome()
        raised = caught.value
        assert (raised.remote_name, raised.message, raised.code) == ("TypeError", "m", "E")


async def test_a_node_leader_is_not_told_that_a_caller_gave_up() -> None:
    async with following(None) as running:
        with pytest.raises(ResponseTimeoutError):
            await running.follower.call(request("echo", 1, timeout=0), LATER)
        assert isinstance((await running.leader.receive_message())[1], Invoke)
        await wait_all_tasks_blocked()
        assert running.leader.has_nothing_to_read()


async def test_a_publication_is_not_answered_by_node() -> None:
    async with following(None) as running:
        publish = CallRequest(TABLE.part("publish"), ({"path": "/k", "value": 1},), {}, LONG)
        await running.follower.call(publish, LATER)
        frame, message = await running.leader.receive_message()
        assert message == Invoke("publish", 1, oneway=True)
        assert frame.timeout_ms == 3000


async def test_node_does_not_confirm_subscriptions() -> None:
    async with following(None) as running:
        await running.follower.subscribe(REG)
        assert (await running.leader.receive_message())[1] == Subscribe(REG.key, REG.reg)
        running.follower.unsubscribe(REG)
        assert (await running.leader.receive_message())[1] == Unsubscribe(REG.key, REG.reg)
        running.leader.request(1, SubscribeResult(REG.key), NODE_CODEC.encode([1]))
        ack, message = await running.leader.receive_message()
        assert (message, ack.timeout_ms) == (SubscribeResultAck(), 0)
        assert running.told[-1] == (REG.key, [1])


async def test_what_node_would_misunderstand_is_not_sent() -> None:
    async with following(None) as running:
        with pytest.raises(EncodeError, match=r"value\['id'\].*2\*\*53"):
            await running.follower.subscribe(check_registration({"id": 2**53 + 1}))
        with pytest.raises(TypeError, match="no strict"):
            await running.follower.call(request("get_data", "/k", strict=True), LATER)
        with pytest.raises(RefusedError, match="Node process leads, which does not stream"):
            await running.follower.open_stream(request("echo", 1), LATER)
        assert running.leader.has_nothing_to_read()


async def test_a_snapshot_of_an_earlier_leader_is_out_of_date_when_node_has_led() -> None:
    async with following(None) as running:
        await wait_all_tasks_blocked()
        assert running.told == [None, "ready"]
        assert running.follower.leader_pid is None
        assert running.follower.epoch.startswith("node-")
