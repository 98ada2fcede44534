"""ZooKeeper clients for tests, and what can happen to their connections and sessions."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from kazoo.client import KazooClient
from kazoo.protocol.serialization import Close, Connect, int_struct
from kazoo.protocol.states import KazooState

from cluster_client import _backend
from cluster_client.contrib.zookeeper import ZooKeeperClient
from cluster_client.leadership import Leadership
from support.times import scaled
from support.zookeeper import ZooKeeperServer


class LeadershipRecorder:
    """Keeps what a real client tells its leadership."""

    def __init__(self) -> None:
        self.losses: list[str] = []
        self.resignations: list[str] = []
        self.changes = 0
        self._lost = anyio.Event()
        self.leadership = Leadership(
            lost=self._on_lost,
            step_down=self.resignations.append,
            state_changed=self._on_changed,
        )

    async def until_lost(self) -> str:
        """Wait for a loss, which must be the only one; returns the reason."""
        await self._lost.wait()
        (reason,) = self.losses
        return reason

    def _on_lost(self, reason: str) -> None:
        self.losses.append(reason)
        self._lost.set()

    def _on_changed(self) -> None:
        self.changes += 1


@asynccontextmanager
async def opened(
    server: ZooKeeperServer,
    *,
    leadership: LeadershipRecorder | None = None,
    state: Any = None,
    below: str = "",
    **options: Any,
) -> AsyncIterator[ZooKeeperClient]:
    """Have a client that is treated as a leader would.

    Args:
        server: To connect to.
        leadership: What it is attached to.
        state: For its `restore`.
        below: The node that is its root.
        options: Of its constructor, instead of some that suit tests.
    """
    times = {"session_timeout": scaled(10), "connect_timeout": scaled(10)}
    client = ZooKeeperClient(server.hosts + below, **{**times, **options})
    if leadership is not None:
        client.attach_leadership(leadership.leadership)
    if state is not None:
        client.restore(state)
    await client.start()
    try:
        yield client
    finally:
        await client.aclose()


async def expire(server: ZooKeeperServer, client: ZooKeeperClient) -> None:
    """Have the server end a client's session."""
    state: list[Any] | None = client.snapshot()
    assert state is not None
    closed = threading.Event()

    def hold(state: str) -> None:
        """Keep kazoo's thread from coming back at once, and so from saving its session."""
        if state == KazooState.SUSPENDED:
            closed.wait(scaled(10))

    raw = kazoo_of(client)
    raw.add_listener(hold)
    try:
        await anyio.to_thread.run_sync(_close_session, server.port, *state)
    finally:
        closed.set()
        raw.remove_listener(hold)


def _close_session(port: int, session_id: int, password: bytes) -> None:
    """Take the session over and close it."""
    connect = Connect(0, 0, 10_000, session_id, password, None).serialize()
    close = int_struct.pack(1) + int_struct.pack(Close.type)
    with socket.create_connection(("127.0.0.1", port), timeout=scaled(10)) as sock:
        sock.sendall(b"".join(int_struct.pack(len(part)) + part for part in (connect, close)))
        while sock.recv(4096):
            pass


@contextlib.contextmanager
def kazoo(hosts: str, **options: Any) -> Any:
    """Have kazoo's own client, which blocks; to be used in a thread."""
    client = KazooClient(hosts, timeout=scaled(10), **options)
    client.start(scaled(10))
    try:
        yield client
    finally:
        client.stop()
        client.close()


async def break_connection(client: ZooKeeperClient) -> None:
    """Cut the connection, and wait until the client knows; it makes another one."""
    async with suspended(client):
        kazoo_of(client)._connection._socket.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def suspended(client: ZooKeeperClient) -> AsyncIterator[None]:
    """Wait at the end of the block until the client knows that its connection is broken."""
    wake = _backend.event_loop_waker()
    known = anyio.Event()

    def listen(state: str) -> None:
        if state == KazooState.SUSPENDED:
            wake(known.set)

    raw = kazoo_of(client)
    raw.add_listener(listen)
    try:
        yield
        await known.wait()
    finally:
        raw.remove_listener(listen)


async def die(client: ZooKeeperClient) -> None:
    """Leave client and session as a process does that is killed: nothing is closed in order."""
    raw = kazoo_of(client)
    raw._stopped.set()
    await break_connection(client)
    await anyio.to_thread.run_sync(raw._safe_close)
    raw.close()


def kazoo_of(client: ZooKeeperClient) -> Any:
    """Return what the client is made of."""
    assert client._open is not None
    return client._open[0]._kazoo
