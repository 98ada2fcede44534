"""Streamed results, as their reader sees them (SPEC 6.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

import anyio

from cluster_client import _backend, _fork
from cluster_client._streams import ItemSource
from cluster_client._subscriptions import EncodedValue
from cluster_client.errors import (
    ForkedClientError,
    LinkClosedError,
    ResponseTimeoutError,
    StreamInterruptedError,
)

__all__ = ["Stream"]

ItemT_co = TypeVar("ItemT_co", covariant=True)


class FirstItem(NamedTuple):
    """A stream that has begun.

    Attributes:
        source: Where the other items come from.
        item: The first one; ``None`` if there is none.
    """

    source: ItemSource
    item: EncodedValue | None

    @classmethod
    async def of(cls, source: ItemSource, method: str, limit: float) -> FirstItem:
        """Wait for the first item.

        Raises:
            ResponseTimeoutError: If it takes longer than *limit* seconds.
            LinkClosedError: If the session ends before.
            Exception: What the real client raised.

        Cancellation:
            The leader ends the stream.
        """
        item: EncodedValue | None = None
        arrived = False
        try:
            with anyio.move_on_after(limit):
                item = await source.next()
                arrived = True
        finally:
            if not arrived:
                source.close()
        if not arrived:
            raise ResponseTimeoutError(method, limit)
        return cls(source, item)


class Stream(Generic[ItemT_co]):
    """Iterates over what a generator method of the real client yields.

    ::

        async for row in client.history("k"):
            if enough(row):
                break  # the generator is closed in the leader

    Nothing is asked of the leader before the first item is. It sends as much as is read, and
    at most 64 items or 1 MiB ahead. The leader closes the generator when the stream is closed:
    at the end of ``async with``, by `aclose`, or when the last reference to it has gone, which
    in CPython is right after a ``break`` of an ``async for`` over ``client.history(...)``.

    Only the first item has a limit, ``response_timeout``. Until it has come a stream is like any
    call, and raises what `Client` tells; afterwards iterating raises

    - `StreamInterruptedError` if the leader is lost: a stream is never resumed;
    - `ClientClosedError` if the client is closed, behind the items that have come;
    - what the generator raised.

    In a forked child iterating raises `ForkedClientError`, and closing does nothing.

    A stream is to be read by one task at a time. If that is cancelled while it waits for an item,
    the stream ends, as a generator would.

    Args:
        method: Name of the method, for errors.
        begin: Calls it and waits for the first item; returns the name of the leadership, too.
        check_open: Raises if the client is closed; gets the method's name, and how many items
            were read.

    Source:
        Node's cluster-client has nothing of the kind.
    """

    def __init__(
        self,
        method: str,
        begin: Callable[[], Awaitable[tuple[FirstItem, str]]],
        check_open: Callable[[str, int], None] = lambda _method, _received: None,
    ) -> None:
        self._method = method
        self._begin = begin
        self._check_open = check_open
        self._source: ItemSource | None = None
        self._epoch = ""
        self._received = 0
        self._reading = False
        self._ended = False
        self._generation = _fork.generation()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT_co:
        if self._is_inherited:
            raise ForkedClientError(
                f"the stream of {self._method!r} was opened before a fork and belongs to the "
                f"parent process; create and open a client after the fork"
            )
        if self._ended:
            raise StopAsyncIteration
        if self._reading:
            raise RuntimeError(f"the stream of {self._method!r} is being read by another task")
        self._reading = True
        try:
            item = await self._next()
            value: Any = None if item is None else item.decode()
        except BaseException:
            # Cancelled, too, as a generator would be: a traceback may hold the last reference
            # to the stream for long, and the leader should not wait for that.
            self._end()
            raise
        finally:
            self._reading = False
        if item is None:
            self._ended = True
            raise StopAsyncIteration
        self._received += 1
        return value  # type: ignore[no-any-return]

    async def _next(self) -> EncodedValue | None:
        if self._source is None:
            first, self._epoch = await self._begin()
            self._wake = _backend.event_loop_waker()
            self._source = first.source
            if self._ended:  # closed meanwhile, by another task
                self._source.close()
                return None
            return first.item
        try:
            return await self._source.next()
        except LinkClosedError as exc:
            self._check_open(self._method, self._received)
            raise StreamInterruptedError(self._method, self._epoch, self._received) from exc

    async def aclose(self) -> None:
        """Read no more; the leader closes the generator. May be repeated, and does not wait."""
        self._end()
        await anyio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._ended = True
        if self._source is not None and not self._is_inherited:
            self._source.close()

    @property
    def _is_inherited(self) -> bool:
        return self._generation != _fork.generation()

    def __del__(self) -> None:
        source = getattr(self, "_source", None)
        if source is not None and not self._ended and not self._is_inherited:
            # Not here: the garbage collector comes in any thread, and amid anything.
            self._wake(source.close)
