"""The same load from 1, 10 and 100 followers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew, each
from benchmarks.scenarios.interface import Pace, Scenario

FOLLOWERS: Final = (1, 10, 100)
IN_FLIGHT: Final = 64
PROCESSES: Final = 2


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """64 calls in flight in all; each caller takes the connections of its process in turn."""
    for followers in (1, 100) if pace.quick else FOLLOWERS:
        processes = min(PROCESSES, followers)
        with Crew(contender) as crew:
            _, callers = crew.cluster([followers // processes] * processes)
            share = {"value": "small", "in_flight": IN_FLIGHT // processes}
            list(each(callers, "load", seconds=contender.warm_up, **share))
            reports = each(callers, "load", seconds=pace.seconds, **share)
            yield str(followers), sum(r["operations"] / r["seconds"] for r in reports)


SCENARIO: Final = Scenario("crowd", "Followers at the same total load of 64 calls", "op/s", measure)
