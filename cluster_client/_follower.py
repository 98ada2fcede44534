"""A process that uses the leader's real client (SPEC sections 3, 6 and 7.1)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import anyio

from cluster_client import _clock, _exceptions
from cluster_client._calls import CallRequest, Outcome
from cluster_client._clock import Deadline
from cluster_client._election import Joined
from cluster_client._exchange import Exchange
from cluster_client._link import Link, expect
from cluster_client._registrations import Registration
from cluster_client._session import ClientSpec, SessionEvents
from cluster_client._snapshots import Snapshot
from cluster_client._states import LinkState
from cluster_client._streams import FIRST_CREDIT, ItemSource, StreamReader
from cluster_client._subscriptions import EncodedValue
from cluster_client.errors import LinkClosedError, RefusedError, ResponseTimeoutError
from cluster_protocol import (
    STREAM,
    Agreement,
    Failure,
    Frame,
    Goodbye,
    GoodbyeAck,
    Heartbeat,
    Invoke,
    InvokeResult,
    Message,
    RealClientState,
    StreamCredit,
    StreamItem,
    Subscribe,
    SubscribeAck,
    SubscribeResult,
    SubscribeResultAck,
    Unsubscribe,
    pack_call,
)
from cluster_protocol import Snapshot as SnapshotMessage
from cluster_protocol.codecs import Codec

_VALUE_ACK: Final = SubscribeResultAck().encode()
_GOODBYE_ACK: Final = GoodbyeAck().encode()
_HEARTBEAT: Final = Heartbeat().encode()


class Follower:
    """A session of a process that joined a leader; lives while `run` runs.

    Args:
        joined: The accepted registration.
        spec: What the client was made of.
        events: Where the client wants to be told.
        log: Logger, already bound to the client.
    """

    def __init__(self, joined: Joined, spec: ClientSpec, events: SessionEvents, log: Any) -> None:
        self._agreement: Agreement = joined.agreement
        self._codec: Codec = spec.codecs[joined.agreement.codec]
        self._spec = spec
        self._events = events
        self._log = log
        self._link = Link(joined.transport, joined.decoder, agreement=joined.agreement, log=log)
        self._streams: dict[int, StreamReader] = {}
        self.round_trip: float | None = None
        """Seconds that the last heartbeat took."""

    @property
    def is_leader(self) -> bool:
        return False

    @property
    def epoch(self) -> str:
        return self._agreement.epoch

    @property
    def leader_pid(self) -> int:
        return self._agreement.pid

    # ------------------------------------------------------------- lifetime

    async def run(self) -> None:
        """Follow until the leader is gone or `stop` is called.

        Cancellation:
            Closes the connection.
        """
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
                    response_timeout=self._spec.options.heartbeat_interval,
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
                self._events.value(key, EncodedValue(self._codec, frame.application))
                self._link.respond(frame.request_id, _VALUE_ACK)
            case RealClientState(ready, reason):
                self._events.real_client(ready, reason)
            case SnapshotMessage():
                data = frame.application
                self._events.snapshot(Snapshot(data) if data else None)
            case Goodbye():
                self._retire()
                self._link.respond(frame.request_id, _GOODBYE_ACK)
            case _:
                self._log.info("request_ignored", request=frame.connection[:80])

    def _retire(self) -> None:
        """Make no more requests: leadership ends (SPEC 6.4)."""
        if self._link.state is LinkState.OPEN:
            self._link.drain()
            self._events.ending()

    # ---------------------------------------------------------- the session

    async def call(self, request: CallRequest, unsent_until: Deadline) -> Any:
        """See `Session.call`."""
        head, body = self._encode(request, oneway=False)
        answer = await self._link.request(
            head,
            lambda deadline: pack_call(deadline.to_microseconds(), body),
            response_timeout=request.timeout,
            unsent_until=unsent_until,
        )
        if answer is None:
            raise ResponseTimeoutError(request.method.name, request.timeout)
        return self._outcome(answer).unwrap(self._codec)

    def _outcome(self, answer: Frame) -> Outcome:
        result = expect(answer, InvokeResult)
        if result.refused:
            self._retire()
        return Outcome(result.success, answer.application, result.refused)

    async def call_oneway(self, request: CallRequest, unsent_until: Deadline) -> None:
        """See `Session.call_oneway`."""
        head, body = self._encode(request, oneway=True)
        await self._link.send(
            head, pack_call(Deadline.never().to_microseconds(), body), unsent_until=unsent_until
        )

    async def open_stream(self, request: CallRequest, unsent_until: Deadline) -> ItemSource:
        """See `Session.open_stream`."""
        if not self._link.has(STREAM):
            raise RefusedError(request.method.name, "the leader's version does not stream")
        head, body = self._encode(request, oneway=False, credit=FIRST_CREDIT)
        exchange = await self._link.begin(
            head,
            lambda deadline: pack_call(deadline.to_microseconds(), body),
            response_timeout=request.timeout,
            unsent_until=unsent_until,
            on_reply=lambda: self._end_stream(exchange),
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

    def _encode(
        self, request: CallRequest, *, oneway: bool, credit: int | None = None
    ) -> tuple[bytes, bytes]:
        head = _invoke_head(request.method.target, len(request.args), oneway, credit)
        return head, request.encode(self._codec)

    async def subscribe(self, registration: Registration) -> None:
        """See `Session.subscribe`."""
        message = Subscribe(registration.key, registration.reg).encode()
        limit = self._spec.options.response_timeout
        answer = await self._link.request(
            message, response_timeout=limit, unsent_until=Deadline.after(limit)
        )
        if answer is None:
            raise ResponseTimeoutError("subscribe", limit)
        if not expect(answer, SubscribeAck).success:
            failure = Failure.from_value(self._codec.decode(answer.application))
            raise _exceptions.from_failure(failure)

    def unsubscribe(self, registration: Registration) -> None:
        """See `Session.unsubscribe`."""
        if self._link.state is LinkState.OPEN:
            self._link.post(Unsubscribe(registration.key, registration.reg).encode())


@lru_cache(maxsize=1024)
def _invoke_head(target: str, argument_count: int, oneway: bool, credit: int | None) -> bytes:
    """Encode a call's connection object; the same few are sent again and again."""
    return Invoke(target, argument_count, oneway, packed=True, credit=credit).encode()
