"""A process that uses the leader's real client (SPEC sections 3, 6 and 7.1)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import anyio

from cluster_client import _clock, _exceptions
from cluster_client._calls import Outcome
from cluster_client._clock import Deadline
from cluster_client._delegate_options import PUBLISH, UNPUBLISH
from cluster_client._dialects import CallRequest, NodeDialect, PeerDialect
from cluster_client._election import Joined
from cluster_client._event_queue import Gap
from cluster_client._exchange import Exchange, MessageT, expect
from cluster_client._link import Link
from cluster_client._registrations import Registration, check_for_node
from cluster_client._session import ClientSpec, SessionEvents
from cluster_client._shared_subscriptions import SharedSubscriptions
from cluster_client._snapshots import LARGEST as LARGEST_SNAPSHOT
from cluster_client._snapshots import Snapshot
from cluster_client._states import LinkState
from cluster_client._streams import FIRST_CREDIT, ItemSource, StreamReader
from cluster_client._subscriptions import EncodedValue
from cluster_client.errors import LinkClosedError, RefusedError, ResponseTimeoutError
from cluster_protocol import (
    EVENTS,
    STREAM,
    SUBSCRIBE_ACK,
    VALUES_TAKEN,
    Failure,
    Frame,
    Goodbye,
    GoodbyeAck,
    Heartbeat,
    InvokeResult,
    Message,
    RealClientState,
    RemoteProtocolError,
    StreamCredit,
    StreamItem,
    Subscribe,
    SubscribeAck,
    SubscribeResult,
    SubscribeResultAck,
    Unsubscribe,
    ValuesMissed,
    ValuesTaken,
)
from cluster_protocol import Snapshot as SnapshotMessage

_VALUE_ACK: Final = SubscribeResultAck().encode()
_GOODBYE_ACK: Final = GoodbyeAck().encode()
_HEARTBEAT: Final = Heartbeat().encode()
_SUCCESS: Final = InvokeResult(success=True).encode()
"""What nearly every answer begins with, if only it is written as we write it."""

_NOT_ANSWERED_BY_NODE: Final = (PUBLISH, UNPUBLISH)
"""Ordinary functions in Node, as a rule; its leader answers only those that return a promise."""


class Follower:
    """A session of a process that joined a leader; lives while `run` runs.

    Args:
        joined: The accepted registration.
        spec: What the client was made of.
        events: Where the client wants to be told.
        log: Logger, already bound to the client.
    """

    def __init__(self, joined: Joined, spec: ClientSpec, events: SessionEvents, log: Any) -> None:
        self.epoch = joined.epoch
        agreement = joined.agreement
        self._dialect: PeerDialect | NodeDialect = (
            NodeDialect(spec.node_codec, spec.options.limits)
            if agreement is None
            else PeerDialect(spec.codecs[agreement.codec], spec.options.limits)
        )
        self._codec = self._dialect.codec
        self._spec = spec
        self._events = events
        self._log = log
        self._link = Link(
            joined.transport,
            joined.decoder,
            agreement=joined.agreement,
            limits=spec.options.limits.frames,
            log=log,
        )
        self._streams: dict[int, StreamReader] = {}
        self._taken = 0
        self._counts_values = self._link.has(VALUES_TAKEN)
        self.tells_events = self._counts_values and self._link.has(EVENTS)
        self._shared = SharedSubscriptions()
        self._link.after_reading = self._tell_values_taken
        self.round_trip: float | None = None
        """Seconds that the last heartbeat took."""

    @property
    def is_leader(self) -> bool:
        return False

    @property
    def leader_pid(self) -> int | None:
        """The leader's process; Node leaders don't tell theirs."""
        agreement = self._link.agreement
        return None if agreement is None else agreement.pid

    # ------------------------------------------------------------- lifetime

    async def run(self) -> None:
        """Follow until the leader is gone or `stop` is called.

        Cancellation:
            Closes the connection.
        """
        if self._dialect.is_node:
            # What the last of our leaders left is out of date once another process has led.
            self._events.snapshot(None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send_heartbeats)
            self._events.ready()
            await self._link.run(self._on_request)
            tasks.cancel_scope.cancel()

    def stop(self) -> None:
        """Make `run` end. Calls in flight fail."""
        self._link.close("the client is closed")

    async def _send_heartbeats(self) -> None:
        """Show the leader that we live, and measure how long it takes.

        A late answer has no consequence: on one host a dead leader shows as
        end of file, and a busy one must not be taken for dead.
        """
        while True:
            await anyio.sleep(self._spec.options.heartbeat_interval)
            begin = _clock.now()
            try:
                answer = await self._link.request(
                    _HEARTBEAT,
                    response_timeout=self._spec.options.response_timeout,
                    unsent_until=Deadline.never(),
                )
            except LinkClosedError:
                return
            self.round_trip = None if answer is None else _clock.now() - begin

    # ------------------------------------------------------------- requests

    def _on_request(self, frame: Frame, message: Message) -> None:
        match message:
            case StreamItem(call_id):
                reader = self._streams.get(call_id)
                if reader is not None:
                    item = EncodedValue(self._codec, frame.application)
                    reader.put(item, len(frame.application))
            case SubscribeResult(key):
                self._on_value(key, EncodedValue(self._codec, frame.application))
                if self._counts_values:
                    self._taken += 1
                else:
                    self._link.respond(frame.request_id, _VALUE_ACK)
            case ValuesMissed(key, count, reason):
                self._events.missed(key, Gap(reason or "the leader does not say why", count))
                self._taken += self._counts_values
            case RealClientState(ready, reason):
                self._events.real_client(ready, reason)
            case SnapshotMessage():
                data = frame.application
                if len(data) > LARGEST_SNAPSHOT:
                    raise RemoteProtocolError(
                        f"a snapshot of {len(data)} bytes, the limit is {LARGEST_SNAPSHOT}"
                    )
                self._events.snapshot(Snapshot(data) if data else None)
            case Goodbye():
                self._retire()
                self._link.respond(frame.request_id, _GOODBYE_ACK)
            case _:
                self._log.info("request_ignored", request=frame.connection[:80])

    def _on_value(self, key: str, value: EncodedValue) -> None:
        if self.tells_events:
            self._events.value(key, value)
            return
        for receiver in self._shared.receivers(key, value):
            self._events.value(receiver, value)

    def _tell_values_taken(self) -> None:
        if self._taken:
            count, self._taken = self._taken, 0
            if self._link.state is not LinkState.CLOSED:
                self._link.post(_values_taken(count))

    def _retire(self) -> None:
        """Make no more requests: leadership ends (SPEC 6.4)."""
        if self._link.state is LinkState.OPEN:
            self._link.drain()
            self._events.ending()

    # ---------------------------------------------------------- the session

    async def call(self, request: CallRequest, unsent_until: Deadline) -> Any:
        """See `Session.call`."""
        if self._dialect.is_node and request.method.kind in _NOT_ANSWERED_BY_NODE:
            return await self.call_oneway(request, unsent_until)
        dialect, link = self._dialect, self._link
        if link.congested:
            await link.wait_writable_until(unsent_until)
        expires = _clock.now() + request.timeout
        body = dialect.body(request, expires)
        exchange = link.start(dialect.head(request, False), body, request.timeout, expires)
        # What `Exchange.wait` does, without another coroutine: this is what all calls go through.
        try:
            await exchange.waiter  # type: ignore[misc] # there is one, without a callback
        finally:
            if not exchange.answered:
                exchange.abandon()
        if not exchange.answered:
            raise ResponseTimeoutError(request.method.name, request.timeout)
        answer = exchange.answer
        if answer.connection == _SUCCESS:
            return self._codec.decode(answer.application)
        return self._outcome(answer).unwrap(self._codec)

    def _outcome(self, answer: Frame) -> Outcome:
        result = self._expect(answer, InvokeResult)
        if result.refused:
            self._retire()
        return Outcome(result.success, answer.application, result.refused)

    def _expect(self, answer: Frame, expected: type[MessageT]) -> MessageT:
        """Return the message of an answer; another one ends the link.

        Raises:
            LinkClosedError: If it is another one.
        """
        try:
            return expect(answer, expected)
        except RemoteProtocolError as exc:
            self._link.fail(exc)
            raise LinkClosedError(str(exc), sent=True) from exc

    async def call_oneway(self, request: CallRequest, unsent_until: Deadline) -> None:
        """See `Session.call_oneway`."""
        dialect = self._dialect
        await self._link.send(
            dialect.head(request, True),
            dialect.body(request, math.inf),
            told_timeout=self._node_timeout,
            unsent_until=unsent_until,
        )

    async def open_stream(self, request: CallRequest, unsent_until: Deadline) -> ItemSource:
        """See `Session.open_stream`."""
        if not self._link.has(STREAM):
            leader = (
                "a Node process leads, which" if self._dialect.is_node else "the leader's version"
            )
            raise RefusedError(request.method.name, f"{leader} does not stream")
        await self._link.wait_writable_until(unsent_until)
        expires = _clock.now() + request.timeout
        exchange = self._link.start(
            self._dialect.head(request, False, FIRST_CREDIT),
            self._dialect.body(request, expires),
            request.timeout,
            math.inf,  # its reader looks at the time, as it is for the first item only
            lambda: self._end_stream(exchange),
        )
        reader = self._streams[exchange.id] = StreamReader(
            grant=lambda credit: self._grant(exchange.id, credit),
            cancel=lambda: self._cancel_stream(exchange),
        )
        return reader

    def _grant(self, call_id: int, credit: int) -> None:
        if self._link.state is not LinkState.CLOSED:
            self._link.post(StreamCredit(call_id, credit).encode())

    def _cancel_stream(self, exchange: Exchange) -> None:
        self._streams.pop(exchange.id, None)
        exchange.abandon()

    def _end_stream(self, exchange: Exchange) -> None:
        """Hand the end of a stream on; never fails, as it is called amid other frames."""
        reader = self._streams.pop(exchange.id, None)
        if reader is None:
            return
        try:
            self._outcome(exchange.answer).check(self._codec)
        except Exception as exc:
            reader.finish(exc)
        else:
            reader.finish(None)

    async def subscribe(self, registration: Registration) -> None:
        """See `Session.subscribe`."""
        if self.tells_events:
            await self._subscribe(registration)
        elif self._shared.add(registration):
            await self._subscribe(registration.for_state)
        elif not registration.events:
            last = self._shared.last(registration)
            if last is not None:
                self._events.value(registration.key, last)

    async def _subscribe(self, registration: Registration) -> None:
        reg, key, _, events = registration
        message = Subscribe(key, reg, events).encode()
        limit = self._spec.options.response_timeout
        if not self._link.has(SUBSCRIBE_ACK):
            check_for_node(registration)
            await self._link.send(message, told_timeout=limit, unsent_until=Deadline.after(limit))
            return
        answer = await self._link.request(
            message, response_timeout=limit, unsent_until=Deadline.after(limit)
        )
        if answer is None:
            raise ResponseTimeoutError("subscribe", limit)
        if not self._expect(answer, SubscribeAck).success:
            failure = Failure.from_value(self._codec.decode(answer.application))
            raise _exceptions.from_failure(failure)

    def unsubscribe(self, registration: Registration) -> None:
        """See `Session.unsubscribe`."""
        if not self.tells_events:
            if not self._shared.remove(registration):
                return
            registration = registration.for_state
        if self._link.state is LinkState.OPEN:
            reg, key, _, events = registration
            self._link.post(Unsubscribe(key, reg, events).encode(), timeout=self._node_timeout)

    @property
    def _node_timeout(self) -> float:
        """What the header of a request without an answer says: Node fills it in all the same."""
        return self._spec.options.response_timeout if self._dialect.is_node else 0


@lru_cache(maxsize=256)
def _values_taken(count: int) -> bytes:
    return ValuesTaken(count).encode()
