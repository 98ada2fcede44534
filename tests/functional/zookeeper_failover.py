"""One ZooKeeper session for four processes, whose leader is killed again and again.

``python -m functional.zookeeper_failover --kills 10`` does it as often as one likes, with and
without the session being handed over, and prints what was seen. The directories ``tests``,
``examples`` and ``protocol`` have to be on ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
from kazoo.client import KazooClient

from support.ports import free_port
from support.processes import Host, Worker, each
from support.times import LIMIT, scaled
from support.zookeeper import ZooKeeperServer, running_zookeeper

CHANNEL: Final = "zookeeper"
PROCESSES: Final = 4
SERVICE: Final = {"path": "/services/example/host", "data": "up"}
CHILDREN: Final = {"path": "/configuration", "watch": "children"}
SESSION_TIMEOUT: Final = scaled(2.0)


class Observer:
    """Looks at a node from outside, over a session of its own.

    Attributes:
        session_id: Its own session.
        absences: Seconds for which the node was gone, each time.
    """

    def __init__(self, hosts: str, path: str) -> None:
        self._kazoo: Any = KazooClient(hosts)
        self._path = path
        self._gone_since: float | None = None
        self._changed = threading.Condition()
        self._owner = 0
        self.absences: list[float] = []

    @contextmanager
    def looking(self) -> Iterator[Observer]:
        self._kazoo.start()
        try:
            self.session_id: int = self._kazoo.client_id[0]
            self._look()
            yield self
        finally:
            self._kazoo.stop()
            self._kazoo.close()

    def _look(self, _: object = None) -> None:
        """Note whether the node is there, and look again when that changes."""
        stat = self._kazoo.exists(self._path, watch=self._look)
        with self._changed:
            self._owner = stat.ephemeralOwner if stat is not None else 0
            if stat is None and self._gone_since is None:
                self._gone_since = time.monotonic()
            elif stat is not None and self._gone_since is not None:
                self.absences.append(time.monotonic() - self._gone_since)
                self._gone_since = None
            self._changed.notify_all()

    async def until_owned_by(self, session_id: int) -> None:
        """Wait until the node belongs to a session."""
        with anyio.fail_after(LIMIT):
            await anyio.to_thread.run_sync(self._wait_for_owner, session_id)

    async def seen_by(self, workers: list[Worker], name: str) -> list[list[str]]:
        """Create a node below what the processes watch, and wait until all of them have seen it."""
        path = f"{CHILDREN['path']}/{self.session_id:x}"
        await anyio.to_thread.run_sync(partial(self._kazoo.create, f"{path}.{name}", makepath=True))
        children = sorted(
            await anyio.to_thread.run_sync(self._kazoo.get_children, CHILDREN["path"])
        )
        return await each(
            workers, lambda worker: worker.ask("values_until", channel=CHANNEL, value=children)
        )

    def _wait_for_owner(self, session_id: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._owner == session_id, LIMIT)


@dataclass
class ZooKeeperFailover:
    """What was seen while leaders were killed.

    Attributes:
        sessions: The session's id before the first kill and after each.
        known: How many sessions of ours ZooKeeper knew after each kill, when the dead had expired.
        absences: Seconds for which the service's node was gone, each time.
        values: What the subscriber in each process got after each kill.
    """

    sessions: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    absences: list[float] = field(default_factory=list)
    values: list[list[str]] = field(default_factory=list)


async def end_leaders(
    host: Host, server: ZooKeeperServer, *, times: int, resume: bool, orderly: bool = False
) -> ZooKeeperFailover:
    """End the leader again and again, with four processes that register one service.

    Each is replaced before the next one ends.

    Args:
        host: Where the processes are.
        server: ZooKeeper.
        times: How many leaders end.
        resume: Whether the session is handed over.
        orderly: Whether they are terminated, and not killed.
    """
    seen = ZooKeeperFailover()

    async def start_worker(_: int) -> None:
        worker = await host.spawn()
        await worker.open(
            CHANNEL,
            server.hosts,
            real="zookeeper",
            keywords={"session_timeout": SESSION_TIMEOUT, "resume": resume},
            port=host.port,
            sticky_publish=True,
        )
        await worker.ask("publish", channel=CHANNEL, reg=SERVICE)
        await worker.ask("subscribe", channel=CHANNEL, reg=CHILDREN)

    with Observer(server.hosts, SERVICE["path"]).looking() as observer:
        await each(range(PROCESSES), start_worker)
        session_id = await host.workers[0].call("session_id", channel=CHANNEL)
        await observer.until_owned_by(session_id)
        seen.sessions.append(session_id)
        observer.absences.clear()  # it was not there before the first process
        for number in range(1, times + 1):
            leader = await _leader(host)
            await (leader.terminate() if orderly else leader.kill())
            session_id = await host.workers[0].call("session_id", channel=CHANNEL)
            seen.sessions.append(session_id)
            await observer.until_owned_by(session_id)
            seen.values += await observer.seen_by(host.workers, f"{number:04}")
            await _until_expired(server, {observer.session_id, session_id})
            seen.known.append(len(server.sessions() - {observer.session_id}))
            await start_worker(0)
        seen.absences = observer.absences
    return seen


async def _leader(host: Host) -> Worker:
    for worker in host.workers:
        if await worker.is_leader(CHANNEL):
            return worker
    raise AssertionError("nobody leads")


async def _until_expired(server: ZooKeeperServer, expected: set[int]) -> None:
    """Wait until ZooKeeper knows no other session; of an expiry it tells nobody."""
    with anyio.fail_after(LIMIT):
        while server.sessions() != expected:  # noqa: ASYNC110
            await anyio.sleep(0.05)


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as directory, running_zookeeper(Path(directory)) as server:
        for resume in (True, False):
            with tempfile.TemporaryDirectory() as workers:
                async with Host(Path(workers), free_port(), backend=options.backend) as host:
                    seen = await end_leaders(host, server, times=options.kills, resume=resume)
            sys.stdout.write(_report(seen, resume=resume))


def _report(seen: ZooKeeperFailover, *, resume: bool) -> str:
    lines = [
        f"{'with' if resume else 'without'} snapshot and restore",
        f"  leaders killed                       {len(seen.known)}",
        f"  different session ids                {len(set(seen.sessions))}",
        f"  sessions known after each kill       {sorted(set(seen.known))}",
        f"  times that the node was gone         {len(seen.absences)}",
    ]
    if seen.absences:
        figures = min(seen.absences), statistics.median(seen.absences), max(seen.absences)
        text = " / ".join(f"{1000 * figure:.0f}" for figure in figures)
        lines.append(f"  its return, ms (min/median/max)      {text}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    anyio.run(main, parser.parse_args())
