"""Real processes for tests: started, told what to do, frozen, killed, and never left behind.

::

    async with Host(directory, port) as host:
        workers = await host.start(4)
        leader = await host.leader()
        await leader.kill()
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

import cluster_client
from support.ledger import LedgerBook
from support.load import LoadReport
from support.times import LIMIT
from support.worker import LONGEST_LINE

CHANNEL: Final = "ledger"
"""The channel of clients for which a test names no other."""

ANSWER_LIMIT: Final = LIMIT * 0.8
"""Seconds for an answer of a worker: less than for the whole test, so that the error says which."""

_CLEANUP_LIMIT: Final = LIMIT / 2

T = TypeVar("T")
ItemT = TypeVar("ItemT")
WorkerT = TypeVar("WorkerT", bound="Worker")


class WorkerGoneError(Exception):
    """The process ended before it answered."""


class WorkerError(Exception):
    """The process raised an error that is neither ours nor a builtin one."""


class Worker:
    """A process that runs ``support.worker``; made by a `Host`.

    Attributes:
        process: The process itself.
        channels: Of its open clients.
        children: Pids of processes that it has started.
        language: Of its program.
    """

    language: ClassVar[str] = "python"

    def __init__(
        self, process: anyio.abc.Process, stream: anyio.abc.SocketStream, output: Path
    ) -> None:
        self.process = process
        self.channels: set[str] = set()
        self.children: list[int] = []
        self._stream = stream
        self._output = output
        self._answers: dict[int, dict[str, Any] | None] = {}
        self._answered: dict[int, anyio.Event] = {}
        self._sending = anyio.Lock()
        self._last_id = 0

    def __repr__(self) -> str:
        return f"<Worker {self.pid}>"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    def output(self) -> str:
        """Return all that the process has written to standard output and error."""
        return self._output.read_text(errors="replace")

    # ------------------------------------------------------------- commands

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Have a command of `support.worker.Commands` executed and return its result.

        Raises:
            WorkerGoneError: If the process ends meanwhile.
            Exception: What the command raised, of the same class if that is ours or a builtin.
        """
        self._last_id += 1
        request_id = self._last_id
        answered = self._answered[request_id] = anyio.Event()
        request = {"id": request_id, "command": command, "arguments": arguments}
        try:
            with anyio.move_on_after(ANSWER_LIMIT) as scope:
                with contextlib.suppress(anyio.BrokenResourceError):
                    async with self._sending:
                        await self._stream.send(json.dumps(request).encode() + b"\n")
                    await answered.wait()
        finally:
            del self._answered[request_id]
        if scope.cancelled_caught:
            raise TimeoutError(f"{self!r} did not answer {command!r} within {ANSWER_LIMIT:g} s")
        answer = self._answers.pop(request_id, None)
        if answer is None:
            raise WorkerGoneError(f"{self!r} ended before it answered {command!r}")
        if "error" in answer:
            raise self._error(answer["error"])
        return answer["result"]

    async def open(
        self,
        channel: str = CHANNEL,
        *arguments: Any,
        real: str = "ledger",
        keywords: dict[str, Any] | None = None,
        delegates: dict[str, dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        """Open a client; its options and delegates are as for `cluster_client.cluster`."""
        await self.ask(
            "open",
            channel=channel,
            real=real,
            arguments=arguments,
            keywords=keywords or {},
            delegates=delegates or {},
            options=options,
        )
        self.channels.add(channel)

    async def close(self, channel: str = CHANNEL) -> None:
        self.channels.discard(channel)
        await self.ask("close", channel=channel)

    async def call(self, method: str, *arguments: Any, channel: str = CHANNEL) -> Any:
        return await self.ask("call", channel=channel, method=method, arguments=arguments)

    async def publish(self, value: int, channel: str = CHANNEL) -> None:
        await self.ask("publish", channel=channel, reg={"key": "value", "value": value})

    async def subscribe(self, channel: str = CHANNEL, *, keep: int | None = None) -> None:
        """Subscribe, and keep the values for `values_until`, or so many of the latest."""
        await self.ask("subscribe", channel=channel, reg={"key": "value"}, keep=keep)

    async def latencies(self, method: str, calls: int, channel: str = CHANNEL) -> list[float]:
        """Call so often, one call after the other; returns the seconds that each took."""
        taken: list[float] = await self.ask(
            "latencies", channel=channel, method=method, calls=calls
        )
        return taken

    async def values_until(self, value: Any, channel: str = CHANNEL) -> list[Any]:
        """Wait until the last value that the subscriber got is *value*; returns all of them."""
        values: list[Any] = await self.ask("values_until", channel=channel, value=value)
        return values

    async def is_leader(self, channel: str = CHANNEL) -> bool:
        return bool((await self.ask("state", channel=channel))["is_leader"])

    async def epoch(self, channel: str = CHANNEL) -> str | None:
        epoch: str | None = (await self.ask("state", channel=channel))["epoch"]
        return epoch

    async def begin_load(self, callers: int, channel: str = CHANNEL) -> None:
        """Have so many calls in flight from now on."""
        await self.ask("begin_load", channel=channel, callers=callers)

    async def load_report(self, channel: str = CHANNEL) -> LoadReport:
        return LoadReport(**await self.ask("load_report", channel=channel))

    async def first_answer_of(self, leader: Worker, channel: str = CHANNEL) -> float:
        """Wait until *leader* has answered a call of the load; returns when that was."""
        answered: float = await self.ask("first_answer_of", channel=channel, leader=leader.pid)
        return answered

    async def first_answer_since(self, moment: float, channel: str = CHANNEL) -> float:
        """Wait until a new leader has answered a call of the load; returns when that was."""
        _, answered = await self.ask("first_answer_since", channel=channel, moment=moment)
        return float(answered)

    async def end_load(self, channel: str = CHANNEL) -> LoadReport:
        """Let the callers finish their calls."""
        return LoadReport(**await self.ask("end_load", channel=channel))

    # ------------------------------------------------------------- its end

    async def kill(self) -> float:
        """Send SIGKILL and wait for the end; returns when it was sent, on the monotonic clock."""
        killed = time.monotonic()
        self.process.send_signal(signal.SIGKILL)
        await self._end()
        return killed

    async def terminate(self) -> None:
        """Send SIGTERM and wait for the end, which must be an orderly one."""
        self.process.send_signal(signal.SIGTERM)
        await self._end_orderly()

    async def exit(self) -> None:
        """Have all clients closed and wait for the end, which must be an orderly one."""
        self.channels.clear()
        await self.ask("exit")
        await self._end_orderly()

    async def freeze(self) -> None:
        """Send SIGSTOP and wait until the process has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        await self.until_frozen()

    async def until_frozen(self) -> None:
        """Wait until the process has stopped, whoever stops it."""
        flags = os.WSTOPPED | os.WEXITED | os.WNOWAIT
        await anyio.to_thread.run_sync(os.waitid, os.P_PID, self.pid, flags)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def _end_orderly(self) -> None:
        await self._end()
        assert self.process.returncode == 0, f"{self!r} ended with {self.process.returncode}"
        complaints = [line for line in self.output().splitlines() if not line.startswith("{")]
        assert complaints == [], f"{self!r} left a traceback or a warning"

    async def _end(self) -> None:
        with anyio.fail_after(ANSWER_LIMIT):
            await self.process.wait()
        self.lose()  # a child may hold the other end of the socket

    def lose(self) -> None:
        """Let those go on that wait for an answer: the process has ended."""
        for answered in self._answered.values():
            answered.set()

    def _error(self, description: dict[str, Any]) -> Exception:
        name = description["type"]
        cls = getattr(cluster_client, name, None) or getattr(builtins, name, None)
        if not (isinstance(cls, type) and issubclass(cls, Exception)):
            return WorkerError(description["traceback"])
        error = cls.__new__(cls, *description["arguments"])
        vars(error).update(description["attributes"])
        return error

    # ---------------------------------------------------------- for the host

    async def listen(self) -> None:
        """Take answers until the process is gone."""
        lines = BufferedByteReceiveStream(self._stream)
        while True:
            try:
                line = await lines.receive_until(b"\n", LONGEST_LINE)
            except (anyio.IncompleteRead, anyio.BrokenResourceError):
                break
            answer = json.loads(line)
            if answer["id"] in self._answered:
                self._answers[answer["id"]] = answer
                self._answered[answer["id"]].set()
        self.lose()

    async def remove(self) -> None:
        """Leave nothing of it behind."""
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.is_running:
            self.process.kill()
        await self.process.aclose()
        await self._stream.aclose()


class Host(anyio.AsyncContextManagerMixin):
    """Processes that share a port and a directory, as those of a host do.

    Args:
        directory: An empty one, for what stands behind the real clients.
        port: Election port.
        backend: Event loop library of the processes.

    Attributes:
        place: The option of clients that says where they race.
        book: What the ledger in the directory says.
    """

    def __init__(self, directory: Path, port: int, *, backend: str = "asyncio") -> None:
        self.directory = directory
        self.port = port
        self.place: dict[str, Any] = {"port": port}
        self.book = LedgerBook(directory)
        self._backend = backend
        self._workers: list[Worker] = []
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        body_error: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    yield self
                except anyio.get_cancelled_exc_class():
                    raise
                except BaseException as exc:  # kept out of the group
                    body_error = exc
                    self.show_output()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(_CLEANUP_LIMIT, shield=True):
                await each(self._workers, Worker.remove)
            if body_error is not None:
                raise body_error

    def show_output(self) -> None:
        """Write to standard error what the processes have written."""
        for worker in self._workers:
            sys.stderr.write(f"---- {worker!r}\n{worker.output()}")

    @property
    def workers(self) -> list[Worker]:
        """The processes that are running, in the order of their start."""
        return [worker for worker in self._workers if worker.is_running]

    async def spawn(self) -> Worker:
        """Start a process without a client."""
        program = ["-W", "error", "-m", "support.worker", self._backend]
        return await self.run(Worker, [sys.executable, *program])

    async def run(self, kind: type[WorkerT], command: list[str]) -> WorkerT:
        """Start a program that converses with the test as ``support.worker`` does."""
        output = self.directory / f"output.{next(self._numbers)}"
        ours, theirs = socket.socketpair()
        with theirs, output.open("wb") as file:
            process = await anyio.open_process(
                command,
                stdin=theirs.fileno(),
                stdout=file.fileno(),
                stderr=file.fileno(),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        ours.setblocking(False)
        worker = kind(process, await anyio.abc.UNIXSocketStream.from_socket(ours), output)
        self._workers.append(worker)
        self._tasks.start_soon(worker.listen)
        return worker

    async def start(self, count: int, **settings: Any) -> list[Worker]:
        """Start processes with a client of the ledger each; *settings* are those of `Worker.open`.

        They race, so any of them may lead.
        """

        async def start_one(_: int) -> Worker:
            worker = await self.spawn()
            await self.open_ledger(worker, **settings)
            return worker

        return await each(range(count), start_one)

    async def open_ledger(self, worker: Worker, channel: str = CHANNEL, **settings: Any) -> None:
        """Open a client of this host's ledger."""
        await worker.open(channel, str(self.directory), **{**self.place, **settings})

    async def leader(self, channel: str = CHANNEL) -> Worker:
        """Return the process that owns the real client, waiting through an election."""
        pid = await self._members(channel)[0].call("pid", channel=channel)
        return next(worker for worker in self.workers if worker.pid == pid)

    async def followers(self, channel: str = CHANNEL) -> list[Worker]:
        """Return the other processes that have a client of the channel."""
        leader = await self.leader(channel)
        return [worker for worker in self._members(channel) if worker is not leader]

    def _members(self, channel: str) -> list[Worker]:
        return [worker for worker in self.workers if channel in worker.channels]


async def each(items: Iterable[ItemT], function: Callable[[ItemT], Awaitable[T]]) -> list[T]:
    """Call a coroutine function with every item, side by side; returns the results in order.

    Raises:
        Exception: The first that a call raised, bare.
    """
    results: dict[int, T] = {}
    failures: list[Exception] = []
    async with anyio.create_task_group() as tasks:

        async def run(index: int, item: ItemT) -> None:
            try:
                results[index] = await function(item)
            except Exception as exc:
                failures.append(exc)
                tasks.cancel_scope.cancel()

        for index, item in enumerate(items):
            tasks.start_soon(run, index, item)
    if failures:
        raise failures[0]
    return [results[index] for index in sorted(results)]
