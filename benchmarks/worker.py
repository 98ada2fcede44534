"""A process of a contender with an event loop: ``python -m benchmarks.worker NAME``.

It serves, or has connections to the process that does, and puts load on them. All contenders
on asyncio and trio run this very code; what differs is in ``drivers/``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio
import anyio.abc

from benchmarks import control, drivers
from benchmarks.drivers.interface import AsyncConnection, AsyncDriver
from benchmarks.workload import checker, numbered, payload

_clock: Final = time.perf_counter


class WrongAnswerError(Exception):
    """An answer is not what was sent."""


class Worker:
    """What the commands do.

    Args:
        driver: The contender's side of it.
        tasks: For what goes on between commands.
        stack: Closed when the worker ends.
    """

    def __init__(
        self, driver: AsyncDriver, tasks: anyio.abc.TaskGroup, stack: AsyncExitStack
    ) -> None:
        self._driver = driver
        self._tasks = tasks
        self._stack = stack
        self._connections: list[AsyncConnection] = []
        self.commands: dict[str, Callable[..., Awaitable[Any]]] = {
            "serve": self.serve,
            "connect": self.connect,
            "load": self.load,
            "stream": self.stream,
            "expect": self.expect,
            "publish": self.publish,
        }

    async def serve(self, port: int) -> None:
        """Become the leader, or the server."""
        await self._stack.enter_async_context(self._driver.serve(port))

    async def connect(self, port: int, count: int) -> None:
        """Open *count* connections, one after the other."""
        for _ in range(count):
            connection = await self._stack.enter_async_context(self._driver.connect(port))
            self._connections.append(connection)

    async def load(
        self, value: str, in_flight: int, seconds: float, *, latencies: bool = False
    ) -> dict[str, Any]:
        """Keep *in_flight* calls going, and count the answers.

        Each caller takes the connections in turn. The callers stop after *seconds*, and the
        time runs until the last of them has its answer.
        """
        calls = Calls(value, latencies=latencies)
        echoes: list[Any] = [connection.echo for connection in self._connections]
        begin = _clock()
        async with anyio.create_task_group() as tasks:
            for number in range(in_flight):
                own = [echoes[(number + i * in_flight) % len(echoes)] for i in range(len(echoes))]
                tasks.start_soon(calls.run, own, begin + seconds)
        return {
            "operations": calls.count,
            "seconds": _clock() - begin,
            "latencies": calls.latencies,
        }

    async def stream(self, items: int, seconds: float) -> dict[str, Any]:
        """Read a stream of *items*, or as much of it as comes in *seconds*."""
        count = 0
        begin = _clock()
        async for item in self._connections[0].rows(items):
            if item != numbered(count):
                raise WrongAnswerError(f"item {count} of a stream is {item!r}")
            count += 1
            if not count % 256 and _clock() - begin > seconds:
                break
        return {"operations": count, "seconds": _clock() - begin}

    async def expect(self, burst: int) -> None:
        """Subscribe with each connection, and tell the leader of each burst that all have got."""
        arrivals = Arrivals(self._connections, burst, self._tasks)
        for connection in self._connections:
            await connection.subscribe(arrivals.listener())

    async def publish(self, processes: int, burst: int, seconds: float) -> dict[str, Any]:
        """Publish bursts, each when the last one has arrived everywhere."""
        bursts = 0
        begin = _clock()
        while _clock() - begin < seconds:
            await self._driver.publish_burst(burst, processes)
            bursts += 1
        return {"bursts": bursts, "seconds": _clock() - begin}


class Calls:
    """Callers that call on and on."""

    def __init__(self, value: str, *, latencies: bool) -> None:
        self._value = payload(value)
        self._is_right = checker(value)
        self._wanted = latencies
        self.count = 0
        self.latencies: list[float] = []

    async def run(self, echoes: list[Callable[[Any], Awaitable[Any]]], end: float) -> None:
        """Call one after the other until *end*, and at least once."""
        value, is_right = self._value, self._is_right
        before = _clock()
        while True:
            for echo in echoes:
                answer = await echo(value)
                if not is_right(answer):
                    raise WrongAnswerError(f"{answer!r:.200}")
                self.count += 1
                now = _clock()
                if self._wanted:
                    self.latencies.append(now - before)
                if now >= end:
                    return
                before = now


class Arrivals:
    """What the subscribers of this process have got, against what was published."""

    def __init__(
        self, connections: list[AsyncConnection], burst: int, tasks: anyio.abc.TaskGroup
    ) -> None:
        self._arrived = connections[0].arrived
        self._burst = len(connections) * burst
        self._missing = self._burst
        self._tasks = tasks

    def listener(self) -> Callable[[Any], None]:
        """Return a listener for one connection: each value must be the next one."""
        expected = 0

        def listen(value: Any) -> None:
            nonlocal expected
            if value != numbered(expected):
                raise WrongAnswerError(f"value {expected} is {value!r}")
            expected += 1
            self._missing -= 1
            if not self._missing:
                self._missing = self._burst
                self._tasks.start_soon(self._arrived)

        return listen


async def main(driver: AsyncDriver) -> None:
    """Do what is asked until standard input ends."""
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        worker = Worker(driver, tasks, stack)
        handlers = {**worker.commands, **driver.commands(tasks)}
        control.answer("ready")
        async for command in control.commands_async():
            try:
                handler, keywords = control.arguments(command, handlers)
                control.answer(await handler(**keywords))
            except Exception as exc:
                control.answer_error(exc)
        control.end()


if __name__ == "__main__":
    chosen = drivers.load(sys.argv[1])
    anyio.run(main, chosen, backend=chosen.backend, backend_options=chosen.backend_options)
