"""The leader's side of one follower (SPEC sections 3, 6 and 9.2)."""

from __future__ import annotations

from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final

import anyio
import anyio.abc

from cluster_client import _backend, _clock
from cluster_client._calls import Admission, CallExecutor, Outcome
from cluster_client._clock import Deadline
from cluster_client._dialects import Dialect, read_call
from cluster_client._hub import Subscriber, SubscriptionHub, Upstream
from cluster_client._link import Link
from cluster_client._outgoing import OutgoingValues
from cluster_client._outgoing_snapshots import OutgoingSnapshots
from cluster_client._registrations import Registration, check_registration
from cluster_client._snapshots import Snapshot
from cluster_client._states import LinkState
from cluster_client._streams import LinkSink, Window
from cluster_client._turns import Turns
from cluster_client._workers import Lane, Workers
from cluster_client.errors import EncodeError, LinkClosedError, RefusedError
from cluster_client.options import ClientOptions
from cluster_protocol import (
    REAL_CLIENT_STATE,
    SNAPSHOT,
    STREAM,
    SUBSCRIBE_ACK,
    Cancel,
    Frame,
    Goodbye,
    Heartbeat,
    HeartbeatAck,
    Invoke,
    InvokeResult,
    Json,
    Message,
    RealClientState,
    RegisterChannel,
    RegisterChannelResult,
    RemoteProtocolError,
    StreamCredit,
    Subscribe,
    SubscribeAck,
    Unsubscribe,
    ValuesTaken,
)

_SUCCESS: Final = InvokeResult(success=True).encode()
_FAILURE: Final = InvokeResult(success=False).encode()
_REFUSED: Final = InvokeResult(success=False, refused=True).encode()
_HEARTBEAT_ACK: Final = HeartbeatAck().encode()
_MISSED_HEARTBEATS: Final = 3
_SWEEP_TIME: Final = 0.05


