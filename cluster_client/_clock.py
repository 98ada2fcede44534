"""The clock of all deadlines.

`time.monotonic` and never an event loop's own clock: on one host it is the
same clock in every process, so a deadline can be sent to another one.
"""

from __future__ import annotations

import math
import time
from functools import lru_cache
from typing import Final, NamedTuple

_MICROSECONDS: Final = 1_000_000
_END_OF_TIME: Final = 2**64
_MILLISECONDS: Final = 1000
_MAX_MILLISECONDS: Final = 2**31 - 1


class Deadline(NamedTuple):
    """A point in time after which waiting is over.

    Attributes:
        at: In seconds of the monotonic clock; ``math.inf`` for never.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline *seconds* from now."""
        return cls(now() + seconds)

    @classmethod
    def never(cls) -> Deadline:
        return cls(math.inf)

    @property
    def remaining(self) -> float:
        """Seconds until then, 0 if it has passed."""
        return max(0.0, self.at - now())

    @property
    def passed(self) -> bool:
        return self.at <= now()


def to_microseconds(at: float) -> int:
    """Return a time for a packed call (SPEC 6.2); 0 for never, or later than 64 bits can tell."""
    microseconds = at * _MICROSECONDS
    return max(1, int(microseconds)) if microseconds < _END_OF_TIME else 0


def from_microseconds(value: int) -> float:
    """Read a time from a packed call (SPEC 6.2)."""
    return value / _MICROSECONDS if value else math.inf


def now() -> float:
    """Return the time in seconds; only differences mean something."""
    return time.monotonic()


@lru_cache(maxsize=256)  # there are a few, and each call asks
def header_timeout(seconds: float) -> int:
    """Return a timeout as the header carries it: the longest one stands for longer ones, too."""
    return int(min(seconds * _MILLISECONDS, _MAX_MILLISECONDS))
