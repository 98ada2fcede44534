"""Both ends of a stream, whose other end the test plays frame by frame (SPEC 6.6)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import RefusedError
from cluster_client._calls import CallExecutor
from cluster_client._clock import Deadline, to_microseconds
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import CallRequest, PeerDialect
from cluster_client._election import Joined
from cluster_client._follower import Follower
from cluster_client._hub import SubscriptionHub
from cluster_client._link import Link
from cluster_client._peer import Peer
from cluster_client._session import ClientSpec, SessionEvents
from cluster_client._streams import FIRST_CREDIT, ItemSource
from cluster_client._workers import Workers
from cluster_client.errors import LinkClosedError
from cluster_client.options import ClientOptions
from cluster_client.streams import FirstItem
from cluster_protocol import (
    STREAM,
    Cancel,
    Failure,
    Frame,
    FrameDecoder,
    Goodbye,
    GoodbyeAck,
    Invoke,
    InvokeResult,
    Message,
    StreamCredit,
    StreamItem,
    pack_call,
    unpack_call,
)
from cluster_protocol.codecs import MsgpackCodec
from support.links import AGREED, LONG
from support.logs import LogRecorder
from support.real_clients import Provided, real_client
from support.times import scaled
from support.transports import FramePeer, MemoryTransport, connected_pair

CODEC = MsgpackCodec()
LATER = Deadline.never()
PIECE = 16 << 10
NO_STREAMS = replace(AGREED, features=AGREED.features - {STREAM})


class Rows:
    """A real client whose generators tell how far they are."""

    def __init__(self) -> None:
        self.yielded = 0
        self.waits = anyio.Event()
        self.gate = anyio.Event()
        self.closed = anyio.Event()

    async def rows(self, count: int, size: int = 0) -> AsyncIterator[Any]:
        try:
            for number in range(count):
                self.yielded += 1
                yield bytes(size) if size else number
        finally:
            self.closed.set()

    async def fail_after(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        raise KeyError("no more")

    async def wait(self) -> AsyncIterator[int]:
        try:
            self.waits.set()
            await self.gate.wait()
            yield 0
        finally:
            self.closed.set()

    async def reluctant(self) -> AsyncIterator[int]:
        """Yield even though it is cancelled, and wait for ever behind that."""
        try:
            self.waits.set()
            with anyio.CancelScope(shield=True):
                await self.gate.wait()
            yield 0
            await anyio.sleep_forever()
        finally:
            self.closed.set()

    async def within_a_limit(self) -> AsyncIterator[int]:
        """Yield where a limit of its own has passed already."""
        with anyio.move_on_after(0):
            yield 0
        yield 1

    async def echo(self, value: Any) -> Any:
        return value


TABLE = DelegateTable(Rows, {})


# ============================================================== the leader


@dataclass
class Serving:
    """A peer that serves, and the follower's end of its link, played by the test."""

    peer: Peer
    calls: CallExecutor
    follower: FramePeer
    rows: Rows
    ended: anyio.Event
    last_id: int = 0

    def send(self, message: Message, application: bytes = b"") -> int:
        self.last_id += 1
        self.follower.request(self.last_id, message, application)
        return self.last_id

    def open_stream(
        self, method: str, *args: Any, credit: int | None = 64, until: Deadline = LATER
    ) -> int:
        body = pack_call(to_microseconds(until.at), CODEC.encode([args, {}]))
        return self.send(Invoke(method, len(args), packed=True, credit=credit), body)

    async def expect_items(self, stream: int, items: list[Any]) -> None:
        """Take the next frames, which must bring these items of the stream."""
        for item in items:
            frame, message = await self.follower.receive_message()
            assert message == StreamItem(stream)
            assert CODEC.decode(frame.application) == item

    async def expect_nothing(self) -> None:
        await wait_all_tasks_blocked()
        assert self.follower.has_nothing_to_read()

    async def expect_end(self, stream: int) -> None:
        frame, message = await self.follower.receive_message()
        assert (frame.is_response, frame.request_id) == (True, stream)
        assert (message, frame.application) == (InvokeResult(success=True), b"")

    async def expect_failure(self, stream: int) -> Failure:
        """Take the next frame, which must be the stream's error; returns that."""
        frame, message = await self.follower.receive_message()
        assert (frame.is_response, frame.request_id) == (True, stream)
        assert message == InvokeResult(success=False)
        return Failure.from_value(CODEC.decode(frame.application))

    async def expect_nothing_left(self) -> None:
        await wait_all_tasks_blocked()
        assert (self.peer._running, self.peer._windows, self.calls.running) == ({}, {}, 0)


