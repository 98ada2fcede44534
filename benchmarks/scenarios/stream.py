"""A stream of 100,000 small dicts from an async generator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew
from benchmarks.scenarios.interface import Pace, Scenario

ITEMS: Final = 100_000
_LIMIT: Final = 5.0
"""Seconds, after which the rate so far is taken."""


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """One leader, one reader."""
    with Crew(contender) as crew:
        _, reader = crew.pair()
        reader.ask("stream", items=ITEMS // 100, seconds=_LIMIT)
        limit = pace.seconds if pace.quick else _LIMIT
        report = reader.ask("stream", items=ITEMS, seconds=limit)
        yield "items", report["operations"] / report["seconds"]


SCENARIO: Final = Scenario("stream", "A stream of 100,000 small dicts", "items/s", measure)
