"""Hundreds of interleavings of streams over one link: no item reaches another reader.

Hypothesis writes a script: streams are opened, read in bursts, closed, dropped and cancelled at
any step, bytes get stuck half-way in either direction, and the link may end. A real follower and a
real leader's side of it talk to each other. Afterwards neither of them remembers anything.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cluster_client import Stream
from cluster_client._calls import CallExecutor
from cluster_client._clock import Deadline
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import CallRequest, PeerDialect
from cluster_client._election import Joined
from cluster_client._follower import Follower
from cluster_client._hub import SubscriptionHub
from cluster_client._link import Link
from cluster_client._peer import Peer
from cluster_client._session import ClientSpec, SessionEvents
from cluster_client._workers import Workers
from cluster_client.errors import LinkClosedError, StreamInterruptedError
from cluster_client.options import ClientOptions
from cluster_client.streams import FirstItem
from cluster_protocol import FrameDecoder
from cluster_protocol.codecs import MsgpackCodec
from support.links import AGREED, LONG
from support.logs import LogRecorder
from support.real_clients import Provided, real_client
from support.times import LIMIT
from support.transports import connected_pair

EXAMPLES: Final = 250
"""Per event loop."""

MOST_READERS: Final = 4
LENGTH: Final = 30
HIGH_WATER: Final = 40_000
SIZES: Final = (0, 10, 17_000, 300_000)
COUNTS: Final = (0, 1, 40, 200)

CODEC: Final = MsgpackCodec()

EVENTS: Final = (
    *("nothing", "open", "open", "open", "read", "read", "read", "read", "read_much"),
    *("close", "drop", "cancel", "make_wait", "let_go"),
    *("hold_items", "release_items", "hold_credit", "release_credit", "piecemeal", "stall", "flow"),
)
ENDINGS: Final = ("goodbye", "cut", "stop", "hang_up", "abort")


class Step(NamedTuple):
    """What happens, to which of the candidates, and how long the event loop then runs."""

    event: str
    number: int
    rounds: int


def steps(*names: str) -> st.SearchStrategy[Step]:
    return st.builds(
        Step, st.sampled_from(names), st.integers(0, 63), st.sampled_from([12, 0, 1, 2, 3, 5])
    )


scripts = st.builds(
    lambda events, ending, when: [*events[:when], *ending, *events[when:]],
    st.lists(steps(*EVENTS), min_size=LENGTH, max_size=LENGTH),
    st.lists(steps(*ENDINGS), max_size=1),
    st.integers(LENGTH // 2, LENGTH),
)


class Rows:
    """A real client with one method, which knows how many of its generators are open."""

    def __init__(self) -> None:
        self.open = 0
        self.free = anyio.Event()
        self.free.set()

    async def rows(self, token: int, count: int, size: int) -> AsyncIterator[Any]:
        self.open += 1
        try:
            for number in range(count):
                await self.free.wait()
                yield [token, number, bytes(size)]
            if token % 3 == 2:
                raise KeyError(token)
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()  # a clean-up may take its time
            self.open -= 1


TABLE: Final = DelegateTable(Rows, {})


class Reader:
    """Reads one stream, as far as the script lets it."""

    def __init__(self, token: int, count: int, size: int) -> None:
        self.token = token
        self.count = count
        self.size = size
        self.scope = anyio.CancelScope()
        self.permits = anyio.Semaphore(0)
        self.stream: Stream[Any] | None = None
        self.received = 0
        self.left = False
        self.outcome: str | Exception | None = None

    async def run(self, stream: Stream[Any]) -> None:
        self.stream = stream
        del stream
        with self.scope:
            try:
                await self._read()
            except Exception as exc:
                self.outcome = exc.with_traceback(None)
        if self.scope.cancelled_caught:
            self.left = True
            self.outcome = "cancelled"
            self.stream = None

    async def _read(self) -> None:
        while True:
            await self.permits.acquire()
            if self.stream is None:
                self.outcome = "dropped"
                return
            try:
                token, number, data = await anext(self.stream)
            except StopAsyncIteration:
                self.outcome = "ended"
                return
            assert token == self.token, "an item reached another reader"
            assert number == self.received, "an item was lost, doubled or overtaken"
            assert len(data) == self.size
            self.received += 1


class Interleaving:
    """A leader's side, a follower, and readers of its streams."""

    def __init__(self) -> None:
        ours, theirs = connected_pair()
        self.items, self.credit = theirs.outgoing, ours.outgoing
        log = LogRecorder()
        options = ClientOptions.build({"name": "rows"})
        self.told: list[str] = []
        events = SessionEvents(
            ready=lambda: None,
            ending=lambda: self.told.append("ending"),
            value=lambda _key, _value: None,
            missed=lambda _key, _gap: None,
            real_client=lambda _ready, _reason: None,
            snapshot=lambda _: None,
        )
        spec = ClientSpec(Rows, (), {}, TABLE, options, {"msgpack": CODEC})
        self.follower = Follower(Joined(ours, FrameDecoder(), AGREED), spec, events, log)
        self.real = real_client(Rows, log=log)
        self.link = Link(theirs, FrameDecoder(), agreement=AGREED, log=log, wait_for_reader=True)
        self.calls = CallExecutor(Provided(self.real), TABLE, log)
        self.options = options
        self.log = log
        self.readers: list[Reader] = []
        self.tokens = itertools.count()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.real.open(), anyio.create_task_group() as self.tasks:
            hub = SubscriptionHub(
                self.real, TABLE, codec=CODEC, tasks=self.tasks, broadcast=True, log=self.log
            )
            self.peer = Peer(
                self.link,
                PeerDialect(CODEC),
                calls=self.calls,
                hub=hub,
                tasks=self.tasks,
                workers=Workers(self.tasks, self.log),
                options=self.options,
                log=self.log,
            )
            self.rows: Rows = self.real._instance
            self.tasks.start_soon(self.peer.run)
            self.tasks.start_soon(self.follower.run)
            try:
                yield
            finally:
                self.tasks.cancel_scope.cancel()

    # --------------------------------------------------------------- events

    @property
    def reading(self) -> list[Reader]:
        return [reader for reader in self.readers if reader.outcome is None]

    def pick(self, number: int) -> Reader | None:
        reading = self.reading
        return reading[number % len(reading)] if reading else None

    def nothing(self, _: int) -> None:
        pass

    def open(self, number: int) -> None:
        if len(self.reading) < MOST_READERS:
            reader = Reader(next(self.tokens), COUNTS[number % 4], SIZES[number // 4 % 4])
            self.readers.append(reader)
            self.tasks.start_soon(reader.run, self.stream_for(reader))
            self.allow(reader, number % 3)

    def stream_for(self, reader: Reader) -> Stream[Any]:
        method = TABLE.by_target["rows"]
        args = method.bind((reader.token, reader.count, reader.size), {})
        request = CallRequest(method, *args, LONG)

        async def begin() -> tuple[FirstItem, str]:
            source = await self.follower.open_stream(request, Deadline.after(LONG))
            return await FirstItem.of(source, "rows", LONG), "epoch"

        return Stream("rows", begin)

    def allow(self, reader: Reader, items: int) -> None:
        for _ in range(items):
            reader.permits.release()

    def read(self, number: int) -> None:
        reader = self.pick(number)
        if reader is not None:
            self.allow(reader, 1 + number // 8)

    def read_much(self, number: int) -> None:
        reader = self.pick(number)
        if reader is not None:
            self.allow(reader, 1000)

    def close(self, number: int) -> None:
        reader = self.pick(number)
        if reader is not None and reader.stream is not None:
            reader.left = True
            self.tasks.start_soon(reader.stream.aclose)
            self.allow(reader, 1000)

    def drop(self, number: int) -> None:
        reader = self.pick(number)
        if reader is not None:
            reader.left = True
            reader.stream = None
            self.allow(reader, 1)

    def cancel(self, number: int) -> None:
        reader = self.pick(number)
        if reader is not None:
            reader.scope.cancel()

    def make_wait(self, _: int) -> None:
        if self.rows.free.is_set():
            self.rows.free = anyio.Event()

    def let_go(self, _: int) -> None:
        self.rows.free.set()

    def hold_items(self, _: int) -> None:
        self.items.hold()

    def release_items(self, _: int) -> None:
        self.items.release()

    def hold_credit(self, _: int) -> None:
        self.credit.hold()

    def release_credit(self, _: int) -> None:
        self.credit.release()

    def piecemeal(self, number: int) -> None:
        self.items.chunk = number * 1000 or None
        self.credit.chunk = number or None

    def stall(self, number: int) -> None:
        self.items.grow(number * 1000)

    def flow(self, _: int) -> None:
        self.items.grow(float("inf"))

    def goodbye(self, _: int) -> None:
        self.tasks.start_soon(self.peer.say_goodbye, LONG)

    def cut(self, _: int) -> None:
        self.items.cut()
        self.credit.cut()

    def stop(self, _: int) -> None:
        self.follower.stop()

    def hang_up(self, _: int) -> None:
        self.link.close("the script says so")

    def abort(self, _: int) -> None:
        """Cancel what runs; the link then ends, as in a hand-over."""
        self.calls.abort()
        self.link.close("leadership ends")

    # -------------------------------------------------------------- running

    async def play(self, script: list[Step]) -> None:
        async with self.running():
            for event, number, rounds in script:
                happen: Callable[[int], None] = getattr(self, event)
                happen(number)
                await self.settle(rounds)
                self.check_maps()
            await self.let_everybody_end()

    async def let_everybody_end(self) -> None:
        """Half of the readers still reading read on to the end, the others drop their streams."""
        for event in ("flow", "release_items", "release_credit", "let_go"):
            getattr(self, event)(0)
        self.items.chunk = self.credit.chunk = None
        self.items.release()
        for index, reader in enumerate(self.reading):
            if index % 2:
                reader.scope.cancel()
            self.allow(reader, 1000)
        await self.until(lambda: not self.reading)
        await self.until(lambda: not self.rows.open and not self.calls.running)
        await self.settle(12)
        self.check_outcomes()
        assert self.follower._streams == {}
        assert self.follower._link._pending == {}
        assert self.link._pending == {}
        assert (self.peer._running, self.peer._windows) == ({}, {})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something; nothing here takes long, so that a standstill shows at once."""
        for _ in range(5000):
            if condition():
                return
            await checkpoint()
        stuck = [(reader.token, reader.count, reader.received) for reader in self.reading]
        pytest.fail(f"a standstill: {stuck}, {self.rows.open} generators open")

    async def settle(self, rounds: int) -> None:
        for _ in range(rounds):
            await checkpoint()

    # ----------------------------------------------------------- invariants

    def check_maps(self) -> None:
        """No map has an entry for a stream that both sides have forgotten."""
        assert len(self.follower._streams) <= len(self.readers)
        assert set(self.follower._streams) <= set(self.follower._link._pending)
        assert set(self.peer._windows) <= set(self.peer._running)

    def check_outcomes(self) -> None:
        for reader in self.readers:
            match reader.outcome:
                case "ended":
                    whole = reader.received == reader.count and reader.token % 3 != 2
                    assert whole or reader.left, "a stream that was cut off looked like a whole one"
                case KeyError():
                    assert (reader.received, reader.token % 3) == (reader.count, 2)
                case StreamInterruptedError() as error:
                    assert error.received == reader.received
                case LinkClosedError():
                    assert reader.received == 0
                case "dropped" | "cancelled":
                    assert reader.left
                case outcome:
                    pytest.fail(f"an outcome that should not be: {outcome!r}")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, without asyncio's debug mode, which takes three times as long."""
    backend: str = request.param
    return backend


@given(script=scripts)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # Without the phase that explains: it traces every line, and a failure would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_every_stream_gets_its_items_and_leaves_nothing_behind(script: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch, anyio.fail_after(LIMIT):
        patch.setattr("cluster_client._outbox.HIGH_WATER", HIGH_WATER)
        await Interleaving().play(script)
