"""What was measured, and how it is kept."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.contenders import OURS

Values = dict[str, dict[str, list[float]]]
"""By contender and by metric."""


@dataclass
class Measured:
    """All rounds of a scenario.

    Attributes:
        title: Of the scenario.
        unit: Of its figures.
        is_rate: Whether more is better.
        values: By contender, then by metric, in the order of the rounds.
        errors: By contender: what it failed with.
    """

    title: str
    unit: str
    is_rate: bool
    values: Values = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, contender: str, metric: str, value: float) -> None:
        """Keep a figure."""
        self.values.setdefault(contender, {}).setdefault(metric, []).append(value)

    def median(self, contender: str, metric: str) -> float | None:
        """Return the median, or ``None`` if it was not measured."""
        values = self.values.get(contender, {}).get(metric)
        return statistics.median(values) if values else None

    def ratio(self, contender: str, metric: str, to: str) -> float | None:
        """Return how many times the figure of another contender it is."""
        own, other = self.median(contender, metric), self.median(to, metric)
        return None if own is None or not other else own / other

    @property
    def metrics(self) -> list[str]:
        """What was measured, in the order of the scenario."""
        longest = max(self.values.values(), key=len, default={})
        return list(longest)


@dataclass
class Results:
    """A run.

    Attributes:
        machine: See `benchmarks.machine`.
        settings: Rounds, and whether it was quick.
        scenarios: By name.
        seconds: That it took.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    scenarios: dict[str, Measured] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether one of ours did; of a peer it is a result."""
        return any(name in measured.errors for measured in self.scenarios.values() for name in OURS)

    def write(self, path: Path) -> None:
        """Write JSON, with the summary of each figure beside its rounds."""
        scenarios = {
            name: {
                "title": m.title,
                "unit": m.unit,
                "is_rate": m.is_rate,
                "contenders": {
                    contender: {metric: _summary(values) for metric, values in metrics.items()}
                    for contender, metrics in m.values.items()
                },
                "errors": m.errors,
            }
            for name, m in self.scenarios.items()
        }
        data = {
            "machine": self.machine,
            "settings": self.settings,
            "seconds": round(self.seconds, 1),
            "scenarios": scenarios,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` has written."""
        data = json.loads(path.read_text())
        results = cls(data["machine"], data["settings"], seconds=data["seconds"])
        for name, scenario in data["scenarios"].items():
            values = {
                contender: {metric: summary["values"] for metric, summary in metrics.items()}
                for contender, metrics in scenario["contenders"].items()
            }
            results.scenarios[name] = Measured(
                scenario["title"], scenario["unit"], scenario["is_rate"], values, scenario["errors"]
            )
        return results


def _summary(values: list[float]) -> dict[str, Any]:
    rounded = [_significant(value) for value in values]
    return {
        "median": _significant(statistics.median(values)),
        "min": min(rounded),
        "max": max(rounded),
        "values": rounded,
    }


def _significant(value: float) -> float:
    return float(f"{value:.5g}")
