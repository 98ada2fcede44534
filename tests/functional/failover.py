"""Leaders killed under load: what becomes of the calls, and how long it takes.

``python -m functional.failover --kills 20`` does it as often as one likes and
prints the figures. The directories ``tests``, ``examples`` and ``protocol``
have to be on ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio

from support.load import Account
from support.ports import free_port
from support.processes import Host, Worker, each

PROCESSES: Final = 4
CALLERS: Final = 64
"""Calls in flight per process, unless told otherwise."""


@dataclass
class Failover(Account):
    """What was seen while leaders were killed.

    Attributes:
        in_flight: Calls in flight right before each kill, in all processes.
        resent: Calls that the survivors sent again, after each kill.
        recoveries: Seconds from each kill to the first answer of the new leader.
        last_recoveries: Seconds until every survivor had an answer.
        values: What the subscriber in each of the last processes got.
    """

    in_flight: list[int] = field(default_factory=list)
    resent: list[int] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    last_recoveries: list[float] = field(default_factory=list)
    values: list[list[int]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return what there is to print."""
        return {
            "kills": len(self.recoveries),
            "in flight at each kill, at least": min(self.in_flight),
            "returned": len(self.returned),
            "failed": len(self.failed),
            "resent": sum(self.resent),
            "outcome unknown": len(self.unknown),
            "of these executed": sum(1 for call in self.unknown if self.executions[call]),
            "executed more than once": len(self.executed_more_than_once),
            "first answer after a kill, ms": spread(self.recoveries),
            "every process answered, ms": spread(self.last_recoveries),
        }


async def kill_leaders(
    host: Host, *, kills: int, idempotent: bool, callers: int = CALLERS
) -> Failover:
    """Kill the leader again and again, with four processes calling all the time.

    A killed process is replaced before the next kill. Right before each kill a
    value is published, which all subscribers must have got afterwards.
    """
    delegates = {"record": {"idempotent": idempotent}}
    seen = Failover()

    async def start_caller() -> None:
        (worker,) = await host.start(1, delegates=delegates)
        await worker.subscribe()
        await worker.begin_load(callers)

    await each(range(PROCESSES), lambda _: start_caller())
    for value in range(1, kills + 1):
        await _kill_leader(host, value, seen)
        await start_caller()
    seen.reports += await each(host.workers, Worker.end_load)
    seen.values = await each(host.workers, lambda worker: worker.values_until(kills))
    seen.executions = host.book.executions()
    return seen


async def _kill_leader(host: Host, value: int, seen: Failover) -> None:
    leader = await host.leader()
    survivors = await host.followers()
    await each(host.workers, lambda worker: worker.first_answer_of(leader))
    await survivors[0].publish(value)
    before = await each(survivors, Worker.load_report)
    seen.reports.append(await leader.load_report())
    seen.in_flight.append(sum(report.in_flight for report in [*before, seen.reports[-1]]))

    killed = await leader.kill()

    answers = await each(survivors, lambda worker: worker.first_answer_since(killed))
    seen.recoveries.append(min(answers) - killed)
    seen.last_recoveries.append(max(answers) - killed)
    await each(survivors, lambda worker: worker.values_until(value))
    after = await each(survivors, Worker.load_report)
    seen.resent.append(sum(r.resent for r in after) - sum(r.resent for r in before))


def spread(seconds: list[float]) -> dict[str, float]:
    """Return minimum, median and maximum, in milliseconds."""
    return {
        name: round(1000 * function(seconds), 1)
        for name, function in (("min", min), ("median", statistics.median), ("max", max))
    }


async def main(options: argparse.Namespace) -> None:
    figures = {}
    for idempotent in (True, False):
        with tempfile.TemporaryDirectory() as directory:
            async with Host(Path(directory), free_port(), backend=options.backend) as host:
                seen = await kill_leaders(host, kills=options.kills, idempotent=idempotent)
            figures["idempotent" if idempotent else "not idempotent"] = seen.figures()
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for title, lines in figures.items():
        sys.stdout.write(f"calls declared {title}\n")
        for name, figure in lines.items():
            sys.stdout.write(f"  {name:34}{figure}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    anyio.run(main, parser.parse_args())
