"""A request on its way, and its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cluster_client._clock import Deadline
from cluster_client.errors import LinkClosedError
from cluster_protocol import Frame

__all__ = ["Exchange"]


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
        deadline: Of the answer.
        on_reply: Called when the answer is there, or the link is closed.

    Attributes:
        id: Of the request.
        end: Number of the last byte of its frame on the link.
        answered: Whether the answer is there, or the link is closed.
    """

    def __init__(
        self, carrier: Carrier, deadline: Deadline, on_reply: Callable[[], None] | None
    ) -> None:
        self.id = 0
        self.end = 0
        self.deadline = deadline
        self.answered = False
        self._carrier = carrier
        self._on_reply = on_reply
        self._frame: Frame | None = None

    def on_reply(self, frame: Frame | None) -> None:
        """Take the answer, or ``None`` when the link closes."""
        self._frame = frame
        self.answered = True
        if self._on_reply is not None:
            self._on_reply()

    @property
    def answer(self) -> Frame:
        """The answer, once it is there.

        Raises:
            LinkClosedError: If the link was closed before; tells whether the request was sent.
        """
        if self._frame is None:
            sent = self._carrier.was_handed_over(self.end)
            raise LinkClosedError(self._carrier.reason, sent=sent)
        return self._frame

    def abandon(self) -> None:
        """Wait no longer for an answer, and tell the peer so, unless there is one."""
        self._carrier.abandon(self.id)
