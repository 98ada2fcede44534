"""Processes closed and started anew in turn, under load: no call may notice.

``python -m functional.rolling_restart --rounds 5`` does it as often as one likes
and prints the figures. The directories ``tests``, ``examples`` and
``protocol`` have to be on ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio

from support.load import Account
from support.ports import free_port
from support.processes import Host, each

PROCESSES: Final = 4
CALLERS: Final = 64
"""Calls in flight per process, unless told otherwise."""


@dataclass
class RollingRestart(Account):
    """What was seen meanwhile.

    Attributes:
        restarts: How many processes were closed and replaced.
        hand_overs: How many of them led.
        sessions: Who opened and closed the real client, in order.
    """

    restarts: int = 0
    hand_overs: int = 0
    sessions: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return what there is to print."""
        returned = Counter(self.returned)
        return {
            "processes restarted": self.restarts,
            "leaders among them": self.hand_overs,
            "returned": len(self.returned),
            "failed": len(self.failed),
            "outcome unknown": len(self.unknown),
            "executed more than once": len(self.executed_more_than_once),
            "returned, but not executed": (returned - self.executions).total(),
            "executed, but not returned": (self.executions - returned).total(),
            "slowest call, ms": round(1000 * max(report.longest for report in self.reports), 1),
        }


async def restart_in_turn(host: Host, *, rounds: int, callers: int = CALLERS) -> RollingRestart:
    """Close each of four processes and start another in its place, round after round.

    The callers of a process finish their calls before it closes; those of the
    others call all the time. The calls are not declared idempotent.
    """
    seen = RollingRestart()

    async def start_caller() -> None:
        (worker,) = await host.start(1)
        await worker.begin_load(callers)
        await worker.first_answer_of(await host.leader())

    await each(range(PROCESSES), lambda _: start_caller())
    for _ in range(rounds):
        for worker in host.workers:
            seen.hand_overs += await worker.is_leader()
            seen.restarts += 1
            seen.reports.append(await worker.end_load())
            await worker.exit()
            await start_caller()
    seen.reports += await each(host.workers, lambda worker: worker.end_load())
    for worker in host.workers:
        await worker.exit()
    seen.executions = host.book.executions()
    seen.sessions = host.book.sessions()
    return seen


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with Host(Path(directory), free_port(), backend=options.backend) as host:
            seen = await restart_in_turn(host, rounds=options.rounds)
    figures = seen.figures()
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for name, figure in figures.items():
        sys.stdout.write(f"{name:30}{figure}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    anyio.run(main, parser.parse_args())
