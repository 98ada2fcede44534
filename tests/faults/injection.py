"""What is done to the workers of a chaos run, as chance wants it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.abc

from faults.service import Book
from faults.strangers import visit
from support.processes import Host, Worker, WorkerError, WorkerGoneError
from support.times import scaled

MEAN_PAUSE: Final = 0.35
"""Seconds between two faults."""

_START: Final = scaled(90)
"""Seconds for a process to load its program."""

_ORDERLY_END: Final = scaled(60)
"""Seconds for a process that was asked to end, those apart in which it is frozen."""


@dataclass
class Fault:
    """Something that was done.

    Attributes:
        at: When it began, on the host's monotonic clock.
        kind: The name of what was done.
        worker: The number of the process that it was done to; 0 for none.
        detail: The rest, in words.
        until: When it was over.
    """

    at: float
    kind: str
    worker: int
    detail: str
    until: float


class ChaosWorker(Worker):
    """A process of the run; see ``faults.chaos_worker``.

    Attributes:
        number: Of the process within the run.
        killed: Whether it was sent SIGKILL.
        leaving: Whether it was told to end, in whatever way.
        frozen: Whether it is stopped.
    """

    number = 0
    killed = False
    leaving = False
    frozen = 0

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Injection:
    """Has processes on one port, and does to them what chance wants.

    Args:
        host: Of the processes.
        tasks: Runs what takes time.
        seed: Decides.
        backends: Of the processes, in turn.
        size: How many processes there are to be.
        plant: The bug that they have, or ``none``.

    Attributes:
        faults: What was done.
        complaints: What went wrong that no other rule covers.
        workers: All processes that there have been.
    """

    def __init__(
        self,
        host: Host,
        tasks: anyio.abc.TaskGroup,
        *,
        seed: int,
        backends: tuple[str, ...],
        size: int,
        plant: str,
    ) -> None:
        self.faults: list[Fault] = []
        self.complaints: list[str] = []
        self.workers: list[ChaosWorker] = []
        self.book = Book(host.directory)
        self._host = host
        self._tasks = tasks
        self._seed = seed
        self._chance = random.Random(seed)
        self._backends = backends
        self._size = size
        self._plant = plant
        self._begun = 0
        self._spawning = 0
        self._spawned = anyio.Event()
        # The weight of each fault, and whether it prefers the leader.
        self._kinds: dict[
            str, tuple[int, Callable[[ChaosWorker, random.Random], Awaitable[str]]]
        ] = {
            "kill": (6, self._kill),
            "end": (4, self._end),
            "close": (4, self._close),
            "freeze": (6, self._freeze),
            "freeze long": (1, self._freeze_long),
            "cut": (8, self._cut),
            "fork": (2, self._fork),
            "lose": (2, self._lose),
            "step down": (2, self._step_down),
            "fail start": (2, self._fail_start),
            "join": (1, self._join),
            "stranger": (12, self._stranger),
        }

    # ------------------------------------------------------------ processes

    @property
    def present(self) -> list[ChaosWorker]:
        return [worker for worker in self.workers if worker.is_running and not worker.leaving]

    async def fill_up(self) -> None:
        """Start processes until there are enough."""
        while len(self.present) + self._spawning < self._size:
            self._spawning += 1
            self._tasks.start_soon(self._spawn)

    async def wait_until_full(self) -> None:
        """Wait for the processes that are starting."""
        await self.fill_up()
        while self._spawning:
            await self._spawned.wait()

    async def _spawn(self) -> None:
        self._begun += 1
        number = self._begun
        try:
            backend = self._backends[number % len(self._backends)]
            program = ["-W", "error", "-m", "faults.chaos_worker", backend]
            directory, port = str(self._host.directory), str(self._host.port)
            arguments = [directory, port, str(number), f"{self._seed}.{number}", self._plant]
            worker = await self._host.run(ChaosWorker, [sys.executable, *program, *arguments])
            worker.number = number
            with anyio.fail_after(_START):
                while not await self._answers(worker):
                    continue
        finally:
            self._spawning -= 1
            spawned, self._spawned = self._spawned, anyio.Event()
            spawned.set()
        self.workers.append(worker)
        self._tasks.start_soon(self._watch, worker)

    async def _answers(self, worker: ChaosWorker) -> bool:
        """Tell whether a process has started: it takes commands then, and signals."""
        try:
            await worker.ask("is_open")
        except TimeoutError:  # a busy machine takes its time to load a program
            return False
        return True

    async def _watch(self, worker: ChaosWorker) -> None:
        code = await worker.process.wait()
        worker.lose()  # a child that was forked may hold the other end of its socket
        if worker.killed:
            return
        if not worker.leaving:
            self.complaints.append(f"worker {worker.number} ended by itself, with {code}")
        elif code != 0:
            self.complaints.append(f"worker {worker.number} ended with {code}")

    # --------------------------------------------------------------- faults

    async def run(self, seconds: float) -> None:
        """Do something, again and again, for so long."""
        with anyio.move_on_after(seconds):
            while True:
                await anyio.sleep(scaled(self._chance.expovariate(1 / MEAN_PAUSE)))
                await self.fill_up()
                names = list(self._kinds)
                weights = [self._kinds[name][0] for name in names]
                kind = self._chance.choices(names, weights)[0]
                chance = random.Random(self._chance.random())
                worker = self._victim(to_lead=self._chance.random() < 0.5)
                if worker is not None:
                    self._tasks.start_soon(self._inject, kind, worker, chance)

    def _victim(self, *, to_lead: bool) -> ChaosWorker | None:
        """Choose a process: the leader, or any."""
        present = self.present
        number = self._chance.random()
        if not present:
            return None
        leader = self.book.leader_pid() if to_lead else None
        for worker in present:
            if worker.pid == leader:
                return worker
        return present[int(number * len(present))]

    async def _inject(self, kind: str, worker: ChaosWorker, chance: random.Random) -> None:
        now = time.monotonic()
        fault = Fault(now, kind, worker.number, "", now + 3600)  # until then, unless it ends before
        self.faults.append(fault)
        try:
            fault.detail = await self._kinds[kind][1](worker, chance)
        except WorkerGoneError:
            fault.detail = "was gone"
        except (WorkerError, TimeoutError) as exc:
            fault.detail = f"failed: {exc!r}"
            if not (worker.frozen or worker.killed or worker.leaving):
                self.complaints.append(f"{kind} of worker {worker.number}: {exc!r}")
        fault.until = time.monotonic()

    async def _kill(self, worker: ChaosWorker, chance: random.Random) -> str:
        del chance
        worker.killed = worker.leaving = True
        self.book.note("kill", worker.pid)
        worker.signal(signal.SIGKILL)
        await worker.process.wait()
        return f"pid {worker.pid}"

    async def _end(self, worker: ChaosWorker, chance: random.Random) -> str:
        del chance
        worker.leaving = True
        worker.signal(signal.SIGTERM)
        with anyio.move_on_after(_ORDERLY_END) as scope:
            await worker.process.wait()
        if scope.cancelled_caught:
            self.complaints.append(f"worker {worker.number} did not end within {_ORDERLY_END:g} s")
        return f"pid {worker.pid}"

    async def _close(self, worker: ChaosWorker, chance: random.Random) -> str:
        pause = scaled(chance.random())
        await worker.ask("close", pause=pause)
        return f"opened again after {pause:.2f} s"

    async def _freeze(self, worker: ChaosWorker, chance: random.Random) -> str:
        return await self._stop(worker, scaled(0.02 + 0.5 * chance.random()))

    async def _freeze_long(self, worker: ChaosWorker, chance: random.Random) -> str:
        return await self._stop(worker, scaled(2 + 4 * chance.random()))

    async def _stop(self, worker: ChaosWorker, seconds: float) -> str:
        worker.frozen += 1
        worker.signal(signal.SIGSTOP)
        try:
            await anyio.sleep(seconds)
        finally:
            worker.frozen -= 1
            if not worker.frozen:
                worker.signal(signal.SIGCONT)
        return f"pid {worker.pid} for {seconds:.2f} s"

    async def _cut(self, worker: ChaosWorker, chance: random.Random) -> str:
        hows = (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR, socket.SHUT_RDWR)
        how = chance.choice(hows)
        return str(await worker.ask("cut", number=chance.randrange(100), how=how))

    async def _fork(self, worker: ChaosWorker, chance: random.Random) -> str:
        del chance
        child: int = await worker.ask("fork")
        worker.children.append(child)
        return f"child {child}"

    async def _lose(self, worker: ChaosWorker, chance: random.Random) -> str:
        del chance
        return str(await worker.ask("lose"))

    async def _step_down(self, worker: ChaosWorker, chance: random.Random) -> str:
        del chance
        return str(await worker.ask("step_down"))

    async def _fail_start(self, worker: ChaosWorker, chance: random.Random) -> str:
        del chance
        self.book.fail_next_start()
        return str(await worker.ask("lose"))

    async def _join(self, worker: ChaosWorker, chance: random.Random) -> str:
        del worker, chance
        self._spawning += 1
        await self._spawn()
        return f"worker {self.workers[-1].number}"

    async def _stranger(self, worker: ChaosWorker, chance: random.Random) -> str:
        del worker
        return await visit(self._host.port, chance)

    # ----------------------------------------------------------- the kernel

    def kill_children(self) -> None:
        """End the children that were forked."""
        for worker in self.workers:
            for pid in worker.children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def check_output(self) -> None:
        """Complain of tracebacks and warnings that the processes have written."""
        for worker in self.workers:
            for line in worker.output().splitlines():
                is_log = line.startswith("{")
                if not is_log or '"level": "error"' in line or '"level": "critical"' in line:
                    self.complaints.append(f"worker {worker.number} wrote: {line[:2000]}")
                    break

    def port_is_free(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self._host.port)) != 0
