"""The transports of every event loop, and links over them: real sockets, nothing simulated."""

from __future__ import annotations

import math
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client._backend import Transport, bind_and_listen, connect
from cluster_client._clock import Deadline
from cluster_client._link import Link
from cluster_client._outbox import BATCH, HIGH_WATER
from cluster_client.errors import LinkClosedError
from cluster_protocol import Frame, FrameDecoder, InvokeResult, Message
from support.links import AGREED, CALL, LONG
from support.logs import LogRecorder
from support.waiting import until

OK = InvokeResult(success=True).encode()


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return "asyncio", {"use_uvloop": True}
    return request.param, {"debug": True} if request.param == "asyncio" else {}


@asynccontextmanager
async def connection(port: int) -> AsyncGenerator[tuple[Transport, Transport]]:
    listener = bind_and_listen(port)
    assert listener is not None
    here = await connect(port)
    assert here is not None
    there = await listener.accept()
    listener.close()
    try:
        yield here, there
    finally:
        await here.aclose()
        await there.aclose()


class Running:
    """A transport that runs, and what it handed over."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.received = bytearray()
        self.relieved = 0
        self.on_data: Callable[[bytes], None] = lambda _: None
        self.ended = anyio.Event()
        self.error: BaseException | None = None

    async def run(self) -> None:
        try:
            await self.transport.run(self._on_data, self._on_writable)
        except Exception as exc:
            self.error = exc
        self.ended.set()

    def _on_data(self, data: bytes) -> None:
        self.received += data
        self.on_data(data)

    def _on_writable(self) -> None:
        self.relieved += 1


@asynccontextmanager
async def both_running(port: int) -> AsyncGenerator[tuple[Running, Running]]:
    async with connection(port) as ends, anyio.create_task_group() as tasks:
        here, there = map(Running, ends)
        for end in (here, there):
            tasks.start_soon(end.run)
        await wait_all_tasks_blocked()
        yield here, there
        tasks.cancel_scope.cancel()


# --------------------------------------------------------------- transports


async def test_what_is_written_arrives_in_order(port: int) -> None:
    async with both_running(port) as (here, there):
        pieces = [bytes([number % 256]) * (number * 37 % 3000) for number in range(500)]
        for piece in pieces:
            here.transport.write(piece)
        await until(lambda: len(there.received) == sum(map(len, pieces)))
        assert there.received == b"".join(pieces)
        there.transport.write(b"and back")
        await until(lambda: here.received == b"and back")


async def test_what_came_before_it_ran_is_handed_over_first(port: int) -> None:
    async with connection(port) as (here, there), anyio.create_task_group() as tasks:
        assert await there.send(b"early")
        running = Running(here)
        tasks.start_soon(running.run)
        await until(lambda: running.received == b"early")
        there.write(b", late")
        await until(lambda: running.received == b"early, late")
        tasks.cancel_scope.cancel()


async def test_a_reader_that_pauses_is_felt_by_the_writer(port: int) -> None:
    async with both_running(port) as (here, there):
        there.transport.pause_reading()
        written = 0
        while not here.transport.unsent or here.transport.writable:
            here.transport.write(b"x" * 100_000)
            written += 100_000
            await anyio.lowlevel.checkpoint()
        assert here.transport.unsent > 0
        unread = len(there.received)
        await wait_all_tasks_blocked()
        assert len(there.received) == unread
        there.transport.resume_reading()
        await until(lambda: here.relieved > 0 and here.transport.writable)
        await until(lambda: len(there.received) == written)
        assert here.transport.unsent == 0


async def test_a_large_piece_arrives_whole(port: int) -> None:
    data = random.Random(7).randbytes(20 << 20)
    async with both_running(port) as (here, there):
        here.transport.write(data)
        await until(lambda: len(there.received) == len(data))
        assert there.received == data


async def test_the_end_comes_behind_what_was_written(port: int) -> None:
    async with both_running(port) as (here, there):
        here.transport.write(b"x" * (5 << 20))
        await here.transport.send_eof()
        await there.ended.wait()
        assert len(there.received) == 5 << 20
        there.transport.write(b"the other way is open")
        await until(lambda: here.received == b"the other way is open")


async def test_a_peer_that_is_gone_ends_it(port: int) -> None:
    async with both_running(port) as (here, there):
        await there.transport.aclose()
        await here.ended.wait()
        await there.ended.wait()
        assert (here.error, there.error) == (None, None)
        here.transport.write(b"nobody is there")
        await here.transport.send_eof()
        assert here.transport.writable
        assert here.transport.unsent == 0


RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@asynccontextmanager
async def connection_that_was_reset(port: int) -> AsyncGenerator[Transport]:
    """Yield one end before its event loop has noticed."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        here = await connect(port)
        assert here is not None
        there, _ = listener.accept()
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        there.close()
        try:
            yield here
        finally:
            await here.aclose()


async def test_it_knows_what_a_connection_that_was_reset_has_not_taken(port: int) -> None:
    async with connection_that_was_reset(port) as here:
        here.write(b"one")
        here.write(b"and two")
        assert here.untaken == 10


async def test_a_request_to_whom_has_just_gone_was_never_sent(port: int) -> None:
    async with connection_that_was_reset(port) as here, anyio.create_task_group() as tasks:
        link = Link(here, FrameDecoder(), agreement=AGREED, log=LogRecorder())
        exchange = link.start(CALL.encode(), b"", LONG, math.inf)
        link.send_now()
        tasks.start_soon(link.run, lambda *_: None)
        with pytest.raises(LinkClosedError) as caught:
            await exchange.wait()
        assert not caught.value.sent


