"""The endpoint of a race, and the connections to it."""

from __future__ import annotations

import asyncio  # noqa: TID251
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

import anyio
import anyio.abc
from anyio.lowlevel import current_token

from cluster_client import _fork
from cluster_client._backend._seam import Transport
from cluster_client._backend._socket_files import SocketFileLock, remove_stale
from cluster_client._endpoints import LOCALHOST, Endpoint

_RESET: Final = struct.pack("ii", 1, 0)
"""The option SO_LINGER, for a close that resets the connection."""
_BACKLOG: Final = 1024
_CONNECTING: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)


class SocketListener:
    """A listener over a raw socket, which can be duplicated and survives cancellation.

    Args:
        sock: It listens already.
        protection: Of the socket.
        lock: Of its path, if it has one; to be released with this handle.
    """

    def __init__(
        self,
        sock: socket.socket,
        protection: _fork.Protection,
        lock: SocketFileLock | None = None,
    ) -> None:
        self._socket = sock
        self._protection = protection
        self._lock = lock

    async def accept(self, has_room: Callable[[], bool] = lambda: True) -> Transport:
        while True:
            if self._socket.fileno() < 0:
                raise anyio.ClosedResourceError
            await anyio.wait_readable(self._socket)
            try:
                connection, protection = _fork.open_protected(lambda: self._socket.accept()[0])
            except (BlockingIOError, ConnectionAbortedError):
                continue  # another handle was faster, or the peer has gone again
            if not has_room():
                connection.close()
                _fork.release(protection)
                continue
            with contextlib.suppress(OSError):  # the peer reset it before we came to accept it
                return await open_transport(connection, protection)

    def duplicate(self) -> SocketListener:
        return SocketListener(*_fork.open_protected(self._socket.dup))

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()
            _fork.release(self._protection)
            if self._lock is not None:
                self._lock.release()


def bind_and_listen(endpoint: Endpoint) -> SocketListener | None:
    """Take the endpoint, or return ``None`` if somebody has it.

    Raises:
        OSError: For every other reason; a port that may not be bound is no lost race.
    """
    return _take_port(endpoint) if isinstance(endpoint, int) else _take_path(endpoint)


def _take_port(port: int) -> SocketListener | None:
    """Bind and listen as one step: on Linux two can both bind, and only `listen` decides."""
    sock, protection = _new_socket(socket.AF_INET)
    try:
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Without it the port stays taken while connections of a dead leader linger.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((LOCALHOST, port))
        sock.listen(_BACKLOG)
    except OSError as exc:
        _close(sock, protection)
        if exc.errno == errno.EADDRINUSE:
            return None
        raise
    return SocketListener(sock, protection)


def _take_path(path: str) -> SocketListener | None:
    lock = SocketFileLock.acquire(path)
    if lock is None:
        return None
    try:
        remove_stale(path)
        sock, protection = _new_socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            sock.bind(path)
            lock.bound = True
            sock.listen(_BACKLOG)
        except BaseException:
            _close(sock, protection)
            raise
    except BaseException:
        lock.release()
        raise
    return SocketListener(sock, protection, lock)


async def connect(endpoint: Endpoint) -> Transport | None:
    """Connect to whoever listens; ``None`` if nobody does.

    A connection to oneself counts as nobody: on a port of the ephemeral range
    the kernel may choose the very port as our own end.
    """
    is_port = isinstance(endpoint, int)
    address = (LOCALHOST, endpoint) if isinstance(endpoint, int) else endpoint
    sock, protection = _new_socket(socket.AF_INET if is_port else socket.AF_UNIX)
    try:
        sock.setblocking(False)
        error = sock.connect_ex(address)
        if is_port and error in _CONNECTING:  # at a path, too many wait to be accepted
            await anyio.wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error and not (is_port and sock.getsockname() == sock.getpeername()):
            return await open_transport(sock, protection)
        if not error:  # it is one to ourselves
            # Reset it: closed in the ordinary way it would keep the port for a minute (TIME_WAIT).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        _close(sock, protection)
    except OSError:  # the peer died in this very moment
        _close(sock, protection)
    except BaseException:
        _close(sock, protection)
        raise
    return None


async def open_transport(sock: socket.socket, protection: _fork.Protection) -> Transport:
    """Return the transport of a connected socket, which is the transport's from now on.

    Raises:
        OSError: If the peer has reset the connection.

    Cancellation:
        The connection is closed.
    """
    try:
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            # Small frames in both directions: Nagle's algorithm would hold them back.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(current_token().native_token, asyncio.AbstractEventLoop):
            from cluster_client._backend._asyncio import AsyncioTransport  # noqa: PLC0415

            return await AsyncioTransport.open(sock, protection)
        from cluster_client._backend._trio import TrioTransport  # noqa: PLC0415

        return TrioTransport(sock, protection)
    except BaseException:
        _close(sock, protection)
        raise


def _new_socket(family: socket.AddressFamily) -> tuple[socket.socket, _fork.Protection]:
    return _fork.open_protected(lambda: socket.socket(family, socket.SOCK_STREAM))


def _close(sock: socket.socket, protection: _fork.Protection) -> None:
    # In this order: a fork in between must not copy it.
    sock.close()
    _fork.release(protection)
