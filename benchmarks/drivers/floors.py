"""The floor as two contenders: see `benchmarks.floor`."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from benchmarks import floor
from benchmarks.drivers.interface import (
    AsyncConnection,
    AsyncDriver,
    BlockingConnection,
    BlockingDriver,
)


class Connection(AsyncConnection):
    """A connection on asyncio."""

    def __init__(self, caller: floor.Caller) -> None:
        self.echo = caller.echo  # type: ignore[method-assign]


class OnAsyncio(AsyncDriver):
    """asyncio.Protocol at both ends."""

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncGenerator[None]:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(floor.Server, "127.0.0.1", port):
            yield

    @asynccontextmanager
    async def connect(self, port: int) -> AsyncGenerator[AsyncConnection]:
        loop = asyncio.get_running_loop()
        transport, caller = await loop.create_connection(floor.Caller, "127.0.0.1", port)
        yield Connection(caller)
        transport.close()


class BlockingEnd(BlockingConnection):
    """A blocking connection."""

    def __init__(self, end: floor.BlockingEnd) -> None:
        self.echo = end.echo  # type: ignore[method-assign]


class Blocking(BlockingDriver):
    """Blocking sockets at both ends."""

    def serve(self, port: int) -> None:
        with socket.create_server(("127.0.0.1", port)) as listener:
            while True:
                connection, _ = listener.accept()
                end = floor.BlockingEnd(connection)
                threading.Thread(target=end.serve, daemon=True).start()

    def connect(self, port: int) -> BlockingConnection:
        return BlockingEnd(floor.BlockingEnd(socket.create_connection(("127.0.0.1", port))))
