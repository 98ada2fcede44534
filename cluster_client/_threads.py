"""Worker threads for synchronous real clients.

Not `anyio.to_thread`: its threads change from call to call, and sqlite3,
among others, insists on the thread that made the connection.
"""

from __future__ import annotations

import contextvars
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import anyio

from cluster_client import _backend, _clock, _fork

_JOIN_LIMIT: Final = 5.0
_ITEMS_PER_TURN: Final = 32
_LONGEST_TURN: Final = 0.002
_numbers: Final = itertools.count(1)


class NotRunError(Exception):
    """A function was not called: its turn came when its threads were retired."""


class _Job:
    """One function call on its way to a thread and back."""

    def __init__(self, function: Callable[[], Any], *, refusable: bool = False) -> None:
        self.function = function
        self.refusable = refusable
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

    Attributes:
        wake: Has a function called in the event loop, from any thread.
    """

    def __init__(self, count: int, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.wake = _backend.event_loop_waker()
        self._retired = False
        self._running = count
        self._generation = _fork.generation()
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
        return await self._outcome_of(_Job(lambda: function(*args, **kwargs)))

    async def run_unless_retired(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Call the function as `run` does, but not if `retire` is called before its turn comes.

        Raises:
            NotRunError: If it was not called.
            BaseException: What the function raised.

        Cancellation:
            As of `run`.
        """
        return await self._outcome_of(_Job(lambda: function(*args, **kwargs), refusable=True))

    async def _outcome_of(self, job: _Job) -> Any:
        self._jobs.put(job)
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

    def retire(self) -> None:
        """Begin no more functions of `run_unless_retired`."""
        self._retired = True

    async def aclose(self) -> None:
        """End the threads after what is queued; waits up to 5 s for a running function."""
        for _ in self._threads:
            self._jobs.put(None)
        with anyio.move_on_after(_JOIN_LIMIT, shield=True):
            await self._all_ended.wait()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.abandoned:
                if self._retired and job.refusable:
                    job.error = NotRunError()
                else:
                    job.execute()
                if self._generation != _fork.generation():
                    return  # forked inside of the function: the parent's thread goes on
                self.wake(job.done.set)
            del job  # or the last result would live until the next call
        self.wake(self._one_ended)

    def _one_ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._all_ended.set()


class ThreadIterator:
    """Iterates over an ordinary iterable in worker threads, several items at a turn.

    A turn costs as much as dozens of small items. Whoever waits is woken by the first item of
    a turn, while the thread goes on with the others: one that is slow to come holds up none
    before it. The turn ends early then, as the threads are not for one iterator alone.

    Args:
        iterable: Anything with ``__iter__``.
        threads: Where that is called, and ``__next__``.
    """

    def __init__(self, iterable: Iterable[Any], threads: WorkerThreads) -> None:
        self._iterable = iterable
        self._iterator = iterable if isinstance(iterable, Iterator) else None
        self._threads = threads
        self._items: deque[Any] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._fetching = False
        self._waiting: anyio.Event | None = None
        self._told: anyio.Event | None = None
        # With several threads a close may come while `next` is running in another one.
        self._turn = threading.Lock()

    def __aiter__(self) -> ThreadIterator:
        return self

    async def __anext__(self) -> Any:
        while True:
            ended = self._ended  # looked at first: the last item may come in between
            if self._items:
                return self._items.popleft()
            if ended:
                break
            await self._wait()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration

    async def _wait(self) -> None:
        """Wait until there may be something to see; a turn is begun if none is going on.

        Cancellation:
            Safe: items that have been made are kept. A turn that has not begun is dropped.
        """
        # In this order, and the thread's is the reverse: what it tells from now on wakes us.
        woken = self._waiting = anyio.Event()
        job = None
        if not self._fetching:
            self._fetching = True
            job = self._threads.put(self._fetch)
        try:
            if not self._items:
                await woken.wait()
        except BaseException:
            if job is not None:
                job.abandoned = True
                self._fetching = False
            raise
        finally:
            self._waiting = None

    async def aclose(self) -> None:
        """Close the iterator, if it can be, behind an item that is still being made."""
        self._ended = True
        await self._threads.run_surely(self._close)

    def _fetch(self) -> None:
        with self._turn:
            try:
                self._fetch_some()
            finally:
                self._fetching = False
                self._tell()

    def _fetch_some(self) -> None:
        turn_ends = _clock.now() + _LONGEST_TURN
        for _ in range(_ITEMS_PER_TURN):
            if self._ended:
                return
            try:
                if self._iterator is None:
                    self._iterator = iter(self._iterable)
                self._items.append(next(self._iterator))
            except StopIteration:
                self._ended = True
                return
            except BaseException as exc:  # raised where the items are awaited
                self._error = exc
                self._ended = True
                return
            self._tell()
            if _clock.now() > turn_ends:
                return

    def _tell(self) -> None:
        """Wake whoever waits, once; in the thread whose turn it is."""
        waiting = self._waiting
        if waiting is not None and waiting is not self._told:
            self._told = waiting
            self._threads.wake(waiting.set)

    def _close(self) -> None:
        with self._turn:
            close = getattr(self._iterator, "close", None)
            if callable(close):
                close()