class Peer:
    """Serves one follower while `run` runs.

    Args:
        link: Its link.
        dialect: What is spoken on it.
        calls: Runs its calls.
        hub: Has its subscriptions.
        tasks: Where its streams run; cancelled as a whole when the leadership ends.
        workers: Run its calls.
        options: The leader's.
        may_lead: Whether the follower would lead, if it could.
        pid: Its process, if it has told.
        log: Logger, already bound to the client.
    """

    def __init__(
        self,
        link: Link,
        dialect: Dialect,
        *,
        calls: CallExecutor,
        hub: SubscriptionHub,
        tasks: anyio.abc.TaskGroup,
        workers: Workers,
        options: ClientOptions,
        may_lead: bool = False,
        pid: int | None = None,
        log: Any,
    ) -> None:
        self.link = link
        self.pid = pid
        self._outbox = link.outbox
        self._codec = dialect.codec
        self._dialect = dialect
        self._calls = calls
        self._hub = hub
        self._tasks = tasks
        self._workers = workers
        self._options = options
        self._may_lead = may_lead
        self._log = log
        self._running: dict[int, Admission] = {}
        self._limits = options.limits
        self._most_calls = options.limits.calls_per_follower
        self._told_of_subscriptions = False
        self._lane = Lane(link.send_now)
        self._windows: dict[int, Window] = {}
        self._values = OutgoingValues(
            link, dialect.codec, response_timeout=options.response_timeout
        )
        self._turns = Turns(link, tasks)
        self._snapshots = OutgoingSnapshots(link, tasks)
        self._last_heard = _clock.now()
        self._gone = anyio.Event()
        self._refusing = False

    def accept(self, registration: Frame) -> None:
        """Answer a registration: the real client is ready (SPEC 3.1)."""
        outcome = self._dialect.registration_outcome(None)
        self._answer(registration, RegisterChannelResult(self.link.agreement).encode(), outcome)

    def refuse_calls(self) -> None:
        """Run no more calls: leadership ends (SPEC 8.4)."""
        self._refusing = True
        self._turns.end()  # or a follower that does not read would keep us here

    async def run(self) -> None:
        """Serve until the follower is gone; then nothing of it is left behind."""
        try:
            async with anyio.create_task_group() as tasks:
                if self.link.agreement is None and self._options.check_heartbeat:
                    tasks.start_soon(self._watch_heartbeats)
                await self.link.run(self._on_request)
                tasks.cancel_scope.cancel()
        finally:
            self._gone.set()
            self._values.close()
            for subscriber in (self._values.states, self._values.events):
                if subscriber is not None:
                    self._hub.remove_everywhere(subscriber)
            for admission in self._running.values():
                admission.cancel()  # nobody waits for these calls any more

    async def say_goodbye(self, limit: float) -> None:
        """Announce the end of leadership and wait for the follower's last request (SPEC 6.4)."""
        acknowledged = anyio.Event()
        self.link.post(Goodbye().encode(), on_reply=lambda _: acknowledged.set())
        with anyio.move_on_after(limit):
            await acknowledged.wait()

    def tell_real_client(self, *, ready: bool, reason: str) -> None:
        """Tell that the real client was lost, or made anew (SPEC 6.7)."""
        if self.link.has(REAL_CLIENT_STATE):
            self.link.post(RealClientState(ready, reason).encode())

    @property
    def waiting_bytes(self) -> int:
        """What waits for the follower to take it, here and not in the operating system."""
        return self.link.backlog + self._values.waiting_bytes

    @property
    def is_heir(self) -> bool:
        """Whether the follower takes snapshots, and could lead next."""
        alive = self.link.state is not LinkState.CLOSED
        return alive and self._may_lead and self.link.has(SNAPSHOT)

    def hand_over(self, snapshot: Snapshot | None) -> None:
        """Give the follower what it is to start from, should it lead next (SPEC 6.8)."""
        if self.is_heir:
            self._snapshots.put(snapshot)

    async def dismiss(self) -> None:
        """Write what is left, and wait until the follower has gone."""
        await self.link.finish()
        await self._gone.wait()

    # ------------------------------------------------------------- requests

    def _on_request(self, frame: Frame, message: Message) -> None:
        if type(message) is Invoke:  # by far the most, and `match` takes its time
            self._begin_call(frame, message)
            return
        self._last_heard = _clock.now()
        match message:
            case ValuesTaken(count):
                self._values.on_taken(count)
            case Cancel(call_id):
                admission = self._running.get(call_id)
                if admission is not None:
                    admission.cancel()
            case StreamCredit(call_id, credit):
                window = self._windows.get(call_id)
                if window is not None:
                    window.grant(credit)
            case Subscribe(key, reg, events):
                self._subscribe(frame.request_id, key, reg, events)
            case Unsubscribe(key, reg, events):
                self._hub.remove(self._registration(reg), self._subscriber(events))
                self._values.forget(key, events)
            case Heartbeat():
                self._answer(frame, _HEARTBEAT_ACK)
            case RegisterChannel() if self._dialect.is_node:
                self.accept(frame)  # it was too impatient for our first answer
            case _:
                self._log.info("request_ignored", request=frame.connection[:80])

    def _begin_call(self, frame: Frame, message: Invoke) -> None:
        request_id = frame.request_id
        if request_id in self._running:
            raise RemoteProtocolError(f"request id {request_id} is still in use")
        if self._refusing:
            self._respond(frame, message, self._calls.refused(message.method, self._dialect))
            return
        if len(self._running) >= self._most_calls or len(self._calls.admitted) >= self._calls.most:
            excess = self._calls.excess(message.method, len(self._running))
            self._respond(frame, message, self._calls.failed(excess, self._dialect))
            return
        # Here and not in the task: a cancellation may be the very next frame.
        admission = self._running[request_id] = self._calls.admit()
        if message.credit is not None and self.link.has(STREAM):
            window = self._windows[request_id] = Window(message.credit)
            self._tasks.start_soon(self._serve_stream, frame, message, admission, window)
        else:
            self._workers.submit(self._lane, _Call(self, frame, message, admission))

    def _answer(self, request: Frame, message: bytes, application: bytes = b"") -> None:
        """Answer a request of the follower; Node repeats the timeout, and so it gets it back."""
        timeout_ms = request.timeout_ms if self._dialect.is_node else 0
        self.link.respond(request.request_id, message, application, timeout_ms=timeout_ms)

    async def serve_call(
        self, frame: Frame, message: Invoke, admission: Admission, scope: anyio.CancelScope
    ) -> None:
        """Run a call and answer it; *scope* cancels it."""
        outcome: Outcome | None = None
        try:
            arguments, expires = read_call(message, frame, self._codec, self._limits.arguments)
            run = self._calls.execute_in(
                scope,
                message.method,
                arguments,
                dialect=self._dialect,
                expires=expires,
                admission=admission,
            )
            if self._outbox.congested and not admission.cancelled:
                run = self._turns.run(run)
            outcome = await run
        except LinkClosedError:
            outcome = self._calls.refused(message.method, self._dialect)
        except Exception as exc:  # the user's own codec may raise anything
            # The frame was whole, so only this call is broken and not the link.
            outcome = self._calls.failed(exc, self._dialect)
        except anyio.get_cancelled_exc_class():
            self._tell_if_cut_off(frame, message)
            raise
        finally:
            self._end_call(frame, admission)
        if outcome is not None and not admission.cancelled:
            self._respond(frame, message, outcome)

    async def _serve_stream(
        self, frame: Frame, message: Invoke, admission: Admission, window: Window
    ) -> None:
        outcome: Outcome | None = None
        try:
            arguments, expires = read_call(message, frame, self._codec, self._limits.arguments)
            outcome = await self._calls.execute(
                message.method,
                arguments,
                dialect=self._dialect,
                deadline=Deadline(expires),
                admission=admission,
                sink=LinkSink(self.link, frame.request_id, window),
            )
        except Exception as exc:
            outcome = self._calls.failed(exc, self._dialect)
        except anyio.get_cancelled_exc_class():
            if not self._tell_if_cut_off(frame, message):
                raise  # else all others would end with it
        finally:
            self._windows.pop(frame.request_id, None)
            self._end_call(frame, admission)
        if outcome is not None:
            self._respond(frame, message, outcome)

    def _tell_if_cut_off(self, frame: Frame, message: Invoke) -> bool:
        """Have the follower told that the method's task was cancelled, if it was by a stranger."""
        if _backend.is_cancelled():
            return False
        self._tasks.start_soon(self._tell_cut_off, frame, message)
        return True

    async def _tell_cut_off(self, frame: Frame, message: Invoke) -> None:
        # Or all tasks have been, as the event loop ends; then this one ends, too, and whoever
        # called asks the next leader.
        await anyio.sleep(_SWEEP_TIME)
        error = CancelledError("the task in which it ran has been cancelled")
        self._respond(frame, message, self._calls.failed(error, self._dialect))

    def _end_call(self, frame: Frame, admission: Admission) -> None:
        self._calls.dismiss(admission)
        del self._running[frame.request_id]
        if self._dialect.is_node:
            self._last_heard = _clock.now()  # it was waiting, and so it was not silent

    def _respond(self, frame: Frame, message: Invoke, outcome: Outcome) -> None:
        if message.oneway:
            if not outcome.success:
                self._log.warning("oneway_call_failed", method=message.method)
            return
        if outcome.success:
            head = _SUCCESS  # by far the most
        elif outcome.refused and not self._dialect.is_node:
            head = _REFUSED
        else:
            head = _FAILURE
        self._answer(frame, head, outcome.data)

    def _subscribe(self, request_id: int, key: str, reg: Json, events: bool) -> None:
        registration = self._registration(reg)
        try:
            upstream = self._hub.add(registration, key, self._subscriber(events))
        except RefusedError as exc:
            self._refuse_subscription(request_id, exc)
            return
        if self.link.has(SUBSCRIBE_ACK):
            self._tasks.start_soon(self._confirm, request_id, upstream)

    def _refuse_subscription(self, request_id: int, exc: RefusedError) -> None:
        if self.link.has(SUBSCRIBE_ACK):
            data = self._dialect.failure(exc)
            self.link.respond(request_id, SubscribeAck(success=False).encode(), data)
        elif not self._told_of_subscriptions:  # Node has no answer that could tell it
            self._told_of_subscriptions = True
            self._log.warning("subscription_refused", error=str(exc))

    def _subscriber(self, events: bool) -> Subscriber:
        """Return who takes the values, of events only if both sides know them (SPEC 6.10)."""
        values = self._values
        return values.events if events and values.events is not None else values.states

    def _registration(self, reg: Json) -> Registration:
        try:
            return check_registration(reg, self._options.format_key, self._limits.depth)
        except EncodeError as exc:
            raise RemoteProtocolError(str(exc)) from exc

    async def _confirm(self, request_id: int, upstream: Upstream) -> None:
        try:
            await self._hub.settle(upstream)
        except LinkClosedError:
            return  # leadership ends: the follower asks the next leader
        except Exception as exc:
            data = self._dialect.failure(exc)
            self.link.respond(request_id, SubscribeAck(success=False).encode(), data)
        else:
            self.link.respond(request_id, SubscribeAck(success=True).encode())

    # ------------------------------------------------------------ heartbeats

    async def _watch_heartbeats(self) -> None:
        """Drop a Node follower that was silent for three intervals, as Node does."""
        limit = _MISSED_HEARTBEATS * self._options.heartbeat_interval
        silent = 0.0
        while silent < limit:
            await anyio.sleep(limit - silent)
            # Node sends no heartbeats while it waits for an answer.
            silent = 0.0 if self._running else _clock.now() - self._last_heard
        self.link.close(f"no heartbeat for {limit:g} s")


class _Call:
    """A call that waits for its turn; see `Job`."""

    __slots__ = ("_admission", "_frame", "_message", "_peer")

    def __init__(self, peer: Peer, frame: Frame, message: Invoke, admission: Admission) -> None:
        self._peer = peer
        self._frame = frame
        self._message = message
        self._admission = admission

    def run(self, scope: anyio.CancelScope) -> Coroutine[Any, Any, None]:
        return self._peer.serve_call(self._frame, self._message, self._admission, scope)
