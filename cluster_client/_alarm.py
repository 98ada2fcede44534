"""One timer for many deadlines, most of which never pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import anyio

from cluster_client import _clock

__all__ = ["Alarm"]

_REST: Final = 10
"""How much longer than a look the time until the next one is, at least."""

_LONGEST_REST: Final = 0.1
"""Seconds, as a process may be stopped in the midst of a look."""


class Alarm:
    """Has a function called when the earliest of many deadlines may have passed.

    A deadline costs a comparison, and nothing when it is not needed any more: calls have
    nearly all the same timeout, so a new deadline is later than those before it, and the few
    that are still waited for when the time has come are looked through. A cancel scope per call
    cost more than all else that a call does.

    Args:
        look: Is given the time, deals with what has passed, and returns the earliest deadline
            that has not, ``math.inf`` if there is none. Both in seconds of the monotonic clock.
    """

    def __init__(self, look: Callable[[float], float]) -> None:
        self._look = look
        self._next = math.inf
        self._earlier = anyio.Event()

    def set(self, at: float) -> None:
        """Look when the time has come."""
        if at < self._next:
            self._next = at
            self._earlier.set()

    async def run(self) -> None:
        """Look whenever the time has come, until cancelled."""
        rested = 0.0
        while True:
            with anyio.move_on_after(max(self._next, rested) - _clock.now()):
                await self._earlier.wait()
            if self._earlier.is_set():
                self._earlier = anyio.Event()
            now = _clock.now()
            if now >= max(self._next, rested):
                self._next = math.inf
                self._next = min(self._next, self._look(now))
                # Where many wait, each look takes its time: it may take a tenth of it, and not all.
                rested = now + min(_REST * (_clock.now() - now), _LONGEST_REST)
