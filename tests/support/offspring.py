"""Children of a worker, made in every way there is; each tells what it found, and lives on."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import anyio
import anyio.to_thread

from cluster_client import Client, cluster
from support.ledger import Ledger
from support.times import LIMIT
from support.waiting import until

REG: Final = {"key": "value"}


@dataclass
class Task:
    """What a child is to do; plain data, as some are started anew.

    Attributes:
        report: Where it writes what it found.
        directory: Of the ledger.
        place: Of the race, a port or a path.
        channel: Of the ledger's clients.
        backend: Event loop library.
        breeds: Whether those have a `Breeder`, and no ordinary ledger.
    """

    report: str
    directory: str
    place: dict[str, Any]
    channel: str
    backend: str
    breeds: bool = False


@dataclass
class Inheritance:
    """A parent's client and what is open of it.

    Attributes:
        client: An open client of a ledger.
        values: Iterates over an open subscription.
        numbers: A stream of which one item was read.
        unopened: Another client.
        contexts: To be left with ``async with``.
    """

    client: Client[Any]
    values: AsyncIterator[Any]
    numbers: Any
    unopened: Client[Any]
    contexts: list[Any] = field(default_factory=list)

    @classmethod
    async def of(cls, client: Client[Any]) -> Inheritance:
        subscription = client.subscription(REG)
        values = await subscription.__aenter__()
        numbers = client.numbers(1_000_000)
        assert await anext(numbers) == 0
        return cls(client, values, numbers, type(client)(client._spec), [subscription, numbers])

    async def give_back(self) -> None:
        """Close what `of` opened; in the parent."""
        for context in self.contexts:
            await context.__aexit__(None, None, None)


def live(task: Task, inherited: Inheritance | None) -> None:
    """The child's life: it never returns to the event loop that it was copied with."""
    signal.alarm(int(LIMIT))  # should the test be gone
    found: dict[str, Any] = {"pid": os.getpid()}
    try:
        found["sockets"] = _sockets_at(*task.place.values())
        # A thread, as here trio's copied event loop still counts as the running one.
        outcomes: dict[str, str] = {}
        if inherited is not None:
            _in_thread(lambda: anyio.run(_use, inherited, outcomes, backend=task.backend))
        found["outcomes"] = outcomes
        found["leader"] = _in_thread(lambda: anyio.run(_follow, task, backend=task.backend))
        if task.backend == "asyncio":  # there it may as well be the thread of the copied one
            found["leader"] = Context().run(anyio.run, _follow, task)
    except BaseException:
        found["error"] = traceback.format_exc()
    new = Path(f"{task.report}.new")
    new.write_text(json.dumps(found))
    new.rename(task.report)
    signal.pause()


