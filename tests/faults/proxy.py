"""A connection in between: it cuts, resets, stalls and delays, at any byte and in either direction.

::

    async with open_proxy(leader_port, Fault(TO_LEADER, 17, RESET)) as proxy:
        ...  # a follower that is given `proxy.port`
        proxy.connections[0].to_leader.delivered
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import anyio
import anyio.abc

_READ_SIZE: Final = 65536
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Direction(Enum):
    """Which way bytes go."""

    TO_LEADER = "to leader"
    TO_FOLLOWER = "to follower"


class Action(Enum):
    """What happens at a fault."""

    CLOSE = "close"
    """Both ends see the end of the stream."""

    RESET = "reset"
    """Both ends see that the connection is broken, and what they have not read is lost."""

    STALL = "stall"
    """Nothing more arrives in this direction, and the connection stays."""

    TRUNCATE = "truncate"
    """The receiver of this direction sees the end of the stream; the other direction goes on."""


@dataclass(frozen=True)
class Fault:
    """What is to happen on a connection.

    Attributes:
        direction: Which way's bytes count.
        after: How many of them arrive before.
        action: What happens then.
        connection: Number of the connection, from 0.
    """

    direction: Direction
    after: int
    action: Action
    connection: int = 0


@dataclass(frozen=True)
class Pace:
    """How bytes are delivered.

    Attributes:
        piece: How many arrive at once, at most.
        delay: Seconds before each piece.
    """

    piece: int = _READ_SIZE
    delay: float = 0.0


class Way:
    """One direction of a connection.

    Attributes:
        sent: What its sender has given to the operating system.
        delivered: What its receiver was given of it.
    """

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        faults: list[Fault],
        pace: Pace,
        connection: Connection,
    ) -> None:
        self.sent = bytearray()
        self.delivered = bytearray()
        self._source = source
        self._target = target
        self._faults = sorted(faults, key=lambda fault: fault.after)
        self._pace = pace
        self._connection = connection
        self._truncated = False

    async def run(self) -> None:
        """Deliver until the stream ends, or a fault ends it."""
        # An end is gone: the other one is told below.
        with contextlib.suppress(OSError, anyio.ClosedResourceError):
            await self._act_if_due()
            while not self._connection.is_over and (data := await self._receive()):
                self.sent += data
                for piece in self._pieces(data):
                    if self._truncated or self._connection.is_over:
                        break
                    if self._pace.delay:
                        await anyio.sleep(self._pace.delay)
                    await _send_all(self._target, piece)
                    self.delivered += piece
                    await self._act_if_due()
        if not self._connection.is_over and not self._truncated:
            with contextlib.suppress(OSError):
                self._target.shutdown(socket.SHUT_WR)

    def drain(self) -> None:
        """Note what was sent and not read yet."""
        with contextlib.suppress(OSError):
            while data := self._source.recv(_READ_SIZE):
                self.sent += data

    async def _receive(self) -> bytes:
        await anyio.wait_readable(self._source)
        return self._source.recv(_READ_SIZE)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        begin = 0
        while begin < len(data):
            size = self._pace.piece
            if self._faults:
                size = min(size, self._faults[0].after - len(self.delivered))
            yield data[begin : begin + size]
            begin += size

    async def _act_if_due(self) -> None:
        while self._faults and len(self.delivered) >= self._faults[0].after:
            fault = self._faults.pop(0)
            match fault.action:
                case Action.STALL:
                    await self._connection.stall()
                case Action.TRUNCATE:
                    self._truncated = True
                    self._connection.hit.set()
                    self._target.shutdown(socket.SHUT_WR)
                case Action.CLOSE | Action.RESET:
                    self._connection.end(reset=fault.action is Action.RESET)


class Connection:
    """A follower's connection, and the one that stands for it at the leader.

    Attributes:
        to_leader: One way.
        to_follower: The other one.
        is_over: Whether both sockets are closed.
        hit: Set when a fault has ended it.
    """

    def __init__(
        self, follower: socket.socket, leader: socket.socket, faults: list[Fault], pace: Pace
    ) -> None:
        self._sockets = (follower, leader)
        self._scope = anyio.CancelScope()
        self.is_over = False
        self.hit = anyio.Event()
        by_way = {way: [f for f in faults if f.direction is way] for way in Direction}
        self.to_leader = Way(follower, leader, by_way[Direction.TO_LEADER], pace, self)
        self.to_follower = Way(leader, follower, by_way[Direction.TO_FOLLOWER], pace, self)

    async def run(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.to_leader.run)
                    tasks.start_soon(self.to_follower.run)
        finally:
            self._close()

    def way(self, direction: Direction) -> Way:
        return self.to_leader if direction is Direction.TO_LEADER else self.to_follower

    async def stall(self) -> None:
        """Let the way that calls this wait for the end of the connection."""
        self.hit.set()
        await anyio.sleep_forever()

    def end(self, *, reset: bool) -> None:
        """Close both sockets."""
        # A socket with unread bytes is reset at its close, which is not always what is wanted.
        self.to_leader.drain()
        self.to_follower.drain()
        if reset:
            for sock in self._sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.hit.set()
        self._close()
        self._scope.cancel()

    def _close(self) -> None:
        if not self.is_over:
            self.is_over = True
            for sock in self._sockets:
                anyio.notify_closing(sock)
                sock.close()


@dataclass
class Proxy:
    """Connections between followers and a leader.

    Attributes:
        port: Where followers find it.
        leader_port: Where the leader is.
        faults: What is to happen.
        pace: How bytes are delivered.
        connections: Those that there have been.
    """

    port: int
    leader_port: int
    faults: tuple[Fault, ...]
    pace: Pace
    connections: list[Connection] = field(default_factory=list)

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.wait_readable(listener)
                try:
                    follower, _ = listener.accept()
                except OSError:
                    continue  # it has gone already
                with contextlib.ExitStack() as stack:
                    stack.enter_context(follower)
                    leader = stack.enter_context(socket.socket())
                    if not await self._connect(leader):
                        continue
                    stack.pop_all()  # from here on they are the connection's to close
                for sock in (follower, leader):
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                number = len(self.connections)
                faults = [fault for fault in self.faults if fault.connection == number]
                connection = Connection(follower, leader, faults, self.pace)
                self.connections.append(connection)
                tasks.start_soon(connection.run)

    async def _connect(self, sock: socket.socket) -> bool:
        """Connect to the leader; False if nobody is there."""
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", self.leader_port))
        await anyio.wait_writable(sock)
        return not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


@asynccontextmanager
async def open_proxy(
    leader_port: int, *faults: Fault, pace: Pace | None = None
) -> AsyncGenerator[Proxy]:
    """Listen on a port of its own and hand on to *leader_port*, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        proxy = Proxy(listener.getsockname()[1], leader_port, faults, pace or Pace())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(proxy.serve, listener)
            yield proxy
            tasks.cancel_scope.cancel()


async def _send_all(sock: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        await anyio.wait_writable(sock)
        view = view[sock.send(view) :]
