"""What a run has found: each defect once, with the input that shows it."""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

MEMORY_LIMIT: Final = 100 << 20
"""Bytes by which one input of a few KiB may make the process grow."""

TIME_LIMIT: Final = 2.0
"""Seconds of the processor that one input of a few KiB may take."""

_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class Finding(NamedTuple):
    """An input that was not read as it should be.

    Attributes:
        title: Class and place of the error.
        details: Its traceback.
        literal: The input, as Python writes it.
    """

    title: str
    details: str
    literal: str


class Watch:
    """Calls a target's function, and notes what it must not do.

    Args:
        check: The function.
        file: Where findings are kept, a line each, as the engine ends its process itself.
        time_limit: Seconds of the processor that one input may take.
    """

    def __init__(
        self, check: Callable[[bytes], None], file: Path, *, time_limit: float = TIME_LIMIT
    ) -> None:
        self._check = check
        self._time_limit = time_limit
        self._file = file
        self._known: set[str] = set()
        _forget_peak()
        self._peak = _peak()

    def __call__(self, data: bytes) -> None:
        begin = time.process_time()
        try:
            self._check(data)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            self._note(exc, data)
        taken = time.process_time() - begin
        if taken > self._time_limit:
            self._note(TimeoutError(f"{len(data)} bytes of input took {taken:.1f} s"), data)
        peak = _peak()
        if peak - self._peak > MEMORY_LIMIT:
            grown = (peak - self._peak) >> 20
            self._note(MemoryError(f"{len(data)} bytes of input took {grown} MiB"), data)
        self._peak = peak

    def _note(self, exc: BaseException, data: bytes) -> None:
        innermost = _innermost(exc)
        frames = traceback.extract_tb(innermost.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "input"
        title = f"{type(innermost).__name__} at {place}"
        if title in self._known:
            return
        self._known.add(title)
        details = "".join(traceback.format_exception(exc))
        found = Finding(title, details, repr(bytes(data)))
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")


def read_findings(file: Path) -> list[Finding]:
    """Return what was noted in *file*."""
    if not file.exists():
        return []
    return [Finding(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def _innermost(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


def _forget_peak() -> None:
    """Begin anew with what memory there is now, where the system can: in Linux."""
    file = Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text("5", encoding="ascii")


def _peak() -> int:
    """Return the most memory that the process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
