"""Tasks that stay and take one job after the other, in turn from everybody who has some.

A task and a cancel scope per job cost more than most jobs: with resident ones a leader answers
three times as many calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Final, Protocol

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from cluster_client._backend import Waiter, is_cancelled, waiter_factory
from cluster_client._logs import describe

__all__ = ["Job", "Lane", "Workers"]

_MAX_IDLE: Final = 64
"""Workers that wait for the next burst; beyond that they end."""


_AT_A_TIME: Final = 128
"""Jobs after which everybody else in the event loop has a turn: most never wait for anything, and a
burst of many peers would keep it to itself."""


class Job(Protocol):
    """Something to be done."""

    def run(self, scope: anyio.CancelScope) -> Coroutine[Any, Any, None]:
        """Do it; awaited at once. Must not raise, but for cancellations and bugs.

        Args:
            scope: Cancels this job, and no other one, as long as `run` runs.
        """
        ...


class Lane:
    """The jobs of one source, which are begun in order.

    Args:
        on_empty: Called when the last one that was waiting has been done, or is waiting itself.
    """

    __slots__ = ("jobs", "on_empty", "queued")

    def __init__(self, on_empty: Callable[[], None]) -> None:
        self.jobs: deque[Job] = deque()
        self.on_empty = on_empty
        self.queued = False


class Workers:
    """Does jobs, each in a task of its own while it runs.

    The lanes take turns, so that a burst of one does not keep another one waiting.

    Whoever is given a job's task should not keep it: on asyncio its `cancel` would hit what the
    worker does by then. It ends this one worker, and no other job.

    Args:
        tasks: Runs the workers; its cancellation ends them, amid their jobs.
        log: Logger, already bound to the client.
    """

    def __init__(self, tasks: anyio.abc.TaskGroup, log: Any) -> None:
        self._tasks = tasks
        self._log = log
        self._new_waiter = waiter_factory()
        self._lanes: deque[Lane] = deque()
        self._idle: list[Waiter] = []
        self._coming = False  # whether a worker has been woken or started, and not had its turn yet
        self._done = 0  # jobs that have been begun since the last rest
        self._resting = False
        self._woken: Waiter | None = None  # the one that has been woken

    def submit(self, lane: Lane, job: Job) -> None:
        """Have a job done soon."""
        lane.jobs.append(job)
        if not lane.queued:
            lane.queued = True
            self._lanes.append(lane)
        if not self._coming:
            self._call_worker()

    def _call_worker(self) -> None:
        self._coming = True
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():  # or it has been cancelled, and does not know yet
                self._woken = waiter
                waiter.set_result(None)
                return
        self._tasks.start_soon(self._work)

    async def _work(self) -> None:
        self._coming = False
        try:
            await self._do_jobs()
        except anyio.get_cancelled_exc_class():
            if is_cancelled():
                raise
            # Somebody has cancelled this task itself, as only asyncio allows. If it did not end
            # well, the group would end with all others.
            self._log.warning("worker_cancelled")
        except RuntimeError as exc:
            # What is around the jobs cannot be left: one of them has entered a cancel scope or a
            # task group, and not left it. On asyncio this is the end of the group all the same.
            self._log.error("cancel_scope_left_open", error=describe(exc))

    async def _do_jobs(self) -> None:
        """Do jobs until there are too many workers, or this one is not as fresh as a new one."""
        fresh = copy_context()
        lanes = self._lanes
        while not _has_changed(fresh):
            with anyio.CancelScope() as scope:
                while not scope.cancel_called:
                    if self._done >= _AT_A_TIME:
                        await self._rest()
                    if not lanes or self._resting:
                        if len(self._idle) >= _MAX_IDLE:
                            return
                        await self._wait()
                        continue
                    lane = lanes.popleft()
                    job = lane.jobs.popleft()
                    if lane.jobs:
                        lanes.append(lane)
                    else:
                        lane.queued = False
                    # Before the job and not behind it, or the others would wait while it does.
                    if lanes and not self._coming:
                        self._call_worker()
                    self._done += 1
                    await job.run(scope)
                    if not lane.queued:
                        lane.on_empty()
                    if _has_changed(fresh):
                        return  # the next job must not see what this one has set
            # Its job was cancelled, and no other one is to be.

    async def _rest(self) -> None:
        """Let everybody else in the event loop have a turn; no other worker goes on meanwhile."""
        self._done = 0
        self._resting = True
        try:
            await checkpoint()
        except BaseException:
            self._resting = False
            if self._lanes and not self._coming:
                self._call_worker()  # in its place
            raise
        self._resting = False

    async def _wait(self) -> None:
        waiter = self._new_waiter()
        self._idle.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter in self._idle:
                self._idle.remove(waiter)
            elif self._woken is waiter:
                self._coming = False  # it has been woken, and will not do what it was woken for
                if self._lanes:
                    self._call_worker()
            raise
        self._coming = False


def _has_changed(context: Context) -> bool:
    """Tell whether another context holds now."""
    try:
        return copy_context() != context
    except Exception:  # a value in it that cannot be compared, as an array of numpy
        return True
