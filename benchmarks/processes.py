"""The processes of a contender, as the run sees them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from benchmarks.contenders import HERE, Contender

_START_LIMIT: Final = 30.0
_LIMIT: Final = 60.0
"""Seconds for any command, unless it says how long it takes."""

# Below the range that the kernel takes ports from by itself.
_ports: Final = itertools.cycle(range(21_000 + os.getpid() * 37 % 5_000, 31_000))


class WorkerError(Exception):
    """A process of a contender has failed, or has not answered in time."""


class Worker:
    """A process; it has a group of its own, which is killed in the end."""

    def __init__(self, command: list[str], errors: IO[bytes]) -> None:
        self._errors = errors
        self._process = subprocess.Popen(
            command,
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._rest = b""

    def ask(self, command: str, *, limit: float = _LIMIT, **arguments: Any) -> Any:
        """Give a command and wait for its result."""
        self.tell(command, **arguments)
        return self.result(limit)

    def tell(self, command: str, **arguments: Any) -> None:
        """Give a command; `result` must follow."""
        stdin = self._process.stdin
        if stdin is None:
            raise AssertionError
        try:
            stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        except BrokenPipeError:
            raise WorkerError(self._with_output("a process has ended")) from None

    def result(self, limit: float = _LIMIT) -> Any:
        """Return the result of the command that was given last.

        Raises:
            NotImplementedError: If the contender cannot do it.
            WorkerError: If it failed, or took more than *limit* seconds.
        """
        answer = json.loads(self._line(time.monotonic() + limit, limit))
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["result"]

    def kill(self) -> None:
        """End the process and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(_LIMIT)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self, deadline: float, limit: float) -> bytes:
        stdout = self._process.stdout
        if stdout is None:
            raise AssertionError
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise WorkerError(self._with_output(f"no answer within {limit:g} s"))
                data = os.read(stdout.fileno(), 1 << 20)
                if not data:
                    raise WorkerError(self._with_output("a process has ended"))
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _with_output(self, reason: str) -> str:
        self._errors.flush()
        lines = Path(self._errors.name).read_text(errors="replace").splitlines()
        return "\n".join([reason, *lines[-8:]])


class Crew:
    """The processes of one contender in one measurement; they end with the ``with`` block.

    Attributes:
        contender: Whose.
        port: Theirs.
    """

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.port = free_port()
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="cluster-client-bench-"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
        # Where gunicorn has its socket, see drivers/dirty.py; a killed one leaves it.
        left = Path(tempfile.gettempdir()) / f"cluster-client-bench-{os.getuid()}-{self.port}"
        shutil.rmtree(left, ignore_errors=True)

    def start(self, count: int = 1) -> list[Worker]:
        """Start processes, side by side."""
        workers = []
        for _ in range(count):
            errors = (self._directory / f"{len(self._workers)}").open("wb")
            workers.append(Worker(self.contender.command(), errors))
            self._workers.append(workers[-1])
        for worker in workers:
            worker.result(_START_LIMIT)
        return workers

    def pair(self) -> tuple[Worker, Worker]:
        """Return a leader, and a process with one connection to it."""
        leader, (caller,) = self.cluster([1])
        return leader, caller

    def cluster(self, connections: list[int]) -> tuple[Worker, list[Worker]]:
        """Return a leader, and processes with so many connections each."""
        leader, *callers = self.start(1 + len(connections))
        leader.ask("serve", port=self.port)
        for caller, count in zip(callers, connections, strict=True):
            caller.tell("connect", port=self.port, count=count)
        for caller in callers:
            caller.result()
        return leader, callers


def load(worker: Worker, value: str, in_flight: int, seconds: float) -> float:
    """Return the calls per second that a process gets answered."""
    report = worker.ask("load", value=value, in_flight=in_flight, seconds=seconds)
    return float(report["operations"] / report["seconds"])


def each(workers: list[Worker], command: str, **arguments: Any) -> Iterator[Any]:
    """Give the same command to all at once; yield the results."""
    for worker in workers:
        worker.tell(command, **arguments)
    for worker in workers:
        yield worker.result()


def free_port() -> int:
    """Return a port that nobody listens on."""
    for port in _ports:
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError
