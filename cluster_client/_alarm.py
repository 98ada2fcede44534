"""One timer for many deadlines, most of which never pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from cluster_client import _clock

__all__ = ["Alarm"]


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
        while True:
            with anyio.move_on_after(self._next - _clock.now()):
                await self._earlier.wait()
            if self._earlier.is_set():
                self._earlier = anyio.Event()
            now = _clock.now()
            if now >= self._next:
                self._next = math.inf
                self._next = min(self._next, self._look(now))
