"""A link: answers find their callers, frames stay whole, and every end has its reason."""

from __future__ import annotations

import math

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.abc import TaskStatus

from cluster_client._clock import Deadline
from cluster_client._exchange import expect
from cluster_client._link import Link
from cluster_client._states import LinkState
from cluster_client.errors import LinkClosedError
from cluster_protocol import (
    MAX_REQUEST_ID,
    Agreement,
    Cancel,
    Frame,
    FrameDecoder,
    Heartbeat,
    HeartbeatAck,
    InvokeResult,
    LocalProtocolError,
    Message,
    RemoteProtocolError,
    encode_frame,
)
from support.links import AGREED, CALL, LONG, Call, open_link
from support.logs import LogRecorder
from support.transports import MemoryTransport, connected_pair
from support.waiting import until

OK = InvokeResult(success=True)
GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
SIZE = len(encode_frame(Frame(False, 1, 0, CALL.encode())))
"""Of a call without an application object."""


def fails_unsent(call: Call) -> bool:
    return isinstance(call.error, LinkClosedError) and not call.error.sent


def fails_sent(call: Call) -> bool:
    return isinstance(call.error, LinkClosedError) and call.error.sent


# ---------------------------------------------------------- requests, answers


async def test_answers_find_their_callers_in_any_order() -> None:
    async with open_link() as running:
        calls = [running.start_call(b"%d" % number) for number in range(5)]
        frames = [await running.peer.receive() for _ in calls]
        for frame in reversed(frames):
            running.peer.answer(frame, OK, b"answer to " + frame.application)
        for number, call in enumerate(calls):
            await call.ended.wait()
            assert call.answer is not None
            assert call.answer.application == b"answer to %d" % number


async def test_requests_of_both_sides_may_have_the_same_id() -> None:
    async with open_link() as running:
        call = running.start_call()
        frame = await running.peer.receive()
        running.peer.request(frame.request_id, Heartbeat())
        running.peer.answer(frame, OK)
        await call.ended.wait()
        assert [message for _, message in running.requests] == [Heartbeat()]


async def test_the_requests_of_the_peer_come_in_order() -> None:
    async with open_link() as running:
        for number in range(1, 6):
            running.peer.request(number, Heartbeat())
        await wait_all_tasks_blocked()
        assert [frame.request_id for frame, _ in running.requests] == [1, 2, 3, 4, 5]
        running.link.respond(3, HeartbeatAck().encode(), b"!")
        frame, message = await running.peer.receive_message()
        assert (message, frame.request_id, frame.application) == (HeartbeatAck(), 3, b"!")


@pytest.mark.parametrize("size", [1, 7, 25])
async def test_frames_arrive_in_pieces_of_any_size(size: int) -> None:
    async with open_link() as running:
        running.transport.incoming.chunk = size
        call = running.start_call()
        running.peer.answer(await running.peer.receive(), OK, b"whole")
        await call.ended.wait()
        assert call.answer is not None
        assert call.answer.application == b"whole"


async def test_what_came_together_with_the_registration_is_not_lost() -> None:
    decoder = FrameDecoder()
    decoder.receive_data(encode_frame(Frame(False, 7, 0, Heartbeat().encode())))
    async with open_link(decoder=decoder) as running:
        await wait_all_tasks_blocked()
        assert [frame.request_id for frame, _ in running.requests] == [7]


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(1.5, 1500), (LONG, 3_600_000), (math.inf, 2**31 - 1)]
)
async def test_the_header_tells_how_long_the_caller_waits(
    seconds: float, milliseconds: int
) -> None:
    async with open_link() as running:
        running.start_call(response_timeout=seconds)
        assert (await running.peer.receive()).timeout_ms == milliseconds


