"""A real client that behaves badly, and a book upstream that outlives every process."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import anyio

from cluster_client import Leadership, delegate
from support.times import scaled

CHANNEL: Final = "service"
KEYS: Final = ("a", "b", "c")
"""What can be subscribed to."""

BEHAVIOURS: Final = ("quick", "slow", "raises", "exits", "blocks", "unsendable")

Listener = Callable[[Any], None]


class Entry(NamedTuple):
    """A line of the book.

    Attributes:
        at: When it was written, on the host's monotonic clock.
        event: ``open``, ``close``, ``run``, ``value`` or ``kill``.
        words: The rest.
    """

    at: float
    event: str
    words: list[str]


class Book:
    """What happened upstream, in order: each line is one write, so none is lost or mixed.

    Args:
        directory: Where the files are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "upstream"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._descriptor = os.open(self._path, flags, 0o666)

    def note(self, event: str, *words: object) -> None:
        line = " ".join([f"{time.monotonic():.6f}", event, *map(str, words)])
        os.write(self._descriptor, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._descriptor)

    def entries(self) -> list[Entry]:
        lines = self._path.read_text().splitlines()
        return [Entry(float(at), event, words) for at, event, *words in map(str.split, lines)]

    def leader_pid(self) -> int | None:
        """Return whose real client is open, or was when its process ended."""
        pid = None
        for entry in self.entries():
            if entry.event == "open":
                pid = int(entry.words[0].partition(".")[0])
        return pid

    def value(self, key: str) -> int:
        """Return the latest value of a key; 0 if there is none."""
        path = self._directory / f"value.{key}"
        return int(path.read_text()) if path.exists() else 0

    def next_value(self, key: str) -> int:
        """Note and store another value, and return it.

        There is one real client, so none comes twice; but for one that was noted and not stored,
        as its process was killed, and so nobody has seen it.
        """
        value = self.value(key) + 1
        self.note("value", key, value)
        new = self._directory / f"value.{key}.{os.getpid()}"
        new.write_text(str(value))
        new.replace(self._directory / f"value.{key}")
        return value

    def fail_next_start(self) -> None:
        """Have the next real client that starts raise."""
        (self._directory / "fail").touch()

    def start_is_to_fail(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            (self._directory / "fail").unlink()
            return True
        return False


class Service:
    """Does what its caller says, after it has written down that it was called.

    Args:
        directory: Where the book is.
    """

    current: Service | None = None
    """The one of this process that is open."""

    _count = 0
    _books: Final[dict[str, Book]] = {}

    def __init__(self, directory: str) -> None:
        if directory not in self._books:
            self._books[directory] = Book(Path(directory))
        self._book = self._books[directory]
        self._listeners: dict[str, list[Listener]] = {key: [] for key in KEYS}
        self.leadership: Leadership

    def attach_leadership(self, leadership: Leadership) -> None:
        self.leadership = leadership

    async def __aenter__(self) -> Self:
        if self._book.start_is_to_fail():
            raise ConnectionRefusedError("the service is down")
        Service._count += 1
        self._name = f"{os.getpid()}.{Service._count}"
        self._book.note("open", self._name)
        await anyio.sleep(scaled(0.005))
        Service.current = self
        return self

    async def __aexit__(self, *_: object) -> None:
        Service.current = None
        await anyio.sleep(scaled(0.01))  # a successor that does not wait for it would show
        self._book.note("close", self._name)

    # ---------------------------------------------------------------- calls

    async def once(self, call_id: str, behaviour: str, seconds: float) -> Any:
        """Return the id, unless told otherwise; not to be called twice."""
        return await self._behave(call_id, behaviour, seconds)

    @delegate(idempotent=True)
    async def again(self, call_id: str, behaviour: str, seconds: float) -> Any:
        """Do the same; may be called twice."""
        return await self._behave(call_id, behaviour, seconds)

    async def oneway(self, call_id: str) -> None:
        """Write the call down; to be called without an answer."""
        self._run(call_id)

    def thread(self, call_id: str, seconds: float) -> str:
        """Return the id; a synchronous method."""
        self._run(call_id)
        _block(seconds)
        return call_id

    async def stream(self, call_id: str, count: int, seconds: float) -> AsyncIterator[list[Any]]:
        """Yield the id and a number, so many times."""
        self._run(call_id)
        for number in range(count):
            yield [call_id, number]
            await anyio.sleep(seconds)

    async def _behave(self, call_id: str, behaviour: str, seconds: float) -> Any:
        self._run(call_id)
        match behaviour:
            case "slow":
                await anyio.sleep(seconds)
            case "raises":
                await anyio.sleep(seconds / 10)
                raise ValueError(call_id)
            case "exits":
                raise SystemExit(call_id)
            case "blocks":
                _block(seconds)
            case "unsendable":
                return object()
        return call_id

    def _run(self, call_id: str) -> None:
        self._book.note("run", call_id, self._name)

    # --------------------------------------------------------------- values

    async def publish(self, reg: dict[str, str]) -> None:
        """Give a key another value, and tell those that listen to it."""
        self._run(reg["id"])
        key = reg["key"]
        value = self._book.next_value(key)
        for listener in list(self._listeners[key]):
            listener([key, value])

    def subscribe(self, reg: dict[str, str], listener: Listener) -> None:
        key = reg["key"]
        self._listeners[key].append(listener)
        listener([key, self._book.value(key)])

    def unsubscribe(self, reg: dict[str, str], listener: Listener) -> None:
        self._listeners[reg["key"]].remove(listener)


def _block(seconds: float) -> None:
    """Keep the thread busy, as a method does that was not written for an event loop."""
    threading.Event().wait(seconds)
