"""Three contenders for the leadership, and the leader is killed with SIGKILL, again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.processes import Crew, Worker, each
from benchmarks.scenarios.interface import Pace, Scenario

PROCESSES: Final = 3
KILLS: Final = 20
QUICK_KILLS: Final = 3
_SETTLE: Final = 0.1
"""Seconds of calls before a kill, so that a new process is warm."""


def measure(contender: Contender, pace: Pace) -> Iterator[tuple[str, float]]:
    """Each process has one call in flight, all the time; a killed one is replaced.

    The time is that from the kill until the first survivor has an answer of another leader;
    what failed is counted in both survivors.
    """
    kills = math.ceil((QUICK_KILLS if pace.quick else KILLS) / pace.rounds)
    with Crew(contender) as crew:
        workers = crew.start(PROCESSES)
        list(each(workers, "contend", port=crew.port))
        for number in range(kills):
            leader_pid = next(each(workers[:1], "leader", other_than=0))["pid"]
            before = {w: report["failed"] for w, report in _reports(workers, other_than=0)}
            time.sleep(_SETTLE)  # load, not a wait for anything
            killed = next(worker for worker in workers if worker.pid == leader_pid)
            workers.remove(killed)
            moment = time.monotonic()
            killed.kill()
            reports = dict(_reports(workers, other_than=leader_pid))
            yield "first answer", 1000 * (min(r["since"] for r in reports.values()) - moment)
            yield "every survivor", 1000 * (max(r["since"] for r in reports.values()) - moment)
            yield "failed calls", sum(r["failed"] - before[w] for w, r in reports.items())
            if number + 1 < kills:
                (replacement,) = crew.start()
                replacement.ask("contend", port=crew.port)
                workers.append(replacement)


def _reports(
    workers: list[Worker], *, other_than: int
) -> Iterator[tuple[Worker, dict[str, float]]]:
    return zip(workers, each(workers, "leader", other_than=other_than), strict=True)


SCENARIO: Final = Scenario(
    "failover", "Failover after SIGKILL, 3 contenders", "ms", measure, is_rate=False
)
