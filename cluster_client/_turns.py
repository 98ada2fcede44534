"""Calls of a follower that does not keep up with their results (SPEC section 9.2)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import anyio
import anyio.abc

from cluster_client._link import Link
from cluster_client._states import LinkState
from cluster_client.errors import LinkClosedError

__all__ = ["Turns"]

_AT_A_TIME: Final = 16
"""More would all go on at once, and only their results show that there is room for fewer."""

PATIENCE: Final = 0.1
"""Seconds in which the follower keeps up, after which as many more are begun: a method that takes
its time, or waits for another call, has no result yet that could show anything."""

ResultT = TypeVar("ResultT")


class Turns:
    """Holds calls back until a follower reads again: until then their results would wait here.

    Args:
        link: To the follower.
        tasks: For the one that gives more turns.
    """

    def __init__(self, link: Link, tasks: anyio.abc.TaskGroup) -> None:
        self._link = link
        self._tasks = tasks
        self._pacing = False
        self._turns = anyio.Semaphore(_AT_A_TIME)
        self._waiting: set[anyio.CancelScope] = set()
        self._ended = False

    async def run(self, call: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a call when it is its turn.

        Raises:
            LinkClosedError: If the follower is gone, or no more turns are given. It was not begun.

        Cancellation:
            It is cancelled, or not begun.
        """
        try:
            with anyio.CancelScope() as scope:
                self._waiting.add(scope)
                if not self._pacing:
                    self._pacing = True
                    self._tasks.start_soon(self._pace)
                if self._ended:
                    scope.cancel()
                try:
                    async with self._turns:
                        await self._link.wait_writable()
                        self._waiting.discard(scope)
                        alive = self._link.state is not LinkState.CLOSED
                        if alive and not scope.cancel_called:
                            return await call
                finally:
                    self._waiting.discard(scope)
            raise LinkClosedError("no call is begun any more", sent=False)
        finally:
            call.close()  # not begun, maybe

    async def _pace(self) -> None:
        """Give more turns while the follower keeps up, until nobody waits for one."""
        while self._waiting:
            await self._link.wait_writable()
            await anyio.sleep(PATIENCE)
            if not self._link.congested:
                for _ in range(_AT_A_TIME):
                    self._turns.release()
        self._turns = anyio.Semaphore(_AT_A_TIME)
        self._pacing = False

    def end(self) -> None:
        """Begin no call any more; those that wait are not begun either."""
        self._ended = True
        for scope in self._waiting:
            scope.cancel()
