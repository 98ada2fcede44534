"""The program of a test's process: it has clients, and does with them what the test says.

Its standard input is a socket to the test. Each line that comes is a JSON
object, ``{"id": 1, "command": "call", "arguments": {…}}``, and is answered by one,
``{"id": 1, "result": …}`` or ``{"id": 1, "error": {…}}``. Commands overlap. The
program ends, and closes its clients, with the command ``exit``, with SIGTERM, or
when the test has gone.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import anyio
import anyio.abc
import structlog
from anyio.streams.buffered import BufferedByteReceiveStream

from cluster_client import Client, ClientState, cluster
from cluster_client.contrib.zookeeper import ZooKeeperClient
from database_client import DatabaseClient
from interop.registry import Registry
from support.flood import Flood
from support.ledger import Ledger
from support.load import Load
from support.offspring import Breeder, Nursery, Task, fork, live, read_report
from support.scenes import Many, Scenes
from support.waiting import until
from support.works import Works

LONGEST_LINE: Final = 1 << 26
_REAL_CLIENTS: Final[dict[str, type[Any]]] = {
    "breeder": Breeder,
    "ledger": Ledger,
    "database": DatabaseClient,
    "flood": Flood,
    "registry": Registry,
    "many": Many,
    "scenes": Scenes,
    "works": Works,
    "zookeeper": ZooKeeperClient,
}
_NOBODY: Final = 65534


class Commands:
    """What a test can have done; each public method is a command.

    Args:
        tasks: Runs the clients.
        backend: Event loop library that the program runs on.
    """

    def __init__(self, tasks: anyio.abc.TaskGroup, backend: str) -> None:
        self._tasks = tasks
        self._backend = backend
        self._clients: dict[str, Client[Any]] = {}
        self._loads: dict[str, Load] = {}
        self._values: dict[str, deque[Any]] = {}
        self._value_came = anyio.Event()
        self._nursery = Nursery()
        self._hoard: list[int] = []
        self._many: dict[int, int] = {}

    # -------------------------------------------------------------- clients

    async def open(
        self,
        *,
        channel: str,
        real: str,
        arguments: list[Any],
        keywords: dict[str, Any],
        delegates: dict[str, dict[str, Any]],
        options: dict[str, Any],
    ) -> None:
        builder = cluster(_REAL_CLIENTS[real], name=channel, **options)
        for method, settings in delegates.items():
            builder.delegate(method, **settings)
        client = builder.create(*arguments, **keywords)
        await self._tasks.start(client.run)
        self._clients[channel] = client

    async def close(self, channel: str) -> None:
        await self._clients.pop(channel).aclose()

    async def exit(self) -> None:
        for channel in list(self._clients):
            await self.close(channel)
        self._tasks.cancel_scope.cancel()

    def state(self, channel: str) -> dict[str, Any]:
        client = self._clients[channel]
        return {
            "is_leader": client.is_leader,
            "epoch": client.epoch,
            "state": client.state.value,
            "resent": client.resent_calls,
            "loop_lag": client.loop_lag,
        }

    async def call(self, channel: str, method: str, arguments: list[Any]) -> Any:
        return await self._clients[channel].call(method, *arguments)

    async def publish(self, channel: str, reg: dict[str, Any]) -> None:
        await self._clients[channel].publish(reg)

    async def latencies(self, channel: str, method: str, calls: int) -> list[float]:
        """Call so often, one call after the other; returns the seconds that each took."""
        call = getattr(self._clients[channel], method)
        taken: list[float] = []
        for _ in range(calls):
            begin = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - begin)
        return taken

    async def subscribe(self, channel: str, reg: dict[str, Any], keep: int | None = None) -> None:
        """Subscribe, and keep the values, or so many of the latest."""
        values = self._values[channel] = deque(maxlen=keep)

        def listener(value: Any) -> None:
            values.append(value)
            came, self._value_came = self._value_came, anyio.Event()
            came.set()

        await self._clients[channel].subscribe(reg, listener)

    async def values_until(self, channel: str, value: Any) -> list[Any]:
        """Wait until *value* is the last one that the listener got; returns all that it got."""
        values = self._values[channel]
        while not values or values[-1] != value:
            await self._value_came.wait()
        return list(values)

    # ----------------------------------------------------------------- load

    def begin_load(self, channel: str, callers: int) -> None:
        prefix = f"{channel}.{os.getpid()}.{len(self._loads)}"
        load = self._loads[channel] = Load(self._clients[channel], prefix)
        self._tasks.start_soon(load.run, callers)

    def load_report(self, channel: str) -> dict[str, Any]:
        return asdict(self._loads[channel].report())

    async def end_load(self, channel: str) -> dict[str, Any]:
        return asdict(await self._loads[channel].end())

    async def first_answer_of(self, channel: str, leader: int) -> float:
        return await self._loads[channel].first_answer_of(leader)

    async def first_answer_since(self, channel: str, moment: float) -> tuple[int, float]:
        return await self._loads[channel].first_answer_since(moment)

    def block(self, seconds: float) -> None:
        """Keep the event loop from turning."""
        threading.Event().wait(seconds)

    # ------------------------------------------------------- other processes

    def fork_child_that_hangs(self) -> int:
        """Fork a child that never returns to the event loop it was copied with."""
        return fork(signal.pause)

    async def bear(
        self, way: str, channel: str, task: dict[str, Any], *, in_thread: bool
    ) -> dict[str, Any]:
        """Make a child in one of the ways of `support.offspring`; returns what it found."""
        client = self._clients[channel]
        return await self._nursery.bear(way, Task(**task), client, in_thread=in_thread)

    def fork_in_state(self, channel: str, state: str, task: dict[str, Any]) -> None:
        """Fork a child as soon as the client comes into a state."""

        def listener(_: ClientState, new: ClientState) -> None:
            if new.value == state:
                remove()
                fork(lambda: live(Task(**task), None))

        remove = self._clients[channel].on_state_change(listener)

    def strike_in_state(self, channel: str, state: str, number: int) -> None:
        """Send this process a signal as soon as the client comes into a state."""

        def listener(_: ClientState, new: ClientState) -> None:
            if new.value == state:
                remove()
                os.kill(os.getpid(), number)

        remove = self._clients[channel].on_state_change(listener)

    async def rows(self, channel: str, count: int) -> list[int]:
        return [row async for row in self._clients[channel].rows(count)]

    async def read_report(self, path: str) -> dict[str, Any]:
        return await read_report(path)

    async def subscribe_many(self, channel: str, begin: int, end: int) -> float:
        """Subscribe to that many registrations; returns how many seconds it took."""
        client = self._clients[channel]
        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for number in range(begin, end):
                listener = partial(self._many.__setitem__, number)
                tasks.start_soon(client.subscribe, {"number": number}, listener)
        await until(lambda: len(self._many) == end)
        return time.monotonic() - began

    async def have_many(self, value: int) -> None:
        """Wait until each of these has the value."""
        await until(lambda: set(self._many.values()) == {value})

    def step_clock(self, seconds: float) -> None:
        """Put the wall clock forward, or back."""
        wall, wall_ns = time.time, time.time_ns
        time.time = lambda: wall() + seconds
        time.time_ns = lambda: wall_ns() + int(seconds * 1e9)

    def lose_output(self, how: str) -> None:
        """Have everything that is printed or logged fail."""
        if how == "closed":
            sys.stdout.close()
            sys.stderr.close()
        # Else descriptors 1 and 2 would be the next sockets'.
        reading, writing = os.pipe()
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(writing)
        os.close(reading)

    def take_all_descriptors(self) -> None:
        """Leave this process without a descriptor to spare."""
        _, self._most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir("/dev/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, self._most_descriptors))
        with contextlib.suppress(OSError):  # until there is none
            while True:
                self._hoard.append(os.dup(0))

    def give_descriptors_back(self) -> None:
        limits = self._most_descriptors, self._most_descriptors
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        while self._hoard:
            os.close(self._hoard.pop())

    def become_nobody(self) -> None:
        """Give up the privileges of root, if this process has any."""
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)


class Conversation:
    """Takes commands from the test and answers them.

    Args:
        stream: To the test.
        commands: Does what it says.
        tasks: Runs the commands.
    """

    def __init__(
        self, stream: anyio.abc.ByteStream, commands: object, tasks: anyio.abc.TaskGroup
    ) -> None:
        self._stream = stream
        self._commands = commands
        self._tasks = tasks
        self._sending = anyio.Lock()

    async def run(self) -> None:
        """Converse until the test has gone."""
        lines = BufferedByteReceiveStream(self._stream)
        while True:
            try:
                line = await lines.receive_until(b"\n", LONGEST_LINE)
            except (anyio.IncompleteRead, anyio.BrokenResourceError):
                return
            self._tasks.start_soon(self._answer, json.loads(line))

    async def _answer(self, request: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            result = getattr(self._commands, request["command"])(**request["arguments"])
            answer["result"] = await result if inspect.isawaitable(result) else result
        except Exception as exc:
            answer["error"] = {
                "type": type(exc).__name__,
                "arguments": exc.args,
                "attributes": vars(exc),
                "traceback": "".join(traceback.format_exception(exc)),
            }
        data = json.dumps(answer, default=repr).encode() + b"\n"
        with anyio.CancelScope(shield=True):  # `exit` is answered, too
            async with self._sending:
                await self._stream.send(data)


async def main(backend: str) -> None:
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as control:
        control.setblocking(False)
        async with (
            await anyio.abc.UNIXSocketStream.from_socket(control) as stream,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(end_at_sigterm, tasks.cancel_scope)
            await Conversation(stream, Commands(tasks, backend), tasks).run()
            tasks.cancel_scope.cancel()


async def end_at_sigterm(scope: anyio.CancelScope) -> None:
    """Cancel *scope* when the process is asked to end."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


def log_as_json() -> None:
    """Write each event of the library as a line of JSON."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
    )


if __name__ == "__main__":
    log_as_json()
    anyio.run(main, sys.argv[1], backend=sys.argv[1])