async def test_an_error_of_whoever_takes_the_data_is_no_secret(port: int) -> None:
    async with both_running(port) as (here, there):

        def fail(_: bytes) -> None:
            raise ZeroDivisionError

        there.on_data = fail
        here.transport.write(b"x")
        await there.ended.wait()
        error = there.error
        while isinstance(error, ExceptionGroup):
            (error,) = error.exceptions
        assert isinstance(error, ZeroDivisionError)


async def test_a_function_is_called_soon_and_not_at_once(port: int) -> None:
    async with both_running(port) as (here, _):
        called: list[int] = []
        for number in range(3):
            here.transport.call_soon(lambda number=number: called.append(number))  # type: ignore[misc]
            assert called == list(range(number))
            await until(lambda number=number: len(called) == number + 1)  # type: ignore[misc]


async def test_it_can_be_closed_while_it_runs(port: int) -> None:
    async with both_running(port) as (here, there):
        await here.transport.aclose()
        await here.ended.wait()
        await here.transport.aclose()
        await there.ended.wait()


# --------------------------------------------------------------------- links


class LinkPair:
    """A follower's link and a leader's, over a socket; the leader echoes."""

    def __init__(self, follower: Transport, leader: Transport) -> None:
        self.follower = Link(follower, FrameDecoder(), agreement=AGREED, log=LogRecorder())
        self.leader = Link(
            leader, FrameDecoder(), agreement=AGREED, log=LogRecorder(), wait_for_reader=True
        )
        self.held: list[Frame] = []
        self.hold = False

    def on_request(self, frame: Frame, _: Message) -> None:
        if self.hold:
            self.held.append(frame)
        else:
            self.leader.respond(frame.request_id, OK, frame.application)

    async def call(self, data: bytes, patience: float = LONG) -> bytes | None:
        answer = await self.follower.request(
            CALL.encode(), data, response_timeout=patience, unsent_until=Deadline.after(LONG)
        )
        return None if answer is None else answer.application


@asynccontextmanager
async def linked(port: int) -> AsyncGenerator[LinkPair]:
    async with connection(port) as ends, anyio.create_task_group() as tasks:
        pair = LinkPair(*ends)
        tasks.start_soon(pair.leader.run, pair.on_request)
        tasks.start_soon(pair.follower.run, lambda _frame, _message: None)
        yield pair
        tasks.cancel_scope.cancel()


async def test_no_answer_reaches_another_caller(port: int) -> None:
    """Callers that come, give up, time out and are answered in any order."""
    chance = random.Random(4)
    wrong: list[tuple[bytes, bytes]] = []
    answered = 0
    async with linked(port) as pair, anyio.create_task_group() as tasks:

        async def caller(name: int) -> None:
            nonlocal answered
            for number in range(60):
                token = f"{name}.{number}.".encode() + b"x" * chance.choice((0, 10, 5000))
                patience = chance.choice((LONG, LONG, 0.0005))
                with anyio.move_on_after(chance.choice((LONG, LONG, 0.0, 0.001))):
                    answer = await pair.call(token, patience)
                    if answer is not None:
                        answered += 1
                        if answer != token:
                            wrong.append((token, answer))

        for name in range(40):
            tasks.start_soon(caller, name)
    assert wrong == []
    assert answered > 500  # a third of them waits as long as it takes
    assert pair.follower._pending == {}


async def test_calls_are_sent_in_batches_and_none_waits_for_a_full_one(port: int) -> None:
    async with linked(port) as pair:
        for many in (1, BATCH - 1, BATCH, BATCH + 1, 5 * BATCH + 3):
            answers: list[bytes | None] = []

            async def call(number: int, answers: list[bytes | None] = answers) -> None:
                answers.append(await pair.call(str(number).encode()))

            async with anyio.create_task_group() as tasks:
                for number in range(many):
                    tasks.start_soon(call, number)
            assert sorted(answers, key=str) == sorted(
                (str(number).encode() for number in range(many)), key=str
            )


async def test_cancellation_at_any_time_leaves_the_link_in_order(port: int) -> None:
    async with linked(port) as pair:
        for delay in range(30):
            with anyio.move_on_after(delay * 0.00005):
                await pair.call(b"x" * (delay * 1000))
            assert pair.follower._pending == {}
            assert await pair.call(b"next") == b"next"


async def test_a_leader_whose_follower_does_not_read_stops_reading(port: int) -> None:
    async with linked(port) as pair:
        pair.follower._transport.pause_reading()
        async with anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(pair.call, b"x" * 500_000)
            await until(lambda: pair.leader.backlog > HIGH_WATER)
            await wait_all_tasks_blocked()
            # What it has read is bounded: the rest waits where it came from.
            assert pair.leader.backlog < HIGH_WATER + 3 * 500_000
            pair.follower._transport.resume_reading()
        assert await pair.call(b"fine") == b"fine"


async def test_a_link_that_breaks_tells_every_caller(port: int) -> None:
    async with linked(port) as pair:
        pair.hold = True
        errors: list[LinkClosedError] = []

        async def call() -> None:
            with pytest.raises(LinkClosedError) as caught:
                await pair.call(b"x")
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(call)
            await until(lambda: len(pair.held) == 100)
            pair.leader.close("for the test")
        assert [error.sent for error in errors] == [True] * 100
