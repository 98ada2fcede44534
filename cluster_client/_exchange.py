"""A request on its way, and its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from cluster_client._backend import Waiter
from cluster_client.errors import LinkClosedError
from cluster_protocol import Frame, Message, RemoteProtocolError, decode_message

__all__ = ["Exchange", "expect"]

MessageT = TypeVar("MessageT", bound=Message)


class Carrier(Protocol):
    """What an exchange needs of its link."""

    @property
    def reason(self) -> str: ...

    def was_handed_over(self, end: int) -> bool:
        """Tell whether all bytes up to a point have been given to the operating system."""
        ...

    def abandon(self, request_id: int) -> None:
        """Wait no longer for an answer, and tell the peer so."""
        ...


class Exchange:
    """A request and its answer.

    Args:
        carrier: Where the request went.
        request_id: Of the request.
        end: Number of the last byte of its frame on the link.
        expires: When nobody waits for an answer any more, on the monotonic clock.
        waiter: Set when the answer is there, the link is closed, or the time has come.
        on_reply: Called in the first two cases, instead.

    Attributes:
        answered: Whether the answer is there, or the link is closed.
    """

    __slots__ = ("_carrier", "_end", "_frame", "_on_reply", "answered", "expires", "id", "waiter")

    def __init__(
        self,
        carrier: Carrier,
        request_id: int,
        end: int,
        expires: float,
        waiter: Waiter | None,
        on_reply: Callable[[], None] | None,
    ) -> None:
        self.id = request_id
        self.expires = expires
        self.waiter = waiter
        self.answered = False
        self._carrier = carrier
        self._end = end
        self._on_reply = on_reply
        self._frame: Frame | None = None

    def settle(self, frame: Frame | None) -> None:
        """Take the answer, or ``None`` when the link closes."""
        self._frame = frame
        self.answered = True
        waiter = self.waiter
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(None)
        elif self._on_reply is not None:
            self._on_reply()

    def expire(self) -> None:
        """Let whoever waits go: the time for an answer has passed."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    @property
    def answer(self) -> Frame:
        """The answer, once it is there.

        Raises:
            LinkClosedError: If the link was closed before; tells whether the request was sent.
        """
        if self._frame is None:
            sent = self._carrier.was_handed_over(self._end)
            raise LinkClosedError(self._carrier.reason, sent=sent)
        return self._frame

    async def wait(self) -> Frame | None:
        """Return the answer, or ``None`` if none has come in time.

        Raises:
            LinkClosedError: If the link is closed before.

        Cancellation:
            The peer is told that nobody waits any more.
        """
        assert self.waiter is not None  # noqa: S101 - those with a callback are not waited for
        try:
            await self.waiter
        finally:
            if not self.answered:
                self.abandon()
        return self.answer if self.answered else None

    def abandon(self) -> None:
        """Wait no longer for an answer, and tell the peer so, unless there is one."""
        self._carrier.abandon(self.id)


def expect(frame: Frame, expected: type[MessageT]) -> MessageT:
    """Return the message of an answer, which must be of the given class.

    Raises:
        RemoteProtocolError: If it is another one.
    """
    message = decode_message(frame.connection, is_response=frame.is_response)
    if not isinstance(message, expected):
        raise RemoteProtocolError(f"expected {expected.type}, got {frame.connection[:80]!r}")
    return message
