"""Those who connect to the port and do not keep to the protocol."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from typing import Final

import anyio

from cluster_protocol import FEATURES, Frame, Offer, RegisterChannel, Subscribe, encode_frame
from faults.service import CHANNEL

_OFFER: Final = Offer(("msgpack",), FEATURES, pid=1)
_REGISTRATION: Final = encode_frame(
    Frame(False, 10, 3000, RegisterChannel(CHANNEL, _OFFER).encode())
)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(1, 2000))


def _request_of_http(chance: random.Random) -> bytes:
    del chance
    return b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _part_of_a_registration(chance: random.Random) -> bytes:
    return _REGISTRATION[: chance.randrange(1, len(_REGISTRATION))]


def _registration(chance: random.Random) -> bytes:
    del chance
    return _REGISTRATION


def _registration_and_noise(chance: random.Random) -> bytes:
    return _REGISTRATION + _noise(chance)


def _registration_and_subscription(chance: random.Random) -> bytes:
    """Values come then, and nobody reads them."""
    del chance
    subscribe = Subscribe("key", {"key": "a"}).encode()
    return _REGISTRATION + encode_frame(Frame(False, 1, 3000, subscribe))


def _long_frame(chance: random.Random) -> bytes:
    return struct.pack(">BBHQiII", 1, 0, 0, 1, 3000, chance.randrange(1 << 13, 1 << 32), 0)


def _nothing(chance: random.Random) -> bytes:
    del chance
    return b""


_WORDS: Final[tuple[Callable[[random.Random], bytes], ...]] = (
    *(_nothing, _noise, _request_of_http, _part_of_a_registration, _registration),
    *(_registration_and_noise, _registration_and_subscription, _long_frame),
)


async def visit(port: int, chance: random.Random) -> str:
    """Connect, say something, stay for a while without listening, and go; returns what was said."""
    words = chance.choice(_WORDS)
    data, stay, reset = words(chance), chance.random() * 3, chance.random() < 0.5
    with socket.socket() as sock:
        sock.setblocking(False)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        try:
            sock.connect_ex(("127.0.0.1", port))
            await anyio.wait_writable(sock)
            if data:
                sock.send(data)  # less than what any socket takes at once
        except OSError:
            return "nobody"  # between two leaders, or it was reset meanwhile
        await anyio.sleep(stay)
    return words.__name__.strip("_")
