"""Values of several sizes and kinds echoed, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew, load
from benchmarks.scenarios.interface import Pace, Scenario
from benchmarks.workload import PAYLOADS


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """One leader, one caller; at least one call, of which one can take seconds."""
    with Crew(contender) as crew:
        _, caller = crew.pair()
        load(caller, "small", 64, contender.warm_up)
        for value in PAYLOADS:
            if value not in contender.skips:
                load(caller, value, 1, contender.warm_up / 4)
                yield value, load(caller, value, 1, pace.seconds)


SCENARIO: Final = Scenario("payloads", "Payloads echoed, sequentially", "op/s", measure)
