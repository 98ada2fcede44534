"""Values on their way to one follower, and those that wait for room (SPEC section 9.2)."""

from __future__ import annotations

from collections import OrderedDict, deque
from functools import lru_cache
from typing import Final

from cluster_client._event_queue import (
    MAX_WAITING_BYTES,
    MAX_WAITING_VALUES,
    EventQueue,
    Gap,
)
from cluster_client._link import Link
from cluster_protocol import (
    EVENTS,
    VALUES_TAKEN,
    Frame,
    SubscribeResult,
    ValuesMissed,
    encode_frame,
)
from cluster_protocol.codecs import Codec

__all__ = ["MAX_UNACKNOWLEDGED", "MAX_UNACKNOWLEDGED_BYTES", "OutgoingValues"]

MAX_UNACKNOWLEDGED: Final = 64
"""Values on their way to a follower; above that only the latest of each registration waits."""

MAX_UNACKNOWLEDGED_BYTES: Final = 4 << 20
"""What they may weigh; but one of any size is always on its way."""

_SHARED: Final = 65536
"""Bytes of a value that is worth keeping with its frame."""


_Slot = tuple[str, bool]
"""Key of a registration, and whether its values are events."""


class OutgoingValues:
    """Sends a follower's values, as many as it takes.

    Those of a state are coalesced while there is no room, those that count as events are queued.
    Whatever waits takes turns, registration by registration.

    Args:
        link: To the follower.
        codec: What it is spoken to in.
        response_timeout: What a follower is told that acknowledges values one by one, in seconds.

    Attributes:
        codec: What the follower is spoken to in.
        unacknowledged_bytes: Of the values on their way.
        states: Takes values of which only the latest counts.
        events: Takes values each of which counts; ``None`` if the follower knows none.
    """

    def __init__(self, link: Link, codec: Codec, *, response_timeout: float) -> None:
        self.codec = codec
        self.unacknowledged_bytes = 0
        self._link = link
        self._response_timeout = response_timeout
        self._counts_values = link.has(VALUES_TAKEN)
        self._sizes: deque[int] = deque()  # of those on their way: they are acknowledged in order
        self._waiting: OrderedDict[_Slot, bytes | EventQueue[bytes]] = OrderedDict()
        self._closed = False
        self.states = _States(self)
        self.events = _Events(self) if self._counts_values and link.has(EVENTS) else None

    @property
    def unacknowledged(self) -> int:
        """How many values are on their way."""
        return len(self._sizes)

    @property
    def waiting_bytes(self) -> int:
        """What the values weigh that wait for room."""
        return sum(
            len(waiting) if isinstance(waiting, bytes) else waiting.size
            for waiting in self._waiting.values()
        )

    def deliver(self, key: str, data: bytes) -> None:
        """Send a value, or keep it while too many are on their way; then the latest counts."""
        if self._closed:
            return
        # Behind those that wait even if it is small: a big one must get its turn, and an older
        # one of its registration must not come later.
        if self._waiting or not self._has_room(len(data)):
            self._waiting[key, False] = data
        else:
            self._send(key, data)

    def deliver_event(self, key: str, data: bytes) -> None:
        """Send a value that counts, or queue it while too many are on their way."""
        if self._closed:
            return
        if self._waiting or not self._has_room(len(data)):
            self._queue(key).put(data, len(data))
        else:
            self._send(key, data)

    def miss(self, key: str, gap: Gap) -> None:
        """Tell the follower, in the order of the values, that some are missing here."""
        if self._closed:
            return
        if self._waiting or not self._has_room(0):
            self._queue(key).mark(gap)
        else:
            self._send_gap(key, gap)

    def forget(self, key: str, events: bool) -> None:
        """Drop what waits of a registration that the follower has unsubscribed from."""
        self._waiting.pop((key, events), None)

    def on_taken(self, count: int) -> None:
        """Count values as acknowledged, and send what has waited for that."""
        sizes = self._sizes
        for _ in range(min(count, len(sizes))):
            self.unacknowledged_bytes -= sizes.popleft()
        while self._waiting and self._send_next():
            pass

    def _send_next(self) -> bool:
        """Send what has waited longest; tells whether there was room for it."""
        slot, waiting = next(iter(self._waiting.items()))
        key, _ = slot
        if isinstance(waiting, bytes):
            if not self._has_room(len(waiting)):
                return False
            del self._waiting[slot]
            self._send(key, waiting)
            return True
        if not self._has_room(waiting.next_size):
            return False
        entry = waiting.take()
        if isinstance(entry, Gap):
            self._send_gap(key, entry)
        elif entry is not None:
            self._send(key, entry)
        if waiting:
            self._waiting.move_to_end(slot)  # the others' turn
        else:
            del self._waiting[slot]
        return True

    def close(self) -> None:
        """Forget everything: the follower is gone."""
        self._closed = True
        self._sizes.clear()
        self._waiting.clear()
        self.unacknowledged_bytes = 0

    def _has_room(self, size: int) -> bool:
        return not self._sizes or (
            len(self._sizes) < MAX_UNACKNOWLEDGED
            and self.unacknowledged_bytes + size <= MAX_UNACKNOWLEDGED_BYTES
        )

    def _queue(self, key: str) -> EventQueue[bytes]:
        queue = self._waiting.get((key, True))
        if not isinstance(queue, EventQueue):
            queue = self._waiting[key, True] = EventQueue(
                "this process did not keep up",
                most=MAX_WAITING_VALUES,
                most_bytes=MAX_WAITING_BYTES,
            )
        return queue

    def _send_gap(self, key: str, gap: Gap) -> None:
        self._sizes.append(0)  # counted like a value, or a follower that does not read got many
        self._link.post_encoded(
            encode_frame(Frame(False, 0, 0, ValuesMissed(key, gap.missed, gap.reason).encode()))
        )

    def _send(self, key: str, data: bytes) -> None:
        size = len(data)
        self._sizes.append(size)
        self.unacknowledged_bytes += size
        if self._counts_values:
            encode = _shared_value_frame if size <= _SHARED else _value_frame
            self._link.post_encoded(encode(key, data))
            return
        self._link.post(
            _value_head(key),
            data,
            timeout=self._response_timeout,
            on_reply=self._on_acknowledged,
        )

    def _on_acknowledged(self, frame: Frame | None) -> None:
        if frame is not None:
            self.on_taken(1)


class _States:
    """See `Subscriber`."""

    def __init__(self, values: OutgoingValues) -> None:
        self.codec = values.codec
        self.events = False
        self.deliver = values.deliver

    def miss(self, key: str, gap: Gap) -> None:
        """Nothing: of a state only the latest value counts."""


class _Events:
    """See `Subscriber`."""

    def __init__(self, values: OutgoingValues) -> None:
        self.codec = values.codec
        self.events = True
        self.deliver = values.deliver_event
        self.miss = values.miss


def _value_frame(key: str, data: bytes) -> bytes:
    return encode_frame(Frame(False, 0, 0, _value_head(key), data))


# A value goes to many followers as the same bytes, and so it is framed once.
_shared_value_frame = lru_cache(maxsize=16)(_value_frame)


@lru_cache(maxsize=1024)
def _value_head(key: str) -> bytes:
    return SubscribeResult(key).encode()
