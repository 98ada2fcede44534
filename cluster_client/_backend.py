"""What depends on sockets and on the event loop's library; the only module that does.

The seam is small on purpose: a `Transport` receives and sends bytes, a
`Listener` accepts transports. A faster implementation for one event loop goes
behind the same two interfaces.
"""

from __future__ import annotations

import asyncio  # noqa: TID251
import contextlib
import contextvars
import errno
import socket
import struct
import sys
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import CancelledError
from typing import Any, Final, Protocol

import anyio
import anyio.abc
from anyio.lowlevel import current_token

from cluster_client import _fork

LOCALHOST: Final = "127.0.0.1"
_RESET: Final = struct.pack("ii", 1, 0)
"""The option SO_LINGER, for a close that resets the connection."""
_BACKLOG: Final = 1024
_CHUNK: Final = 65536
"""More per read costs an allocation of that size each time, and buys nothing."""


class Transport(Protocol):
    """A connected stream of bytes."""

    async def receive(self) -> bytes:
        """Return what arrived, ``b""`` at the end of the stream or when it broke.

        Cancellation: safe, no byte is lost.
        """
        ...

    async def send(self, data: bytes) -> bool:
        """Send all of *data*; returns False if the stream is broken.

        Cancellation: a part may have been sent; only for a stream that is being given up.
        """
        ...

    async def send_eof(self) -> None:
        """Tell the peer that nothing follows. Never fails."""
        ...

    async def aclose(self) -> None:
        """Close at once. Never fails, and does not wait for the peer."""
        ...


class Listener(Protocol):
    """A listening socket of our own."""

    async def accept(self) -> Transport:
        """Return the next connection.

        Raises:
            anyio.ClosedResourceError: If the listener is closed, also while waiting.
            OSError: If accepting fails, for want of descriptors as a rule.

        Cancellation:
            Safe: no connection is lost.
        """
        ...

    def duplicate(self) -> Listener:
        """Return a second handle; the port is free when all are closed."""
        ...

    def close(self) -> None:
        """Close this handle; may be repeated."""
        ...


class StreamTransport:
    """A transport over anyio's socket stream."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        # Small frames in both directions: Nagle's algorithm would hold them back.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._protection = _fork.protect(self._socket)

    async def receive(self) -> bytes:
        try:
            return await self._stream.receive(_CHUNK)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return b""

    async def send(self, data: bytes) -> bool:
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    async def send_eof(self) -> None:
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        _fork.release(self._protection)
        # force=True: the orderly close would wait for a peer that does not read.
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)


class SocketListener:
    """A listener over a raw socket, which can be duplicated and survives cancellation."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._protection = _fork.protect(sock)

    async def accept(self) -> Transport:
        while True:
            if self._socket.fileno() < 0:
                raise anyio.ClosedResourceError
            await anyio.wait_readable(self._socket)
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue  # another handle was faster, or the peer has gone again
            # From the first moment: a fork may come while the stream is being made.
            protection = _fork.protect(connection)
            try:
                return StreamTransport(await anyio.abc.SocketStream.from_socket(connection))
            except (OSError, ValueError):  # the peer reset it before we came to accept it
                connection.close()
            except BaseException:
                connection.close()
                raise
            finally:
                _fork.release(protection)  # the transport has one of its own

    def duplicate(self) -> SocketListener:
        return SocketListener(self._socket.dup())

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            _fork.release(self._protection)
            anyio.notify_closing(self._socket)
            self._socket.close()


def bind_and_listen(port: int) -> SocketListener | None:
    """Take the port, or return ``None`` if somebody has it.

    Binding and listening are one step: on Linux two sockets with
    ``SO_REUSEADDR`` can both bind, and only `listen` decides.

    Raises:
        OSError: For every other reason; a port that may not be bound is no lost race.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
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
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            return None
        raise
    return SocketListener(sock)


async def connect(port: int) -> Transport | None:
    """Connect to the port; ``None`` if nobody listens there.

    A connection to oneself counts as nobody: on a port of the ephemeral range
    the kernel may choose the very port as our own end.
    """
    try:
        stream = await anyio.connect_tcp(LOCALHOST, port)
    except OSError:
        return None
    sock = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    with contextlib.suppress(OSError):  # the peer died in this very moment
        if sock.getsockname() != sock.getpeername():
            return StreamTransport(stream)
        # Reset it: closed in the ordinary way it would keep the port for a minute (TIME_WAIT).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    await anyio.aclose_forcefully(stream)
    return None


def event_loop_waker() -> Callable[[Callable[[], object]], None]:
    """Return a function that has another function called in this event loop.

    It may be called from any thread and never blocks. Once the loop has ended
    it does nothing: there is nobody left to be told.
    """
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):

        def wake_asyncio(function: Callable[[], object]) -> None:
            try:
                loop.call_soon_threadsafe(function)
            except RuntimeError:  # the loop is closed
                return

        return wake_asyncio

    import trio  # noqa: PLC0415, TID251 - an optional dependency

    token = trio.lowlevel.current_trio_token()

    def wake_trio(function: Callable[[], object]) -> None:
        try:
            token.run_sync_soon(function)
        except trio.RunFinishedError:
            return

    return wake_trio


def start_background_task(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function in a task that nobody owns.

    For what outlives the task that needed it first, and is ended by counting who needs it.
    Whatever it raises must be handled inside.
    """
    if isinstance(current_token().native_token, asyncio.AbstractEventLoop):
        task = asyncio.ensure_future(function())
        _background_tasks.add(task)  # the event loop itself holds only a weak reference
        task.add_done_callback(_background_tasks.discard)
        return

    import trio  # noqa: PLC0415, TID251 - an optional dependency

    trio.lowlevel.spawn_system_task(function, context=contextvars.copy_context())


_background_tasks: Final[set[asyncio.Future[None]]] = set()


@contextlib.contextmanager
def stray_cancellations_as_errors() -> Generator[None]:
    """Turn a cancellation that does not cancel the running task into an ordinary error.

    On asyncio, whoever awaits a future that somebody else has cancelled gets the very
    exception that would end its own task; and a task that ends so takes its group along.

    Raises:
        concurrent.futures.CancelledError: Instead of it.
    """
    try:
        yield
    except asyncio.CancelledError as exc:
        if isinstance(current_token().native_token, asyncio.AbstractEventLoop):
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        raise CancelledError("what was awaited has been cancelled") from exc
