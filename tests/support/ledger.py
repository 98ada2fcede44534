"""A real client over files, which outlive every process: what was executed can be counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self

import anyio

from cluster_client import delegate
from support.times import scaled

WORK: Final = scaled(0.005)
"""Seconds that a call takes, so that many overlap, and die with the process that executes them."""

Listener = Callable[[int], None]


class Ledger:
    """Writes each executed call down before it does anything else.

    Every entry is one write to a file opened with ``O_APPEND``, so that
    nothing is lost with a killed process, and entries of two never mix.

    Args:
        directory: Where the files are.
    """

    def __init__(self, directory: str) -> None:
        self._book = LedgerBook(Path(directory))
        self._listeners: list[Listener] = []

    async def __aenter__(self) -> Self:
        self._executions = _open_for_appending(self._book.executions_path)
        self._sessions = _open_for_appending(self._book.sessions_path)
        self._note_session("open")
        return self

    async def __aexit__(self, *_: object) -> None:
        await anyio.sleep(WORK)  # a successor that does not wait for it would show
        self._note_session("close")
        os.close(self._executions)
        os.close(self._sessions)

    async def record(self, call_id: str) -> int:
        """Write the id down; returns the process that did it."""
        os.write(self._executions, f"{call_id}\n".encode())
        await anyio.sleep(WORK)
        return os.getpid()

    @delegate(idempotent=True)
    async def pid(self) -> int:
        """Return the process that serves; it is not written down."""
        return os.getpid()

    async def numbers(self, count: int) -> AsyncIterator[int]:
        """Yield numbers from 0."""
        for number in range(count):
            yield number

    async def publish(self, reg: dict[str, Any]) -> None:
        """Store a value, and tell those that listen to it."""
        self._book.write_value(reg["value"])
        for listener in self._listeners:
            listener(reg["value"])

    def subscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        del reg  # there is one value
        self._listeners.append(listener)
        if (value := self._book.value()) is not None:
            listener(value)

    def unsubscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        del reg
        self._listeners.remove(listener)

    def _note_session(self, event: str) -> None:
        os.write(self._sessions, f"{event} {os.getpid()}\n".encode())


class LedgerBook:
    """What stands in the files, for the test that asks.

    Args:
        directory: Where the files are.
    """

    def __init__(self, directory: Path) -> None:
        self.executions_path = directory / "executions"
        self.sessions_path = directory / "sessions"
        self._value_path = directory / "value"

    def executions(self) -> Counter[str]:
        """Return how often each call was executed, by its id."""
        return Counter(_lines(self.executions_path))

    def sessions(self) -> list[str]:
        """Return who opened and closed the real client, in order: ``open 17``, ``close 17``."""
        return _lines(self.sessions_path)

    def value(self) -> int | None:
        return int(self._value_path.read_text()) if self._value_path.exists() else None

    def write_value(self, value: int) -> None:
        new = self._value_path.with_name(f"value.{os.getpid()}")
        new.write_text(str(value))
        new.replace(self._value_path)  # a reader, or a successor, finds a whole one


def _open_for_appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
