"""A transport for asyncio's event loops, uvloop among them."""

from __future__ import annotations

import asyncio  # noqa: TID251
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, cast

import anyio

from cluster_client import _fork
from cluster_client._backend._credentials import peer_uid
from cluster_client._backend._loops import callback_context

READ_SIZE: Final = 65536
"""More at once would let one peer's calls wait behind a longer burst of another one's."""

_MAX_ARRIVED: Final = 65536
"""Bytes that wait for `receive`, above which nothing more is read."""

_buffers: Final = threading.local()


class AsyncioTransport(asyncio.BufferedProtocol):
    """See `Transport`. Made by `open`.

    A buffered protocol, as others have 256 KiB allocated for each read: it made sequential calls
    half as fast again. One buffer serves all connections of a thread, as what is in it is
    copied before anybody else runs; so an idle connection costs none.
    """

    def __init__(self, sock: socket.socket, protection: _fork.Protection) -> None:
        self.writable = True
        self._socket = sock
        self._protection = protection
        self._loop = asyncio.get_running_loop()
        self._context = callback_context()
        self._guarding = False
        self._buffer = read_buffer()
        self._arrived = bytearray()
        self.untaken = 0
        self._ended = False
        self._lost = False
        self._on_data: Callable[[bytes], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._failure: BaseException | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def open(cls, sock: socket.socket, protection: _fork.Protection) -> AsyncioTransport:
        """Return the transport of a connected socket."""
        loop = asyncio.get_running_loop()
        # This one, and not create_connection, is what accepts do: it makes no connection either.
        _, transport = await loop.connect_accepted_socket(lambda: cls(sock, protection), sock)
        return transport

    def peer_uid(self) -> int | None:
        return peer_uid(self._socket)

    # ------------------------------------------------------ for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=READ_SIZE)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        if self._on_data is not None:
            self._guard(self._on_data, data)
            return
        self._arrived += data
        if len(self._arrived) > _MAX_ARRIVED:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        self._end()
        return True  # what we have to say may still be sent

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        _wake(self._writer)
        if self._on_writable is not None:
            self._guard(self._on_writable)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._lost = True
        self._end()
        _wake(self._writer)
        _wake(self._gone)

    def _end(self) -> None:
        self._ended = True
        _wake(self._reader)

    def _guard(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function of whoever runs the transport; its error is raised there."""
        nested, self._guarding = self._guarding, True
        try:
            if nested:
                function(*args)
            else:
                self._context.run(function, *args)
        except BaseException as exc:
            self._failure = exc
            self._end()
        finally:
            self._guarding = nested

    # ------------------------------------------------------------- one by one

    async def receive(self) -> bytes:
        while not self._arrived:
            if self._ended:
                return b""
            self._reader = self._loop.create_future()
            await self._reader
        return self._take_arrived()

    def _take_arrived(self) -> bytes:
        data = bytes(self._arrived)
        self._arrived.clear()
        if len(data) > _MAX_ARRIVED and not self._ended:
            self._transport.resume_reading()
        return data

    async def send(self, data: bytes) -> bool:
        if self._is_closed:
            return False
        self._transport.write(data)
        await asyncio.sleep(0)  # an error shows in the next turn
        while not self.writable and not self._lost:
            self._writer = self._loop.create_future()
            await self._writer
        return not self._is_closed

    @property
    def _is_closed(self) -> bool:
        return self._lost or self._transport.is_closing()

    # -------------------------------------------------------------- in bulk

    async def run(self, on_data: Callable[[bytes], None], on_writable: Callable[[], None]) -> None:
        self._on_writable = on_writable
        if self._arrived:
            on_data(self._take_arrived())
        self._on_data = on_data
        try:
            while not self._ended:
                self._reader = self._loop.create_future()
                await self._reader
        finally:
            self._on_data, self._on_writable = _drop, None
        if self._failure is not None:
            raise self._failure

    @property
    def unsent(self) -> int:
        return 0 if self._lost else self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        transport = self._transport
        if not self._is_closed:
            transport.write(data)
            if not transport.is_closing():
                return
        # Of a send that fails no byte is taken; nor of one that is not made any more.
        self.untaken += len(data)

    def call_soon(self, function: Callable[[], None]) -> None:
        self._loop.call_soon(self._guard, function)

    def pause_reading(self) -> None:
        if not self._ended:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._ended:
            self._transport.resume_reading()

    # ---------------------------------------------------------------- the end

    async def send_eof(self) -> None:
        await asyncio.sleep(0)
        if not self._is_closed:
            try:
                self._transport.write_eof()
            except (OSError, RuntimeError):
                return  # broken just now, or done before

    async def aclose(self) -> None:
        self._transport.abort()  # the orderly close would wait for a peer that does not read
        with anyio.CancelScope(shield=True):
            while not self._gone.done():
                await asyncio.wait([self._gone])
        _fork.release(self._protection)

    _transport: asyncio.Transport


def read_buffer() -> memoryview:
    """Return the buffer into which all connections of this thread are read."""
    try:
        buffer: memoryview = _buffers.view
    except AttributeError:
        buffer = _buffers.view = memoryview(bytearray(READ_SIZE))
    return buffer


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _drop(data: bytes) -> None:
    """Take what comes when nobody listens any more."""
    del data