@asynccontextmanager
async def serving(agreement: Any = AGREED) -> AsyncGenerator[Serving]:
    here, there = connected_pair()
    log = LogRecorder()
    real = real_client(Rows, log=log)
    link = Link(here, FrameDecoder(), agreement=agreement, log=log, wait_for_reader=True)
    ended = anyio.Event()
    async with real.open(), anyio.create_task_group() as tasks:
        calls = CallExecutor(Provided(real), TABLE, log)
        hub = SubscriptionHub(real, TABLE, codec=CODEC, tasks=tasks, broadcast=True, log=log)
        options = ClientOptions.build({"name": "rows"})
        dialect = PeerDialect(CODEC)
        peer = Peer(
            link,
            dialect,
            calls=calls,
            hub=hub,
            tasks=tasks,
            workers=Workers(tasks, log),
            options=options,
            log=log,
        )

        async def run() -> None:
            await peer.run()
            ended.set()

        tasks.start_soon(run)
        yield Serving(peer, calls, FramePeer(there), real._instance, ended)
        tasks.cancel_scope.cancel()


async def test_the_items_come_and_then_the_end() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 3)
        await serves.expect_items(stream, [0, 1, 2])
        await serves.expect_end(stream)
        await serves.expect_nothing_left()


async def test_a_stream_of_nothing_is_only_its_end() -> None:
    async with serving() as serves:
        await serves.expect_end(serves.open_stream("rows", 0))


async def test_an_error_comes_behind_the_items() -> None:
    async with serving() as serves:
        stream = serves.open_stream("fail_after", 2)
        await serves.expect_items(stream, [0, 1])
        assert (await serves.expect_failure(stream)).name == "KeyError"
        await serves.expect_nothing_left()


async def test_items_are_sent_only_while_credit_is_left() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 10, credit=3)
        await serves.expect_items(stream, [0, 1, 2])
        await serves.expect_nothing()
        assert serves.rows.yielded == 4  # one waits to be sent
        serves.send(StreamCredit(stream, 2))
        await serves.expect_items(stream, [3, 4])
        await serves.expect_nothing()
        serves.send(StreamCredit(stream, 100))
        await serves.expect_items(stream, [5, 6, 7, 8, 9])
        await serves.expect_end(stream)


async def test_the_end_costs_no_credit() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 3, credit=3)
        await serves.expect_items(stream, [0, 1, 2])
        await serves.expect_end(stream)


async def test_a_large_item_may_overdraw_the_credit() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 3, 10 * PIECE, credit=1)
        await serves.expect_items(stream, [bytes(10 * PIECE)])
        serves.send(StreamCredit(stream, 10))
        await serves.expect_nothing()
        serves.send(StreamCredit(stream, 1))
        await serves.expect_items(stream, [bytes(10 * PIECE)])
        await serves.expect_nothing()


async def test_without_any_credit_nothing_is_sent_until_some_is_given() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 1, credit=0)
        await serves.expect_nothing()
        serves.send(StreamCredit(stream, 0))
        await serves.expect_nothing()
        serves.send(StreamCredit(stream, 1))
        await serves.expect_items(stream, [0])
        await serves.expect_end(stream)


async def test_huge_credit_leaves_the_items_bounded_by_what_can_be_written() -> None:
    async with serving() as serves:
        serves.follower.transport.incoming.capacity = 1 << 10  # a follower that does not read
        stream = serves.open_stream("rows", 10_000, PIECE, credit=2**53 - 1)
        serves.send(StreamCredit(stream, 2**53 - 1))
        await wait_all_tasks_blocked()
        assert serves.rows.yielded < 200, "more than 1 MiB waits to be written, twice"


async def test_credit_for_a_stream_that_does_not_run_is_ignored() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 1)
        await serves.expect_items(stream, [0])
        await serves.expect_end(stream)
        serves.send(StreamCredit(stream, 5))
        serves.send(StreamCredit(1000, 5))
        serves.send(Cancel(1000))
        await serves.expect_end(serves.open_stream("rows", 0))
        await serves.expect_nothing_left()


