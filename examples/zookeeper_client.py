"""Four processes share one ZooKeeper session, and it outlives the process that holds it.

    python examples/zookeeper_client.py

A real ZooKeeper is started for it; with ``--hosts zk1:2181,zk2:2181`` yours is used instead. Each
of the four processes registers the service and watches its configuration. The one that holds the
session is killed (SIGKILL): another one takes over the session itself, by its id and password, so
that the service's ephemeral node is never gone.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import anyio
import structlog
from anyio.streams.buffered import BufferedByteReceiveStream
from kazoo.client import KazooClient

import zookeeper_server
from cluster_client import cluster
from cluster_client.contrib.zookeeper import ZooKeeperClient

PROCESSES: Final = 4
SERVICE: Final = "/example/services/host"
CONFIGURATION: Final = "/example/configuration"
_STEP_LIMIT: Final = 30.0


# ------------------------------------------------------------------- each of the four processes


async def work(hosts: str, port: int) -> None:
    """Use the shared session until cancelled: this is all that a service has to do."""
    async with cluster(ZooKeeperClient, port=port).create(hosts) as zookeeper:
        # Every process says it, so that whoever is left says it again to a session that is new.
        await zookeeper.publish({"path": SERVICE, "data": "up"}, sticky=True)
        async with zookeeper.subscription({"path": CONFIGURATION}) as values:
            async for value in values:
                if value is not None:
                    session = await zookeeper.session_id()
                    tell(read=value["data"].decode(), session=session, leads=zookeeper.is_leader)


def tell(**what: Any) -> None:
    """Let the process that looks on know."""
    print(json.dumps(what), flush=True)


async def run_worker(hosts: str, port: int) -> None:
    """Work until SIGTERM: cancelling is all that it takes to close in order."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, hosts, port)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()


# ------------------------------------------------------------------------------- what is shown


class Process:
    """One of the four, and what it tells."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.pid = process.pid
        self._process = process
        self._lines = BufferedByteReceiveStream(cast("anyio.abc.ByteReceiveStream", process.stdout))

    async def read(self, text: str) -> dict[str, Any]:
        """Wait until it has read this configuration."""
        with anyio.fail_after(_STEP_LIMIT):
            while True:
                what: dict[str, Any] = json.loads(await self._lines.receive_until(b"\n", 10_000))
                if what["read"] == text:
                    return what

    async def end(self, number: signal.Signals) -> None:
        """Send a signal, and wait for the end."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        await self._process.aclose()


@asynccontextmanager
async def four_processes(hosts: str, port: int, backend: str) -> AsyncGenerator[list[Process]]:
    """Run four of them for the time of a block."""
    command = [sys.executable, __file__, "--worker", hosts, "--port", str(port)]
    async with AsyncExitStack() as stack:
        processes = []
        for _ in range(PROCESSES):
            process = await anyio.open_process([*command, "--backend", backend], stderr=None)
            processes.append(Process(process))
            stack.push_async_callback(processes[-1].end, signal.SIGTERM)
        yield processes


async def show(hosts: str, server_port: int | None, port: int, backend: str) -> None:
    """Start the processes, kill the one that holds the session, and look on from outside."""
    observer: Any = KazooClient(hosts)  # it has no types
    observer.start()
    try:
        observer.ensure_path(CONFIGURATION)
        async with four_processes(hosts, port, backend) as processes:
            observer.set(CONFIGURATION, b"first")
            first = [await process.read("first") for process in processes]
            leader = next(p for p, told in zip(processes, first, strict=True) if told["leads"])
            roles = (f"{p.pid} {'leads' if p is leader else 'follows'}" for p in processes)
            print(f"four processes: {', '.join(roles)}")
            if server_port is not None:
                ids = zookeeper_server.sessions(server_port) - {observer.client_id[0]}
                print(f"ZooKeeper knows {len(ids)} session of theirs: {', '.join(map(hex, ids))}")
            print("all have read the configuration")

            gone: list[Any] = []
            observer.exists(SERVICE, watch=gone.append)
            await leader.end(signal.SIGKILL)
            print(f"process {leader.pid}, which held the session, has been killed")
            observer.set(CONFIGURATION, b"second")
            second = [
                await process.read("second") for process in processes if process is not leader
            ]
            print("the others have read the next configuration")
            same = {told["session"] for told in second} == {first[0]["session"]}
            print(f"their session is {'the same' if same else 'another one'}")
            owner = observer.exists(SERVICE).ephemeralOwner
            print(f"the service was {'for a moment' if gone else 'never'} gone")
            print(f"its node belongs to session {owner:#x}")
    finally:
        observer.stop()
        observer.close()


def main() -> None:
    """Run the example, or one of its processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", help="a ZooKeeper of your own")
    parser.add_argument("--port", type=int, default=7777, help="election port (%(default)s)")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--worker", metavar="HOSTS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if arguments.worker:
        anyio.run(run_worker, arguments.worker, arguments.port, backend=arguments.backend)
        return
    port, backend = arguments.port, arguments.backend
    if arguments.hosts:
        anyio.run(show, arguments.hosts, None, port, backend)
        return
    if what := zookeeper_server.missing():
        sys.exit(what)
    with (
        tempfile.TemporaryDirectory() as directory,
        zookeeper_server.running_server(Path(directory)) as server,
    ):
        anyio.run(show, f"127.0.0.1:{server}", server, port, backend)


if __name__ == "__main__":
    main()
