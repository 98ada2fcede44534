"""Thousands of interleavings on one link: no answer ever reaches another caller.

Hypothesis writes a script: callers begin, are cancelled or run out of time at any step,
frames get stuck half-way, the peer answers in any order, late, twice or never, and the
link may end at any step. Time is the script's, too, so that each run can be repeated.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from cluster_client._clock import Deadline, now
from cluster_client._link import Link
from cluster_client._states import LinkState
from cluster_client.errors import LinkClosedError
from cluster_protocol import (
    FEATURES,
    Agreement,
    Cancel,
    Frame,
    FrameDecoder,
    Invoke,
    InvokeResult,
    Message,
    decode_message,
    encode_frame,
)
from support.logs import LogRecorder
from support.times import LIMIT
from support.transports import connected_pair

EXAMPLES: Final = 1000
"""Per peer and event loop, of which there are two each."""

LARGEST_ID: Final = 7
"""Instead of 2**30 - 1, so that an id comes again within a script if it ever does."""

LARGEST_ID_OF_NODE: Final = 64
"""More than a script has calls: towards Node ids do come again, which is safe if rare enough."""

MOST_CALLERS: Final = 6
HIGH_WATER: Final = 200
LONG: Final = 3600.0

CALL: Final = Invoke("echo", 1, packed=True).encode()
RESULT: Final = InvokeResult(success=True).encode()
AGREED: Final = Agreement("msgpack", FEATURES, epoch="e", pid=1)

EVENTS: Final = (
    *("nothing", "call", "call", "call", "call", "peer_reads", "peer_reads", "answer", "answer"),
    *("cancel", "cancel", "expire", "expire", "answer_again", "request_of_peer"),
    *("stall", "flow", "flow", "hold", "release", "release", "piecemeal"),
)
ENDINGS: Final = ("drain", "close", "cut", "garbage", "hang_up", "cancel_link")


class Step(NamedTuple):
    """What happens, to which of the candidates, and how long the event loop then runs."""

    event: str
    number: int = 0
    rounds: int = 8


def steps(*names: str) -> st.SearchStrategy[Step]:
    return st.builds(
        Step, st.sampled_from(names), st.integers(0, 63), st.sampled_from([8, 0, 1, 2, 3])
    )


LENGTH: Final = 40

scripts = st.builds(
    lambda events, ending, when: [*events[:when], *ending, *events[when:]],
    st.lists(steps(*EVENTS), min_size=LENGTH, max_size=LENGTH),
    st.lists(steps(*ENDINGS), max_size=1),
    st.integers(LENGTH // 2, LENGTH),
)


@dataclass(eq=False)
class Caller:
    """One call: what it sends must come back to it, and nothing else."""

    token: bytes
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    strike: Callable[[], object] | None = None
    posted: bool = False
    outcomes: list[Frame | LinkClosedError | str] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Whether it has sent its call and got no outcome yet."""
        return self.posted and not self.outcomes

    @property
    def gave_up(self) -> bool:
        return self.outcomes in ([CANCELLED], [TIMED_OUT])


CANCELLED: Final = "cancelled"
TIMED_OUT: Final = "timed out"

current_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("current_caller")


class ScriptedTime:
    """Stands in for anyio in the link: the limits of callers strike when the script says so."""

    def __getattr__(self, name: str) -> Any:
        return getattr(anyio, name)

    def move_on_after(self, delay: float, *, shield: bool = False) -> anyio.CancelScope:
        caller = current_caller.get(None)
        if caller is None:
            return anyio.move_on_after(delay, shield=shield)
        scope = anyio.CancelScope()
        caller.strike = scope.cancel
        return scope


