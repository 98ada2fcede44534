"""A real client that floods its subscribers, or its callers, and a follower that takes nothing."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio

from cluster_client import delegate
from cluster_protocol import (
    FEATURES,
    Frame,
    FrameDecoder,
    Invoke,
    Message,
    Offer,
    RegisterChannel,
    Subscribe,
    encode_frame,
    pack_call,
)
from cluster_protocol.codecs import MsgpackCodec

_CODEC: Final = MsgpackCodec()
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident_size(pid: int | str = "self") -> int:
    """Return how many bytes of memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


class Flood:
    """The real client."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Any], None]] = []
        self._results = 0

    def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        self._listeners.append(listener)

    def unsubscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        self._listeners.remove(listener)

    @delegate(idempotent=True)
    async def echo(self, value: Any) -> Any:
        return value

    @delegate(idempotent=True)
    async def pid(self) -> int:
        return os.getpid()

    @delegate(response_timeout=3600)
    async def emit(self, count: int, size: int, pause: float = 0.0) -> int:
        """Give the listeners values of *size* bytes; returns the most memory that this took."""
        largest = 0
        for number in range(count):
            value = number.to_bytes(8, "big") + bytes(size - 8)
            for listener in list(self._listeners):
                listener(value)
            await anyio.sleep(pause)
            largest = max(largest, resident_size())
        return largest

    @delegate(response_timeout=3600)
    async def block(self) -> None:
        """Keep the event loop from turning, for ever."""
        threading.Event().wait()

    async def large(self, size: int) -> bytes:
        """Return so many bytes, after a moment."""
        await anyio.lowlevel.checkpoint()
        self._results += 1
        return bytes(size)

    @delegate(idempotent=True)
    async def results(self) -> int:
        """Return how often `large` has been executed."""
        return self._results


class SilentFollower:
    """A follower on a bare socket: it sends what it is told to, and reads nothing by itself.

    Args:
        port: Election port.
        channel: The client's name.
    """

    def __init__(self, port: int, channel: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        offer = Offer((_CODEC.name,), FEATURES, os.getpid())
        self._last_id = 9
        self.send(RegisterChannel(channel, offer))

    def send(self, message: Message, application: bytes = b"") -> None:
        """Send a request; blocks while the leader does not read."""
        self._last_id += 1
        frame = Frame(message.is_response, self._last_id, 0, message.encode(), application)
        self._socket.sendall(encode_frame(frame))

    def subscribe(self, reg: Any) -> None:
        self.send(Subscribe(repr(reg), reg))

    def call(self, method: str, *args: Any) -> None:
        self.send(
            Invoke(method, len(args), packed=True), pack_call(0, _CODEC.encode([list(args), {}]))
        )

    def read_answers(self, count: int) -> list[Frame]:
        """Read until so many answers have come, and return them."""
        decoder = FrameDecoder()
        answers: list[Frame] = []
        while len(answers) < count:
            data = self._socket.recv(1 << 20)
            assert data, "the leader has closed the connection"
            answers += [f for f in decoder.receive_frames(data) if f.is_response]
        return answers

    def close(self) -> None:
        self._socket.close()
