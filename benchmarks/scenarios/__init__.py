"""What is measured, one module each."""

from __future__ import annotations

from typing import Final

from benchmarks.scenarios import (
    calls,
    crowd,
    failover,
    fanout,
    idle,
    neighbour,
    payloads,
    stream,
)
from benchmarks.scenarios.interface import Scenario

SCENARIOS: Final[tuple[Scenario, ...]] = (
    calls.SCENARIO,
    payloads.SCENARIO,
    fanout.SCENARIO,
    stream.SCENARIO,
    failover.SCENARIO,
    idle.SCENARIO,
    crowd.SCENARIO,
    neighbour.SCENARIO,
)
