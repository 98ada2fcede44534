"""Worker threads for synchronous real clients.

Not `anyio.to_thread`: its threads change from call to call, and sqlite3,
among others, insists on the thread that made the connection.
"""

from __future__ import annotations

import contextvars
import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

import anyio

from cluster_client import _backend

_JOIN_LIMIT: Final = 5.0
_numbers: Final = itertools.count(1)


class _Job:
    """One function call on its way to a thread and back."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.context = contextvars.copy_context()
        self.done = anyio.Event()
        self.abandoned = False
        self.result: Any = None
        self.error: BaseException | None = None

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result

    def execute(self) -> None:
        try:
            self.result = self.context.run(self.function)
        except BaseException as exc:
            self.error = exc


class WorkerThreads:
    """A fixed number of threads that run functions for one event loop, in order.

    The threads are daemons: a function that hangs for ever must not keep the
    interpreter from ending.

    Args:
        count: Number of threads; 1 keeps everything in one thread.
        name: Prefix of the threads' names.
    """

    def __init__(self, count: int, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._wake = _backend.event_loop_waker()
        self._running = count
        self._all_ended = anyio.Event()
        number = next(_numbers)
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}.{index}", daemon=True)
            for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the function in a worker thread and return its result.

        Raises:
            BaseException: What the function raised.

        Cancellation:
            A call that has not begun is dropped. One that has begun cannot be
            stopped: it runs to its end, and its result is dropped.
        """
        job = self.put(function, *args, **kwargs)
        try:
            await job.done.wait()
        finally:
            job.abandoned = True
        return job.outcome()

    async def run_surely(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the function as `run` does, and even if nobody waits for it any more.

        Raises:
            BaseException: What the function raised.

        Cancellation:
            The function is called nevertheless, when a thread is free.
        """
        job = self.put(function, *args, **kwargs)
        await job.done.wait()
        return job.outcome()

    def put(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> _Job:
        """Have the function called when a thread is free, without waiting for it."""
        job = _Job(lambda: function(*args, **kwargs))
        self._jobs.put(job)
        return job

    async def aclose(self) -> None:
        """End the threads after what is queued; waits up to 5 s for a running function."""
        for _ in self._threads:
            self._jobs.put(None)
        with anyio.move_on_after(_JOIN_LIMIT, shield=True):
            await self._all_ended.wait()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.abandoned:
                job.execute()
                self._wake(job.done.set)
            del job  # or the last result would live until the next call
        self._wake(self._one_ended)

    def _one_ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._all_ended.set()
