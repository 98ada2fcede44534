"""Values of foreign threads, on their way into the event loop (SPEC section 9.3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

from cluster_client import _backend
from cluster_client._event_queue import EventQueue, Gap

__all__ = ["MAX_INBOX", "MAX_INBOX_BYTES", "PER_TURN", "Inbox"]

MAX_INBOX: Final = 10_000
"""Values of a registration that came from foreign threads and wait for the event loop; beyond that
the oldest are dropped."""

MAX_INBOX_BYTES: Final = 64 << 20
"""What they may weigh."""

PER_TURN: Final = 1000
"""Values that are taken at a time: threads may be faster than the event loop, and it has more to do
than to take what they bring."""

SourceT = TypeVar("SourceT", bound=Hashable)


class Inbox(Generic[SourceT]):
    """Takes values and gaps from any thread, and hands them over in the event loop, each in turn.

    Args:
        take: Called in the event loop with each, and where it comes from.
        name: Tells of a source what it is called in the log.
        log: Logger, already bound to the client.
    """

    def __init__(
        self,
        take: Callable[[SourceT, bytes | Gap], None],
        *,
        name: Callable[[SourceT], str],
        log: Any,
    ) -> None:
        self._take = take
        self._name = name
        self._log = log
        self._queues: dict[SourceT, EventQueue[bytes]] = {}
        self._lock = threading.Lock()
        self._wake = _backend.event_loop_waker()
        self._called = False  # whether the event loop is about to take some

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, source: SourceT, entry: bytes | Gap) -> None:
        """Append to what comes from there. Never blocks; the oldest make room."""
        with self._lock:
            queue = self._queues.get(source)
            if queue is None:
                queue = self._queues[source] = EventQueue(
                    "the leader's event loop did not keep up",
                    most=MAX_INBOX,
                    most_bytes=MAX_INBOX_BYTES,
                )
            if isinstance(entry, Gap):
                queue.mark(entry)
            else:
                queue.put(entry, len(entry))
            called, self._called = self._called, True
        if not called:
            self._wake(self._take_some)

    def empty(self) -> None:
        """Hand over all that has come until now."""
        with self._lock:
            queues, self._queues = self._queues, {}
        for source, queue in queues.items():
            self._hand_over(source, queue.dropped, _take_from(queue, None))

    def _take_some(self) -> None:
        with self._lock:
            self._called = False
            source, queue = next(iter(self._queues.items()), (None, None))
            if source is None or queue is None:
                return
            dropped, queue.dropped = queue.dropped, 0
            entries = _take_from(queue, PER_TURN)
            del self._queues[source]
            if queue:
                self._queues[source] = queue  # behind the others
            again = self._called = bool(self._queues)
        if again:
            self._wake(self._take_some)
        self._hand_over(source, dropped, entries)

    def _hand_over(self, source: SourceT, dropped: int, entries: list[bytes | Gap]) -> None:
        if dropped:
            self._log.warning("values_dropped", key=self._name(source), dropped=dropped)
        for entry in entries:
            self._take(source, entry)


def _take_from(queue: EventQueue[bytes], most: int | None) -> list[bytes | Gap]:
    entries: list[bytes | Gap] = []
    while most is None or len(entries) < most:
        entry = queue.take()
        if entry is None:
            break
        entries.append(entry)
    return entries
