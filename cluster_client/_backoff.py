"""Pauses between attempts."""

from __future__ import annotations

import math
import random
from typing import Final

import anyio

__all__ = ["Backoff"]

_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 1.0


class Backoff:
    """Pauses between attempts: doubling, with jitter, so that contenders don't march in step."""

    def __init__(self, first: float = _FIRST_PAUSE, longest: float = _LONGEST_PAUSE) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    async def pause(self, *, less: float = 0.0, most: float = math.inf) -> None:
        """Sleep, longer each time.

        Args:
            less: Seconds since the last attempt, which count as slept. If they
                are enough there is neither a pause nor a longer one next time.
            most: Seconds that are left to sleep.

        Cancellation:
            Safe.
        """
        seconds = self._next * random.uniform(0.5, 1.0)  # noqa: S311
        if less < seconds:
            self._next = min(self._next * 2, self._longest)
            await anyio.sleep(min(seconds - less, most))
