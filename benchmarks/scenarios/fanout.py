"""A leader's values to many subscribers, counted when all have got them.

The leader publishes a burst; each follower process calls the leader when all of its
connections have the whole of it, and then comes the next burst. So nothing is coalesced,
and what is counted was received.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew, each
from benchmarks.scenarios.interface import Pace, Scenario

FOLLOWERS: Final = (1, 4, 16, 64)
BURST: Final = 32
"""Values; ours has 64 at most on their way to a follower, then newer ones replace older ones."""
PROCESSES: Final = 2


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """The followers' connections are spread over two processes."""
    for followers in (16,) if pace.quick else FOLLOWERS:
        processes = min(PROCESSES, followers)
        with Crew(contender) as crew:
            leader, callers = crew.cluster([followers // processes] * processes)
            list(each(callers, "expect", burst=BURST))
            leader.ask("publish", processes=processes, burst=BURST, seconds=contender.warm_up)
            report = leader.ask("publish", processes=processes, burst=BURST, seconds=pace.seconds)
            yield str(followers), report["bursts"] * BURST * followers / report["seconds"]


SCENARIO: Final = Scenario(
    "fanout", "Fan-out to followers: acknowledged deliveries", "deliveries/s", measure
)
