"""The figures as tables on a terminal."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.contenders import BY_NAME
from benchmarks.results import Measured, Results


def show(results: Results, console: Console) -> None:
    """Print a table per scenario, and what failed."""
    for measured in results.scenarios.values():
        console.print(_table(measured))
    for measured in results.scenarios.values():
        for contender, error in measured.errors.items():
            console.print(f"[red]failed[/]  {BY_NAME[contender].title}, {measured.title}:")
            console.print(Text(error))
    pace = f"{results.settings['rounds']} rounds"
    console.print(f"{pace} in {results.seconds:.0f} s, on {results.machine['cores']} cores")


def _table(measured: Measured) -> Table:
    notes = f"{measured.unit}: median ± half the spread" if measured.unit else "median"
    if measured.is_rate:
        notes += ", × Node's with its default codec"
    table = Table(title=measured.title, caption=notes, title_justify="left")
    table.add_column("", no_wrap=True)
    metrics = measured.metrics
    # In the order of the list there, whoever was first.
    names = [name for name in BY_NAME if name in measured.values or name in measured.errors]
    lines = [[_cell(measured, name, metric) for metric in metrics] for name in names]
    rows, columns = [BY_NAME[name].title for name in names], metrics
    if len(columns) > len(rows):  # so that 80 columns are enough
        rows, columns = columns, rows
        lines = [list(line) for line in zip(*lines, strict=True)]
    for column in columns:
        table.add_column(column, justify="right")
    for row, line in zip(rows, lines, strict=True):
        table.add_row(row, *line)
    return table


def _cell(measured: Measured, contender: str, metric: str) -> str:
    values = measured.values.get(contender, {}).get(metric)
    if not values:
        return "[red]failed[/]" if contender in measured.errors else "–"
    median = statistics.median(values)
    cell = number(median)
    if len(values) > 1 and median:
        cell += f"\n[dim]±{50 * (max(values) - min(values)) / median:.0f}%[/]"
    ratio = measured.ratio(contender, metric, "node") if measured.is_rate else None
    if ratio is not None and contender != "node":
        cell += f" [bold]{ratio:.3g}×[/]" if ratio < 100 else f" [bold]{ratio:,.0f}×[/]"
    return cell


def number(value: float) -> str:
    """Return a figure as people read it."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"