async def test_two_streams_have_credit_of_their_own() -> None:
    async with serving() as serves:
        first = serves.open_stream("rows", 5, credit=1)
        await serves.expect_items(first, [0])
        second = serves.open_stream("rows", 5, credit=2)
        await serves.expect_items(second, [0, 1])
        serves.send(StreamCredit(first, 1))
        await serves.expect_items(first, [1])
        await serves.expect_nothing()


async def test_a_cancelled_stream_is_closed_and_not_answered() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 10, credit=1)
        await serves.expect_items(stream, [0])
        serves.send(Cancel(stream))
        await serves.rows.closed.wait()
        await serves.expect_nothing()
        await serves.expect_nothing_left()


async def test_a_stream_that_is_cancelled_in_the_next_frame_is_not_answered() -> None:
    async with serving() as serves:
        serves.send(Cancel(serves.open_stream("rows", 10)))
        await serves.expect_nothing()
        await serves.expect_nothing_left()
        assert serves.rows.yielded == 0


async def test_a_stream_whose_first_item_comes_too_late_is_closed_and_not_answered() -> None:
    async with serving() as serves:
        serves.open_stream("wait", until=Deadline.after(scaled(0.2)))
        await serves.rows.waits.wait()
        await serves.rows.closed.wait()
        await serves.expect_nothing()
        await serves.expect_nothing_left()


async def test_a_first_item_that_comes_after_its_time_is_not_sent() -> None:
    """Its reader may take it, and would wait for ever for the next one."""
    async with serving() as serves:
        serves.open_stream("reluctant")
        await serves.rows.waits.wait()
        (scope,) = serves.peer._running.values()
        scope.cancel()  # as the deadline does
        serves.rows.gate.set()
        await serves.rows.closed.wait()
        await serves.expect_nothing()
        await serves.expect_nothing_left()


async def test_a_generators_own_limit_is_not_taken_for_the_calls() -> None:
    async with serving() as serves:
        stream = serves.open_stream("within_a_limit")
        await serves.expect_items(stream, [0, 1])
        await serves.expect_end(stream)


async def test_a_deadline_is_for_the_first_item_only() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 2, credit=1, until=Deadline.after(LONG))
        await serves.expect_items(stream, [0])
        await serves.expect_nothing()
        (admission,) = serves.peer._running.values()
        assert admission.scope is not None
        assert admission.scope.deadline == float("inf")


async def test_the_streams_of_a_follower_that_is_gone_are_closed() -> None:
    async with serving() as serves:
        stream = serves.open_stream("rows", 10, credit=1)
        await serves.expect_items(stream, [0])
        await serves.follower.transport.aclose()
        await serves.rows.closed.wait()
        await serves.ended.wait()
        await serves.expect_nothing_left()


@pytest.mark.parametrize(
    ("method", "credit", "reason"),
    [
        ("rows", None, "Rows streams it in the leader's version"),
        ("echo", 64, "Rows does not stream it in the leader's version"),
        ("__init__", 64, "Rows does not delegate it"),
    ],
    ids=["without credit", "with credit", "not delegated"],
)
async def test_a_call_of_another_kind_is_refused(
    method: str, credit: int | None, reason: str
) -> None:
    async with serving() as serves:
        call = serves.open_stream(method, 1, credit=credit)
        failure = await serves.expect_failure(call)
        assert failure.name == "RefusedError"
        assert reason in failure.message
        assert serves.rows.yielded == 0
        await serves.expect_nothing_left()


async def test_credit_means_nothing_where_streams_were_not_agreed_on() -> None:
    async with serving(NO_STREAMS) as serves:
        failure = await serves.expect_failure(serves.open_stream("rows", 1))
        assert "Rows streams it" in failure.message


# ============================================================ the follower


