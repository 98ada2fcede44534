"""A registered connection between follower and leader (SPEC section 7.2).

Both roles use the same link: it frames, matches answers with requests, and
has one writer, so that no cancelled caller ever cuts a frame.

Long, as it is the one place through which every frame goes: each way to send one says what it
promises when the link closes or the caller is cancelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import anyio

from cluster_client._alarm import Alarm
from cluster_client._backend import Transport, waiter_factory
from cluster_client._clock import Deadline, header_timeout, now
from cluster_client._exchange import Exchange
from cluster_client._memory import keep_freed_blocks
from cluster_client._outbox import Outbox
from cluster_client._states import LINK_TRANSITIONS, LinkState, StateMachine
from cluster_client.errors import LinkClosedError
from cluster_protocol import (
    CANCEL,
    DEFAULT_LIMITS,
    MAX_REQUEST_ID,
    Agreement,
    Cancel,
    Frame,
    FrameDecoder,
    FrameLimits,
    Message,
    ProtocolError,
    RemoteProtocolError,
    decode_message,
    frame_bytes,
)

_CLOSE_GRACE: Final = 1.0

RequestHandler = Callable[[Frame, Message], None]
ReplyHandler = Callable[[Frame | None], None]


class Link:
    """Frames over a transport, while `run` runs.

    Args:
        transport: Connected; the link closes it.
        decoder: Holds what arrived behind the registration.
        agreement: What holds on the link; ``None`` with a Node peer.
        log: Logger, already bound to the client.
        limits: Of the frames that are accepted.
        wait_for_reader: Whether to read nothing more while too much waits to be written. For the
            leader: one side of a pair may do so, or both could wait for ever.

    Attributes:
        outbox: What waits to be written.
    """

    def __init__(
        self,
        transport: Transport,
        decoder: FrameDecoder,
        *,
        agreement: Agreement | None,
        log: Any,
        limits: FrameLimits = DEFAULT_LIMITS,
        wait_for_reader: bool = False,
    ) -> None:
        self.agreement = agreement
        self._transport = transport
        self._decoder = decoder
        self._decoder.limits = limits
        keep_freed_blocks()
        self._log = log
        self._wait_for_reader = wait_for_reader
        self._machine = StateMachine(LinkState.OPEN, LINK_TRANSITIONS)
        self._pending: dict[int, Exchange] = {}
        self._callbacks: dict[int, ReplyHandler] = {}
        self._next_id = 1
        self._last_issued = 0  # the greatest one, where they come again
        self._last_received = 0  # the greatest one of the peer's requests
        self.outbox = Outbox(transport)
        self._write = self.outbox.write
        self._alarm = Alarm(self._expire)
        self._new_waiter = waiter_factory()
        self._scope = anyio.CancelScope()
        self._reason = "the peer closed the connection"
        self._on_request: RequestHandler
        self.after_reading: Callable[[], None] | None = None
        """Called when all frames that had arrived have been handled."""

    # ------------------------------------------------------------- lifetime

    @property
    def state(self) -> LinkState:
        return self._machine.state

    @property
    def reason(self) -> str:
        """Why the link is closed, in words."""
        return self._reason

    def has(self, feature: str) -> bool:
        """Whether both sides agreed on a feature of `cluster_protocol.FEATURES`."""
        return self.agreement is not None and feature in self.agreement.features

    async def run(self, on_request: RequestHandler) -> None:
        """Read and write until the peer is gone or `close` is called.

        Args:
            on_request: Called for each request of the peer, in order. A
                `RemoteProtocolError` that it raises closes the link.

        Cancellation:
            Closes the link. Whoever waits for an answer gets `LinkClosedError`.
        """
        self._on_request = on_request
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._alarm.run)
                    self._on_data(b"")  # what came together with the registration
                    await self._transport.run(self._on_data, self.outbox.flush)
                    tasks.cancel_scope.cancel()
        finally:
            self._become_closed()
            with anyio.move_on_after(_CLOSE_GRACE, shield=True):
                await self._transport.aclose()

    def close(self, reason: str) -> None:
        """End `run`. What is not written yet is lost; see `flush`."""
        if self.state is not LinkState.CLOSED:
            self._reason = reason
            self._become_closed()
        self._scope.cancel()

    def fail(self, exc: ProtocolError) -> None:
        """End `run`, as the peer does not keep to the protocol; that is logged, once."""
        if self.state is not LinkState.CLOSED:
            self._log.warning("link_protocol_error", error=str(exc))
        self.close(str(exc))

    def drain(self) -> None:
        """Send no more requests of our own: the leadership ends (SPEC 6.4)."""
        if self.state is LinkState.OPEN:
            self._machine.to(LinkState.DRAINING)

    async def flush(self) -> None:
        """Wait until everything has been given to the transport, or the link is closed."""
        await self.outbox.drained()

    async def finish(self) -> None:
        """Write what is left and tell the peer that nothing follows.

        `run` ends when the peer closes its side. Closing ours at once could
        make the kernel throw away answers that the peer has not read yet.
        """
        await self.outbox.finish()

    def _become_closed(self) -> None:
        if self.state is LinkState.CLOSED:
            return
        self._machine.to(LinkState.CLOSED)
        pending, self._pending = self._pending, {}
        callbacks, self._callbacks = self._callbacks, {}
        for exchange in pending.values():
            exchange.settle(None)
        for on_reply in callbacks.values():
            on_reply(None)
        self.outbox.close()

    # -------------------------------------------------------------- writing

    def respond(
        self, request_id: int, message: bytes, application: bytes = b"", *, timeout_ms: int = 0
    ) -> None:
        """Answer a request of the peer. On a closed link it does nothing: nobody is there.

        Args:
            request_id: Of the request.
            message: The connection object.
            application: The application object.
            timeout_ms: What the header says; without meaning in an answer.
        """
        if self.state is not LinkState.CLOSED:
            self._write(frame_bytes(True, request_id, timeout_ms, message, application))

    def post(
        self,
        message: bytes,
        application: bytes = b"",
        *,
        timeout: float = 0,
        on_reply: ReplyHandler | None = None,
    ) -> int:
        """Send a request without waiting, and return its id.

        Args:
            message: The connection object.
            application: The application object.
            timeout: What the header tells the peer, in seconds.
            on_reply: Called with the answer, or with ``None`` when the link
                closes; at once if it is closed already.

        Raises:
            LocalProtocolError: If the frame cannot be encoded.
        """
        request_id = self._new_id()
        if self.state is LinkState.CLOSED:
            if on_reply is not None:
                on_reply(None)
            return request_id
        timeout_ms = header_timeout(timeout)
        self._write(frame_bytes(False, request_id, timeout_ms, message, application))
        if on_reply is not None:
            self._callbacks[request_id] = on_reply
        return request_id

    def post_encoded(self, frame: bytes) -> None:
        """Send a whole frame that others get, too: a request without an answer, with the id 0."""
        if self._machine.state is not LinkState.CLOSED:
            self._write(frame)

    def start(
        self,
        message: bytes,
        application: bytes,
        response_timeout: float,
        expires: float,
        on_reply: Callable[[], None] | None = None,
    ) -> Exchange:
        """Send a request that is to be answered, and return its exchange.

        Whoever starts one sees that it is abandoned where it is not answered. `wait_writable_until`
        comes before, lest too much waits to be written.

        Args:
            message: The connection object.
            application: The application object.
            response_timeout: What the header tells the peer, in seconds.
            expires: When the exchange's waiter gives up, on the monotonic clock.
            on_reply: Called when the answer is there, or the link is closed; then there is no
                waiter.

        Raises:
            LinkClosedError: If the link is closed or draining; the request was not sent.
        """
        if self._machine.state is not LinkState.OPEN:
            raise LinkClosedError(f"the link is {self.state.value}", sent=False)
        request_id = self._new_id()
        timeout_ms = header_timeout(response_timeout)
        self._write(frame_bytes(False, request_id, timeout_ms, message, application))
        waiter = self._new_waiter() if on_reply is None else None
        exchange = Exchange(self, request_id, self.outbox.accepted, expires, waiter, on_reply)
        self._pending[request_id] = exchange
        self._alarm.set(expires)
        return exchange

    async def request(
        self,
        message: bytes,
        application: bytes = b"",
        *,
        response_timeout: float,
        unsent_until: Deadline,
    ) -> Frame | None:
        """Send a request and return its answer, or ``None`` if none came in time.

        If the caller gives up, the peer is told so where it understands that (SPEC 6.3), and a
        late answer is dropped.

        Args:
            message: The connection object.
            application: The application object.
            response_timeout: For the answer, in seconds from when the frame is written.
            unsent_until: How long to wait for the frame to be written.

        Raises:
            LinkClosedError: If the link is closed or draining, or closes
                before the answer; tells whether the request was sent.

        Cancellation:
            Safe at any point: a frame is written as a whole or not at all.
        """
        await self.wait_writable_until(unsent_until)
        expires = now() + response_timeout
        return await self.start(message, application, response_timeout, expires).wait()

    async def send(
        self,
        message: bytes,
        application: bytes = b"",
        *,
        told_timeout: float = 0,
        unsent_until: Deadline,
    ) -> None:
        """Send a request that has no answer, waiting while too much is to be written.

        Args:
            message: The connection object.
            application: The application object.
            told_timeout: What the header tells the peer, in seconds.
            unsent_until: How long to wait for the frame to be written.

        Raises:
            LinkClosedError: If the link is closed or draining, or the wait is
                over; the request was not sent.

        Cancellation:
            Safe: the request was not sent.
        """
        await self.wait_writable_until(unsent_until)
        if self.state is not LinkState.OPEN:
            raise LinkClosedError(f"the link is {self.state.value}", sent=False)
        self.post(message, application, timeout=told_timeout)

    def abandon(self, request_id: int) -> None:
        """Wait no longer for an answer, and tell the peer so."""
        if self._pending.pop(request_id, None) is not None and self.has(CANCEL):
            self.post(Cancel(request_id).encode())

    def was_handed_over(self, end: int) -> bool:
        """Tell whether all bytes up to a point have been given to the operating system."""
        return end <= self.outbox.taken

    @property
    def backlog(self) -> int:
        """Bytes that the operating system has not taken yet."""
        return self.outbox.backlog

    @property
    def taken(self) -> int:
        """Bytes that the operating system has taken, ever."""
        return self.outbox.accepted - self.outbox.backlog

    @property
    def congested(self) -> bool:
        """Whether so much waits to be written that requests have to wait, too."""
        return self.outbox.congested

    async def wait_writable(self) -> None:
        """Wait while the link is congested and not closed."""
        await self.outbox.writable()

    async def wait_writable_until(self, until: Deadline) -> None:
        """Wait while the link is congested and not closed.

        Raises:
            LinkClosedError: If it is so too long.
        """
        if not self.outbox.congested:
            return
        with anyio.move_on_after(until.remaining) as scope:
            await self.outbox.writable()
        if scope.cancelled_caught:
            raise LinkClosedError("the leader does not read what is sent to it", sent=False)

    def send_now(self) -> None:
        """Do not wait for more frames before those that are ready are sent."""
        self.outbox.flush()

    def _new_id(self) -> int:
        """Return an id; between our peers none comes again, so no late answer can meet a call."""
        if self.agreement is not None:
            request_id = self._next_id
            self._next_id = request_id + 1
            return request_id
        while True:
            request_id = self._next_id
            self._next_id = request_id % MAX_REQUEST_ID + 1
            self._last_issued = max(self._last_issued, request_id)
            # A Node peer's come again after 2**30 calls.
            if request_id not in self._pending and request_id not in self._callbacks:
                return request_id

    # -------------------------------------------------------------- reading

    def _on_data(self, data: bytes) -> None:
        """Handle all frames that are whole now."""
        decoder = self._decoder
        try:
            for frame in decoder.receive_frames(data):
                if self.state is LinkState.CLOSED:
                    return
                if frame.is_response:
                    self._on_answer(frame)
                else:
                    request_id = frame.request_id
                    if request_id > self._last_received:
                        self._last_received = request_id
                    elif request_id and self.agreement is not None:
                        raise RemoteProtocolError(
                            f"request id {request_id} is not above {self._last_received}, the last"
                        )
                    self._on_request(frame, decode_message(frame.connection, is_response=False))
            if decoder.failure is not None:
                raise decoder.failure
            if self.after_reading is not None:
                self.after_reading()
        except ProtocolError as exc:
            self.fail(exc)
        if self._wait_for_reader:
            self.outbox.hold_reader()

    def _on_answer(self, frame: Frame) -> None:
        exchange = self._pending.pop(frame.request_id, None)
        if exchange is not None:
            exchange.settle(frame)
            return
        on_reply = self._callbacks.pop(frame.request_id, None)
        if on_reply is not None:
            on_reply(frame)
        elif not self._was_issued(frame.request_id):
            raise RemoteProtocolError(
                f"an answer to request {frame.request_id}, which was never made"
            )
        # Else it came too late: its caller has gone.

    def _was_issued(self, request_id: int) -> bool:
        if self.agreement is not None:
            return 0 < request_id < self._next_id
        return 0 < request_id <= self._last_issued

    def _expire(self, now: float) -> float:
        """Let those go that wait for an answer for too long; returns when to look again."""
        earliest = math.inf
        for exchange in list(self._pending.values()):
            if exchange.expires <= now:
                exchange.expire()
            else:
                earliest = min(earliest, exchange.expires)
        return earliest
