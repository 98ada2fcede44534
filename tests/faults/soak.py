"""A steady load for a long time: memory, descriptors, tasks and threads must stay as they are.

``python -m faults.soak --minutes 15`` in ``tests``, or ``make soak MINUTES=15``; on Linux. The load
is that of the chaos run, without its violence: calls of all kinds, streams, subscriptions that come
and go, publications, clients that are closed and opened, connections that break, another leader now
and then.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from faults.injection import ChaosWorker
from support.ports import free_port
from support.processes import Host, each

BACKENDS: Final = ("asyncio", "trio", "asyncio", "trio")
"""Of the processes."""

EVENTS: Final = ("close", "close", "lose", "step_down", "cut", "cut")
"""What happens now and then; half of the time to the leader."""

_EVENT_PAUSE: Final = 3.0
_SAMPLE_PAUSE: Final = 1.0
_WARM_UP: Final = 0.2
"""Part of the time that does not count: caches fill, code is loaded, arenas grow."""

_MIB: Final = 1 << 20

ALLOWANCES: Final = {
    "memory": 6 * _MIB,
    "descriptors": 6,
    "tasks": 12,
    "threads": 1,
    "objects": 8000,
}
"""By how much each process may grow from the first to the last quarter, in memory and objects, and
all of them together in the rest, which moves from one to another with who leads."""

_OF_EACH: Final = ("memory", "objects")


@dataclass
class Process:
    """A process and what it was measured to have.

    Attributes:
        worker: The process.
        backend: Its event loop library.
        times: When it was measured, in seconds since the beginning.
        samples: What it had then, by name.
    """

    worker: ChaosWorker
    backend: str
    times: list[float]
    samples: dict[str, list[int]]

    def quarter(self, name: str, *, last: bool) -> float:
        """Return the median of the first or the last quarter of what counts."""
        counted = self.samples[name][int(len(self.times) * _WARM_UP) :]
        size = max(1, len(counted) // 4)
        return statistics.median(counted[-size:] if last else counted[:size])

    def growth(self, name: str) -> float:
        return self.quarter(name, last=True) - self.quarter(name, last=False)

    def slope(self, name: str) -> float:
        """Return by how much it grows in an hour, as a straight line would."""
        begin = int(len(self.times) * _WARM_UP)
        return 3600 * _slope(self.times[begin:], self.samples[name][begin:])


def _slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    return statistics.linear_regression(xs, ys).slope if len(set(xs)) > 1 else 0.0


class Soak:
    """A run.

    Args:
        host: Of the processes.
        seed: Decides what they do.

    Attributes:
        processes: Those that are measured.
        changes: How often something was done to them.
    """

    def __init__(self, host: Host, seed: int) -> None:
        self.processes: list[Process] = []
        self.changes = 0
        self._host = host
        self._seed = seed
        self._chance = random.Random(seed)

    async def run(self, seconds: float) -> None:
        for number, backend in enumerate(BACKENDS, start=1):
            program = ["-W", "error", "-m", "faults.chaos_worker", backend]
            place = [str(self._host.directory), str(self._host.port)]
            arguments = [*place, str(number), f"{self._seed}.{number}", "none"]
            worker = await self._host.run(ChaosWorker, [sys.executable, *program, *arguments])
            worker.number = number
            self.processes.append(Process(worker, backend, [], {name: [] for name in ALLOWANCES}))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._let_things_happen)
            await self._measure_all_the_time(seconds)
            tasks.cancel_scope.cancel()
        workers = [process.worker for process in self.processes]
        await each(workers, lambda worker: worker.ask("stop"))
        await each(workers, lambda worker: worker.ask("end"))
        await each(workers, ChaosWorker.terminate)

    async def _measure_all_the_time(self, seconds: float) -> None:
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < seconds:
            for process in self.processes:
                measured = await process.worker.ask("measure")
                process.times.append(now)
                for name in ALLOWANCES:
                    process.samples[name].append(measured[name])
            await anyio.sleep(_SAMPLE_PAUSE)

    async def _let_things_happen(self) -> None:
        while True:
            await anyio.sleep(_EVENT_PAUSE)
            event = self._chance.choice(EVENTS)
            worker = self._chance.choice(self.processes).worker
            if event in {"lose", "step_down"} or self._chance.random() < 0.3:
                worker = await self._leader() or worker
            arguments: dict[str, float] = {}
            if event == "close":
                arguments = {"pause": self._chance.random()}
            elif event == "cut":
                arguments = {
                    "number": self._chance.randrange(100),
                    "how": self._chance.randrange(3),
                }
            await worker.ask(event, **arguments)
            self.changes += 1

    async def _leader(self) -> ChaosWorker | None:
        for process in self.processes:
            if await process.worker.ask("is_leader"):
                return process.worker
        return None

    # -------------------------------------------------------------- verdict

    def complaints(self) -> list[str]:
        """Return what has grown by more than is allowed."""
        complaints: list[str] = []
        for name, allowance in ALLOWANCES.items():
            growths = {
                f"process {process.worker.number} ({process.backend})": process.growth(name)
                for process in self.processes
            }
            if name not in _OF_EACH:
                growths = {"all processes together": sum(growths.values())}
            complaints += [
                f"{who}: {name} grew by {growth:,.0f}, more than {allowance:,}"
                for who, growth in growths.items()
                if growth > allowance
            ]
        return complaints

    def show(self) -> None:
        """Write a table to standard output."""
        head = ("process", "what", "first", "last", "growth", "an hour")
        sys.stdout.write("{:>10} {:>12} {:>10} {:>10} {:>9} {:>10}\n".format(*head))
        for process in self.processes:
            title = f"{process.worker.number} {process.backend}"
            for name in ALLOWANCES:
                unit = _MIB if name == "memory" else 1
                what = "memory, MiB" if name == "memory" else name
                first, last = (process.quarter(name, last=last) / unit for last in (False, True))
                slope = process.slope(name) / unit
                sys.stdout.write(
                    f"{title:>10} {what:>12} {first:10.1f} {last:10.1f} {last - first:+9.1f} "
                    f"{slope:+10.1f}\n"
                )
        sys.stdout.flush()

    def calls(self) -> int:
        """Return how many calls were executed."""
        with (self._host.directory / "upstream").open() as book:
            return sum(1 for line in book if " run " in line)


async def main(options: argparse.Namespace) -> int:
    begin = time.monotonic()
    seed = options.seed if options.seed is not None else random.randrange(1, 1_000_000)
    with tempfile.TemporaryDirectory() as directory:
        async with Host(Path(directory), free_port()) as host:
            soak = Soak(host, seed)
            await soak.run(60 * options.minutes)
            calls = soak.calls()
    minutes = (time.monotonic() - begin) / 60
    sys.stdout.write(
        f"seed {seed}: {minutes:.1f} minutes, {calls} calls executed, {soak.changes} changes\n"
    )
    soak.show()
    for complaint in soak.complaints():
        sys.stdout.write(f"GROWS {complaint}\n")
    return 1 if soak.complaints() else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="faults.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, help="default: a random one, printed")
    sys.exit(anyio.run(main, parser.parse_args()))
