"""The floor: what a call costs in Python if nothing is asked of it but an answer.

Length-prefixed msgpack, and numbers to tell the answers apart. There are no deadlines, no
cancellation, no limits, no errors, no backpressure: nothing that one could use. What the
others take more than this is the price of their features.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from typing import Any, Final

import msgpack

_LENGTH: Final = struct.Struct(">I")


class Frames(asyncio.Protocol):
    """Both ends on asyncio: frames in, frames out in one write per read."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        position, end = 0, len(buffer)
        while end - position >= 4:
            following = position + 4 + _LENGTH.unpack_from(buffer, position)[0]
            if following > end:
                break
            self.received(*msgpack.unpackb(memoryview(buffer)[position + 4 : following]))
            position = following
        if position:
            del buffer[:position]
        self.flush()

    def received(self, number: int, value: Any) -> None:
        """Take a frame."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what the frames of one read have made."""


class Server(Frames):
    """Answers each frame with its value."""

    def __init__(self) -> None:
        self._out: list[bytes] = []

    def received(self, number: int, value: Any) -> None:
        self._out.append(frame(number, value))

    def flush(self) -> None:
        self._transport.write(b"".join(self._out))
        self._out.clear()


class Caller(Frames):
    """Has a future per call."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []

    async def echo(self, value: Any) -> Any:
        """Have the server return the value."""
        number = next(self._numbers)
        if not self._out:
            self._loop.call_soon(self._write)  # with what else is called in this turn
        self._out.append(frame(number, value))
        answer = self._waiting[number] = self._loop.create_future()
        return await answer

    def received(self, number: int, value: Any) -> None:
        self._waiting.pop(number).set_result(value)

    def _write(self) -> None:
        self._transport.write(b"".join(self._out))
        self._out.clear()


def frame(number: int, value: Any) -> bytes:
    """Return a call, or an answer, as bytes."""
    body: bytes = msgpack.packb((number, value))
    return _LENGTH.pack(len(body)) + body


class BlockingEnd:
    """An end with a blocking socket: one call at a time."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock

    def echo(self, value: Any) -> Any:
        """Have the other end return the value."""
        self._socket.sendall(frame(0, value))
        return self._receive()[1]

    def serve(self) -> None:
        """Answer until the other end has gone."""
        while (message := self._receive()) is not None:
            self._socket.sendall(frame(*message))

    def _receive(self) -> Any:
        data = bytearray(self._socket.recv(65536))
        while data:
            if len(data) >= 4 and len(data) == 4 + _LENGTH.unpack_from(data)[0]:
                return msgpack.unpackb(memoryview(data)[4:])
            data += self._socket.recv(65536)
        return None
