"""A logger that the test can read."""

from __future__ import annotations

from typing import Any, NamedTuple, Self


class Entry(NamedTuple):
    """One call of the logger."""

    level: str
    event: str
    values: dict[str, Any]


class LogRecorder:
    """Has the methods of a structlog logger, and keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def bind(self, **_: Any) -> Self:
        return self

    def info(self, event: str, **values: Any) -> None:
        self.entries.append(Entry("info", event, values))

    def warning(self, event: str, **values: Any) -> None:
        self.entries.append(Entry("warning", event, values))

    def error(self, event: str, **values: Any) -> None:
        self.entries.append(Entry("error", event, values))

    def exception(self, event: str, **values: Any) -> None:
        self.entries.append(Entry("exception", event, values))

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the values of all entries of one event."""
        return [entry.values for entry in self.entries if entry.event == event]
