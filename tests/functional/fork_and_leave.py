"""A program with an open client whose child leaves the fork in one way or another.

``python -m functional.fork_and_leave LOOP WAY DIRECTORY PORT``. In the parent everything that
an event loop is woken by has to work on afterwards; what it prints tells so.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - started without anyio
import atexit
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, Final, NoReturn

import anyio
import anyio.to_thread

from cluster_client import Client, cluster
from support.ledger import Ledger
from support.times import LIMIT

STATUS: Final = 7
"""With which a child ends that can say so."""


def say(line: str) -> None:
    # At once, and on a line of its own: two processes write there.
    os.write(sys.stdout.fileno(), f"\n{line}\n".encode())


def leave_by_sys_exit() -> None:
    atexit.register(say, "atexit of the child")
    sys.exit(STATUS)


def leave_by_exception() -> None:
    raise LookupError("of the child")


def leave_by_return() -> None:
    """Go on behind the block of the client, and out of the event loop."""


def leave_by_exit() -> NoReturn:
    os._exit(STATUS)


def leave_by_death() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


WAYS: Final[dict[str, Callable[[], None]]] = {
    "sys.exit": leave_by_sys_exit,
    "exception": leave_by_exception,
    "return": leave_by_return,
    "os._exit": leave_by_exit,
    "killed": leave_by_death,
}


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that's the test
        return os.fork()


def end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def main(way: str, directory: str, port: int) -> None:
    signal.alarm(int(LIMIT))
    async with (
        cluster(Ledger, port=port, response_timeout=LIMIT).create(directory) as leader,
        cluster(Ledger, port=port, response_timeout=LIMIT).create(directory) as follower,
    ):
        assert leader.is_leader
        assert not follower.is_leader
        for _ in range(10):  # all tasks have begun
            assert await follower.pid() == os.getpid()
        pid = fork()
        if pid == 0:
            WAYS[way]()
            return
        say(f"parent {os.getpid()}")
        await go_on(leader, follower, pid)


async def go_on(leader: Client[Any], follower: Client[Any], child: int) -> None:
    """Do in the parent what needs its event loop."""
    for _ in range(50):
        assert await follower.pid() == await leader.pid() == os.getpid()
    with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
        # Woken by a thread; nothing else happens meanwhile.
        say(f"child ended with {await anyio.to_thread.run_sync(end_of, child)}")
        os.kill(os.getpid(), signal.SIGUSR1)
        async for _ in signals:
            break
    for _ in range(50):
        assert await follower.pid() == os.getpid()
    say("parent went on")


if __name__ == "__main__":
    loop, way, directory, port = sys.argv[1:]
    match loop:
        case "asyncio.run":
            asyncio.run(main(way, directory, int(port)))
        case "uvloop":
            anyio.run(main, way, directory, int(port), backend_options={"use_uvloop": True})
        case _:
            anyio.run(main, way, directory, int(port), backend=loop)
