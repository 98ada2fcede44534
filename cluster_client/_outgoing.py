"""Values on their way to one follower, and those that wait for room (SPEC section 9.2)."""

from __future__ import annotations

from collections import OrderedDict, deque
from functools import lru_cache
from typing import Final

from cluster_client._link import Link
from cluster_protocol import VALUES_TAKEN, Frame, SubscribeResult, encode_frame
from cluster_protocol.codecs import Codec

__all__ = ["MAX_UNACKNOWLEDGED", "MAX_UNACKNOWLEDGED_BYTES", "OutgoingValues"]

MAX_UNACKNOWLEDGED: Final = 64
"""Values on their way to a follower; above that only the latest of each registration waits."""

MAX_UNACKNOWLEDGED_BYTES: Final = 4 << 20
"""What they may weigh; but one of any size is always on its way."""

_SHARED: Final = 65536
"""Bytes of a value that is worth keeping with its frame."""


class OutgoingValues:
    """Sends a follower's values, as many as it takes; see `Subscriber`.

    Args:
        link: To the follower.
        codec: What it is spoken to in.
        response_timeout: What a follower is told that acknowledges values one by one, in seconds.

    Attributes:
        unacknowledged_bytes: Of the values on their way.
    """

    def __init__(self, link: Link, codec: Codec, *, response_timeout: float) -> None:
        self.codec = codec
        self.unacknowledged_bytes = 0
        self._link = link
        self._response_timeout = response_timeout
        self._counts_values = link.has(VALUES_TAKEN)
        self._sizes: deque[int] = deque()  # of those on their way: they are acknowledged in order
        self._waiting: OrderedDict[str, bytes] = OrderedDict()
        self._closed = False

    @property
    def unacknowledged(self) -> int:
        """How many values are on their way."""
        return len(self._sizes)

    def deliver(self, key: str, data: bytes) -> None:
        """Send a value, or keep it while too many are on their way; then the latest counts."""
        if self._closed:
            return
        # Behind those that wait even if it is small: a big one must get its turn, and an older
        # one of its registration must not come later.
        if self._waiting or not self._has_room(len(data)):
            self._waiting[key] = data
        else:
            self._send(key, data)

    def on_taken(self, count: int) -> None:
        """Count values as acknowledged, and send what has waited for that."""
        sizes = self._sizes
        for _ in range(min(count, len(sizes))):
            self.unacknowledged_bytes -= sizes.popleft()
        while self._waiting:
            key, data = next(iter(self._waiting.items()))
            if not self._has_room(len(data)):
                return
            del self._waiting[key]
            self._send(key, data)

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


def _value_frame(key: str, data: bytes) -> bytes:
    return encode_frame(Frame(False, 0, 0, _value_head(key), data))


# A value goes to many followers as the same bytes, and so it is framed once.
_shared_value_frame = lru_cache(maxsize=16)(_value_frame)


@lru_cache(maxsize=1024)
def _value_head(key: str) -> bytes:
    return SubscribeResult(key).encode()
