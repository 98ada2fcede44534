"""The figures against what was set as targets: ``python -m benchmarks.table [latest.json]``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.contenders import BY_NAME, HERE, OURS, PEERS
from benchmarks.results import Results
from benchmarks.scenarios.crowd import IN_FLIGHT, figure_of

_RATIOS: Final = (
    # scenario and metric, to whom, targets on asyncio, uvloop and trio
    ("sequential × Node default", "calls", "1", "node", (1.3, 1.4, 1.1)),
    ("sequential × Node JSON", "calls", "1", "node-json", (1.1, 1.2, 0.9)),
    ("64 in flight × Node default", "calls", "64", "node", (3.3, 4.0, 2.5)),
    ("64 in flight × Node JSON", "calls", "64", "node-json", (2.2, 2.6, 1.7)),
    ("1 MiB bytes × Node default", "payloads", "bytes 1 MiB", "node", (600, 600, 500)),
    ("1 MiB str × Node default", "payloads", "str 1 MiB", "node", (5, 5, 4.5)),
    ("5,000-row document × Node default", "payloads", "document", "node", (5, 5, 5)),
    ("5,000-row document × Node JSON", "payloads", "document", "node-json", (1, 1, 1)),
    ("fan-out to 16 × Node default", "fanout", "16", "node", (20, 20, 15)),
)
_HEAD: Final = ("| | asyncio | uvloop | trio |", "|---|---|---|---|")


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        title: What the figures are.
        figures: On asyncio, uvloop and trio; ``None`` where nothing was measured.
        targets: For them; ``None`` where there is none.
        at_least: Whether a target is the least that is good, or the most.
    """

    title: str
    figures: Sequence[float | None]
    targets: Sequence[float | None]
    at_least: bool = True

    def cells(self) -> Iterator[str]:
        """Yield the cells in Markdown; a figure that misses its target is marked."""
        yield self.title
        sign = "≥" if self.at_least else "≤"
        for figure, target in zip(self.figures, self.targets, strict=True):
            if figure is None:
                yield "–"
            elif target is None:
                yield f"{figure:.3g}"
            else:
                is_good = figure >= target if self.at_least else figure <= target
                yield f"{_text(figure)} ({sign} {target:.3g}){'' if is_good else ' ✗'}"


def render(results: Results) -> str:
    """Return the table in Markdown; lines of which nothing was measured are left out."""
    lines = [
        f"| {' | '.join(line.cells())} |"
        for line in (*_ratios(results), *_limits(results))
        if any(figure is not None for figure in line.figures)
    ]
    return "\n".join([*_HEAD, *lines]) if lines else ""


def _ratios(results: Results) -> Iterator[Line]:
    for title, scenario, metric, to, targets in _RATIOS:
        if measured := results.scenarios.get(scenario):
            yield Line(title, [measured.ratio(name, metric, to) for name in OURS], targets)
    if calls := results.scenarios.get("calls"):
        for peer in PEERS:
            title = BY_NAME[peer].title
            ratios = [calls.ratio(name, "64", peer) for name in OURS]
            yield Line(f"64 in flight × {title}", ratios, (8, 8, 8))
            ratios = [calls.ratio(name, "1", peer) for name in OURS]
            yield Line(f"sequential × {title}", ratios, (None, 1, None))
    if crowd := results.scenarios.get("crowd"):
        for in_flight in IN_FLIGHT:
            shares = []
            for name in OURS:
                many, one = (crowd.median(name, figure_of(n, in_flight)) for n in (100, 1))
                shares.append(many / one if many is not None and one else None)
            yield Line(f"100 followers × 1, {in_flight:,} in flight", shares, (0.8, 0.8, 0.8))


def _limits(results: Results) -> Iterator[Line]:
    for scenario, metric, title, target in (
        ("failover", "first answer", "failover, ms", None),
        ("failover", "failed calls", "failed calls, in all kills", 0),
        ("idle", "RSS, KiB each", "idle follower, KiB of the leader", 64),
        ("idle", "% of a core", "idle followers, % of a core in all", 1),
        ("neighbour", "p99", "p99 beside 1,024 in flight, ms", 10),
    ):
        if measured := results.scenarios.get(scenario):
            limit: float | None = target
            if metric == "first answer" and (node := measured.median("node", metric)) is not None:
                limit = node + 5
            figures = [measured.median(name, metric) for name in OURS]
            if metric == "failed calls":
                values = [measured.values.get(name, {}).get(metric) for name in OURS]
                figures = [None if v is None else sum(v) for v in values]
            yield Line(title, figures, (limit,) * 3, at_least=False)


def _text(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results" / "latest.json"
    sys.stdout.write(f"{render(Results.read(file))}\n")
