"""All contenders in turn, round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks import machine
from benchmarks.contenders import Contender
from benchmarks.results import Measured, Results
from benchmarks.scenarios.interface import Pace, Scenario


def run(
    scenarios: Sequence[Scenario],
    contenders: Sequence[Contender],
    pace: Pace,
    progress: Callable[[str], object],
) -> Results:
    """Measure; a contender that fails is out of its scenario, and the others go on.

    Args:
        scenarios: What to measure.
        contenders: Whom.
        pace: For how long.
        progress: Told of each step before it is made: see `steps`.
    """
    settings = {"quick": pace.quick, "rounds": pace.rounds}
    results = Results(machine.facts(), settings)
    begin = time.monotonic()
    for scenario, number, contender in steps(scenarios, contenders, pace):
        measured = results.scenarios.setdefault(
            scenario.name, Measured(scenario.title, scenario.unit, scenario.is_rate)
        )
        progress(f"{scenario.name}, round {number + 1}: {contender.title}")
        if contender.name in measured.errors:
            continue
        try:
            for metric, value in scenario.measure(contender, pace):
                measured.add(contender.name, metric, value)
        except Exception as exc:
            measured.errors[contender.name] = f"{type(exc).__name__}: {exc}"
    results.seconds = time.monotonic() - begin
    return results


def steps(
    scenarios: Sequence[Scenario], contenders: Sequence[Contender], pace: Pace
) -> Iterator[tuple[Scenario, int, Contender]]:
    """Yield scenario, round and contender; who is first changes from round to round."""
    for scenario in scenarios:
        able = [contender for contender in contenders if scenario.name in contender.scenarios]
        for number in range(1 if scenario.once else pace.rounds):
            first = number * max(1, len(able) // pace.rounds) % max(1, len(able))
            for contender in able[first:] + able[:first]:
                yield scenario, number, contender
