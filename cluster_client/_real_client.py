"""The one real client: made, started, called and closed in the right thread.

Long, as its whole life is here: the order of hooks, scopes and threads in it is one thing.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from cluster_client import _backend, _fork
from cluster_client._clock import Deadline
from cluster_client._items import Items
from cluster_client._logs import describe
from cluster_client._snapshots import Snapshot
from cluster_client._threads import ThreadIterator, WorkerThreads
from cluster_client.leadership import Leadership

__all__ = ["Items", "RealClient", "is_purely_synchronous"]

_CLOSE_LIMIT: Final = 10.0
"""Seconds for the real client's close: a leader that hangs there would keep the port."""

_HOOK_LIMIT: Final = 10.0
"""Seconds for each hook around its state; less where there is not twice as much to start in."""

_NEVER: Final = Deadline.never()


class RealClient:
    """Runs a real client's methods; usable inside `open`.

    A class without a single coroutine function is purely synchronous: it is
    constructed, called and closed in one worker thread. Of any other class only the
    synchronous methods that are invoked run there, as they may block; its
    constructor, lifecycle, `subscribe` and `unsubscribe` run in the event loop,
    whose tasks they are likely to touch.

    Args:
        cls: The real client's class.
        args: Positional arguments of its constructor.
        kwargs: Keyword arguments of its constructor.
        close: Name of the method that closes it, if that is neither ``aclose`` nor ``close``.
        threads: Number of worker threads.
        leadership: For a class that has ``attach_leadership``.
        log: Logger, already bound to the client.

    Attributes:
        hung: The hook that took so long that the start was given up.
    """

    def __init__(
        self,
        cls: type[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        close: str | None,
        threads: int,
        leadership: Leadership,
        log: Any,
    ) -> None:
        self._cls = cls
        self._close_name = close or ("aclose" if hasattr(cls, "aclose") else "close")
        self._leadership = leadership
        self._log = log
        self._args = args
        self._kwargs = kwargs
        self._thread_count = threads
        self._threads: WorkerThreads | None = None
        self._in_thread = is_purely_synchronous(cls)
        self._enters = _context_manager_methods(cls)
        self._instance: Any = None
        self._are_coroutines: dict[object, bool] = {}
        self._made = False
        self._started = False
        self.hung: str | None = None

    @asynccontextmanager
    async def open(
        self, snapshot: Snapshot | None = None, due: Deadline = _NEVER
    ) -> AsyncGenerator[RealClient]:
        """Make and start the real client; close it at the end.

        ``__aenter__`` (or ``__enter__``) and ``__aexit__`` are used where the
        class has them, else ``start``, ``ready`` and ``aclose`` or ``close``,
        whichever are there, synchronous or not, or *close*. One of the latter whose
        ``attach_leadership``, ``restore``, ``start`` or ``ready`` fails is closed again.

        Args:
            snapshot: For its ``restore``, before the start.
            due: When the start should be over. ``attach_leadership`` and ``restore`` may take
                half of the time until then, and at most 10 s.

        Raises:
            TimeoutError: If one of those two takes longer.
            BaseException: Whatever constructor, restore and start raise; what made it end by
                itself.

        Cancellation:
            During the start it is passed on. The close is shielded, and limited to 10 s.
        """
        failure: BaseException | None = None
        self._generation = _fork.generation()
        # Entered before any cancel scope of the real client's own, as they have to end in turn.
        with anyio.CancelScope() as self._hook_scope:
            with anyio.CancelScope() as self._scope:
                try:
                    await self._make()
                    await self._start(snapshot, due)
                    yield self
                except BaseException as exc:
                    failure = exc
                    await self._close(exc)
                    raise
                else:
                    await self._close()
                finally:
                    if self._threads is not None and self._is_ours:
                        await self._threads.aclose()
            if failure is not None:
                raise failure  # giving up the close has swallowed it
        if self._hook_scope.cancelled_caught:
            raise TimeoutError(self._hook_error)

    def invoke(
        self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Call a method; to be awaited for its result, at once.

        Raises:
            NotRunError: If it is retired before the call's turn comes in a thread.
            BaseException: What the method raises; of a coroutine function when it is awaited.

        Cancellation:
            A coroutine is cancelled. A thread cannot be: its result is dropped.
        """
        function = getattr(self._instance, target)
        code = getattr(function, "__func__", function)
        is_coroutine = self._are_coroutines.get(code)
        if is_coroutine is None:  # the question takes longer than most answers
            is_coroutine = self._are_coroutines[code] = inspect.iscoroutinefunction(function)
        if is_coroutine:
            coroutine: Coroutine[Any, Any, Any] = function(*args, **kwargs)
            return coroutine
        return self._invoke_in_worker(function, args, kwargs)

    async def _invoke_in_worker(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        result = await self._in_worker(function, *args, **kwargs)
        # An ordinary function can still return a coroutine, as decorated ones do.
        return await result if inspect.isawaitable(result) else result

    def retire(self) -> None:
        """Begin no more calls in threads: it is of no use any more. Those that run go on."""
        if self._threads is not None:
            self._threads.retire()

    @asynccontextmanager
    async def iterate(
        self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Items]:
        """Call a method and iterate over what it returns; close that at the end.

        An asynchronous iterator runs in the event loop, any other one, and what makes it, in a
        worker thread.

        Raises:
            TypeError: If nothing comes back that can be iterated over.
            BaseException: What the method raises.

        Cancellation:
            As of `invoke`. The close is shielded, and limited to 10 s.
        """
        function = getattr(self._instance, target)
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            result = function(*args, **kwargs)  # nothing of its body runs yet
        else:
            with _backend.stray_cancellations_as_errors():
                result = await self.invoke(target, args, kwargs)
        iterator = self._iterator(target, result)
        error: BaseException | None = None
        # Entered before any cancel scope of the generator's own, as they have to end in turn.
        with anyio.CancelScope() as scope:
            try:
                yield Items(iterator)
            except BaseException as exc:
                error = exc
                raise
            finally:
                scope.shield = True
                scope.deadline = anyio.current_time() + _CLOSE_LIMIT
                try:
                    await self._close_iterator(target, iterator)
                finally:
                    if scope.cancel_called:
                        self._log.warning(
                            "stream_close_timed_out", method=target, limit=_CLOSE_LIMIT
                        )
        if error is not None:  # else a stream that was cut off would look like a whole one
            raise error

    def _iterator(self, target: str, result: object) -> AsyncIterator[Any]:
        if isinstance(result, AsyncIterable):
            return aiter(result)
        if isinstance(result, Iterable) and not isinstance(result, (str, bytes, Mapping)):
            return ThreadIterator(result, self._open_threads())
        raise TypeError(
            f"{self._cls.__qualname__}.{target} is streamed, but it returned "
            f"{type(result).__name__}, which is no iterator"
        )

    async def _close_iterator(self, target: str, iterator: AsyncIterator[Any]) -> None:
        close = getattr(iterator, "aclose", None)
        if close is None:
            return
        try:
            with _backend.stray_cancellations_as_errors():
                await close()
        except BaseExceptionGroup as exc:
            # A task group around a yield makes this of the close, even of one in order.
            _, rest = exc.split(GeneratorExit)
            if rest is not None:
                self._log.warning("stream_close_failed", method=target, error=describe(exc))
        except Exception as exc:
            self._log.warning("stream_close_failed", method=target, error=describe(exc))

    async def take_snapshot(self, due: Deadline = _NEVER) -> Snapshot | None:
        """Return what a successor needs; ``None`` if the real client has nothing to tell.

        Args:
            due: It may take half of the time until then, and at most 10 s.

        Raises:
            TimeoutError: If it takes longer.
            EncodeError: If it cannot be sent.
            BaseException: What the real client's ``snapshot`` raises.
        """
        limit = _hook_limit(due)
        with anyio.move_on_after(limit):
            return Snapshot.of(await self._run(self._instance.snapshot))
        raise TimeoutError(self._lateness("snapshot", limit))

    async def hand_over(self) -> None:
        """Tell that a successor takes over what the snapshot stands for; the close follows."""
        try:
            with anyio.fail_after(_HOOK_LIMIT):
                await self._run(self._instance.hand_over)
        except Exception as exc:  # then it is closed as ever
            self._log.warning("hand_over_failed", error=describe(exc))

    async def invoke_part(self, target: str, *args: Any) -> None:
        """Call the method that subscribes or unsubscribes."""
        await self._run(getattr(self._instance, target), *args)

    async def _make(self) -> None:
        def construct() -> None:
            self._instance = self._cls(*self._args, **self._kwargs)

        try:
            await self._run(construct)
        except anyio.get_cancelled_exc_class():
            if self._threads is not None:
                # A thread can't be stopped: what it may still make is closed behind it.
                self._threads.put(self._close_unstarted)
            raise
        self._made = True

    def _close_unstarted(self) -> None:
        """Close an instance that was made when nobody wanted it any more; in its thread."""
        if self._instance is not None and self._enters is None:
            try:
                close = getattr(self._instance, self._close_name, None)
                if callable(close):
                    close()
            except Exception as exc:
                self._log.warning("real_client_close_failed", error=describe(exc))

    async def _start(self, snapshot: Snapshot | None, due: Deadline) -> None:
        if callable(getattr(self._cls, "attach_leadership", None)):
            await self._run_hook("attach_leadership", self._leadership, due=due)
        if snapshot is not None:
            await self._run_hook("restore", snapshot.reveal(), due=due)
        if self._enters is not None:
            await self._run(getattr(self._instance, self._enters[0]))
        else:
            for name in ("start", "ready"):
                await self._run_if_there(name)
        self._started = True
        await checkpoint_if_cancelled()  # rather now than in the midst of its use

    async def _run_hook(self, name: str, *args: Any, due: Deadline) -> None:
        """Call a hook of the start. If it takes too long, that is the end of the start."""
        limit = _hook_limit(due)
        self.hung, self._hook_error = name, self._lateness(name, limit)
        self._hook_scope.deadline = anyio.current_time() + limit
        try:
            await self._run(getattr(self._instance, name), *args)
        finally:
            if not self._hook_scope.cancel_called:
                self.hung = None
            self._hook_scope.deadline = math.inf

    def _lateness(self, hook: str, limit: float) -> str:
        return f"{self._cls.__qualname__}.{hook}() took longer than {limit:g} s"

    async def _close(self, failure: BaseException | None = None) -> None:
        """Close it, as far as it has got; an error is only logged, as nobody could act on it.

        Args:
            failure: What ended its start or its use. A cancellation may come from a cancel scope
                of the real client's own, a task group of which a task has failed; then it is
                that scope's to catch, and the failure is raised.
        """
        if not (self._made if self._enters is None else self._started) or not self._is_ours:
            return
        self._scope.shield = True
        self._scope.deadline = anyio.current_time() + _CLOSE_LIMIT
        cancelled = self._started and isinstance(failure, anyio.get_cancelled_exc_class())
        try:
            if self._enters is None:
                await self._run_if_there(self._close_name, surely=True)
                return
            leave = getattr(self._instance, self._enters[1])
            if failure is None or not cancelled or self._in_thread:
                await self._run(leave, None, None, None, surely=True)
                return
            with self._exits_as_errors():
                caught = leave(type(failure), failure, failure.__traceback__)
                if await caught if inspect.isawaitable(caught) else caught:
                    raise RuntimeError(f"{self._cls.__qualname__} has ended by itself")
        except Exception as exc:
            if cancelled:
                raise
            self._log.warning("real_client_close_failed", error=describe(exc))
        finally:
            if self._scope.cancel_called:
                self._log.warning("real_client_close_timed_out", limit=_CLOSE_LIMIT)
            self._scope.deadline = math.inf

    @property
    def _is_ours(self) -> bool:
        """Whether this is the process that made it; a forked child must not end what it shares."""
        return self._generation == _fork.generation()

    async def _run_if_there(self, name: str, *, surely: bool = False) -> None:
        # On the class: a proxy's __getattr__ would find anything on the instance.
        if callable(getattr(self._cls, name, None)):
            await self._run(getattr(self._instance, name), surely=surely)

    async def _run(self, function: Callable[..., Any], *args: Any, surely: bool = False) -> Any:
        """Call the function where the class is at home.

        Args:
            function: A method of the real client, or what makes it.
            args: Its arguments.
            surely: In a thread, call it even if its turn comes when nobody waits any more.
        """
        with self._exits_as_errors(), _backend.stray_cancellations_as_errors():
            if self._in_thread:
                threads = self._open_threads()
                run = threads.run_surely if surely else threads.run
                result = await run(function, *args)
            else:
                result = function(*args)
            return await result if inspect.isawaitable(result) else result

    @contextmanager
    def _exits_as_errors(self) -> Generator[None]:
        """The end of one real client is not the end of the event loop that it runs in."""
        cancelled = anyio.get_cancelled_exc_class()
        try:
            yield
        except (Exception, KeyboardInterrupt, cancelled):
            raise
        except BaseException as exc:
            if isinstance(exc, BaseExceptionGroup) and exc.subgroup(cancelled):
                raise  # trio's nurseries wrap cancellations
            raise RuntimeError(f"{self._cls.__qualname__} raised {describe(exc)}") from exc

    async def _in_worker(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._open_threads().run_unless_retired(function, *args, **kwargs)

    def _open_threads(self) -> WorkerThreads:
        if self._threads is None:  # none for real clients that never need one
            self._threads = WorkerThreads(self._thread_count, self._cls.__name__)
        return self._threads


def is_purely_synchronous(cls: type[Any]) -> bool:
    """Tell whether a class has no coroutine function, async generator or async lifecycle."""
    for name in dir(cls):
        attribute = getattr(cls, name, None)
        if inspect.iscoroutinefunction(attribute) or inspect.isasyncgenfunction(attribute):
            return False
    # asynccontextmanager-like mixins define it as an ordinary function.
    return not hasattr(cls, "__aenter__")


def _hook_limit(due: Deadline) -> float:
    """Return the seconds for a hook that leave time for what follows if it is given up."""
    return min(_HOOK_LIMIT, due.remaining / 2)


def _context_manager_methods(cls: type[Any]) -> tuple[str, str] | None:
    for names in (("__aenter__", "__aexit__"), ("__enter__", "__exit__")):
        if all(hasattr(cls, name) for name in names):
            return names
    return None
