"""A small dict echoed, with 1 to 512 calls in flight from one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew, load
from benchmarks.scenarios.interface import Pace, Scenario

IN_FLIGHT: Final = (1, 8, 64, 512)
_MOST_THREADS: Final = 64
"""More are no faster in any contender that blocks, and nobody has them."""


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """One leader, one caller with one connection; those that block have one per thread."""
    with Crew(contender) as crew:
        _, caller = crew.pair()
        load(caller, "small", _MOST_THREADS, contender.warm_up)
        for in_flight in (1, 64) if pace.quick else IN_FLIGHT:
            if contender.kind == "blocking" and in_flight > _MOST_THREADS:
                continue
            load(caller, "small", in_flight, contender.warm_up / 5)
            yield str(in_flight), load(caller, "small", in_flight, pace.seconds)


SCENARIO: Final = Scenario("calls", "Calls in flight: a small dict echoed", "op/s", measure)
