"""This library, through what its README shows: nothing is tuned, and no feature is off."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import anyio
import anyio.abc

from benchmarks.drivers.interface import AsyncConnection, AsyncDriver
from benchmarks.workload import SMALL, numbered
from cluster_client import Client, cluster, delegate

REG: Final = {"path": "/benchmark"}


class Real:
    """The real client.

    Attributes:
        leading: The one of this process, if it leads.
    """

    leading: ClassVar[Real]

    def __init__(self) -> None:
        Real.leading = self
        self._listeners: list[Callable[[Any], None]] = []
        self._published = 0
        self._arrived = 0
        self._news = anyio.Event()

    async def echo(self, value: Any) -> Any:
        """Return the value."""
        return value

    @delegate(idempotent=True)
    async def whoami(self, value: Any) -> Any:
        """Return the value, and in which process."""
        return [os.getpid(), value]

    async def rows(self, count: int) -> AsyncIterator[Any]:
        """Stream small values."""
        for number in range(count):
            yield numbered(number)

    def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        """Publish to the listener, too."""
        self._listeners.append(listener)

    def unsubscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        """Take the listener away."""
        self._listeners.remove(listener)

    async def arrived(self) -> None:
        """Take note that a process has got a burst."""
        self._arrived += 1
        self._news.set()

    async def publish_burst(self, burst: int, processes: int) -> None:
        """Publish, and wait until it has arrived."""
        self._arrived = 0
        for _ in range(burst):
            value = numbered(self._published)
            self._published += 1
            for listener in self._listeners:
                listener(value)
        while self._arrived < processes:
            self._news = anyio.Event()
            await self._news.wait()


class Connection(AsyncConnection):
    """A client of the library."""

    def __init__(self, client: Client[Real]) -> None:
        self._client = client
        # As a user would call it, without a step between.
        self.echo = client.echo  # type: ignore[method-assign]

    def rows(self, count: int) -> AsyncIterator[Any]:
        rows: AsyncIterator[Any] = self._client.call(Real.rows, count)
        return rows

    async def subscribe(self, listener: Callable[[Any], None]) -> None:
        await self._client.subscribe(REG, listener)

    async def arrived(self) -> None:
        await self._client.call(Real.arrived)


class Failover:
    """A contender for the leadership that calls one call after the other."""

    def __init__(self, tasks: anyio.abc.TaskGroup, clients: list[Client[Real]]) -> None:
        self._tasks = tasks
        self._clients = clients
        self._leader = 0
        self._since = 0.0
        self._calls = 0
        self._failed = 0
        self._news = anyio.Event()

    async def contend(self, port: int) -> None:
        """Join the race, and begin to call."""
        client = await self._tasks.start(cluster(Real, port=port).create().run)
        self._clients.append(client)
        self._tasks.start_soon(self._call_on_and_on, client)

    async def leader(self, other_than: int) -> dict[str, Any]:
        """Wait for an answer of another leader; tell which, since when, and what failed so far."""
        while self._leader in {0, other_than}:
            self._news = anyio.Event()
            await self._news.wait()
        return {
            "pid": self._leader,
            "since": self._since,
            "calls": self._calls,
            "failed": self._failed,
        }

    async def _call_on_and_on(self, client: Client[Real]) -> None:
        while True:
            self._calls += 1
            try:
                pid, value = await client.call(Real.whoami, SMALL)
                if value != SMALL:
                    raise ValueError(f"wrong answer: {value!r}")
            except Exception:
                self._failed += 1
                await anyio.sleep(0.001)  # as in Node, where calls may fail at once
                continue
            if pid != self._leader:
                self._leader, self._since = pid, time.monotonic()
                self._news.set()


class OnAsyncio(AsyncDriver):
    """On asyncio."""

    def __init__(self) -> None:
        self._clients: list[Client[Real]] = []

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncGenerator[None]:
        async with cluster(Real, port=port, is_leader=True).create():
            yield

    @asynccontextmanager
    async def connect(self, port: int) -> AsyncGenerator[AsyncConnection]:
        async with cluster(Real, port=port, is_leader=False).create() as client:
            yield Connection(client)

    async def publish_burst(self, burst: int, processes: int) -> None:
        await Real.leading.publish_burst(burst, processes)

    def commands(self, tasks: anyio.abc.TaskGroup) -> dict[str, Callable[..., Awaitable[Any]]]:
        failover = Failover(tasks, self._clients)
        return {"contend": failover.contend, "leader": failover.leader}


class OnUvloop(OnAsyncio):
    """On asyncio, with uvloop."""

    backend_options = {"use_uvloop": True}


class OnTrio(OnAsyncio):
    """On trio."""

    backend = "trio"
