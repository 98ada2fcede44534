"""The figures of a run, read from what the engine prints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fuzz.findings import Finding, read_findings

_PROGRESS: Final = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+)")
_DONE: Final = re.compile(r"^Done (\d+) runs in (\d+) second")
_ARTIFACTS: Final = {"timeout": "hang", "oom": "out of memory", "crash": "crash", "leak": "leak"}


@dataclass
class Row:
    """What came of one target.

    Attributes:
        target: Its name.
        executions: How many inputs were read.
        seconds: How long that took.
        edges_at_start: What the seeds cover.
        edges_at_end: What is covered at the end.
        findings: What must not be.
    """

    target: str
    executions: int = 0
    seconds: float = 0
    edges_at_start: int | None = None
    edges_at_end: int = 0
    findings: list[Finding] = field(default_factory=list)

    def read_line(self, line: str) -> None:
        """Take a line of the engine."""
        progress = _PROGRESS.match(line)
        if progress is not None:
            self.executions = int(progress[1])
            self.edges_at_end = int(progress[3])
            if self.edges_at_start is None and progress[2] == "INITED":
                self.edges_at_start = self.edges_at_end
        done = _DONE.match(line)
        if done is not None:
            self.executions = int(done[1])

    def read_folder(self, folder: Path, exit_code: int, last_lines: Iterable[str]) -> None:
        """Take what the engine left behind, and how it ended."""
        self.findings = read_findings(folder / "findings")
        for prefix, title in _ARTIFACTS.items():
            for file in sorted(folder.glob(f"{prefix}-*")):
                self.findings.append(Finding(title, "", repr(file.read_bytes())))
        if exit_code and not self.findings:
            text = "\n".join(last_lines)
            self.findings.append(Finding(f"the engine ended with {exit_code}", text, "b''"))


_COLUMNS: Final = (
    *("target", "executions", "executions/s", "edges, seeds", "edges, end", "seconds"),
    "undocumented exceptions",
)


def table(rows: Iterable[Row]) -> str:
    """Return all rows in Markdown."""
    lines = [_line(_COLUMNS), _line(["---", *["---:"] * (len(_COLUMNS) - 1)])]
    for row in rows:
        rate = row.executions / row.seconds if row.seconds else 0
        started = "-" if row.edges_at_start is None else f"{row.edges_at_start:,}"
        lines.append(
            _line(
                (
                    *(row.target, f"{row.executions:,}", f"{rate:,.0f}", started),
                    *(f"{row.edges_at_end:,}", f"{row.seconds:,.0f}", f"{len(row.findings)}"),
                )
            )
        )
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
