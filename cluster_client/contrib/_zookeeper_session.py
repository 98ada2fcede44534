"""A session of ZooKeeper: made or taken over by kazoo, watched, and closed."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any, Final

import anyio
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.connection import _CONNECTION_DROP
from kazoo.protocol.serialization import Connect
from kazoo.protocol.states import KazooState, KeeperState

from cluster_client import _backend
from cluster_client.contrib._zookeeper_requests import Requests, log

__all__ = ["Credentials", "Session"]

CLOSE_LIMIT: Final = 8.0
"""Seconds for an orderly close; less than the leader gives to a real client."""

_RECONNECT: Final = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 1.0}
"""kazoo's own pause grows to an hour."""

_FEWEST_HOSTS: Final = 3
"""kazoo waits for the answer to a connection as long as the session lasts, divided by the hosts.

With a single one, a server that accepts and does not answer, as one that is just starting may,
would cost the session.
"""

_REASONS: Final = {
    KeeperState.EXPIRED_SESSION: "the ZooKeeper session expired",
    KeeperState.AUTH_FAILED: "ZooKeeper refused the authentication",
}


class Credentials:
    """Id and password of a session; shown nowhere.

    Args:
        session_id: Its id.
        password: Whoever has both has the session.
    """

    __slots__ = ("_password", "session_id")

    def __init__(self, session_id: int, password: bytes) -> None:
        self.session_id = session_id
        self._password = password

    def reveal(self) -> tuple[int, bytes]:
        return self.session_id, self._password

    def __repr__(self) -> str:
        return f"Credentials({self.session_id:#x}, …)"


class Session:
    """A session, over however many connections.

    Args:
        hosts: As kazoo takes them.
        timeout: Of the session, in seconds.
        credentials: Of a session to take over; if it has expired there is a new one.
        reconnected: Called in the event loop whenever a further connection stands.
        lost: Called there once when the session has ended by itself, with the reason.

    Attributes:
        requests: What is asked of it.
        credentials: Its own.
    """

    def __init__(
        self,
        hosts: str,
        *,
        timeout: float,
        credentials: Credentials | None,
        reconnected: Callable[[], object],
        lost: Callable[[str], object],
    ) -> None:
        self._hosts = hosts
        self._wake = _backend.event_loop_waker()
        self._log = _DiscreetLog(logging.getLogger("kazoo.client"), None)
        self._kazoo: Any = _Kazoo(
            hosts=_repeated(hosts),
            timeout=timeout,
            client_id=None if credentials is None else credentials.reveal(),
            connection_retry=_RECONNECT,
            logger=self._log,
        )
        self._kazoo.add_listener(self._on_state)
        self.requests = Requests(self._kazoo, self._wake)
        self.credentials: Credentials | None = None
        self._reconnected = reconnected
        self._lost = lost
        self._connected = anyio.Event()
        self._end: str | None = None

    @property
    def session_id(self) -> int:
        """Its id.

        Raises:
            SessionExpiredError: If it has ended, or not begun.
        """
        if self._end is not None or self.credentials is None:
            raise SessionExpiredError(self._end or "the ZooKeeper session has not begun")
        return self.credentials.session_id

    async def connect(self, limit: float) -> None:
        """Wait until the first connection stands.

        Raises:
            KazooTimeoutError: If no server has answered after *limit* seconds.

        Cancellation:
            Safe; `aclose` has to follow, as after an error.
        """
        self._kazoo.start_async()
        with anyio.move_on_after(limit):
            await self._connected.wait()
        if not self._connected.is_set():
            raise KazooTimeoutError(
                f"no ZooKeeper server among {self._hosts} answered in {limit:g} s"
            )

    async def aclose(self, *, leave: bool = False) -> None:
        """Close the session; its ephemeral nodes go with it.

        Never fails. If no server answers within 8 s, a thread goes on trying, and the
        session ends by its timeout.

        Args:
            leave: Close only the connection, and leave the session to somebody who has its
                credentials; it ends by its timeout if nobody comes.

        Cancellation:
            Shielded.
        """
        if self._end is None:
            self._end = "the ZooKeeper client is closed"
        self.credentials = None
        self.requests.close(ConnectionClosedError(self._end))
        stopped = anyio.Event()
        # Not anyio's threads, which keep the interpreter from ending while they wait.
        thread = threading.Thread(
            target=self._stop, args=(stopped, leave), name="zookeeper-close", daemon=True
        )
        thread.start()
        with anyio.move_on_after(CLOSE_LIMIT, shield=True):
            await stopped.wait()
        if not stopped.is_set():
            log.warning("no ZooKeeper server answered the close of a session in %g s", CLOSE_LIMIT)

    def _stop(self, stopped: anyio.Event, leave: bool) -> None:
        try:
            if leave:
                self._log.quiet = True  # kazoo takes it for an accident
                self._kazoo.leave()
            else:
                self._kazoo.stop()
            self._kazoo.close()
        except Exception as exc:
            log.warning("the ZooKeeper connection did not close well: %r", exc)
        finally:
            self._wake(stopped.set)

    def _on_state(self, state: str) -> None:
        """Take a state, in kazoo's thread; it must not be held up."""
        if state == KazooState.CONNECTED:
            self.requests.soon(self._on_connected, Credentials(*self._kazoo.client_id))
        elif state == KazooState.LOST:
            reason = _REASONS.get(self._kazoo.client_state, "the ZooKeeper connection ended")
            self.requests.soon(self._on_lost, reason)

    def _on_connected(self, credentials: Credentials) -> None:
        if self._end is not None:
            return  # kazoo has made a new session, which nobody uses
        first = self.credentials is None
        self.credentials = credentials
        if first:
            self._connected.set()
        else:
            self._reconnected()

    def _on_lost(self, reason: str) -> None:
        if self._end is None:
            self._end = reason
            self.credentials = None
            # Before kazoo, which makes a new session by itself, carries them out in that.
            self.requests.close(SessionExpiredError(reason))
            self._lost(reason)


class _Kazoo(KazooClient):  # type: ignore[misc]
    def leave(self) -> None:
        """Stop as `stop` does, without a word to the server that would end the session."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._queue.append((_CONNECTION_DROP, None))
            connection: Any = self._connection
            try:
                connection._write_sock.send(b"\0")  # noqa: SLF001 - as in `stop`
            finally:
                self._safe_close()


def _repeated(hosts: str) -> str:
    """Name servers several times if they are few."""
    servers, slash, root = hosts.partition("/")
    times = math.ceil(_FEWEST_HOSTS / len(servers.split(",")))
    return ",".join([servers] * times) + slash + root


class _DiscreetLog(logging.LoggerAdapter[logging.Logger]):
    """Keeps secrets out of kazoo's log.

    Below INFO kazoo logs passwords of sessions and the data of nodes, and an odd answer
    to a connection logs the whole request.
    """

    quiet = False
    """Whether only errors are of interest."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        least = logging.ERROR if self.quiet else logging.INFO
        return level >= least and super().isEnabledFor(level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        discreet = ["Connect(…)" if isinstance(arg, Connect) else arg for arg in args]
        super().log(level, msg, *discreet, **kwargs)
