"""Node and Python processes race for one port, and the leader is killed, whoever it is.

``python -m interop.mixed_race --kills 20`` prints the figures. The directories ``tests``,
``examples`` and ``protocol`` have to be on ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio

from functional.failover import spread
from support.load import Account
from support.node import MixedHost, install_node_modules
from support.ports import free_port
from support.processes import Worker, each

LANGUAGES: Final = ("node", "python")
OF_EACH: Final = 3
CALLERS: Final = 8
"""Calls in flight per process."""


@dataclass
class Recovery:
    """What followed the death of a leader.

    Attributes:
        died: Language of the leader that was killed.
        won: Language of its successor.
        seconds: From the kill to the first answer of the new leader in each survivor, and in
            which language that was.
    """

    died: str
    won: str
    seconds: list[tuple[str, float]]


@dataclass
class MixedRace(Account):
    """What was seen while leaders were killed.

    Attributes:
        recoveries: One per kill.
        values: What the subscriber in each of the last processes got.
    """

    recoveries: list[Recovery] = field(default_factory=list)
    values: list[list[int]] = field(default_factory=list)

    def first_answers(self, won: str) -> list[float]:
        """Return the seconds until the first survivor had an answer, by the winner's language."""
        return [min(self._seconds(r)) for r in self.recoveries if r.won == won]

    def last_answers(self, won: str) -> list[float]:
        """Return the seconds until every survivor had one."""
        return [max(self._seconds(r)) for r in self.recoveries if r.won == won]

    def answers(self, won: str, survivor: str) -> list[float]:
        """Return the seconds until survivors of one language had one."""
        return [
            seconds
            for recovery in self.recoveries
            if recovery.won == won
            for language, seconds in recovery.seconds
            if language == survivor
        ]

    def _seconds(self, recovery: Recovery) -> Iterator[float]:
        return (seconds for _, seconds in recovery.seconds)


async def kill_leaders(host: MixedHost, *, kills: int) -> MixedRace:
    """Kill the leader again and again; each killed process is replaced by one of its language.

    After each kill a value is published, which all subscribers must get. The publisher is a
    Python process: Node publishes anew to each leader whatever it has ever published.
    """
    seen = MixedRace()
    await each(LANGUAGES * OF_EACH, lambda language: _start_caller(host, language))
    for value in range(1, kills + 1):
        await _kill_leader(host, value, seen)
    seen.reports += await each(host.workers, Worker.end_load)
    seen.values = await each(host.workers, lambda worker: worker.values_until(kills))
    seen.executions = host.book.executions()
    return seen


async def _kill_leader(host: MixedHost, value: int, seen: MixedRace) -> None:
    leader = await host.leader()
    survivors = [worker for worker in host.workers if worker is not leader]
    await each(host.workers, lambda worker: worker.first_answer_of(leader))
    seen.reports.append(await leader.load_report())

    killed = await leader.kill()

    answers = await each(survivors, lambda worker: worker.first_answer_since(killed))
    seconds = [
        (worker.language, answer - killed)
        for worker, answer in zip(survivors, answers, strict=True)
    ]
    won = (await host.leader()).language
    seen.recoveries.append(Recovery(leader.language, won, seconds))
    publisher = next(worker for worker in survivors if worker.language == "python")
    await publisher.publish(value)
    await each(survivors, lambda worker: worker.values_until(value))
    await _start_caller(host, leader.language)


async def _start_caller(host: MixedHost, language: str) -> None:
    start = host.start_node if language == "node" else host.start
    (worker,) = await start(1)
    await worker.subscribe()
    await worker.begin_load(CALLERS)


async def main(options: argparse.Namespace) -> None:
    install_node_modules()
    with tempfile.TemporaryDirectory() as directory:
        async with MixedHost(Path(directory), free_port(), backend=options.backend) as host:
            seen = await kill_leaders(host, kills=options.kills)
    write = sys.stdout.write
    for title, figure in {
        "leaders killed": len(seen.recoveries),
        "returned": len(seen.returned),
        "failed": len(seen.failed),
        "outcome unknown": len(seen.unknown),
        "executed more than once": len(seen.executed_more_than_once),
    }.items():
        write(f"{title:52}{figure}\n")
    for won in LANGUAGES:
        firsts = seen.first_answers(won)
        write(f"a {won} process won{'':{36 - len(won)}}{len(firsts)} times\n")
        if firsts:
            write(f"{'  first answer after the kill, ms':52}{spread(firsts)}\n")
            write(f"{'  every survivor answered, ms':52}{spread(seen.last_answers(won))}\n")
            for language in LANGUAGES:
                title = f"  {language} survivors, each, ms"
                write(f"{title:52}{spread(seen.answers(won, language))}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    anyio.run(main, parser.parse_args())
