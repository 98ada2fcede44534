"""Many processes on one port, faults of all kinds, and a model of what callers may see.

``python -m faults.chaos --seconds 60 --seed 1`` in ``tests``, or ``make chaos``. The seed decides
what is done and what the callers do; when a fault meets a call is the machine's affair, so the same
seed may have to run several times. Violations are printed with what happened around them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio

from faults.diary import read_diaries
from faults.injection import ChaosWorker, Fault, Injection
from faults.model import Model, Violation
from faults.plants import PLANTS
from faults.service import KEYS
from support.ports import free_port
from support.processes import Host, each
from support.times import scaled
from support.waiting import until

SIZE: Final = 7
SETTLING: Final = scaled(40)
"""Seconds for the last calls to end and the last value to arrive."""

_LAG: Final = 0.25
_SHOWN: Final = 5
"""Violations of which the surroundings are printed."""

_BACKENDS: Final = {
    "asyncio": ("asyncio",),
    "trio": ("trio",),
    "mixed": ("asyncio", "trio"),
}


@dataclass
class Report:
    """What came of a run.

    Attributes:
        seed: Which run it was.
        violations: What must not have been.
        faults: How many of each kind there were.
        outcomes: How many calls had each outcome.
        executed: How many calls were executed upstream.
        values: How many values reached subscribers.
        sessions: How many real clients there were.
        processes: How many processes there were.
        longest_pause: The longest time in seconds in which no call was executed, processes apart
            that were frozen.
        traces: What happened around the first violations.
    """

    seed: int
    violations: list[Violation]
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    executed: int = 0
    values: int = 0
    sessions: int = 0
    processes: int = 0
    longest_pause: float = 0.0
    traces: list[str] = field(default_factory=list)


class ChaosRun:
    """One run.

    Args:
        seed: Decides it.
        seconds: For how long there are faults.
        backend: Of the processes: ``asyncio``, ``trio`` or ``mixed``.
        plant: A bug to plant in each process; see `PLANTS`.
    """

    def __init__(
        self, seed: int, seconds: float, *, backend: str = "mixed", plant: str = "none"
    ) -> None:
        self._seed = seed
        self._seconds = seconds
        self._backends = _BACKENDS[backend]
        self._plant = plant

    async def run(self) -> Report:
        with tempfile.TemporaryDirectory() as directory:
            async with (
                Host(Path(directory), free_port()) as host,
                anyio.create_task_group() as tasks,
            ):
                injection = Injection(
                    host,
                    tasks,
                    seed=self._seed,
                    backends=self._backends,
                    size=SIZE,
                    plant=self._plant,
                )
                tasks.start_soon(_watch_lag, injection.faults)
                await injection.fill_up()
                await injection.run(self._seconds)
                complaints = await self._settle(injection)
                injection.kill_children()
                tasks.cancel_scope.cancel()
            injection.check_output()
            return self._report(injection, complaints, Path(directory))

    # ------------------------------------------------------------- settling

    async def _settle(self, injection: Injection) -> list[str]:
        """Let everything come to rest; returns what does not."""
        complaints: list[str] = []
        try:
            with anyio.fail_after(SETTLING):
                await until(lambda: not _going_on(injection.faults))
        except TimeoutError:
            complaints.append(f"these went on too long: {_going_on(injection.faults)}")
        await injection.wait_until_full()
        workers = injection.present
        try:
            with anyio.fail_after(SETTLING):
                await each(workers, _wait_until_open)
                expected = await self._publish_last_values(injection, workers)
                await each(workers, lambda worker: _expect_values(worker, expected))
        except Exception as exc:
            got = await each(workers, lambda worker: worker.ask("latest"))
            values = {key: injection.book.value(key) for key in KEYS}
            complaints.append(f"not everybody has the last values {values}: {got}, {exc!r}")
        await each(workers, lambda worker: worker.ask("stop"))
        complaints += await self._wait_for_calls(workers)
        now = time.monotonic()
        injection.faults.append(Fault(now, "settle", 0, "", now + 3600))
        for worker in workers:
            worker.leaving = True
        await each(workers, lambda worker: worker.ask("end"))
        if not injection.port_is_free():
            complaints.append("somebody still has the port")
        await each(workers, ChaosWorker.terminate)
        return complaints

    async def _publish_last_values(
        self, injection: Injection, workers: list[ChaosWorker]
    ) -> dict[str, int]:
        """Publish until it is known that nothing newer comes; returns the last values."""
        await each(workers, lambda worker: worker.ask("publish"))
        return {key: injection.book.value(key) for key in KEYS}

    async def _wait_for_calls(self, workers: list[ChaosWorker]) -> list[str]:
        pending: list[int] = []
        with anyio.move_on_after(SETTLING):
            while True:
                pending = await each(workers, lambda worker: worker.ask("pending"))
                if not any(pending):
                    return []
                await anyio.sleep(0.1)
        return [f"calls that never end, by process: {pending}"]

    # -------------------------------------------------------------- report

    def _report(self, injection: Injection, complaints: list[str], directory: Path) -> Report:
        lines = read_diaries(directory)
        entries = injection.book.entries()
        injection.book.close()
        killed = [worker.number for worker in injection.workers if worker.killed]
        model = Model(injection.faults, lines, entries, killed)
        violations = [*model.violations()]
        violations += [Violation(text) for text in injection.complaints + complaints]
        report = Report(
            self._seed,
            violations,
            faults=Counter(fault.kind for fault in injection.faults),
            outcomes=Counter(call.outcome or "killed" for call in model.calls.values()),
            executed=sum(entry.event == "run" for entry in entries),
            values=sum(line["event"] == "value" for line in lines),
            sessions=sum(entry.event == "open" for entry in entries),
            processes=len(injection.workers),
            longest_pause=max((length for _, length in model.pauses()), default=0.0),
        )
        happened = _happened(injection, lines, entries)
        for violation in violations[:_SHOWN]:
            report.traces.append(_trace(violation, happened))
        return report


async def _watch_lag(faults: list[Fault]) -> None:
    """Note when the machine is too busy to let anybody be in time."""
    while True:
        begin = time.monotonic()
        await anyio.sleep(0.05)
        now = time.monotonic()
        if now - begin > _LAG:
            faults.append(Fault(begin, "lag", 0, f"{now - begin:.2f} s", now))


def _going_on(faults: list[Fault]) -> list[Fault]:
    now = time.monotonic()
    return [fault for fault in faults if fault.until > now]


async def _wait_until_open(worker: ChaosWorker) -> None:
    while not await worker.ask("is_open"):  # noqa: ASYNC110 - it is another process
        await anyio.sleep(0.05)


async def _expect_values(worker: ChaosWorker, expected: dict[str, int]) -> None:
    """Wait until the subscribers have these values, or newer ones: callers publish, too."""
    while True:
        latest = await worker.ask("latest")
        if latest is not None and all(latest[key] >= expected[key] for key in KEYS):
            return
        await anyio.sleep(0.05)


def _happened(
    injection: Injection, lines: list[dict[str, Any]], entries: list[Any]
) -> list[tuple[float, str, str]]:
    """Return everything that happened: when, to which call or subscriber, and what, in words."""
    events = [
        (fault.at, "", f"FAULT {fault.kind} worker {fault.worker}: {fault.detail}")
        for fault in injection.faults
    ]
    for line in lines:
        about = line.get("id") or line.get("subscriber") or ""
        rest = {key: value for key, value in line.items() if key != "at"}
        events.append((line["at"], about, f"diary {json.dumps(rest)}"))
    for entry in entries:
        if entry.event == "value":
            continue
        about = entry.words[0] if entry.event == "run" else ""
        events.append((entry.at, about, f"upstream {entry.event} {' '.join(entry.words)}"))
    pids = ", ".join(f"{worker.number} is {worker.pid}" for worker in injection.workers)
    return [(0.0, "", f"workers: {pids}"), *sorted(events)]


def _trace(violation: Violation, happened: list[tuple[float, str, str]]) -> str:
    """Return what happened to a call, and to the processes around that time."""
    text = [f"VIOLATION {violation.text}"]
    at = violation.at if violation.at is not None else -1.0
    begin = min(
        (when for when, about, _ in happened if about and about == violation.call), default=at
    )
    for when, about, what in happened:
        concerned = bool(violation.call) and about == violation.call
        if when == 0 or concerned or (not about and begin - 6 < when < at + 1):
            text.append(f"  {when - at:+9.3f} {what}")
    return "\n".join(text)


# ------------------------------------------------------------- the command


def show(report: Report) -> None:
    """Write a report to standard output."""
    faults = sum(count for kind, count in report.faults.items() if kind not in {"lag", "settle"})
    calls = sum(report.outcomes.values())
    sys.stdout.write(
        f"seed {report.seed}: {faults} faults, {calls} calls, {report.executed} executed, "
        f"{report.values} values, {report.sessions} real clients, {report.processes} processes, "
        f"longest pause {report.longest_pause:.1f} s, {len(report.violations)} violations\n"
        f"  faults: {_counts(report.faults)}\n"
        f"  calls: {_counts(report.outcomes)}\n"
    )
    for trace in report.traces:
        sys.stdout.write(f"{trace}\n")
    for violation in report.violations[_SHOWN:50]:
        sys.stdout.write(f"VIOLATION {violation.text}\n")
    if report.violations:
        sys.stdout.write(f"again with: --seed {report.seed}\n")
    sys.stdout.flush()


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


async def main(options: argparse.Namespace) -> int:
    first = options.seed if options.seed is not None else random.randrange(1, 1_000_000)
    found = 0
    for seed in range(first, first + options.seeds):
        sys.stdout.write(f"seed {seed} begins\n")
        sys.stdout.flush()
        report = await ChaosRun(
            seed, options.seconds, backend=options.backend, plant=options.plant
        ).run()
        show(report)
        found += len(report.violations)
        if found and options.plant != "none":
            break
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="faults.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults, per seed")
    parser.add_argument("--seed", type=int, help="the first; default: a random one, printed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--backend", choices=[*_BACKENDS], default="mixed")
    parser.add_argument("--plant", choices=["none", *PLANTS], default="none")
    sys.exit(anyio.run(main, parser.parse_args()))
