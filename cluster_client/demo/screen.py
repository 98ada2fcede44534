"""How the demo looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cluster_client.demo.stage import NAMES, DemoError
from cluster_client.demo.steps import Finding, Step

_STYLES: Final = {"leads": "bold green", "follows": "cyan", "killed": "bold red", "closed": "dim"}
_INDENT: Final = 4
_CELL: Final = 17


class Screen:
    """Shows one step after the other.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begin = time.monotonic()
        unicode = console.encoding.lower().startswith("utf")
        self._done, self._failed = ("✓", "✗") if unicode else ("ok", "FAILED")
        self._spinner = "dots" if unicode else "line"

    def open(self, *, port: int, backend: str) -> None:
        """Say what is to come."""
        title = f"four processes share one SQLite client (port {port}, {backend})"
        self._console.print(Rule(title, style="dim"))

    @contextmanager
    def step(self, step: Step) -> Iterator[list[Finding]]:
        """Show that a step goes on, and then the finding that is put into the list, or its failure.

        Raises:
            DemoError: The step's own.
        """
        begin = time.monotonic()
        findings: list[Finding] = []
        try:
            with self._console.status(step.title, spinner=self._spinner):
                yield findings
        except DemoError as exc:
            self._headline(self._failed, "bold red", step.title, time.monotonic() - begin)
            self._line(str(exc), "red")
            raise
        self._headline(self._done, "bold green", step.title, time.monotonic() - begin)
        for finding in findings:
            self._show(finding)

    def close(self, *, failed: Step | None, steps: int) -> None:
        """Say how it went."""
        seconds = time.monotonic() - self._begin
        if failed is None:
            verdict = Text(f"All {steps} steps were seen to work, in {seconds:.1f} s", "bold green")
        else:
            verdict = Text(f"Not seen to work: {failed.title}", "bold red")
        self._console.print(Rule(verdict, style="dim"))

    def _headline(self, mark: str, style: str, title: str, seconds: float) -> None:
        line = Table.grid(expand=True)
        line.add_column()
        line.add_column(justify="right")
        line.add_row(
            Text.assemble((mark, style), " ", (title, "bold")), Text(f"{seconds:.2f} s", "dim")
        )
        self._console.print(line)

    def _show(self, finding: Finding) -> None:
        if finding.cells:
            grid = Table.grid(padding=(0, 1, 0, 0))
            for _ in NAMES:
                grid.add_column(width=_CELL)
            grid.add_row(*(self._cell(name, finding.cells.get(name)) for name in NAMES))
            self._console.print(Padding(grid, (0, 0, 0, _INDENT)))
        for line in finding.lines:
            self._line(line, "")

    def _cell(self, name: str, text: str | None) -> Text:
        if text is None:
            return Text()
        return Text.assemble((name, "bold"), " ", (text, _STYLES.get(text.split()[-1], "")))

    def _line(self, text: str, style: str) -> None:
        self._console.print(Padding(Text(text, style), (0, 0, 0, _INDENT)))
