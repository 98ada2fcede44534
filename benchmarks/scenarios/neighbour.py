"""A caller with one call at a time, beside another process that keeps 1,024 in flight."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew, load
from benchmarks.scenarios.interface import Pace, Scenario

IN_FLIGHT: Final = 1024
_HEAD_START: Final = 0.2
"""Seconds, and as much after the other has finished."""


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """Latencies of the quiet one; and how much the busy one got done meanwhile."""
    seconds = 2 * pace.seconds
    with Crew(contender) as crew:
        _, (busy, quiet) = crew.cluster([1, 1])
        load(busy, "small", 64, contender.warm_up)
        load(quiet, "small", 64, contender.warm_up)
        busy.tell("load", value="small", in_flight=IN_FLIGHT, seconds=seconds + 2 * _HEAD_START)
        time.sleep(_HEAD_START)
        report = quiet.ask("load", value="small", in_flight=1, seconds=seconds, latencies=True)
        others = busy.result()
        latencies = sorted(report["latencies"])
        yield "p50", 1000 * statistics.median(latencies)
        yield "p99", 1000 * latencies[int(0.99 * (len(latencies) - 1))]
        yield "the other's op/s", others["operations"] / others["seconds"]


SCENARIO: Final = Scenario(
    "neighbour", "Latency beside 1,024 calls in flight", "ms", measure, is_rate=False
)
