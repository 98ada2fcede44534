"""Frames on their way out: batched, and bounded by whoever writes them."""

from __future__ import annotations

from typing import Final

import anyio

from cluster_client._backend import Transport

__all__ = ["BATCH", "HIGH_WATER", "Outbox"]

HIGH_WATER: Final = 1 << 20
"""Bytes waiting to be written above which callers wait, and a leader stops reading."""

BATCH: Final = 16
"""Frames that are sent at once without waiting for more. Each send costs as much as three calls,
but without a limit both processes wait for each other's whole bursts: half the throughput."""


class Outbox:
    """What waits to be sent on one transport.

    A frame that is still here was never sent, whatever becomes of the transport, nor was one of
    which the operating system has not taken every byte.

    Args:
        transport: Sends it.

    Attributes:
        accepted: Bytes given to it, ever.
        waiting: Bytes of them that the transport has not been given yet.
        congested: Whether so much waits to be written that more has to wait elsewhere.
    """

    def __init__(self, transport: Transport) -> None:
        self.accepted = 0
        self.waiting = 0
        self.congested = False
        self._transport = transport
        self._frames: list[bytes] = []
        self._flushing = False  # whether `_flush_now` is about to be called
        self._reading_paused = False
        self._relieved = anyio.Event()
        self._relief_awaited = False
        self._finished = False
        self._closed = False

    def write(self, frame: bytes) -> None:
        """Send a whole frame soon; nothing is sent any more after `finish`."""
        if self._finished:
            return
        frames = self._frames
        frames.append(frame)
        size = len(frame)
        self.waiting += size
        self.accepted += size
        if self.waiting > HIGH_WATER:
            self.congested = True
        if len(frames) >= BATCH:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._transport.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        """Give the transport what is to be sent, as far as it takes it."""
        transport = self._transport
        if self._frames and transport.writable:
            # All that is ready in one send: a system call costs more than the join.
            data = b"".join(self._frames)
            self._frames.clear()
            self.waiting = 0
            transport.write(data)
        self.congested = self.waiting + transport.unsent > HIGH_WATER
        if self._reading_paused and not self.congested:
            self._reading_paused = False
            transport.resume_reading()
        if self._relief_awaited:
            self._relief_awaited = False
            relieved, self._relieved = self._relieved, anyio.Event()
            relieved.set()

    async def finish(self) -> None:
        """Give the transport everything, and let the peer know that nothing follows."""
        await self.drained()
        self._finished = True
        await self._transport.send_eof()

    def close(self) -> None:
        """Send nothing more, and let everybody go on who waits for something here."""
        self._closed = True
        # Callers are told that these were never sent, so a flush that is still to come must not.
        self._frames.clear()
        self._relieved.set()

    @property
    def backlog(self) -> int:
        """Bytes that the operating system has not taken yet."""
        return self.waiting + self._transport.unsent

    def hold_reader(self) -> None:
        """Read nothing more from the peer as long as too much waits to be written to it."""
        if not self._reading_paused and self.congested:
            self._reading_paused = True
            self._transport.pause_reading()

    @property
    def taken(self) -> int:
        """Bytes that the operating system has taken, ever, as far as can be told."""
        return self.accepted - self.waiting - self._transport.untaken

    async def drained(self) -> None:
        """Wait until the transport has been given everything, or the outbox is closed."""
        self.flush()
        while self._frames and not self._closed:
            await self._relief()

    async def writable(self) -> None:
        """Wait until it is not congested, or the outbox is closed."""
        while self.congested and not self._closed:
            await self._relief()

    async def _relief(self) -> None:
        self._relief_awaited = True
        await self._relieved.wait()
