"""The one real client: made, started, called and closed in the right thread."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from cluster_client import _backend
from cluster_client._logs import describe
from cluster_client._threads import WorkerThreads

_CLOSE_LIMIT: Final = 10.0
"""Seconds for the real client's close: a leader that hangs there would keep the port."""


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
        threads: Number of worker threads.
        log: Logger, already bound to the client.
    """

    def __init__(
        self,
        cls: type[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        threads: int,
        log: Any,
    ) -> None:
        self._cls = cls
        self._log = log
        self._args = args
        self._kwargs = kwargs
        self._thread_count = threads
        self._threads: WorkerThreads | None = None
        self._in_thread = is_purely_synchronous(cls)
        self._enters = _context_manager_methods(cls)
        self._instance: Any = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[RealClient]:
        """Make and start the real client; close it at the end.

        ``__aenter__`` (or ``__enter__``) and ``__aexit__`` are used where the
        class has them, else ``start``, ``ready`` and ``aclose`` or ``close``,
        whichever are there, synchronous or not. One whose ``start`` or
        ``ready`` fails is closed again.

        Raises:
            BaseException: Whatever constructor and start raise.

        Cancellation:
            During the start it is passed on. The close is shielded, and limited to 10 s.
        """
        try:
            await self._make()
            await self._start()
            try:
                yield self
            finally:
                await self._close()
        finally:
            if self._threads is not None:
                await self._threads.aclose()

    async def invoke(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method and return its result.

        Raises:
            BaseException: What the method raises.

        Cancellation:
            A coroutine is cancelled. A thread cannot be: its result is dropped.
        """
        function = getattr(self._instance, target)
        with _backend.stray_cancellations_as_errors():
            if inspect.iscoroutinefunction(function):
                return await function(*args, **kwargs)
            result = await self._in_worker(function, *args, **kwargs)
            # An ordinary function can still return a coroutine, as decorated ones do.
            return await result if inspect.isawaitable(result) else result

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

    def _close_unstarted(self) -> None:
        """Close an instance that was made when nobody wanted it any more; in its thread."""
        if self._instance is not None and self._enters is None:
            try:
                close = getattr(self._instance, self._close_name, None)
                if callable(close):
                    close()
            except Exception as exc:
                self._log.warning("real_client_close_failed", error=describe(exc))

    @property
    def _close_name(self) -> str:
        return "aclose" if hasattr(self._cls, "aclose") else "close"

    async def _start(self) -> None:
        if self._enters is not None:
            await self._run(getattr(self._instance, self._enters[0]))
            return
        try:
            for name in ("start", "ready"):
                await self._run_if_there(name)
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        """Close it; an error is only logged, as nobody is left who could act on it."""
        with anyio.move_on_after(_CLOSE_LIMIT, shield=True) as scope:
            try:
                if self._enters is not None:
                    leave = getattr(self._instance, self._enters[1])
                    await self._run(leave, None, None, None, surely=True)
                else:
                    await self._run_if_there(self._close_name, surely=True)
            except Exception as exc:
                self._log.warning("real_client_close_failed", error=describe(exc))
        if scope.cancelled_caught:
            self._log.warning("real_client_close_timed_out", limit=_CLOSE_LIMIT)

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
        try:
            with _backend.stray_cancellations_as_errors():
                if self._in_thread:
                    threads = self._open_threads()
                    run = threads.run_surely if surely else threads.run
                    result = await run(function, *args)
                else:
                    result = function(*args)
                return await result if inspect.isawaitable(result) else result
        except SystemExit as exc:
            # The end of one real client is not the end of the event loop that it runs in.
            raise RuntimeError(f"{self._cls.__qualname__} raised {exc!r}") from exc

    async def _in_worker(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._open_threads().run(function, *args, **kwargs)

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


def _context_manager_methods(cls: type[Any]) -> tuple[str, str] | None:
    for names in (("__aenter__", "__aexit__"), ("__enter__", "__exit__")):
        if all(hasattr(cls, name) for name in names):
            return names
    return None