class Interleaving:
    """A link, its callers, and a peer that does whatever the script says."""

    def __init__(self, agreement: Agreement | None) -> None:
        here, _ = connected_pair()
        self.to_peer, self.from_peer = here.outgoing, here.incoming
        self.link = Link(here, FrameDecoder(), agreement=agreement, log=LogRecorder())
        self.run_scope = anyio.CancelScope()
        self.callers: list[Caller] = []
        self.decoder = FrameDecoder()
        self.received: list[Frame] = []
        """Calls that the peer has got and not answered yet."""
        self.answered: list[Frame] = []
        self.cancels: list[int] = []
        self.ids: dict[bytes, int] = {}
        self.requests_of_peer = 0
        self.requests_seen = 0

    # --------------------------------------------------------------- events

    def nothing(self, _: int) -> None:
        pass

    def call(self, _: int) -> None:
        if len(self.in_flight) < MOST_CALLERS:
            caller = Caller(b"token %d" % len(self.callers))
            self.callers.append(caller)
            self.tasks.start_soon(self._make_call, caller)

    def cancel(self, number: int) -> None:
        if self.in_flight:
            self.in_flight[number % len(self.in_flight)].scope.cancel()

    def expire(self, number: int) -> None:
        limits = [caller.strike for caller in self.in_flight if caller.strike is not None]
        if limits:
            limits[number % len(limits)]()

    def peer_reads(self, _: int) -> None:
        self.decoder.receive_data(self.to_peer.take())
        while (frame := self.decoder.next_frame()) is not None:
            message = decode_message(frame.connection, is_response=frame.is_response)
            if isinstance(message, Cancel):
                self.cancels.append(message.call_id)
            elif isinstance(message, Invoke):
                assert frame.application not in self.ids, "a call was sent twice"
                self.ids[frame.application] = frame.request_id
                self.received.append(frame)

    def answer(self, number: int) -> None:
        if self.received:
            frame = self.received.pop(number % len(self.received))
            self.answered.append(frame)
            self._send_answer(frame)

    def answer_again(self, number: int) -> None:
        if self.answered:
            self._send_answer(self.answered[number % len(self.answered)])

    def request_of_peer(self, _: int) -> None:
        """A request has an id of the peer's own counting, which may be that of a call of ours."""
        self.requests_of_peer += 1
        request = Frame(False, self.requests_of_peer, 0, CALL, b"not an answer")
        self.from_peer.put(encode_frame(request))

    def stall(self, number: int) -> None:
        self.to_peer.grow(number * 4)

    def flow(self, _: int) -> None:
        self.to_peer.grow(float("inf"))

    def hold(self, _: int) -> None:
        self.from_peer.hold()

    def release(self, _: int) -> None:
        self.from_peer.release()

    def piecemeal(self, number: int) -> None:
        self.from_peer.chunk = number or None

    def drain(self, _: int) -> None:
        self.link.drain()

    def close(self, _: int) -> None:
        self.link.close("the script says so")

    def cut(self, _: int) -> None:
        self.from_peer.cut()
        self.to_peer.cut()

    def garbage(self, _: int) -> None:
        self.from_peer.put(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def hang_up(self, _: int) -> None:
        self.from_peer.end()

    def cancel_link(self, _: int) -> None:
        self.run_scope.cancel()

    # -------------------------------------------------------------- running

    @property
    def in_flight(self) -> list[Caller]:
        return [caller for caller in self.callers if not caller.outcomes]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as self.tasks:
            self.tasks.start_soon(self._run_link)
            yield
            self.tasks.cancel_scope.cancel()

    async def play(self, script: list[Step]) -> None:
        async with self.running():
            for event, number, rounds in script:
                happen: Callable[[int], None] = getattr(self, event)
                happen(number)
                await self.settle(rounds)
                self.check_pending()
            await self.let_everybody_end()

    async def let_everybody_end(self) -> None:
        """Half of the callers still waiting get an answer, the others give up."""
        self.flow(0)
        self.release(0)
        self.piecemeal(0)
        await self.settle()
        self.peer_reads(0)
        while len(self.received) > len(self.in_flight) // 2:
            self.answer(len(self.received) - 1)
        await self.settle()
        self.check_nobody_waits_in_vain()
        for caller in self.in_flight:
            caller.scope.cancel()
        await self.settle()
        self.check_pending()
        assert self.in_flight == []
        assert self.link._pending == {}
        self.peer_reads(0)
        self.check_told()
        while self.received:
            self.answer(0)  # all of them late
        await self.settle()
        self.check_outcomes()
        if self.link.state is LinkState.OPEN:
            await self.check_link_still_works()

    async def settle(self, rounds: int = 24) -> None:
        """Let every task run until it waits; nothing here takes more rounds than that."""
        for _ in range(rounds):
            await checkpoint()

    async def _run_link(self) -> None:
        with self.run_scope:
            await self.link.run(self._on_request)

    def _on_request(self, frame: Frame, message: Message) -> None:
        assert isinstance(message, Invoke)
        assert frame.application == b"not an answer"
        self.requests_seen += 1

    async def _make_call(self, caller: Caller) -> None:
        current_caller.set(caller)

        with caller.scope:
            try:
                await self.link.wait_writable_until(Deadline.after(LONG))
                exchange = self.link.start(CALL, caller.token, LONG, now() + LONG)
                caller.posted = True
                caller.strike = exchange.expire
                answer = await exchange.wait()
            except LinkClosedError as exc:
                caller.outcomes.append(exc)
            else:
                caller.outcomes.append(TIMED_OUT if answer is None else answer)
        if caller.scope.cancelled_caught:
            caller.outcomes.append(CANCELLED)

    def _send_answer(self, call: Frame) -> None:
        answer = Frame(True, call.request_id, 0, RESULT, call.application)
        self.from_peer.put(encode_frame(answer))

    # ----------------------------------------------------------- invariants

    def caller_of(self, token: bytes) -> Caller:
        return self.callers[int(token.split()[1])]

    def check_pending(self) -> None:
        waiting = sum(caller.waits for caller in self.callers)
        assert len(self.link._pending) <= waiting, "the pending map outgrew the calls in flight"

    def check_nobody_waits_in_vain(self) -> None:
        """Call it when every task waits."""
        if self.link.state is LinkState.CLOSED:
            assert self.in_flight == [], "the link is closed, and a caller has not been told"
        answered = {frame.application for frame in self.answered}
        assert not any(caller.token in answered for caller in self.in_flight)

    def check_told(self) -> None:
        """A peer that understands it has been told of every call that was given up."""
        answered = {frame.application for frame in self.answered}
        given_up = {
            self.ids[caller.token]
            for caller in self.callers
            if caller.gave_up and caller.token in self.ids and caller.token not in answered
        }
        if self.link.agreement is None:
            assert self.cancels == []
        elif self.link.state is not LinkState.CLOSED:
            assert given_up <= set(self.cancels)

    def check_outcomes(self) -> None:
        for caller in self.callers:
            assert len(caller.outcomes) == 1, "a caller must get exactly one outcome"
            (outcome,) = caller.outcomes
            if isinstance(outcome, Frame):
                assert outcome.application == caller.token, "an answer reached another caller"
            elif isinstance(outcome, LinkClosedError) and not outcome.sent:
                assert caller.token not in self.ids, "called unsent, but the peer has got it"

    async def check_link_still_works(self) -> None:
        assert self.requests_seen == self.requests_of_peer
        self.call(0)
        await self.settle()
        self.peer_reads(0)
        self.answer(0)
        await self.settle()
        self.check_outcomes()
        assert isinstance(self.callers[-1].outcomes[0], Frame)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, without asyncio's debug mode, which takes three times as long."""
    backend: str = request.param
    return backend


@pytest.mark.parametrize("agreement", [AGREED, None], ids=["our peer", "Node peer"])
@given(script=scripts)
@example(script=[Step("call"), Step("cancel")])
@example(script=[Step("call"), Step("expire")])
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # Without the phase that explains: it traces every line, and a failure would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_no_answer_reaches_another_caller(
    script: list[Step], agreement: Agreement | None
) -> None:
    largest_id = LARGEST_ID_OF_NODE if agreement is None else LARGEST_ID
    with pytest.MonkeyPatch.context() as patch, anyio.fail_after(LIMIT):
        patch.setattr("cluster_client._link.anyio", ScriptedTime())
        patch.setattr("cluster_client._link.MAX_REQUEST_ID", largest_id)
        patch.setattr("cluster_client._outbox.HIGH_WATER", HIGH_WATER)
        await Interleaving(agreement).play(script)
