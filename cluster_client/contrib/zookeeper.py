"""One ZooKeeper session for all processes of a host, over kazoo.

::

    from cluster_client import cluster
    from cluster_client.contrib.zookeeper import ZooKeeperClient

    async with cluster(ZooKeeperClient, port=7777).create("zk1:2181,zk2:2181") as client:
        node = await client.call(ZooKeeperClient.get, "/config")
        async with client.subscription({"path": "/config"}) as values:
            ...
        await client.publish({"path": "/services/a/host:80", "data": "1"}, sticky=True)

Needs the extra ``zookeeper``. kazoo's exceptions arrive in every process as themselves.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any, Final

import anyio
from kazoo import exceptions
from kazoo.exceptions import ConnectionClosedError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.hosts import collect_hosts

from cluster_client._delegate_options import delegate
from cluster_client._exceptions import register_exception
from cluster_client.contrib import _zookeeper_nodes as nodes
from cluster_client.contrib._zookeeper_nodes import Node, Stat, stat_of
from cluster_client.contrib._zookeeper_publications import Publications
from cluster_client.contrib._zookeeper_requests import Request, Steps, patiently
from cluster_client.contrib._zookeeper_session import Credentials, Session
from cluster_client.contrib._zookeeper_watches import Listener, Watches
from cluster_client.leadership import Leadership

__all__ = ["Node", "Stat", "ZooKeeperClient"]

_LONGEST_TIMEOUT: Final = 86400.0
_PASSWORD_BYTES: Final = 16

_log: Final = logging.getLogger(__name__)


class ZooKeeperClient:
    """A real client over one ZooKeeper session.

    While there is no connection, calls wait for the next one. When one breaks, calls that
    only read are repeated; others that were on their way raise kazoo's `ConnectionLoss`, as
    they may have been carried out. When the session expires, all raise its
    `SessionExpiredError`, and the leader is told, which makes a new instance.

    Paths, data and versions are checked here, as one that ZooKeeper refuses could cost
    all callers their connection.

    Args:
        hosts: Servers, with ports; and, if wanted, a node below which everything is, and
            which exists: ``"zk1:2181,zk2:2181/app"``.
        session_timeout: Seconds without a sign of life after which ZooKeeper ends the
            session; servers limit it to 2 to 20 of their ticks.
        connect_timeout: Seconds that the start waits for a connection.
        resume: Whether the session is handed to the next leader, so that ephemeral nodes
            outlive one that closes or is killed.

    Raises:
        ValueError: If an argument is none of these.
    """

    def __init__(
        self,
        hosts: str,
        *,
        session_timeout: float = 10.0,
        connect_timeout: float = 10.0,
        resume: bool = True,
    ) -> None:
        _check_hosts(hosts)
        self._hosts = hosts
        self._session_timeout = _check_duration("session_timeout", session_timeout)
        self._connect_timeout = _check_duration("connect_timeout", connect_timeout)
        if not isinstance(resume, bool):
            raise ValueError(f"resume={resume!r} must be True or False")  # noqa: TRY004
        self._resume = resume
        self._leadership: Leadership | None = None
        self._predecessor: Credentials | None = None
        self._has_heir = False
        self._open: tuple[Session, Watches, Publications] | None = None

    def __repr__(self) -> str:
        return f"<ZooKeeperClient {self._hosts}>"

    # ------------------------------------------------------------- lifecycle

    def attach_leadership(self, leadership: Leadership) -> None:
        """Say whom to tell of the session's begin and end."""
        self._leadership = leadership

    def restore(self, state: object) -> None:
        """Have `start` take over the session of a predecessor; if it still exists.

        Args:
            state: What the predecessor's `snapshot` gave. What it cannot have given is
                passed over, as another version may have.
        """
        if not self._resume:
            return
        match state:
            case [int(session_id), bytes(password)] if len(password) == _PASSWORD_BYTES:
                self._predecessor = Credentials(session_id, password)
            case _:
                _log.warning("the state to restore is no ZooKeeper session; there is a new one")

    def snapshot(self) -> list[int | bytes] | None:
        """Return id and password of the session, a secret; ``None`` if there is none to resume."""
        if self._open is None or not self._resume:
            return None
        credentials = self._open[0].credentials
        return None if credentials is None else list(credentials.reveal())

    def hand_over(self) -> None:
        """Have `aclose` leave the session standing, for the next leader."""
        self._has_heir = self.snapshot() is not None

    async def start(self) -> None:
        """Begin or take over a session.

        Raises:
            KazooTimeoutError: If no server answers within ``connect_timeout``.

        Cancellation:
            Safe; nothing stays open.
        """
        session = Session(
            self._hosts,
            timeout=self._session_timeout,
            credentials=self._predecessor,
            reconnected=self._reconnected,
            lost=self._lost,
        )
        try:
            await session.connect(self._connect_timeout)
            publications = Publications(session.requests, session.session_id)
        except BaseException:
            with anyio.CancelScope(shield=True):  # limited by itself
                await session.aclose()
            raise
        self._open = session, Watches(session.requests), publications
        if self._leadership is not None:
            self._leadership.state_changed()

    async def aclose(self) -> None:
        """End the session, and all that lives in it; takes at most 8 s.

        After `hand_over` the session stays, and ends by its timeout if nobody takes it over.

        Cancellation:
            Shielded.
        """
        if self._open is not None:
            session, _, _ = self._open
            self._open = None
            await session.aclose(leave=self._has_heir)

    # ----------------------------------------------------------------- calls

    @delegate(idempotent=True)
    async def get(self, path: str) -> Node:
        """Return a node's data, and what ZooKeeper knows of it.

        Raises:
            NoNodeError: If there is none.
        """
        data, stat = await self._read("get", path)
        return Node(data=data or b"", **stat_of(stat))

    @delegate(idempotent=True)
    async def exists(self, path: str) -> Stat | None:
        """Return what ZooKeeper knows of a node; ``None`` if there is none."""
        stat = await self._read("exists", path)
        return None if stat is None else stat_of(stat)

    @delegate(idempotent=True)
    async def children(self, path: str) -> list[str]:
        """Return the names right below a node, sorted.

        Raises:
            NoNodeError: If there is none.
        """
        return sorted(await self._read("get_children", path))

    async def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        make_parents: bool = False,
    ) -> str:
        """Create a node and return its path.

        Args:
            path: Where.
            data: At most 1 MiB.
            ephemeral: It goes with the session: not with the process that has asked for it.
            sequence: A number of ten digits is added to the name, which may be empty.
            make_parents: Create what is missing above it, for good.

        Raises:
            NodeExistsError: If it is there.
            NoNodeError: If there is nothing above it.
            NoChildrenForEphemeralsError: If what is above it is ephemeral.
        """
        nodes.check_path(path, sequence=sequence)
        nodes.check_data(data)
        flags = {"ephemeral": ephemeral, "sequence": sequence, "make_parents": make_parents}
        created: str = await self._write(nodes.create(path, data, **flags))
        return created

    async def set(self, path: str, data: bytes, *, version: int = -1) -> Stat:
        """Set a node's data.

        Args:
            path: Where.
            data: At most 1 MiB.
            version: That the node has to have; -1 is any.

        Raises:
            NoNodeError: If there is none.
            BadVersionError: If it has another version.
        """
        request = Request(
            "set", nodes.check_path(path), nodes.check_data(data), nodes.check_version(version)
        )
        return stat_of(await self._write(_single(request)))

    async def delete(self, path: str, *, version: int = -1, recursive: bool = False) -> None:
        """Delete a node.

        Args:
            path: Where.
            version: That the node has to have; -1 is any.
            recursive: With all that is below it.

        Raises:
            NoNodeError: If there is none.
            BadVersionError: If it has another version.
            NotEmptyError: If there is something below it.
        """
        if nodes.check_path(path) == "/":
            raise ValueError("path='/' cannot be deleted")
        nodes.check_version(version)
        await self._write(nodes.delete(path, version, recursive=recursive))

    @delegate(idempotent=True)
    async def session_id(self) -> int:
        """Return the session's id.

        Raises:
            SessionExpiredError: If it has ended.
        """
        return self._parts()[0].session_id

    # --------------------------------------- subscriptions and publications

    def subscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        """Watch a node, through broken connections, until it is unsubscribed.

        Changes in quick succession may come as one.

        Args:
            reg: ``{"path": "/x"}`` for ``{"data": …, "version": …}``, or with
                ``"watch": "children"`` for the sorted list of names below it. Where there
                is no such node the value is ``None``.
            listener: Called with the value at first, and with each one that differs from
                the one before.

        Raises:
            ValueError: If *reg* is none of these.
        """
        self._parts()[1].subscribe(reg, listener)

    def unsubscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        """Tell a listener nothing more.

        Raises:
            ValueError: If *reg* could not be subscribed to.
        """
        if self._open is not None:
            self._open[1].unsubscribe(reg, listener)

    async def publish(self, reg: dict[str, Any]) -> None:
        """Have an ephemeral node stand until it is unpublished.

        It is made, with all above it, and made again whenever somebody deletes it. The same
        node of another session counts as a predecessor's: it is made when that one goes.

        Args:
            reg: ``{"path": "/services/a/host:80", "data": "text"}``; without data the node
                is empty. With other data it replaces what was published at the path before.

        Raises:
            ValueError: If *reg* is none such.
            NodeExistsError: If there is a node for good, or another session's with other data.

        Cancellation:
            What was published at the path before is published again; if nothing was, the
            node is deleted.
        """
        await self._parts()[2].publish(reg)

    async def unpublish(self, reg: dict[str, Any]) -> None:
        """Delete the node that was published at the path, if it is this session's.

        Args:
            reg: Its data does not matter.

        Raises:
            ValueError: If *reg* could not be published.

        Cancellation:
            It is not made again; it may be there until the session ends.
        """
        await self._parts()[2].unpublish(reg)

    # --------------------------------------------------------------- inside

    def _parts(self) -> tuple[Session, Watches, Publications]:
        if self._open is None:
            raise ConnectionClosedError(f"{self!r} is not started, or closed")
        return self._open

    async def _read(self, operation: str, path: str) -> Any:
        nodes.check_path(path)
        ask = partial(Request, operation, path)
        return await self._write(patiently(lambda: _single(ask())))

    async def _write(self, steps: Steps[Any]) -> Any:
        return await self._parts()[0].requests.take(steps)

    def _reconnected(self) -> None:
        if self._open is not None:
            _, watches, publications = self._open
            watches.connected()
            publications.connected()

    def _lost(self, reason: str) -> None:
        if self._leadership is not None:
            self._leadership.lost(reason)


def _single(request: Request) -> Steps[Any]:
    return (yield request)


def _check_hosts(hosts: object) -> None:
    if not isinstance(hosts, str):
        raise ValueError(f"hosts={hosts!r} must be a str such as 'zk1:2181,zk2:2181'")  # noqa: TRY004
    try:
        collect_hosts(hosts)
    except ValueError as exc:
        raise ValueError(f"hosts={hosts!r} must be like 'zk1:2181,zk2:2181': {exc}") from None


def _check_duration(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and 0 < value <= _LONGEST_TIMEOUT):
        raise ValueError(f"{name}={value!r} must be seconds above 0, at most {_LONGEST_TIMEOUT:g}")
    return float(value)


def _register_exceptions() -> None:
    for value in vars(exceptions).values():
        if isinstance(value, type) and issubclass(value, exceptions.KazooException):
            register_exception(value)
    register_exception(KazooTimeoutError)


_register_exceptions()