@dataclass
class Following:
    """A follower that runs, and the leader's end of its link, played by the test."""

    follower: Follower
    leader: FramePeer
    transport: MemoryTransport
    told: list[str]

    async def open(self) -> tuple[ItemSource, Frame]:
        source = await self.follower.open_stream(request(), LATER)
        return source, await self.leader.receive()

    def send_items(self, stream: Frame, *items: Any) -> None:
        for item in items:
            self.leader.request(0, StreamItem(stream.request_id), CODEC.encode(item))

    def end(self, stream: Frame) -> None:
        self.leader.answer(stream, InvokeResult(success=True))

    async def expect_nothing(self) -> None:
        await wait_all_tasks_blocked()
        assert self.leader.has_nothing_to_read()

    def check_nothing_left(self) -> None:
        assert self.follower._streams == {}
        assert self.follower._link._pending == {}


def request() -> CallRequest:
    method = TABLE.by_target["rows"]
    return CallRequest(method, *method.bind((10,), {}), LONG)


async def read(source: ItemSource) -> Any:
    item = await source.next()
    assert item is not None, "the stream has ended"
    return item.decode()


@asynccontextmanager
async def following(agreement: Any = AGREED) -> AsyncGenerator[Following]:
    here, there = connected_pair()
    told: list[str] = []
    follower = Follower(
        Joined(here, FrameDecoder(), agreement),
        ClientSpec(Rows, (), {}, TABLE, ClientOptions.build({"name": "rows"}), {"msgpack": CODEC}),
        SessionEvents(
            ready=lambda: told.append("ready"),
            ending=lambda: told.append("ending"),
            value=lambda _key, _value: None,
            missed=lambda _key, _gap: None,
            real_client=lambda _ready, _reason: None,
            snapshot=lambda _: None,
        ),
        LogRecorder(),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run)
        await wait_all_tasks_blocked()
        yield Following(follower, FramePeer(there), here, told)
        tasks.cancel_scope.cancel()


async def test_a_stream_is_asked_for_with_credit() -> None:
    async with following() as running:
        await running.follower.open_stream(request(), LATER)
        frame, message = await running.leader.receive_message()
        assert message == Invoke("rows", 1, packed=True, credit=FIRST_CREDIT)
        deadline, data = unpack_call(frame.application)
        assert deadline != 0
        assert CODEC.decode(data) == [[10], {}]


async def test_nothing_is_asked_for_where_streams_were_not_agreed_on() -> None:
    async with following(NO_STREAMS) as running:
        with pytest.raises(RefusedError, match="the leader's version does not stream"):
            await running.follower.open_stream(request(), LATER)
        await running.expect_nothing()
        running.check_nothing_left()


async def test_items_and_then_the_end_are_handed_on() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.send_items(stream, "a", "b")
        assert [await read(source), await read(source)] == ["a", "b"]
        running.end(stream)
        assert await source.next() is None
        running.check_nothing_left()


async def test_the_leaders_error_comes_behind_the_items() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.send_items(stream, "a")
        failure = Failure("KeyError", "'no more'", args=("no more",), module="builtins")
        data = CODEC.encode(failure.to_value())
        running.leader.answer(stream, InvokeResult(success=False), data)
        await wait_all_tasks_blocked()
        assert await read(source) == "a"
        with pytest.raises(KeyError, match="no more"):
            await source.next()
        running.check_nothing_left()


