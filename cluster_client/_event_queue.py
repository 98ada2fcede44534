"""A bounded queue of values that all count, and of gaps where some are missing (SPEC 9.5)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

__all__ = ["MAX_WAITING_BYTES", "MAX_WAITING_VALUES", "EventQueue", "Gap", "lost_gap"]

MAX_WAITING_VALUES: Final = 1000
"""Values of one registration that wait for one subscriber; beyond that the oldest are dropped."""

MAX_WAITING_BYTES: Final = 4 << 20
"""What they may weigh; but one of any size may always wait."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gap:
    """Stands among the values of a subscription where some may be missing (SPEC 9.5).

    Attributes:
        reason: Why, in words.
        missed: How many values are missing; ``None`` if nobody knows, or none may be.
    """

    reason: str
    missed: int | None = None


def lost_gap(reason: str) -> Gap:
    """Return the gap at the loss of a real client."""
    return Gap(f"the real client was lost: {reason}")


class EventQueue(Generic[T]):
    """Values in order, first in first out; of those that had no room a gap tells, in their place.

    Args:
        reason: Why there is too little room, for that gap.
        most: Values and gaps that it holds.
        most_bytes: What the values may weigh.

    Attributes:
        dropped: How many values had no room; its reader may set it back.
    """

    def __init__(
        self, reason: str, *, most: int = MAX_WAITING_VALUES, most_bytes: int = MAX_WAITING_BYTES
    ) -> None:
        self.dropped = 0
        self._reason = reason
        self._most = most
        self._most_bytes = most_bytes
        self._entries: deque[tuple[T, int] | Gap] = deque()
        self._bytes = 0
        self._lost: Gap | None = None  # before all entries

    def __bool__(self) -> bool:
        return bool(self._entries) or self._lost is not None

    @property
    def size(self) -> int:
        """What all values weigh."""
        return self._bytes

    @property
    def next_size(self) -> int:
        """What the next value weighs; 0 where a gap is next, or nothing."""
        if self._lost is not None or not self._entries:
            return 0
        entry = self._entries[0]
        return 0 if isinstance(entry, Gap) else entry[1]

    def put(self, value: T, size: int) -> None:
        """Append a value that weighs *size* bytes; the oldest make room for it."""
        self._entries.append((value, size))
        self._bytes += size
        if self._bytes > self._most_bytes or len(self._entries) > self._most:
            self._make_room(least=size)

    def mark(self, gap: Gap) -> None:
        """Append a gap."""
        self._entries.append(gap)
        if len(self._entries) > self._most:
            self._make_room(least=self._bytes)

    def take(self) -> T | Gap | None:
        """Return what is next, ``None`` if nothing is."""
        if self._lost is not None:
            lost, self._lost = self._lost, None
            return lost
        if not self._entries:
            return None
        entry = self._entries.popleft()
        if isinstance(entry, Gap):
            return entry
        value, size = entry
        self._bytes -= size
        return value

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self._bytes = 0
        self._lost = None

    def _make_room(self, least: int) -> None:
        """Drop the oldest while there are too many, or they weigh too much, and above *least*."""
        missed: int | None = 0 if self._lost is None else self._lost.missed
        while len(self._entries) > self._most or (self._bytes > max(self._most_bytes, least)):
            entry = self._entries.popleft()
            if isinstance(entry, Gap):
                more = entry.missed
            else:
                more = 1
                self._bytes -= entry[1]
                self.dropped += 1
            missed = None if missed is None or more is None else missed + more
        if missed != 0:
            self._lost = Gap(self._reason, missed)
