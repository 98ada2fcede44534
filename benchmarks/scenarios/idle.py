"""What 500 followers that do nothing cost the leader."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew, each, load
from benchmarks.scenarios.interface import Pace, Scenario

FOLLOWERS: Final = 500
PROCESSES: Final = 4


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """Memory before and after they come, and the processor's time while they are there."""
    followers = 100 if pace.quick else FOLLOWERS
    seconds = 1.0 if pace.quick else 10.0
    with Crew(contender) as crew:
        leader, callers = crew.cluster([1] * PROCESSES)
        for caller in callers:  # what the first calls load and allocate is not the followers'
            load(caller, "small", 64, contender.warm_up)
        resident, proportional = _memory(leader.pid)
        list(each(callers, "connect", port=crew.port, count=followers // PROCESSES))
        time.sleep(1.0)  # until those that came have settled
        more_resident, more_proportional = _memory(leader.pid)
        yield "RSS, KiB each", (more_resident - resident) / followers
        yield "PSS, KiB each", (more_proportional - proportional) / followers
        before, begin = _processor_seconds(leader.pid), time.monotonic()
        time.sleep(seconds)
        used = _processor_seconds(leader.pid) - before
        yield "% of a core", 100 * used / (time.monotonic() - begin)


def _memory(pid: int) -> tuple[float, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {
        name: float(size.split()[0]) for name, _, size in (s.partition(":") for s in lines[1:])
    }
    return sizes["Rss"], sizes["Pss"]


def _processor_seconds(pid: int) -> float:
    """Return user and system time; the kernel counts in ticks of 10 ms as a rule."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


SCENARIO: Final = Scenario(
    "idle", "Idle followers, what they cost the leader", "", measure, is_rate=False, once=True
)