async def test_credit_is_given_back_when_half_has_been_read() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.send_items(stream, *range(FIRST_CREDIT))
        for number in range(FIRST_CREDIT // 2 - 1):
            assert await read(source) == number
        await running.expect_nothing()
        await read(source)
        _, message = await running.leader.receive_message()
        assert message == StreamCredit(stream.request_id, FIRST_CREDIT // 2)


async def test_a_reader_that_closes_tells_the_leader_once() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.send_items(stream, "a", "b")
        await read(source)
        source.close()
        source.close()
        assert (await running.leader.receive_message())[1] == Cancel(stream.request_id)
        await running.expect_nothing()
        running.check_nothing_left()


async def test_what_comes_for_a_closed_stream_is_ignored() -> None:
    async with following() as running:
        source, stream = await running.open()
        source.close()
        await running.leader.receive()
        running.send_items(stream, "late")
        running.end(stream)
        await wait_all_tasks_blocked()
        assert await source.next() is None
        running.check_nothing_left()


async def test_items_of_a_stream_that_was_never_opened_are_ignored() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.leader.request(0, StreamItem(1000), CODEC.encode("whose?"))
        running.send_items(stream, "mine")
        assert await read(source) == "mine"


async def test_a_stream_that_has_ended_is_not_cancelled() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.end(stream)
        await wait_all_tasks_blocked()
        source.close()
        await running.expect_nothing()


async def test_an_answer_that_makes_no_sense_ends_the_link() -> None:
    async with following() as running:
        source, stream = await running.open()
        other, other_stream = await running.open()
        running.send_items(other_stream, "fine")
        running.leader.answer(stream, GoodbyeAck())
        for one in (source, other):
            if one is other:
                assert await read(other) == "fine"
            with pytest.raises(LinkClosedError, match="expected invoke_result"):
                await one.next()


async def test_the_first_item_has_a_limit_after_which_the_leader_is_told() -> None:
    async with following() as running:
        source, stream = await running.open()
        with pytest.raises(TimeoutError, match="'rows'"):
            await FirstItem.of(source, "rows", 0.01)
        assert (await running.leader.receive_message())[1] == Cancel(stream.request_id)
        running.check_nothing_left()


async def test_a_reader_that_is_cancelled_before_the_first_item_tells_the_leader() -> None:
    async with following() as running:
        source, stream = await running.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(FirstItem.of, source, "rows", LONG)
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert (await running.leader.receive_message())[1] == Cancel(stream.request_id)
        running.check_nothing_left()


# ------------------------------------------------------- goodbye, and ends


async def test_a_stream_goes_on_behind_a_goodbye_and_credit_is_still_given() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.leader.request(7, Goodbye())
        assert (await running.leader.receive_message())[1] == GoodbyeAck()
        running.send_items(stream, *range(FIRST_CREDIT))
        for number in range(FIRST_CREDIT // 2):
            assert await read(source) == number
        _, message = await running.leader.receive_message()
        assert message == StreamCredit(stream.request_id, FIRST_CREDIT // 2)
        running.end(stream)
        for number in range(FIRST_CREDIT // 2, FIRST_CREDIT):
            assert await read(source) == number
        assert await source.next() is None


async def test_a_stream_can_be_closed_behind_a_goodbye() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.leader.request(7, Goodbye())
        assert (await running.leader.receive_message())[1] == GoodbyeAck()
        source.close()
        assert (await running.leader.receive_message())[1] == Cancel(stream.request_id)


async def test_no_stream_begins_behind_a_goodbye() -> None:
    async with following() as running:
        running.leader.request(7, Goodbye())
        await running.leader.receive()
        with pytest.raises(LinkClosedError) as caught:
            await running.follower.open_stream(request(), LATER)
        assert not caught.value.sent
        running.check_nothing_left()


async def test_a_refused_stream_was_never_sent_and_ends_the_session() -> None:
    async with following() as running:
        source, stream = await running.open()
        refused = CODEC.encode(Failure("RefusedError", "leadership ends").to_value())
        running.leader.answer(stream, InvokeResult(success=False, refused=True), refused)
        with pytest.raises(LinkClosedError, match="the leader refused the call") as caught:
            await source.next()
        assert not caught.value.sent
        assert running.told == ["ready", "ending"]


async def test_a_lost_link_ends_the_stream_behind_what_has_arrived() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.send_items(stream, "a", "b")
        await wait_all_tasks_blocked()
        await running.leader.transport.aclose()
        await wait_all_tasks_blocked()
        assert [await read(source), await read(source)] == ["a", "b"]
        with pytest.raises(LinkClosedError) as caught:
            await source.next()
        assert caught.value.sent
        running.check_nothing_left()


async def test_a_stream_that_was_never_written_was_never_sent() -> None:
    async with following() as running:
        running.transport.outgoing.grow(0)  # nothing more can be written
        await running.follower.call_oneway(request(), LATER)
        await wait_all_tasks_blocked()
        source = await running.follower.open_stream(request(), LATER)
        running.follower.stop()
        with pytest.raises(LinkClosedError) as caught:
            await source.next()
        assert not caught.value.sent
        running.check_nothing_left()


async def test_reading_and_closing_do_nothing_on_a_link_that_is_lost() -> None:
    async with following() as running:
        source, stream = await running.open()
        running.send_items(stream, *range(FIRST_CREDIT))
        await wait_all_tasks_blocked()
        running.follower.stop()
        for number in range(FIRST_CREDIT):
            assert await read(source) == number
        source.close()
        source.close()
        running.check_nothing_left()
