"""``python -m benchmarks``: measure, print, and keep the figures; ``make bench`` installs first."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report, runner, table
from benchmarks.contenders import CONTENDERS, HERE
from benchmarks.results import Results
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.interface import Pace

T = TypeVar("T")
_NOT_QUICK = frozenset({"idle", "crowd", "neighbour"})
"""A quick run has them only if they are named: what takes time is the warm-up, which must be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 if one of ours failed."""
    options = _parser().parse_args(arguments)
    console = Console()
    pace = Pace(options.quick, options.rounds or (1 if options.quick else 3))
    scenarios = _chosen(options.only, {s.name: s for s in SCENARIOS})
    if options.quick and options.only is None:
        scenarios = [s for s in scenarios if s.name not in _NOT_QUICK]
    contenders = _chosen(options.contenders, {c.name: c for c in CONTENDERS})
    total = sum(1 for _ in runner.steps(scenarios, contenders, pace))
    # Drawn between measurements only: a thread that draws would be measured, too.
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(
        *columns,
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        auto_refresh=False,
    ) as progress:
        bar = progress.add_task("", total=total, completed=-1)
        results = runner.run(
            scenarios,
            contenders,
            pace,
            lambda step: progress.update(bar, advance=1, description=step, refresh=True),
        )
    report.show(results, console)
    if targets := table.render(results):
        console.print(targets, markup=False, highlight=False, soft_wrap=True)
    _keep(results, options.results, console)
    return int(results.failed)


def _keep(results: Results, directory: Path, console: Console) -> None:
    results.write(directory / "latest.json")
    if importlib.util.find_spec("matplotlib") is None:
        console.print("no charts: matplotlib is not installed here; `make bench` has it")
        return
    from benchmarks import charts

    charts.draw(results, directory)


def _chosen(names: str | None, available: dict[str, T]) -> list[T]:
    if names is None:
        return list(available.values())
    unknown = sorted(set(names.split(",")) - set(available))
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(available)}")
    return [available[name] for name in names.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: a look")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--only", metavar="SCENARIOS", help="comma-separated")
    parser.add_argument("--contenders", metavar="NAMES", help="comma-separated")
    parser.add_argument(
        "--results", type=Path, default=HERE / "results", help="directory for JSON and charts"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
