"""A registered connection between follower and leader (SPEC section 7.2).

Both roles use the same link: it frames, matches answers with requests, and
has one writer, so that no cancelled caller ever cuts a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio

from cluster_client._backend import Transport
from cluster_client._clock import Deadline, header_timeout
from cluster_client._exchange import Exchange
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
    Message,
    ProtocolError,
    RemoteProtocolError,
    decode_message,
    encode_frame,
)

HIGH_WATER: Final = 1 << 20
"""Bytes waiting to be written above which callers wait, and a leader stops reading."""

_LARGEST_ID: Final = 2**63 - 1
"""Towards our peers. No id comes again on a link, so no late answer can meet another call."""

_CLOSE_GRACE: Final = 1.0

MessageT = TypeVar("MessageT", bound=Message)
RequestHandler = Callable[[Frame, Message], None]
ReplyHandler = Callable[[Frame | None], None]


class Link:
    """Frames over a transport, while `run` runs.

    Args:
        transport: Connected; the link closes it.
        decoder: Holds what arrived behind the registration.
        agreement: What holds on the link; ``None`` with a Node peer.
        log: Logger, already bound to the client.
        wait_for_reader: Whether to read nothing more while `HIGH_WATER` bytes wait to be
            written. For the leader: one side of a pair may do so, or both could wait for ever.
    """

    def __init__(
        self,
        transport: Transport,
        decoder: FrameDecoder,
        *,
        agreement: Agreement | None,
        log: Any,
        wait_for_reader: bool = False,
    ) -> None:
        self.agreement = agreement
        self._transport = transport
        self._decoder = decoder
        self._decoder.limits = DEFAULT_LIMITS
        self._log = log
        self._wait_for_reader = wait_for_reader
        self._machine = StateMachine(LinkState.OPEN, LINK_TRANSITIONS)
        self._pending: dict[int, ReplyHandler] = {}
        self._next_id = 1
        self._largest_id = MAX_REQUEST_ID if agreement is None else _LARGEST_ID
        self._outgoing: deque[bytes] = deque()
        self._backlog = 0
        self._accepted = 0  # bytes given to us to write, ever
        self._handed_over = 0  # bytes of them given to the transport, ever
        self._wake_writer = anyio.Event()
        self._relieved = anyio.Event()
        self._finished = False
        self._scope = anyio.CancelScope()
        self._reason = "the peer closed the connection"

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
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    await self._read(on_request)
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

    def drain(self) -> None:
        """Send no more requests of our own: the leadership ends (SPEC 6.4)."""
        if self.state is LinkState.OPEN:
            self._machine.to(LinkState.DRAINING)

    async def flush(self) -> None:
        """Wait until everything has been given to the transport, or the link is closed."""
        while self._backlog and self.state is not LinkState.CLOSED:
            await self._relieved.wait()

    async def finish(self) -> None:
        """Write what is left and tell the peer that nothing follows.

        `run` ends when the peer closes its side. Closing ours at once could
        make the kernel throw away answers that the peer has not read yet.
        """
        await self.flush()
        self._finished = True
        await self._transport.send_eof()

    def _become_closed(self) -> None:
        if self.state is LinkState.CLOSED:
            return
        self._machine.to(LinkState.CLOSED)
        pending, self._pending = self._pending, {}
        for on_reply in pending.values():
            on_reply(None)
        self._relieved.set()

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
            self._write_frame(Frame(True, request_id, timeout_ms, message, application))

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
        self._write_frame(Frame(False, request_id, header_timeout(timeout), message, application))
        if on_reply is not None:
            self._pending[request_id] = on_reply
        return request_id

    async def begin(
        self,
        message: bytes,
        application: bytes | Callable[[Deadline], bytes] = b"",
        *,
        response_timeout: float,
        unsent_until: Deadline,
        on_reply: Callable[[], None] | None = None,
    ) -> Exchange:
        """Send a request whose answer is waited for elsewhere.

        Args:
            message: The connection object.
            application: The application object, or a function that makes it
                from the deadline of the answer.
            response_timeout: For the answer, in seconds from when the frame is written.
            unsent_until: How long to wait for the frame to be written.
            on_reply: Called when the answer is there, or the link is closed.

        Raises:
            LinkClosedError: If the link is closed or draining; the request was not sent.

        Cancellation:
            Safe: the request was not sent.
        """
        await self._wait_writable(unsent_until)
        if self.state is not LinkState.OPEN:
            raise LinkClosedError(f"the link is {self.state.value}", sent=False)
        deadline = Deadline.after(response_timeout)
        body = application(deadline) if callable(application) else application
        exchange = Exchange(self, deadline, on_reply)
        exchange.id = self.post(message, body, timeout=response_timeout, on_reply=exchange.on_reply)
        exchange.end = self._accepted
        return exchange

    async def request(
        self,
        message: bytes,
        application: bytes | Callable[[Deadline], bytes] = b"",
        *,
        response_timeout: float,
        unsent_until: Deadline,
    ) -> Frame | None:
        """Send a request and return its answer, or ``None`` if none came in time.

        If the caller gives up, the peer is told so where it understands that (SPEC 6.3), and a
        late answer is dropped. Arguments are those of `begin`.

        Raises:
            LinkClosedError: If the link is closed or draining, or closes
                before the answer; tells whether the request was sent.

        Cancellation:
            Safe at any point: a frame is written as a whole or not at all.
        """
        answered = anyio.Event()
        exchange = await self.begin(
            message,
            application,
            response_timeout=response_timeout,
            unsent_until=unsent_until,
            on_reply=answered.set,
        )
        try:
            with anyio.move_on_after(exchange.deadline.remaining):
                await answered.wait()
        finally:
            exchange.abandon()
        return exchange.answer if exchange.answered else None

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
        await self._wait_writable(unsent_until)
        if self.state is not LinkState.OPEN:
            raise LinkClosedError(f"the link is {self.state.value}", sent=False)
        self.post(message, application, timeout=told_timeout)

    def abandon(self, request_id: int) -> None:
        """Wait no longer for an answer, and tell the peer so."""
        if self._pending.pop(request_id, None) is not None and self.has(CANCEL):
            self.post(Cancel(request_id).encode())

    def was_handed_over(self, end: int) -> bool:
        """Tell whether all bytes up to a point have been given to the operating system."""
        return end <= self._handed_over

    async def wait_writable(self) -> None:
        """Wait while more than `HIGH_WATER` bytes are to be written and the link is not closed."""
        while self._backlog > HIGH_WATER and self.state is not LinkState.CLOSED:
            await self._relieved.wait()

    def _new_id(self) -> int:
        while True:
            request_id = self._next_id
            self._next_id = request_id % self._largest_id + 1
            if request_id not in self._pending:  # a Node peer's come again after 2**30 calls
                return request_id

    def _write_frame(self, frame: Frame) -> None:
        if self._finished:
            return  # the peer has been told that nothing follows
        data = encode_frame(frame)
        self._outgoing.append(data)
        self._backlog += len(data)
        self._accepted += len(data)
        self._wake_writer.set()

    async def _wait_writable(self, until: Deadline) -> None:
        with anyio.move_on_after(until.remaining) as scope:
            while self._backlog > HIGH_WATER and self.state is LinkState.OPEN:
                await self._relieved.wait()
        if scope.cancelled_caught:
            raise LinkClosedError("the leader does not read what is sent to it", sent=False)

    async def _write(self) -> None:
        while True:
            await self._wake_writer.wait()
            self._wake_writer = anyio.Event()
            while self._outgoing:
                # All that is ready in one send: a system call costs more than the join.
                data = b"".join(self._outgoing)
                self._outgoing.clear()
                self._handed_over += len(data)
                if not await self._transport.send(data):
                    # The reader decides: the peer's last answers may still be unread.
                    self._wait_for_reader = False
                    self._relieve()
                    return
                self._backlog -= len(data)
                self._relieve()

    def _relieve(self) -> None:
        """Wake whoever waits for the backlog."""
        relieved, self._relieved = self._relieved, anyio.Event()
        relieved.set()

    # -------------------------------------------------------------- reading

    async def _read(self, on_request: RequestHandler) -> None:
        try:
            self._handle_frames(on_request)  # what came together with the registration
            while data := await self._transport.receive():
                self._decoder.receive_data(data)
                self._handle_frames(on_request)
                while self._wait_for_reader and self._backlog > HIGH_WATER:
                    await self._relieved.wait()
        except ProtocolError as exc:
            self._log.warning("link_protocol_error", error=str(exc))
            self.close(str(exc))

    def _handle_frames(self, on_request: RequestHandler) -> None:
        while self.state is not LinkState.CLOSED:
            frame = self._decoder.next_frame()
            if frame is None:
                return
            if frame.is_response:
                # None is there for an answer that came too late: its caller has gone.
                on_reply = self._pending.pop(frame.request_id, None)
                if on_reply is not None:
                    on_reply(frame)
            else:
                on_request(frame, decode_message(frame.connection, is_response=False))


def expect(frame: Frame, expected: type[MessageT]) -> MessageT:
    """Return the message of an answer, which must be of the given class.

    Raises:
        RemoteProtocolError: If it is another one.
    """
    message = decode_message(frame.connection, is_response=frame.is_response)
    if not isinstance(message, expected):
        raise RemoteProtocolError(f"expected {expected.type}, got {frame.connection[:80]!r}")
    return message
