"""The demo's processes, as the conductor sees them: started, asked, listened to, ended."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

NAMES: Final = ("A", "B", "C", "D")
_MAX_LINE: Final = 65536

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class DemoError(Exception):
    """Something was not seen to work."""


class Actor:
    """One process of the demo.

    Args:
        name: One letter.
        process: Runs `cluster_client.demo.worker`.

    Attributes:
        leads: Whether it led when it was last asked.
    """

    def __init__(self, name: str, process: anyio.abc.Process) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101
        self.name = name
        self.leads = False
        self._process = process
        self._orders = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)
        self._numbers = itertools.count(1)
        self._heard: list[dict[str, Any]] = []
        self._news = anyio.Event()
        self._silent = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def listen(self) -> None:
        """Take in what the process says, until it ends."""
        try:
            while True:
                line = await self._lines.receive_until(b"\n", _MAX_LINE)
                self._hear(json.loads(line))
        except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._silent = True
            self._hear({})

    def _hear(self, message: dict[str, Any]) -> None:
        self._heard.append(message)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def expect(self, **fields: Any) -> dict[str, Any]:
        """Wait for a message with these fields; one that came before counts, too.

        Raises:
            DemoError: If the process ends without, or tells that it failed.
        """
        begin = 0
        while True:
            for message in itertools.islice(self._heard, begin, None):
                if message.get("event") == "failed":
                    raise DemoError(f"{self.name}: {message['error']}")
                if fields.items() <= message.items():
                    return message
            if self._silent:
                raise DemoError(f"{self.name} ended too early, before it told {fields}")
            begin = len(self._heard)
            await self._news.wait()

    async def order(self, order: str, **fields: Any) -> int:
        """Give an order and return its number, for `expect`."""
        number = next(self._numbers)
        line = json.dumps({"id": number, "order": order, **fields}).encode() + b"\n"
        try:
            await self._orders.send(line)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise DemoError(f"{self.name} ended too early, before it could {order}") from None
        return number

    async def ask(self, order: str, **fields: Any) -> Any:
        """Give an order and return its result.

        Raises:
            DemoError: If it failed.
        """
        answer = await self.expect(id=await self.order(order, **fields))
        if "error" in answer:
            raise DemoError(f"{self.name}: {answer['error']}")
        return answer["result"]

    async def kill(self) -> None:
        """Kill it, with SIGKILL where there is such a thing, and wait until it is gone."""
        self._process.kill()
        await self._process.wait()

    async def close(self) -> int:
        """Let it close its client and end; returns its exit code."""
        await self._orders.aclose()
        return await self._process.wait()

    async def end(self) -> None:
        """Make sure that it is gone, whatever its state."""
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.aclose()


class Stage:
    """All processes of the demo, and what they share.

    Attributes:
        port: Election port.
        folder: Holds the database and the ledgers.
        actors: The processes that live.
    """

    def __init__(self, port: int, folder: Path, backend: str) -> None:
        self.port = port
        self.folder = folder
        self.actors: list[Actor] = []
        self._backend = backend
        self._resources = AsyncExitStack()
        self._listeners: anyio.abc.TaskGroup | None = None

    @property
    def database(self) -> Path:
        """The file that all share."""
        return self.folder / "characters.db"

    @property
    def leader(self) -> Actor:
        """The one that leads.

        Raises:
            DemoError: Unless exactly one does.
        """
        leaders = [actor for actor in self.actors if actor.leads]
        if len(leaders) != 1:
            names = ", ".join(actor.name for actor in leaders) or "nobody"
            raise DemoError(f"one process must lead, but {names} said so")
        return leaders[0]

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int, folder: Path, backend: str) -> AsyncGenerator[Stage]:
        """Return a stage, still empty; its processes are gone at the end."""
        stage = cls(port, folder, backend)
        async with anyio.create_task_group() as listeners, stage._resources:
            stage._listeners = listeners
            yield stage

    async def start(self, name: str) -> Actor:
        """Start a process and wait until its client is open."""
        assert self._listeners is not None  # noqa: S101 - `open` made it
        worker = [sys.executable, "-m", "cluster_client.demo.worker"]
        arguments = [name, str(self.port), str(self.folder), self._backend]
        actor = Actor(name, await anyio.open_process([*worker, *arguments], stderr=None))
        self._resources.push_async_callback(actor.end)
        self._listeners.start_soon(actor.listen)
        await actor.expect(event="open")
        return actor


async def in_parallel(
    items: Iterable[ItemT], function: Callable[[ItemT], Awaitable[ResultT]]
) -> list[ResultT]:
    """Do the same with several items at once; returns the results in their order.

    Raises:
        DemoError: If it failed with one of them.
    """
    results: dict[int, ResultT] = {}
    errors: list[DemoError] = []

    async def do(index: int, item: ItemT) -> None:
        try:
            results[index] = await function(item)
        except DemoError as exc:
            errors.append(exc)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for index, item in enumerate(items):
            tasks.start_soon(do, index, item)
    if errors:
        raise errors[0]
    return [results[index] for index in sorted(results)]


async def gather(
    actors: Sequence[Actor], function: Callable[[Actor], Awaitable[ResultT]]
) -> dict[str, ResultT]:
    """Do the same with several actors at once; returns the results by name.

    Raises:
        DemoError: If it failed with one of them.
    """
    results = await in_parallel(actors, function)
    return {actor.name: result for actor, result in zip(actors, results, strict=True)}
