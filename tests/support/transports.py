"""Connections in memory, whose delivery the test controls."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint

from cluster_protocol import Frame, FrameDecoder, Message, decode_message, encode_frame


class Wire:
    """The way of the bytes from one end of a connection to the other.

    Attributes:
        capacity: Unread bytes above which whoever sends has to wait.
        chunk: Largest piece that arrives at once.
        sent: All that was ever put on the wire.
        sends: How many pieces that was.
    """

    def __init__(self) -> None:
        self.capacity: float = math.inf
        self.chunk: int | None = None
        self.sent = bytearray()
        self.sends = 0
        self.ended = False
        self.broken = False
        self._arrived = bytearray()
        self._held: deque[bytes] = deque()
        self._holding = False
        self._changed = anyio.Event()

    # ------------------------------------------------------ the test's side

    def hold(self) -> None:
        """Let nothing arrive until it is released."""
        self._holding = True

    def release(self) -> None:
        """Let everything arrive that was held, and what comes after it."""
        self._holding = False
        while self._held:
            self._arrived += self._held.popleft()
        self._notify()

    def cut(self) -> None:
        """Break the connection: what has not arrived is lost, and so is what follows."""
        self.broken = True
        self._held.clear()
        self._notify()

    def grow(self, capacity: float) -> None:
        """Change the capacity."""
        self.capacity = capacity
        self._notify()

    # -------------------------------------------------------- the two ends

    def put(self, data: bytes) -> None:
        """Send without waiting."""
        if self.broken or self.ended:
            return
        self.sent += data
        self.sends += 1
        if self._holding:
            self._held.append(data)
        else:
            self._arrived += data
        self._notify()

    def take(self) -> bytes:
        """Receive what has arrived, without waiting."""
        size = self.chunk or len(self._arrived)
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        self._notify()
        return data

    def end(self) -> None:
        """Tell that nothing follows."""
        self.ended = True
        self._notify()

    async def send(self, data: bytes) -> bool:
        """Send as a socket does: in parts, as far as there is room."""
        await checkpoint()
        rest = data
        while rest:
            if self.broken or self.ended:
                return False
            room = self.capacity - len(self._arrived) - sum(map(len, self._held))
            if room <= 0:
                await self._changed.wait()
                continue
            size = len(rest) if room == math.inf else int(room)
            self.put(rest[:size])
            rest = rest[size:]
        return True

    async def receive(self) -> bytes:
        await checkpoint()
        while not self._arrived:
            if self.broken or (self.ended and not self._held):
                return b""
            await self._changed.wait()
        return self.take()

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class MemoryTransport:
    """One end of a connection.

    Attributes:
        incoming: What the other end sends.
        outgoing: What this end sends.
        closed: Whether this end was closed.
    """

    def __init__(self, incoming: Wire, outgoing: Wire) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.closed = False
        self.unsent = 0
        self.untaken = 0
        self._queue: deque[bytes] = deque()
        self._soon: deque[Callable[[], None]] = deque()
        self._wake = anyio.Event()
        self._paused = False
        self._resumed = anyio.Event()

    def peer_uid(self) -> int | None:
        return None

    # ------------------------------------------------------------- in bulk

    async def run(self, on_data: Callable[[bytes], None], on_writable: Callable[[], None]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pump, on_writable)
            while data := await self.incoming.receive():
                on_data(data)
                while self._paused:
                    self._resumed = anyio.Event()
                    await self._resumed.wait()
            tasks.cancel_scope.cancel()

    async def _pump(self, on_writable: Callable[[], None]) -> None:
        """Send what is written, and call what is to be called soon."""
        while True:
            while self._soon or self._queue:
                if self._soon:
                    self._soon.popleft()()
                    continue
                data = self._queue.popleft()
                await self.outgoing.send(data)
                self.unsent -= len(data)
                on_writable()
            self._wake = anyio.Event()
            await self._wake.wait()

    @property
    def writable(self) -> bool:
        return not self.unsent

    def write(self, data: bytes) -> None:
        self._queue.append(data)
        self.unsent += len(data)
        self._wake.set()

    def call_soon(self, function: Callable[[], None]) -> None:
        self._soon.append(function)
        self._wake.set()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._resumed.set()

    # ---------------------------------------------------------- one by one

    async def receive(self) -> bytes:
        return await self.incoming.receive()

    async def send(self, data: bytes) -> bool:
        return await self.outgoing.send(data)

    async def send_eof(self) -> None:
        await checkpoint()
        while self.unsent and not self.outgoing.broken:
            await checkpoint()
        self.outgoing.end()

    async def aclose(self) -> None:
        self.closed = True
        self.outgoing.end()
        self.incoming.cut()
        await checkpoint()


def connected_pair() -> tuple[MemoryTransport, MemoryTransport]:
    """Return the two ends of a connection."""
    there, back = Wire(), Wire()
    return MemoryTransport(back, there), MemoryTransport(there, back)


class FramePeer:
    """The far end of a link, played by the test: frames in, frames out."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self._decoder = FrameDecoder()

    async def receive(self) -> Frame:
        """Return the next frame; fails at the end of the stream."""
        while (frame := self._decoder.next_frame()) is None:
            data = await self.transport.receive()
            assert data, "the link was closed instead of sending a frame"
            self._decoder.receive_data(data)
        return frame

    async def receive_message(self) -> tuple[Frame, Message]:
        """Return the next frame and what it says."""
        frame = await self.receive()
        return frame, decode_message(frame.connection, is_response=frame.is_response)

    async def receive_to_the_end(self) -> list[Frame]:
        """Return all frames until the stream ends."""
        frames: list[Frame] = []
        while True:
            while (frame := self._decoder.next_frame()) is not None:
                frames.append(frame)
            data = await self.transport.receive()
            if not data:
                assert not self._decoder.has_partial_frame, "a frame was cut"
                return frames
            self._decoder.receive_data(data)

    def has_nothing_to_read(self) -> bool:
        """Tell whether no whole frame has arrived; call it when everybody waits."""
        self._decoder.receive_data(self.transport.incoming.take())
        frame = self._decoder.next_frame()
        assert frame is None, frame
        return True

    def request(
        self,
        request_id: int,
        message: Message,
        application: bytes = b"",
        *,
        timeout_ms: int = 3000,
    ) -> None:
        frame = Frame(False, request_id, timeout_ms, message.encode(), application)
        self.transport.outgoing.put(encode_frame(frame))

    def answer(self, request: Frame, message: Message, application: bytes = b"") -> None:
        frame = Frame(True, request.request_id, 0, message.encode(), application)
        self.transport.outgoing.put(encode_frame(frame))
