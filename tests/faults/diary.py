"""What a process saw, written down as it happens, so that it survives the process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Final

_PREFIX: Final = "diary."


class Diary:
    """One process's lines; each is one write.

    Args:
        directory: Where all diaries are.
        number: Of the process.
    """

    def __init__(self, directory: Path, number: int) -> None:
        path = directory / f"{_PREFIX}{number}"
        self._number = number
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def note(self, event: str, **words: Any) -> None:
        line = {"at": time.monotonic(), "worker": self._number, "event": event, **words}
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


def read_diaries(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of all processes in the order of their times."""
    lines: list[dict[str, Any]] = []
    for path in directory.glob(f"{_PREFIX}*"):
        lines += map(json.loads, path.read_text().splitlines())
    return sorted(lines, key=lambda line: float(line["at"]))
