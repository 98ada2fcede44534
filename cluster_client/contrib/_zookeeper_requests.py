"""Requests to ZooKeeper: pipelined, cancellable, and answered in the event loop.

kazoo answers in threads of its own. Each answer is carried into the event loop, and all
else happens there, so that nothing needs a lock and nothing waits in a thread of kazoo's.
What takes several requests is a generator of them::

    def read(path):
        try:
            data, _ = yield Request("get", path)
        except NoNodeError:
            return None
        return data

    await requests.take(read("/x"))
"""

from __future__ import annotations

import abc
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import anyio
from kazoo.exceptions import (
    ConnectionLoss,
    SessionExpiredError,
    ZookeeperError,
)
from kazoo.protocol.states import EventType

__all__ = ["WINDOW", "Request", "Requests", "Run", "Steps", "Upkeep", "log", "patiently"]

WINDOW: Final = 100
"""Requests that kazoo may have at a time; the others wait here.

For each one it writes a byte to a socket pair that nobody reads while the connection is
down. On Linux the 279th byte would block, and the event loop with it; and those of requests
that failed with a connection stay until the next one.
"""

RETRY_PAUSE: Final = 5.0
"""Seconds before something is tried again that failed for a reason which no event ends."""

log: Final = logging.getLogger("cluster_client.contrib.zookeeper")

T = TypeVar("T")


class Request:
    """One request.

    Args:
        operation: kazoo's name for it.
        path: Of the node.
        args: Further arguments of kazoo's function, checked: kazoo gives up its
            connection, and all sessions on it, over what it cannot serialize.
        kwargs: The same by name.

    Attributes:
        answered: Whether the answer has come.
    """

    __slots__ = ("_args", "_kwargs", "answered", "operation", "path")

    def __init__(self, operation: str, path: str, *args: Any, **kwargs: Any) -> None:
        self.operation = operation
        self.path = path
        self.answered = False
        self._args = args
        self._kwargs = kwargs

    def send(self, kazoo: Any) -> Any:
        """Give it to kazoo; returns kazoo's asynchronous result."""
        function = getattr(kazoo, f"{self.operation}_async")
        return function(self.path, *self._args, **self._kwargs)

    def error(self, exc: Exception) -> Exception:
        """Return a new exception that says what was asked.

        kazoo's says nothing, and all requests on a connection that breaks share a single one.
        """
        if not isinstance(exc, ZookeeperError):
            return exc
        reason = str(exc) or (type(exc).__doc__ or "").strip().partition("\n")[0]
        text = f"{self.operation} {self.path}: {reason or type(exc).__name__}"
        return cast("Exception", type(exc)(text))


Steps: TypeAlias = Generator[Request, Any, T]
"""Yields requests, gets their answers, returns what comes of them."""


def patiently(make: Callable[[], Steps[T]]) -> Steps[T]:
    """Take steps again until no connection breaks in between; only for what may be repeated.

    What is asked while there is no connection waits for the next one, so this does not spin.
    """
    while True:
        try:
            return (yield from make())
        except ConnectionLoss:
            continue


class Run(Generic[T]):
    """Steps that are being taken.

    Args:
        steps: The steps.
        ended: Called at the end; not after a cancellation.

    Attributes:
        over: Whether they have come to an end, or are cancelled.
        error: How they failed.
    """

    def __init__(self, steps: Steps[T], ended: Callable[[Run[T]], None]) -> None:
        self.steps = steps
        self.ended = ended
        self.over = False
        self.value: T | None = None
        self.error: Exception | None = None

    def outcome(self) -> T:
        """Return what came of them, or raise."""
        if self.error is not None:
            raise self.error
        return cast("T", self.value)


