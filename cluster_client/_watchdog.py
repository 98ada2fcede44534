"""Ending a process whose event loop hangs while it leads: it would keep the port for ever."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from cluster_client import _backend

__all__ = ["EXIT_STATUS", "Watchdog"]

EXIT_STATUS: Final = 70
"""Of the process that is ended; BSD's ``EX_SOFTWARE``."""

_STEPS: Final = 20
_LONGEST_STEP: Final = 1.0
_LAST_WORDS: Final = 1.0
_DEBUGGERS: Final = {"bdb", "pdb", "debugpy", "pydevd", "_pydevd_bundle", "_pydevd_frame_eval"}


class Watchdog:
    """Ends the process if the event loop does not turn for too long; inside of ``with``.

    A thread asks the loop for a sign of life, and counts its own short pauses until that comes. A
    process that is stopped as a whole, or a host that sleeps, takes one pause, however long that
    is. So does a debugger that stops all threads; one that only holds the loop's is looked for.

    A forked child has no such thread. Code that keeps the interpreter's lock stops this one, too:
    then nothing is ended.

    Args:
        limit: For so many seconds; ``None`` watches nothing.
        log: Logger, already bound to the client.
        end: Ends the process; is given the limit and the log.
    """

    def __init__(
        self,
        limit: float | None,
        log: Any,
        end: Callable[[float, Any], None] | None = None,
    ) -> None:
        self._limit = limit
        self._log = log
        self._end = end or end_process
        self._over = threading.Event()
        self._turned = True

    def __enter__(self) -> Self:
        if self._limit is not None:
            self._wake = _backend.event_loop_waker()
            self._loop_thread = threading.get_ident()
            thread = threading.Thread(
                target=self._watch,
                args=(self._limit,),
                name="cluster_client watchdog",
                daemon=True,  # it must not keep the interpreter from ending
            )
            thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()

    def _turn(self) -> None:
        self._turned = True

    def _watch(self, limit: float) -> None:
        step = min(limit / _STEPS, _LONGEST_STEP)
        hung = 0.0
        while not self._over.wait(step):
            if self._turned:
                self._turned = False
                hung = 0.0
                self._wake(self._turn)
                continue
            hung += step
            if hung < limit:
                continue
            if self._is_debugged():
                hung = 0.0
                continue
            self._end(limit, self._log)
            return

    def _is_debugged(self) -> bool:
        """Tell whether the event loop's thread waits for somebody at a debugger."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - documented
        while frame is not None:
            if str(frame.f_globals.get("__name__")).split(".")[0] in _DEBUGGERS:
                return True
            frame = frame.f_back
        return False


def end_process(limit: float, log: Any) -> None:
    """Say so, show what all threads are doing, and end the process at once.

    Neither may keep it alive: the thread that hangs may hold the logger's lock, and whoever reads
    standard error may be gone.
    """
    # From a thread of its own that needs no lock, should the rest of this hang.
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(4 * _LAST_WORDS, exit=True, file=nowhere)
        _try(lambda: log.error("event_loop_hung", seconds=limit, pid=os.getpid()))
        _try(lambda: faulthandler.dump_traceback(_standard_error(), all_threads=True))
        os._exit(EXIT_STATUS)


def _try(function: Callable[[], object]) -> None:
    """Call a function in another thread, and wait a moment for it."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(_LAST_WORDS)


def _standard_error() -> int:
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # there is none, or something that is no file
        return 2
