"""Both ends of a streamed result: how much may be sent, and what has arrived (SPEC 6.6)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import anyio

from cluster_client._link import Link
from cluster_client._subscriptions import EncodedValue
from cluster_protocol import StreamItem

__all__ = [
    "FIRST_CREDIT",
    "ItemSink",
    "ItemSource",
    "LinkSink",
    "StreamReader",
    "Window",
    "cost_of",
]

FIRST_CREDIT: Final = 64
"""What a reader gives at first: enough to keep a leader busy while the next credit travels."""

_CREDIT_SIZE: Final = 16 << 10
_MAX_CREDIT: Final = 1 << 40
"""More than any reader gives; keeps a hostile one from making us add huge numbers."""


def cost_of(size: int) -> int:
    """Return how much credit an item of *size* bytes costs.

    Counted in items and in bytes at once: small items are bounded by their
    number, large ones by what they weigh.
    """
    return 1 + size // _CREDIT_SIZE


class Window:
    """What may be sent of one stream; on the leader.

    Args:
        credit: What the reader gave with its call.
    """

    def __init__(self, credit: int) -> None:
        self._credit = credit
        self._granted = anyio.Event()

    def grant(self, credit: int) -> None:
        """Allow so much more."""
        self._credit = min(self._credit + credit, _MAX_CREDIT)
        self._granted.set()

    async def take(self, cost: int) -> None:
        """Wait until something may be sent, and count it.

        Cancellation:
            Safe: nothing is counted then.
        """
        while self._credit <= 0:
            self._granted = anyio.Event()
            await self._granted.wait()
        self._credit -= cost


class ItemSink(Protocol):
    """Takes the items of a stream on the leader."""

    async def put(self, data: bytes) -> None:
        """Send an item, waiting while the reader has no room.

        Cancellation:
            Safe: it is not sent, and costs nothing.
        """
        ...


class LinkSink:
    """Sends the items of a stream; see `ItemSink`.

    Args:
        link: To the follower.
        call_id: Request id of the call.
        window: What the follower has room for.
    """

    def __init__(self, link: Link, call_id: int, window: Window) -> None:
        self._link = link
        self._head = StreamItem(call_id).encode()
        self._window = window

    async def put(self, data: bytes) -> None:
        await self._link.wait_writable()
        await self._window.take(cost_of(len(data)))
        self._link.post(self._head, data)


class ItemSource(Protocol):
    """Gives the items of a stream to its reader."""

    async def next(self) -> EncodedValue | None:
        """Return the next item, or ``None`` at the end.

        Raises:
            LinkClosedError: If the session ended before the stream did.
            Exception: What the real client raised.

        Cancellation:
            Safe: no item is lost.
        """
        ...

    def close(self) -> None:
        """Have the leader end the stream, if it goes on. Never fails; in the event loop only."""
        ...


class StreamReader:
    """What has arrived of a stream and is not read yet.

    Args:
        grant: Gives the leader more credit.
        cancel: Tells the leader that nobody reads any more.
    """

    def __init__(self, grant: Callable[[int], None], cancel: Callable[[], None]) -> None:
        self._grant = grant
        self._cancel = cancel
        self._items: deque[tuple[EncodedValue, int]] = deque()
        self._used = 0
        self._finished = False
        self._error: Exception | None = None
        self._arrival = anyio.Event()

    def put(self, item: EncodedValue, size: int) -> None:
        """Take an item; the credit bounds how many wait here."""
        if not self._finished:
            self._items.append((item, size))
            self._arrival.set()

    def finish(self, error: Exception | None) -> None:
        """Take the end: nothing follows."""
        if not self._finished:
            self._finished = True
            self._error = error
            self._arrival.set()

    async def next(self) -> EncodedValue | None:
        """See `ItemSource.next`."""
        while not self._items:
            if self._finished:
                if self._error is not None:
                    raise self._error
                return None
            self._arrival = anyio.Event()
            await self._arrival.wait()
        item, size = self._items.popleft()
        self._used += cost_of(size)
        if self._used >= FIRST_CREDIT // 2 and not self._finished:
            used, self._used = self._used, 0
            self._grant(used)
        return item

    def close(self) -> None:
        """See `ItemSource.close`."""
        if not self._finished:
            self._finished = True
            self._cancel()
        self._items.clear()
        self._arrival.set()