async def test_ids_count_up_and_never_come_again_between_our_peers() -> None:
    async with open_link(AGREED) as running:
        assert running.link.post(CALL.encode()) == 1
        running.link._next_id = MAX_REQUEST_ID
        assert running.link.post(CALL.encode()) == MAX_REQUEST_ID
        assert running.link.post(CALL.encode()) == MAX_REQUEST_ID + 1


async def test_ids_towards_node_start_again_and_pass_over_those_in_use() -> None:
    async with open_link(None) as running:
        running.start_call()
        await wait_all_tasks_blocked()
        running.link._next_id = MAX_REQUEST_ID
        assert running.link.post(CALL.encode()) == MAX_REQUEST_ID
        assert running.link.post(CALL.encode()) == 2


async def test_ids_of_our_peers_ascend() -> None:
    async with open_link() as running:
        for request_id in (3, 4, 0, 0, 9):
            running.peer.request(request_id, Heartbeat())
        await until(lambda: len(running.requests) == 5)
        running.peer.request(9, Heartbeat())
        running.peer.request(10, Heartbeat())
        await running.ended.wait()
        assert running.link.reason == "request id 9 is not above 9, the last"
        assert running.log.of("link_protocol_error") == [{"error": running.link.reason}]
        assert len(running.requests) == 5


async def test_ids_of_node_peers_begin_again() -> None:
    async with open_link(None) as running:
        for request_id in (MAX_REQUEST_ID - 1, MAX_REQUEST_ID, 1, 2, 2):
            running.peer.request(request_id, Heartbeat())
        await until(lambda: len(running.requests) == 5)
        assert running.link.state is LinkState.OPEN


@pytest.mark.parametrize("agreement", [AGREED, None], ids=["ours", "Node"])
@pytest.mark.parametrize("ahead", [1, 1000, -2], ids=["the next", "a later one", "0"])
async def test_an_answer_to_what_was_never_asked_ends_the_link(
    agreement: Agreement | None, ahead: int
) -> None:
    async with open_link(agreement) as running:
        call = running.start_call()
        await running.peer.receive()
        last = running.link.post(CALL.encode())
        wrong = Frame(False, last + ahead, 0, b"{}")
        running.peer.answer(wrong, OK)
        running.peer.answer(wrong, OK)
        await running.ended.wait()
        await call.ended.wait()
        assert isinstance(call.error, LinkClosedError)
        assert running.log.of("link_protocol_error") == [
            {"error": f"an answer to request {last + ahead}, which was never made"}
        ]


async def test_all_ids_of_node_have_been_issued_when_they_begin_again() -> None:
    async with open_link(None) as running:
        running.link._next_id = MAX_REQUEST_ID
        assert running.link.post(CALL.encode()) == MAX_REQUEST_ID
        assert running.link.post(CALL.encode()) == 1
        running.peer.answer(Frame(False, 12345, 0, b"{}"), OK)
        await wait_all_tasks_blocked()
        assert running.link.state is LinkState.OPEN
        running.peer.answer(Frame(False, MAX_REQUEST_ID + 1, 0, b"{}"), OK)
        await running.ended.wait()


# ------------------------------------------------------- callers that give up


async def test_without_an_answer_in_time_there_is_none() -> None:
    async with open_link() as running:
        call = running.start_call(response_timeout=0)
        await call.ended.wait()
        assert (call.answer, call.error) == (None, None)


async def test_a_late_answer_is_dropped() -> None:
    async with open_link() as running:
        late = running.start_call(response_timeout=0)
        frame = await running.peer.receive()
        await late.ended.wait()
        assert running.link._pending == {}
        assert (await running.peer.receive_message())[1] == Cancel(frame.request_id)

        running.peer.answer(frame, OK, b"late")
        call = running.start_call()
        running.peer.answer(await running.peer.receive(), OK, b"in time")
        await call.ended.wait()
        assert late.answer is None
        assert call.answer is not None
        assert call.answer.application == b"in time"


