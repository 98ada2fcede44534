"""The same load from 1, 10 and 100 followers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew, each
from benchmarks.scenarios.interface import Pace, Scenario

FOLLOWERS: Final = (1, 10, 100)
IN_FLIGHT: Final = (64, 1024)
"""Calls in all: fewer than 100 followers could share, and ten for each of them."""
PROCESSES: Final = 2


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """Each caller takes the connections of its process in turn."""
    for followers in (1, 100) if pace.quick else FOLLOWERS:
        processes = min(PROCESSES, followers)
        with Crew(contender) as crew:
            _, callers = crew.cluster([followers // processes] * processes)
            for in_flight in IN_FLIGHT:
                share = {"value": "small", "in_flight": in_flight // processes}
                list(each(callers, "load", seconds=contender.warm_up, **share))
                reports = list(each(callers, "load", seconds=pace.seconds, **share))
                rate = sum(report["operations"] / report["seconds"] for report in reports)
                yield figure_of(followers, in_flight), rate


def figure_of(followers: int, in_flight: int) -> str:
    """Return what a figure is called."""
    return f"{followers} with {in_flight:,}"


SCENARIO: Final = Scenario(
    "crowd", "Followers at the same total load of 64 or 1,024 calls", "op/s", measure
)