def _in_thread(function: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


async def _follow(task: Task) -> int:
    """Be a follower; returns who leads."""
    options = {"name": task.channel, "is_leader": False, "response_timeout": LIMIT, **task.place}
    real = Breeder if task.breeds else Ledger
    async with cluster(real, **options).create(task.directory) as client:
        leader: int = await client.pid()
        return leader


async def _use(inherited: Inheritance, outcomes: dict[str, str]) -> None:
    client = inherited.client

    async def note(name: str, function: Callable[[], Any]) -> None:
        try:
            with anyio.fail_after(LIMIT / 10):
                result = function()
                if hasattr(result, "__await__"):
                    await result
            outcomes[name] = "nothing"
        except Exception as exc:
            outcomes[name] = type(exc).__name__

    await note("a delegate", client.pid)
    await note("call", lambda: client.call("pid"))
    await note("subscribe", lambda: client.subscribe(REG, print))
    await note("unsubscribe", lambda: client.unsubscribe(REG))
    await note("subscription", client.subscription(REG).__aenter__)
    await note("publish", lambda: client.publish({**REG, "value": 1}))
    await note("unpublish", lambda: client.unpublish(REG))
    await note("last", lambda: client.last(REG))
    await note("a stream", lambda: anext(client.numbers(1)))
    await note("the next value", lambda: anext(inherited.values))
    await note("the next item", lambda: anext(inherited.numbers))
    await note("async with", inherited.unopened.__aenter__)
    await note("run", inherited.unopened.run)
    await note("wait_closed", client.wait_closed)
    await note("state", lambda: client.state)
    await note("is_leader", lambda: client.is_leader)
    await note("epoch", lambda: client.epoch)
    await note("on_state_change", lambda: client.on_state_change(print))
    await note("close: client", client.aclose)
    await note("close: stream", inherited.numbers.aclose)
    for context in inherited.contexts:
        leave = partial(context.__aexit__, None, None, None)
        await note(f"close: {type(context).__name__}", leave)


def _sockets_at(place: int | str) -> int:
    """Count the sockets of this process that are bound or connected to a port or path."""
    count = 0
    for descriptor in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # closed meanwhile: the one that reads the directory
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as sock:
                    count += place in _places(sock)
    return count


def _places(sock: socket.socket) -> set[int | str]:
    places: set[int | str] = set()
    for address in (sock.getsockname, sock.getpeername):
        with contextlib.suppress(OSError):  # not connected
            found = address()
            places.add(found[1] if isinstance(found, tuple) else found)
    return places


# ------------------------------------------------------------------- making them


def fork(life: Callable[[], None]) -> int:
    """Fork a child that does nothing but live its life; returns its pid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that's the test
        pid = os.fork()
    if pid == 0:
        _live_and_die(life)
    return pid


def _live_and_die(life: Callable[[], None]) -> NoReturn:
    try:
        life()
    finally:
        os._exit(1)


def _fork(task: Task, inherited: Inheritance | None) -> None:
    fork(lambda: live(task, inherited))


def _fork_twice(task: Task, inherited: Inheritance | None) -> None:
    """Make a daemon: the first child ends at once."""

    def be_middle() -> None:
        os.setsid()
        fork(lambda: live(task, inherited))
        os._exit(0)

    os.waitpid(fork(be_middle), 0)


_inherited: Inheritance | None = None
_IN_THE_END: Final = (signal.alarm, (int(LIMIT),))
"""What a pool's processes begin with: those that idle would outlive a parent that is killed."""


def _live_in_pool(task: Task) -> None:
    live(task, _inherited)


def _multiprocessing(method: str) -> Callable[[Task, Inheritance | None], Any]:
    def start(task: Task, inherited: Inheritance | None) -> Any:
        given = inherited if method == "fork" else None
        process = multiprocessing.get_context(method).Process(  # type: ignore[attr-defined]
            target=live, args=(task, given)
        )
        process.start()
        return process

    return start


def _pool(method: str) -> Callable[[Task, Inheritance | None], Any]:
    def start(task: Task, inherited: Inheritance | None) -> Any:
        global _inherited  # noqa: PLW0603 - what the children of a pool have without being given it
        _inherited = inherited
        pool = multiprocessing.get_context(method).Pool(2, *_IN_THE_END)
        pool.apply_async(_live_in_pool, (task,))
        return pool

    return start


def _executor(method: str) -> Callable[[Task, Inheritance | None], Any]:
    def start(task: Task, inherited: Inheritance | None) -> Any:
        global _inherited  # noqa: PLW0603
        _inherited = inherited
        context = multiprocessing.get_context(method)
        initializer, arguments = _IN_THE_END
        executor = ProcessPoolExecutor(2, context, initializer, arguments)
        executor.submit(_live_in_pool, task)
        return executor

    return start


def _command(task: Task) -> list[str]:
    return [sys.executable, "-m", "support.offspring", json.dumps(vars(task))]


def _popen(task: Task, _: Inheritance | None) -> Any:
    return subprocess.Popen(_command(task), close_fds=False)


def _popen_with_descriptors(task: Task, _: Inheritance | None) -> Any:
    reading, writing = os.pipe()
    try:
        return subprocess.Popen(_command(task), pass_fds=[reading, writing])
    finally:
        os.close(reading)
        os.close(writing)


def _popen_with_preexec(task: Task, _: Inheritance | None) -> Any:
    return subprocess.Popen(_command(task), close_fds=False, preexec_fn=os.setsid)  # noqa: PLW1509


def _posix_spawn(task: Task, _: Inheritance | None) -> None:
    os.posix_spawn(sys.executable, _command(task), os.environ)


def _system(task: Task, _: Inheritance | None) -> None:
    executable, *rest = _command(task)
    os.system(f"{executable} {' '.join(rest[:-1])} '{rest[-1]}' &")


WAYS: Final[dict[str, Callable[[Task, Inheritance | None], Any]]] = {
    "fork": _fork,
    "double fork": _fork_twice,
    "Process, fork": _multiprocessing("fork"),
    "Process, forkserver": _multiprocessing("forkserver"),
    "Process, spawn": _multiprocessing("spawn"),
    "Pool, fork": _pool("fork"),
    "Pool, forkserver": _pool("forkserver"),
    "Pool, spawn": _pool("spawn"),
    "executor, fork": _executor("fork"),
    "executor, forkserver": _executor("forkserver"),
    "executor, spawn": _executor("spawn"),
    "Popen, close_fds=False": _popen,
    "Popen, pass_fds": _popen_with_descriptors,
    "Popen, preexec_fn": _popen_with_preexec,
    "posix_spawn": _posix_spawn,
    "system": _system,
}


class Nursery:
    """Makes children of this process."""

    def __init__(self) -> None:
        self._kept: list[Any] = []  # a pool that nobody refers to ends its processes

    async def bear(
        self, way: str, task: Task, client: Client[Any] | None, *, in_thread: bool
    ) -> dict[str, Any]:
        """Make a child, and return what it found."""
        inherited = None if client is None else await Inheritance.of(client)
        start = WAYS[way]
        if in_thread:
            self._kept.append(await anyio.to_thread.run_sync(start, task, inherited))
        else:
            self._kept.append(start(task, inherited))
        report = await read_report(task.report)
        if inherited is not None:
            assert await anext(inherited.numbers) == 1  # the parent's own goes on
            await inherited.give_back()
        return report


async def read_report(path: str) -> dict[str, Any]:
    """Wait for a child's report."""
    await until(Path(path).exists)
    report: dict[str, Any] = json.loads(Path(path).read_text())
    return report


class Breeder(Ledger):
    """A ledger whose methods fork, or do worse."""

    def hang(self) -> None:
        threading.Event().wait()

    async def block(self, seconds: float) -> None:
        """Keep the event loop from everybody else."""
        threading.Event().wait(seconds)

    async def interrupt(self) -> None:
        raise KeyboardInterrupt

    async def fork_in_loop(self, task: dict[str, Any]) -> int:
        return fork(lambda: live(Task(**task), None))

    def fork_in_thread(self, task: dict[str, Any]) -> int:
        return fork(lambda: live(Task(**task), None))


if __name__ == "__main__":
    live(Task(**json.loads(sys.argv[1])), None)
