"""Waiting, waking and tasks, where anyio has nothing for it or too much."""

from __future__ import annotations

import asyncio  # noqa: TID251
import contextlib
import contextvars
import math
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import CancelledError
from operator import attrgetter
from typing import Any, Final

import anyio
from anyio import current_effective_deadline
from anyio.lowlevel import current_token

from cluster_client import _fork
from cluster_client._backend._seam import Waiter


def is_running() -> bool:
    """Tell whether there is an event loop, here and now; in a forked child there may be none."""
    try:
        current_token()
    except RuntimeError:
        return False
    return True


def waiter_factory() -> Callable[[], Waiter]:
    """Return what makes waiters of the running event loop: it need not be asked for each time."""
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.create_future

    from cluster_client._backend._trio import TrioWaiter  # noqa: PLC0415 - trio is optional

    return TrioWaiter


def callback_context() -> contextvars.Context:
    """Return a context for what asyncio calls outside of any task.

    There anyio cannot tell that it is on asyncio, and starts no task, unless `anyio.run` has begun
    it all: where sniffio is installed it asks that one, which looks for a running task.
    """
    context = contextvars.copy_context()
    try:
        import sniffio  # noqa: PLC0415 - comes with trio
    except ImportError:
        return context
    context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def event_loop_waker() -> Callable[[Callable[[], object]], None]:
    """Return a function that has another function called in this event loop.

    It may be called from any thread and never blocks. Once the loop has ended
    it does nothing, nor in a forked child: there is nobody left to be told.
    """
    loop = current_token().native_token
    generation = _fork.generation()
    if isinstance(loop, asyncio.AbstractEventLoop):
        context = callback_context()

        def wake_asyncio(function: Callable[[], object]) -> None:
            if generation != _fork.generation():
                return  # it would wake the parent's
            try:
                loop.call_soon_threadsafe(function, context=context)
            except RuntimeError:  # the loop is closed
                return

        return wake_asyncio

    import trio  # noqa: PLC0415, TID251 - an optional dependency

    token = trio.lowlevel.current_trio_token()

    def wake_trio(function: Callable[[], object]) -> None:
        if generation != _fork.generation():
            return
        try:
            token.run_sync_soon(function)
        except trio.RunFinishedError:
            return

    return wake_trio


def start_background_task(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function in a task that nobody owns.

    For what outlives the task that needed it first, and is ended by counting who needs it.
    Whatever it raises must be handled inside.
    """
    if isinstance(current_token().native_token, asyncio.AbstractEventLoop):
        task = asyncio.ensure_future(function())
        _background_tasks.add(task)  # the event loop itself holds only a weak reference
        task.add_done_callback(_background_tasks.discard)
        return

    import trio  # noqa: PLC0415, TID251 - an optional dependency

    trio.lowlevel.spawn_system_task(function, context=contextvars.copy_context())


_background_tasks: Final[set[asyncio.Future[None]]] = set()


def poller() -> _fork.Poller | None:
    """Return what the running event loop waits with, if that is an epoll instance.

    Nobody offers it, so it is taken from where it is today; a test watches whether it still is.
    """
    loop = current_token().native_token
    places = [("_get_backend_id",), ("_selector._selector", "_ssock", "_csock")]  # uvloop's first
    if not isinstance(loop, asyncio.AbstractEventLoop):
        import trio._core._run as trio_run  # noqa: PLC0415, TID251 - an optional dependency

        loop = trio_run.GLOBAL_RUN_CONTEXT
        waker = "runner.entry_queue.wakeup"
        places = [("runner.io_manager._epoll", f"{waker}.wakeup_sock", f"{waker}.write_sock")]
    for names in places:
        try:
            epoll, *ends = (attrgetter(name)(loop) for name in names)
        except AttributeError:
            continue
        if not ends:
            return _fork.Poller(epoll())
        reading, writing = (end.fileno() for end in ends)
        return _fork.Poller(epoll.fileno(), (reading, writing))
    return None


@contextlib.contextmanager
def stray_cancellations_as_errors() -> Generator[None]:
    """Turn a cancellation that does not cancel the running task into an ordinary error.

    On asyncio, whoever awaits a future that somebody else has cancelled gets the very
    exception that would end its own task; and a task that ends so takes its group along. On
    trio it may come from whoever keeps errors and raises them again.

    Raises:
        concurrent.futures.CancelledError: Instead of it.
    """
    own = anyio.get_cancelled_exc_class()
    try:
        yield
    except (asyncio.CancelledError, own) as exc:
        if not is_stray(exc):
            raise
        raise CancelledError("what was awaited has been cancelled") from exc


def is_cancelled() -> bool:
    """Tell whether a cancel scope around what runs here has been cancelled.

    A cancellation without that comes from somebody who has cancelled the task itself.
    """
    return current_effective_deadline() == -math.inf


def is_stray(exc: BaseException) -> bool:
    """Tell whether this is a cancellation, and not meant for the running task."""
    if not isinstance(current_token().native_token, asyncio.AbstractEventLoop):
        # One of trio's may have been kept, and be raised again where nobody is cancelled.
        own = isinstance(exc, anyio.get_cancelled_exc_class()) and not is_cancelled()
        return own or isinstance(exc, asyncio.CancelledError)  # which means nothing there
    if not isinstance(exc, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and not task.cancelling()
