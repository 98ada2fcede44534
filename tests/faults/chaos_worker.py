"""The program of a process in the chaos run.

``python -m faults.chaos_worker BACKEND DIRECTORY PORT NUMBER SEED PLANT``; it converses with the
run as ``support.worker`` does with a test.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import random
import signal
import socket
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import anyio
import anyio.abc

from cluster_client import Client, ClusterClientError, cluster
from cluster_client._follower import Follower
from faults.callers import Callers
from faults.diary import Diary
from faults.plants import PLANTS
from faults.service import CHANNEL, Service
from support.times import LIMIT, scaled
from support.worker import Conversation, end_at_sigterm, log_as_json

RESPONSE_TIMEOUT: Final = scaled(3)
DRAIN_TIMEOUT: Final = scaled(6)
MAX_WAIT_TIME: Final = scaled(30)


class ChaosCommands:
    """A client with callers, opened again whenever it is closed; and what the run may do to it.

    Args:
        directory: Of the run.
        port: Of the election.
        number: Of this process.
        seed: Decides what the callers do.
    """

    def __init__(self, directory: str, port: int, number: int, seed: str) -> None:
        self._directory = directory
        self._port = port
        self._number = number
        self._chance = random.Random(seed)
        self._diary = Diary(Path(directory), number)
        self._numbers = itertools.count(1)
        self._client: Client[Any] | None = None
        self._callers: Callers | None = None
        self._ending = False
        self._ended = anyio.Event()
        self._pause = 0.0

    async def live(self) -> None:
        """Have a client, and another one when that is closed, until told to end."""
        try:
            while not self._ending:
                try:
                    await self._have_client()
                except (ConnectionRefusedError, ClusterClientError) as exc:
                    self._diary.note("not opened", detail=repr(exc))
                await anyio.sleep(self._pause)
                self._pause = scaled(0.05)
        finally:
            self._ended.set()

    async def _have_client(self) -> None:
        client = (
            cluster(
                Service,
                name=CHANNEL,
                port=self._port,
                response_timeout=RESPONSE_TIMEOUT,
                drain_timeout=DRAIN_TIMEOUT,
                max_wait_time=MAX_WAIT_TIME,
            )
            .delegate("oneway", "invoke_oneway")
            .delegate("thread")
            .create(self._directory)
        )
        async with client:
            self._diary.note("opened")
            self._client = client
            arguments = (client, self._diary, self._chance, self._numbers, self._number)
            self._callers = callers = Callers(*arguments)
            if self._ending:
                callers.stop()
            try:
                await callers.run()
                await client.wait_closed()
            finally:
                self._client = self._callers = None
                self._diary.note("closing")
        self._diary.note("closed")

    # ------------------------------------------------------------- commands

    def is_open(self) -> bool:
        return self._client is not None

    async def close(self, pause: float) -> None:
        """Close the client amid its calls; it is opened again after *pause* seconds."""
        if self._client is not None:
            self._pause = pause
            self._diary.note("closing")
            await self._client.aclose()

    def lose(self) -> bool:
        """Have the real client, if it is here, say that it is of no use any more."""
        service = Service.current
        if service is not None:
            service.leadership.lost("chaos")
        return service is not None

    def step_down(self) -> bool:
        """Have the real client, if it is here, ask for another leader."""
        service = Service.current
        if service is not None:
            service.leadership.step_down("chaos")
        return service is not None

    def cut(self, number: int, how: int) -> str | None:
        """Break a connection between leader and follower at this end; returns which."""
        with contextlib.ExitStack() as stack:
            links = [
                stack.enter_context(socket.socket(fileno=copy)) for copy in links_of(self._port)
            ]
            with contextlib.suppress(OSError):  # it has ended just now
                if links:
                    sock = links[number % len(links)]
                    sock.shutdown(how)
                    return f"{sock.getsockname()[1]}-{sock.getpeername()[1]}"
        return None

    def fork(self) -> int:
        """Fork a child that lives on, and never returns to the event loop."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that's the test
            pid = os.fork()
        if pid == 0:
            _live_as_child()
        return pid

    async def stop(self) -> None:
        """Make no more calls, and open no more clients."""
        self._ending = True
        if self._callers is not None:
            self._callers.stop()

    def latest(self) -> dict[str, int] | None:
        """Return what the subscribers got last; ``None`` without a client."""
        return None if self._callers is None else self._callers.latest

    async def publish(self) -> str:
        """Make one publication; returns what came of it."""
        return "closed" if self._callers is None else await self._callers.call("publish")

    def measure(self) -> dict[str, int]:
        """Return how much this process has of what must not grow."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {
            "memory": pages * os.sysconf("SC_PAGE_SIZE"),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "tasks": len(anyio.get_running_tasks()),
            "threads": threading.active_count(),
            "objects": len(gc.get_objects()),
        }

    def is_leader(self) -> bool:
        return Service.current is not None

    async def end(self) -> None:
        """Close the client in order; returns when nothing is left of it."""
        self._ending = True
        if self._client is not None:
            await self._client.aclose()
        await self._ended.wait()

    def pending(self) -> int:
        """Return how many requests of this process wait for an answer, or are being executed."""
        role = None if self._client is None else self._client._membership._role
        if isinstance(role, Follower):
            return len(role._link._pending)
        return 0 if role is None else role._calls.running


def _live_as_child() -> NoReturn:
    try:
        signal.alarm(int(LIMIT * 10))  # should the run be gone
        signal.pause()
    finally:
        os._exit(1)


def links_of(port: int) -> Iterator[int]:
    """Yield a new descriptor of each connection over *port* that this process has."""
    for name in sorted(os.listdir("/dev/fd"), key=int):
        with contextlib.suppress(OSError):  # closed meanwhile: the one that reads the directory
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            copy = os.dup(int(name))
            with socket.socket(fileno=copy) as sock:
                if _is_link(sock, port):
                    sock.detach()
                    yield copy


def _is_link(sock: socket.socket, port: int) -> bool:
    if sock.family != socket.AF_INET:
        return False
    with contextlib.suppress(OSError):  # not connected
        return port in {sock.getsockname()[1], sock.getpeername()[1]}
    return False


async def main(*arguments: str) -> None:
    backend, directory, port, number, seed = arguments
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as control:
        control.setblocking(False)
        async with (
            await anyio.abc.UNIXSocketStream.from_socket(control) as stream,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(end_at_sigterm, tasks.cancel_scope)
            commands = ChaosCommands(directory, int(port), int(number), f"{seed} {backend}")
            tasks.start_soon(commands.live)
            await Conversation(stream, commands, tasks).run()
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    log_as_json()
    *words, plant = sys.argv[1:]
    if plant in PLANTS:
        PLANTS[plant]()
    anyio.run(main, *words, backend=words[0])
