"""The clock of all deadlines.

`time.monotonic` and never an event loop's own clock: on one host it is the
same clock in every process, so a deadline can be sent to another one.
"""

from __future__ import annotations

import math
import time
from typing import Final, NamedTuple

_MICROSECONDS: Final = 1_000_000


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

    def to_microseconds(self) -> int:
        """Return it for a packed call (SPEC 6.2); 0 for never."""
        return 0 if self.at == math.inf else max(1, int(self.at * _MICROSECONDS))

    @classmethod
    def from_microseconds(cls, value: int) -> Deadline:
        """Read it from a packed call (SPEC 6.2)."""
        return cls(value / _MICROSECONDS if value else math.inf)


def now() -> float:
    """Return the time in seconds; only differences mean something."""
    return time.monotonic()