class Requests:
    """Takes steps, in the event loop.

    Args:
        kazoo: A `kazoo.client.KazooClient`.
        wake: Has a function called in the event loop, from any thread.
    """

    def __init__(self, kazoo: Any, wake: Callable[[Callable[[], object]], None]) -> None:
        self._kazoo = kazoo
        self._wake = wake
        self._waiting: deque[tuple[Run[Any], Request]] = deque()
        self._unanswered = 0
        self._runs: set[Run[Any]] = set()
        self._timers: set[threading.Timer] = set()
        self._closed: SessionExpiredError | None = None

    async def take(self, steps: Steps[T]) -> T:
        """Take the steps and return what comes of them.

        Raises:
            SessionExpiredError: If `close` was called.
            Exception: Whatever the steps raise.

        Cancellation:
            No further step is taken. A request that has not been sent is not sent any more;
            the answer to one that has been is dropped.
        """
        over = anyio.Event()
        run = self.begin(steps, lambda _: over.set())
        try:
            await over.wait()
        finally:
            self.cancel(run)
        return run.outcome()

    def begin(self, steps: Steps[T], ended: Callable[[Run[T]], None]) -> Run[T]:
        """Begin to take the steps, without waiting for them."""
        run = Run(steps, ended)
        self._runs.add(run)
        if self._closed is not None:
            self._end(run, error=self._closed_error())
        else:
            self._resume(run, partial(steps.send, None))
        return run

    def cancel(self, run: Run[Any]) -> None:
        """Take no further step; may be repeated."""
        if not run.over:
            run.over = True
            self._runs.discard(run)
            run.steps.close()

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called in the event loop; from any thread."""

        def guarded() -> None:
            try:
                function(*args)
            except Exception:  # it would end the whole event loop on trio
                log.exception("a callback failed")

        self._wake(guarded)

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """Have a function called in the event loop after a while, unless `close` comes first."""

        def due() -> None:
            self._timers.discard(timer)
            if self._closed is None:
                function()

        timer = threading.Timer(seconds, partial(self.soon, due))
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def close(self, reason: SessionExpiredError) -> None:
        """Fail all runs, and those to come: kazoo forgets some requests when it is stopped.

        Args:
            reason: What they fail with.
        """
        self._closed = self._closed or reason
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for run in list(self._runs):
            run.steps.close()
            self._end(run, error=self._closed_error())

    def _closed_error(self) -> SessionExpiredError:
        assert self._closed is not None  # noqa: S101 - for the type checkers
        return type(self._closed)(*self._closed.args)

    def _resume(self, run: Run[Any], proceed: Callable[[], Request]) -> None:
        try:
            request = proceed()
        except StopIteration as stop:
            self._end(run, value=stop.value)
        except Exception as exc:
            self._end(run, error=exc)
        else:
            self._waiting.append((run, request))
            self._send()

    def _end(self, run: Run[Any], *, value: Any = None, error: Exception | None = None) -> None:
        run.over = True
        run.value = value
        run.error = error
        self._runs.discard(run)
        run.ended(run)

    def _send(self) -> None:
        while self._waiting and self._unanswered < WINDOW:
            run, request = self._waiting.popleft()
            if run.over:
                continue
            self._unanswered += 1
            try:
                result = request.send(self._kazoo)
            except Exception as exc:  # kazoo refuses an argument
                self._unanswered -= 1
                self._resume(run, partial(run.steps.throw, exc))
            else:
                result.rawlink(partial(self.soon, self._answered, run, request))

    def _answered(self, run: Run[Any], request: Request, result: Any) -> None:
        if request.answered:  # kazoo tells twice of one that came while it was being closed
            return
        request.answered = True
        self._unanswered -= 1
        if not run.over:
            if result.exception is None:
                self._resume(run, partial(run.steps.send, result.value))
            else:
                self._resume(run, partial(run.steps.throw, request.error(result.exception)))
        self._send()


class Upkeep(abc.ABC, Generic[T]):
    """Steps that are taken anew whenever something may have changed; one run at a time.

    After a connection has broken somebody has to call `refresh` when the next one stands:
    kazoo forgets its watches.

    Args:
        requests: Takes the steps.
        path: Of the node, for logs.
    """

    def __init__(self, requests: Requests, path: str) -> None:
        self._requests = requests
        self._path = path
        self._run: Run[T] | None = None
        self._again = False
        self._complaint: type[Exception] | None = None

    @property
    @abc.abstractmethod
    def is_wanted(self) -> bool:
        """Whether `refresh` is to do anything."""

    @abc.abstractmethod
    def steps(self) -> Steps[T]:
        """Return what there is to do. A watch is set before the node is looked at."""

    @abc.abstractmethod
    def succeeded(self, value: T) -> None:
        """Take what came of the steps."""

    @abc.abstractmethod
    def failed(self, exc: Exception) -> bool:
        """Take an error; returns whether to try again after a while."""

    def refresh(self) -> None:
        """Take the steps, once more if they are being taken already."""
        if not self.is_wanted:
            return
        if self._run is not None and not self._run.over:
            self._again = True
            return
        self._again = False
        self._run = self._requests.begin(self.steps(), self._ended)

    def stop(self) -> None:
        """Take no further steps until the next `refresh`."""
        self._again = False
        if self._run is not None:
            self._requests.cancel(self._run)

    def on_event(self, event: Any) -> None:
        """Take an event of a watch, in a thread of kazoo's."""
        if event.type != EventType.NONE:  # these come when the connection breaks
            self._requests.soon(self.refresh)

    def complain(self, exc: Exception) -> None:
        """Log an error, once until something else happens."""
        if type(exc) is not self._complaint:
            self._complaint = type(exc)
            log.warning("%s at %s: %s", type(self).__name__, self._path, exc)

    def _ended(self, run: Run[T]) -> None:
        try:
            value = run.outcome()
        except ConnectionLoss:
            pass  # the next connection brings a refresh
        except SessionExpiredError as exc:
            self.failed(exc)  # and there is no next one
        except Exception as exc:
            if self.failed(exc):
                self._requests.later(RETRY_PAUSE, self.refresh)
        else:
            self._complaint = None
            self.succeeded(value)
        if self._again:
            self.refresh()