async def test_an_answer_counts_once() -> None:
    async with open_link() as running:
        call = running.start_call()
        frame = await running.peer.receive()
        running.peer.answer(frame, OK, b"first")
        running.peer.answer(frame, OK, b"second")
        await call.ended.wait()
        await wait_all_tasks_blocked()
        assert call.answer is not None
        assert call.answer.application == b"first"
        assert running.link.state is LinkState.OPEN


async def test_the_peer_is_told_of_a_cancelled_call() -> None:
    async with open_link() as running:
        call = running.start_call()
        frame = await running.peer.receive()
        call.scope.cancel()
        assert (await running.peer.receive_message())[1] == Cancel(frame.request_id)
        assert running.link._pending == {}


async def test_a_node_peer_is_not_told() -> None:
    async with open_link(None) as running:
        call = running.start_call()
        await running.peer.receive()
        call.scope.cancel()
        await wait_all_tasks_blocked()
        assert running.peer.has_nothing_to_read()
        assert running.link._pending == {}


async def test_a_call_that_was_answered_is_not_cancelled_at_the_peer() -> None:
    async with open_link() as running:
        call = running.start_call()
        running.peer.answer(await running.peer.receive(), OK)
        await call.ended.wait()
        await wait_all_tasks_blocked()
        assert running.peer.has_nothing_to_read()


