"""pyzmq's asyncio API: a ROUTER that answers, and a DEALER whose calls have numbers.

A REQ socket has one call in flight; a DEALER with numbers is what its users write for more.
The server begins a task per call, as the method may be any coroutine.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import zmq
import zmq.asyncio

from benchmarks.drivers.interface import AsyncConnection, AsyncDriver


async def _echo(value: Any) -> Any:
    return value


class Connection(AsyncConnection):
    """A DEALER."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._numbers = itertools.count()
        self._waiting: dict[bytes, asyncio.Future[Any]] = {}

    async def echo(self, value: Any) -> Any:
        key = b"%d" % next(self._numbers)
        answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        await self._socket.send_multipart([key, msgpack.packb(value)])
        return await answer

    async def read(self) -> None:
        """Hand the answers out."""
        while True:
            key, data = await self._socket.recv_multipart()
            self._waiting.pop(key).set_result(msgpack.unpackb(data))


class ZmqAsyncio(AsyncDriver):
    """zmq.asyncio."""

    def __init__(self) -> None:
        self._context = zmq.asyncio.Context()

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncGenerator[None]:
        with self._context.socket(zmq.ROUTER) as socket:
            socket.bind(f"tcp://127.0.0.1:{port}")
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(self._serve(socket, tasks))
                yield
                serving.cancel()

    async def _serve(self, socket: Any, tasks: asyncio.TaskGroup) -> None:
        async def answer(peer: bytes, key: bytes, data: bytes) -> None:
            result = msgpack.packb(await _echo(msgpack.unpackb(data)))
            await socket.send_multipart([peer, key, result])

        while True:
            tasks.create_task(answer(*await socket.recv_multipart()))

    @asynccontextmanager
    async def connect(self, port: int) -> AsyncGenerator[AsyncConnection]:
        with self._context.socket(zmq.DEALER) as socket:
            socket.connect(f"tcp://127.0.0.1:{port}")
            connection = Connection(socket)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(connection.read())
                yield connection
                reading.cancel()