async def test_a_cancelled_caller_never_cuts_a_frame() -> None:
    async with open_link() as running:
        running.transport.outgoing.grow(SIZE // 2)
        calls = [running.start_call(b"x" * 100) for _ in range(3)]
        await wait_all_tasks_blocked()  # the first frame is half-way, the others behind it
        for call in calls:
            call.scope.cancel()
        await wait_all_tasks_blocked()
        running.transport.outgoing.grow(math.inf)
        running.tasks.start_soon(running.link.finish)
        frames = await running.peer.receive_to_the_end()
        assert [frame.application for frame in frames if frame.connection == CALL.encode()] == [
            b"x" * 100
        ] * 3


# ------------------------------------------------------------ sent or unsent


async def test_a_call_in_flight_fails_as_sent_when_the_peer_goes() -> None:
    async with open_link() as running:
        call = running.start_call()
        await running.peer.receive()
        await running.peer.transport.aclose()
        await call.ended.wait()
        assert fails_sent(call)
        assert str(call.error) == "the peer closed the connection"
        assert running.link._pending == {}


async def test_a_frame_behind_one_that_is_stuck_was_never_sent() -> None:
    async with open_link() as running:
        running.transport.outgoing.grow(SIZE // 2)
        stuck = running.start_call()
        await wait_all_tasks_blocked()
        behind = running.start_call()
        await wait_all_tasks_blocked()
        running.transport.incoming.cut()
        await behind.ended.wait()
        await stuck.ended.wait()
        assert fails_sent(stuck)  # not known to be harmless
        assert fails_unsent(behind)


async def test_a_draining_link_takes_no_calls_but_brings_answers() -> None:
    async with open_link() as running:
        before = running.start_call()
        frame = await running.peer.receive()
        running.link.drain()
        running.link.drain()
        after = running.start_call()
        await after.ended.wait()
        assert fails_unsent(after)
        assert str(after.error) == "the link is draining"
        with pytest.raises(LinkClosedError) as caught:
            await running.link.send(CALL.encode(), unsent_until=Deadline.never())
        assert not caught.value.sent

        running.peer.answer(frame, OK, b"still")
        await before.ended.wait()
        assert before.answer is not None


async def test_a_closed_link_takes_nothing_and_loses_no_caller() -> None:
    async with open_link() as running:
        running.link.close("the test closes it")
        await running.ended.wait()
        call = running.start_call()
        await call.ended.wait()
        assert fails_unsent(call)
        replies: list[Frame | None] = []
        running.link.post(CALL.encode())
        running.link.post(CALL.encode(), on_reply=replies.append)
        running.link.respond(1, OK.encode())
        running.link.drain()
        assert replies == [None]
        assert running.link.state is LinkState.CLOSED
        assert running.link.backlog == 0


# -------------------------------------------------------------- backpressure


async def test_callers_wait_while_too_much_is_to_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster_client._outbox.HIGH_WATER", 1000)
    async with open_link() as running:
        running.transport.outgoing.grow(0)
        first = running.start_call(b"x" * 2000)
        await wait_all_tasks_blocked()
        waiting = [running.start_call(b"%d" % number) for number in range(3)]
        running.tasks.start_soon(send_oneway, running.link, b"oneway")
        await wait_all_tasks_blocked()
        assert running.link.backlog == SIZE + 2000

        running.transport.outgoing.grow(math.inf)
        frames = [await running.peer.receive() for _ in range(5)]
        assert {frame.application for frame in frames[1:]} == {b"0", b"1", b"2", b"oneway"}
        for frame in frames:
            running.peer.answer(frame, OK)
        for call in (first, *waiting):
            await call.ended.wait()
            assert call.answer is not None


async def send_oneway(link: Link, application: bytes) -> None:
    await link.send(CALL.encode(), application, unsent_until=Deadline.never())


async def test_a_call_that_cannot_be_written_in_time_was_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster_client._outbox.HIGH_WATER", 1000)
    async with open_link() as running:
        running.transport.outgoing.grow(0)
        running.start_call(b"x" * 2000)
        await wait_all_tasks_blocked()
        call = running.start_call(unsent_for=0)
        await call.ended.wait()
        assert fails_unsent(call)
        assert str(call.error) == "the leader does not read what is sent to it"
        with pytest.raises(LinkClosedError, match="does not read"):
            await running.link.send(CALL.encode(), unsent_until=Deadline.after(0))


async def test_whoever_waits_to_write_learns_that_the_link_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster_client._outbox.HIGH_WATER", 1000)
    async with open_link() as running:
        running.transport.outgoing.grow(0)
        running.start_call(b"x" * 2000)
        await wait_all_tasks_blocked()
        call = running.start_call()
        await wait_all_tasks_blocked()
        running.link.close("enough")
        await call.ended.wait()
        assert fails_unsent(call)


async def test_a_leader_reads_no_more_from_a_peer_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster_client._outbox.HIGH_WATER", 1000)
    async with open_link(wait_for_reader=True) as running:
        running.transport.outgoing.grow(0)
        running.link.respond(1, OK.encode(), b"x" * 2000)
        running.peer.request(1, Heartbeat())
        await wait_all_tasks_blocked()
        running.peer.request(2, Heartbeat())
        await wait_all_tasks_blocked()
        assert [frame.request_id for frame, _ in running.requests] == [1]

        running.transport.outgoing.grow(math.inf)
        await wait_all_tasks_blocked()
        assert [frame.request_id for frame, _ in running.requests] == [1, 2]


async def test_a_leader_notices_that_a_peer_which_did_not_read_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster_client._outbox.HIGH_WATER", 1000)
    async with open_link(wait_for_reader=True) as running:
        running.transport.outgoing.grow(0)
        running.link.respond(1, OK.encode(), b"x" * 2000)
        running.peer.request(1, Heartbeat())
        await wait_all_tasks_blocked()
        await running.peer.transport.aclose()
        await running.ended.wait()


async def test_a_follower_reads_on_while_the_leader_does_not() -> None:
    async with open_link() as running:
        running.transport.outgoing.grow(0)
        running.link.respond(1, OK.encode(), b"x" * (2 << 20))
        running.peer.request(1, Heartbeat())
        await wait_all_tasks_blocked()
        running.peer.request(2, Heartbeat())
        await wait_all_tasks_blocked()
        assert len(running.requests) == 2


async def test_what_is_ready_together_is_sent_together() -> None:
    async with open_link() as running:
        for _ in range(10):
            running.link.post(CALL.encode())
        await wait_all_tasks_blocked()
        assert running.transport.outgoing.sends == 1


# ------------------------------------------------------------- flush, finish


async def test_flush_waits_until_everything_is_handed_over() -> None:
    async with open_link() as running:
        await running.link.flush()
        running.transport.outgoing.grow(0)
        running.link.respond(1, OK.encode(), b"x" * 100)
        await wait_all_tasks_blocked()  # the transport has taken it, and takes no more
        running.link.respond(2, OK.encode())
        flushed = anyio.Event()
        running.tasks.start_soon(flush, running.link, flushed)
        await wait_all_tasks_blocked()
        assert not flushed.is_set()
        running.transport.outgoing.grow(math.inf)
        await flushed.wait()
        assert (await running.peer.receive()).application == b"x" * 100


async def flush(link: Link, flushed: anyio.Event) -> None:
    await link.flush()
    flushed.set()


async def test_flush_ends_when_the_link_is_closed() -> None:
    async with open_link() as running:
        running.transport.outgoing.grow(0)
        running.link.respond(1, OK.encode())
        flushed = anyio.Event()
        running.tasks.start_soon(flush, running.link, flushed)
        await wait_all_tasks_blocked()
        running.link.close("enough")
        await flushed.wait()


async def test_finish_writes_all_and_leaves_the_last_word_to_the_peer() -> None:
    async with open_link() as running:
        running.transport.outgoing.grow(10)
        running.link.respond(1, OK.encode(), b"last")
        running.tasks.start_soon(running.link.finish)
        frames = await running.peer.receive_to_the_end()
        assert [frame.application for frame in frames] == [b"last"]
        await wait_all_tasks_blocked()
        assert not running.ended.is_set()
        running.peer.request(9, Heartbeat())
        await running.peer.transport.aclose()
        await running.ended.wait()
        assert [frame.request_id for frame, _ in running.requests] == [9]


async def test_what_is_said_after_the_finish_is_not_sent() -> None:
    async with open_link() as running:
        await running.link.finish()
        running.link.respond(1, OK.encode())
        call = running.start_call()
        await wait_all_tasks_blocked()
        assert await running.peer.receive_to_the_end() == []
        await running.peer.transport.aclose()
        await call.ended.wait()
        assert call.error is not None


# ----------------------------------------------------------------- the end


async def test_end_of_file_closes_the_link() -> None:
    async with open_link() as running:
        await running.peer.transport.aclose()
        await running.ended.wait()
        assert running.link.state is LinkState.CLOSED
        assert running.link.reason == "the peer closed the connection"
        assert running.transport.closed
        assert running.log.entries == []


async def test_the_first_reason_of_a_close_counts() -> None:
    async with open_link() as running:
        running.link.close("first")
        running.link.close("second")
        await running.ended.wait()
        assert running.link.reason == "first"


async def test_a_link_can_be_closed_before_it_runs() -> None:
    here, _ = connected_pair()
    link = Link(here, FrameDecoder(), agreement=AGREED, log=LogRecorder())
    link.close("too early")
    await link.run(lambda _frame, _message: None)
    assert here.closed


async def test_a_protocol_error_closes_the_link_with_one_reason() -> None:
    async with open_link() as running:
        call = running.start_call()
        frame = await running.peer.receive()
        running.peer.request(1, Heartbeat())
        running.peer.transport.outgoing.put(GARBAGE)
        running.peer.answer(frame, OK, b"behind the garbage")
        await running.ended.wait()
        assert [frame.request_id for frame, _ in running.requests] == [1]
        assert fails_sent(call)
        (entry,) = running.log.entries
        assert entry.event == "link_protocol_error"
        assert entry.values == {"error": running.link.reason}
        assert running.link.reason.startswith("the peer does not speak the cluster protocol")
        assert str(call.error) == running.link.reason


async def test_a_request_that_its_handler_refuses_closes_the_link() -> None:
    here, there = connected_pair()
    link = Link(here, FrameDecoder(), agreement=AGREED, log=LogRecorder())
    seen: list[int] = []

    def refuse(frame: Frame, _message: Message) -> None:
        seen.append(frame.request_id)
        raise RemoteProtocolError("not like this")

    for number in (1, 2):
        there.outgoing.put(encode_frame(Frame(False, number, 0, Heartbeat().encode())))
    await link.run(refuse)
    assert link.reason == "not like this"
    assert seen == [1]


async def test_a_bug_in_the_handler_propagates() -> None:
    here, there = connected_pair()
    link = Link(here, FrameDecoder(), agreement=AGREED, log=LogRecorder())

    def stumble(_frame: Frame, _message: Message) -> None:
        raise ZeroDivisionError

    there.outgoing.put(encode_frame(Frame(False, 1, 0, Heartbeat().encode())))
    with pytest.raises(BaseExceptionGroup) as caught:
        await link.run(stumble)
    assert caught.group_contains(ZeroDivisionError)
    assert here.closed


async def test_a_cancelled_run_tells_every_caller() -> None:
    here, _ = connected_pair()
    link = Link(here, FrameDecoder(), agreement=AGREED, log=LogRecorder())
    call = Call(link, b"")
    async with anyio.create_task_group() as callers:
        callers.start_soon(call.run)
        async with anyio.create_task_group() as tasks:
            await tasks.start(run_link, link)
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await call.ended.wait()
    assert fails_sent(call)
    assert here.closed


async def run_link(link: Link, *, task_status: TaskStatus[None]) -> None:
    task_status.started()
    await link.run(lambda _frame, _message: None)


async def test_a_transport_that_hangs_at_its_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster_client._link._CLOSE_GRACE", 0.01)

    class HangingTransport(MemoryTransport):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    here, there = connected_pair()
    there.outgoing.end()
    link = Link(
        HangingTransport(here.incoming, here.outgoing),
        FrameDecoder(),
        agreement=AGREED,
        log=LogRecorder(),
    )
    await link.run(lambda _frame, _message: None)
    assert link.state is LinkState.CLOSED


async def test_a_broken_stream_lets_the_last_answers_be_read() -> None:
    """A write fails at once when the peer is gone, though what it sent before is still there."""
    async with open_link() as running:
        call = running.start_call()
        frame = await running.peer.receive()
        running.transport.incoming.hold()
        running.peer.answer(frame, OK, b"last words")
        running.transport.outgoing.cut()
        late = running.start_call()
        await wait_all_tasks_blocked()
        running.transport.incoming.release()
        running.transport.incoming.end()
        await running.ended.wait()
        assert call.answer is not None
        assert call.answer.application == b"last words"
        assert late.error is not None


async def test_what_cannot_be_framed_leaves_nothing_behind() -> None:
    async with open_link() as running:
        with pytest.raises(LocalProtocolError):
            running.link.post(b"", on_reply=lambda _: None)
        assert running.link._pending == {}


# ----------------------------------------------------------------- expect


def test_an_answer_of_the_expected_class_is_returned() -> None:
    assert expect(Frame(True, 1, 0, OK.encode()), InvokeResult) == OK


def test_an_answer_of_another_class_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match=r"expected invoke_result, got .*heartbeat_res"):
        expect(Frame(True, 1, 0, HeartbeatAck().encode()), InvokeResult)


async def test_what_waits_in_a_link_that_is_closed_is_not_sent_any_more() -> None:
    """Its callers are told so: they send it to the next leader."""
    async with open_link() as running:
        exchange = running.link.start(CALL.encode(), b"", LONG, math.inf)
        running.link.close("test")
        with pytest.raises(LinkClosedError) as caught:
            _ = exchange.answer
        assert not caught.value.sent
        running.link.send_now()
        assert bytes(running.transport.outgoing.sent) == b""
        assert running.transport.unsent == 0
