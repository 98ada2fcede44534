"""A transport and a waiter for trio."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

import trio  # noqa: TID251

from cluster_client import _fork
from cluster_client._backend._asyncio import READ_SIZE, read_buffer
from cluster_client._backend._credentials import peer_uid

_HIGH_WATER: Final = READ_SIZE
_LOW_WATER: Final = READ_SIZE // 4


class TrioWaiter:
    """See `Waiter`: a task parked by hand, at a third of the price of an event."""

    __slots__ = ("_done", "_result", "_task")

    def __init__(self) -> None:
        self._done = False
        self._result: Any = None
        self._task: trio.lowlevel.Task | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self._done:
            self._task = trio.lowlevel.current_task()
            parked = trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105 - below
            yield from parked.__await__()
        return self._result

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        self._done = True
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def set_result(self, result: Any, /) -> None:
        self._done = True
        self._result = result
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None  # never twice

    def done(self) -> bool:
        return self._done


class TrioTransport:
    """See `Transport`."""

    def __init__(self, sock: socket.socket, protection: _fork.Protection) -> None:
        self.writable = True
        self.unsent = 0
        self.untaken = 0
        self._socket = sock
        self._protection = protection
        self._queue: deque[memoryview] = deque()
        self._wake_writer = TrioWaiter()
        self._soon = TrioWaiter()
        self._resumed: TrioWaiter | None = None
        self._on_writable: Callable[[], None] = lambda: None
        self._broken = False
        self._ending = False

    def peer_uid(self) -> int | None:
        return peer_uid(self._socket)

    # ------------------------------------------------------------- one by one

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._socket.recv(READ_SIZE)
            except BlockingIOError:
                if not await self._wait(trio.lowlevel.wait_readable):
                    return b""
            except OSError:
                return b""

    async def send(self, data: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            rest = rest[self._send(rest) :]
            if self._broken or (rest and not await self._wait(trio.lowlevel.wait_writable)):
                return False
        return not self._broken

    async def _wait(self, wait: Callable[[Any], Any]) -> bool:
        """Wait for the socket; False if it is closed."""
        if self._socket.fileno() < 0:
            return False
        try:
            await wait(self._socket)
        except (trio.ClosedResourceError, OSError):
            return False
        return True

    def _send(self, data: memoryview) -> int:
        """Give the operating system as much as it takes."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._break()
            return 0

    def _break(self) -> None:
        """Give up sending. What has arrived may still be read."""
        self._broken = True
        self._queue.clear()
        self.untaken += self.unsent
        self.unsent = 0
        self.writable = True  # nobody is to wait for it any more

    # -------------------------------------------------------------- in bulk

    async def run(self, on_data: Callable[[bytes], None], on_writable: Callable[[], None]) -> None:
        self._on_writable = on_writable
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_writer)
            nursery.start_soon(self._run_soon)
            await self._read(on_data)
            nursery.cancel_scope.cancel()

    async def _read(self, on_data: Callable[[bytes], None]) -> None:
        buffer = read_buffer()
        receive_into = self._socket.recv_into
        while True:
            try:
                size = receive_into(buffer)
            except BlockingIOError:
                if not await self._wait(trio.lowlevel.wait_readable):
                    return
                continue
            except OSError:
                return
            if not size:
                return
            on_data(bytes(buffer[:size]))
            while self._resumed is not None:
                await self._resumed
            await trio.lowlevel.checkpoint()  # the others', and ours, that have work to do now

    async def _run_writer(self) -> None:
        """Send what could not be sent at once."""
        while True:
            await self._wake_writer
            self._wake_writer = TrioWaiter()
            while self._queue and await self._wait(trio.lowlevel.wait_writable):
                sent = self._send(self._queue[0])
                if not self._queue:
                    break  # it is broken
                self.unsent -= sent
                if sent == len(self._queue[0]):
                    self._queue.popleft()
                else:
                    self._queue[0] = self._queue[0][sent:]
                if not self.writable and self.unsent <= _LOW_WATER:
                    self.writable = True
                    self._on_writable()
            self._on_writable()
            if self._ending and not self._queue:
                self._shut_down()

    async def _run_soon(self) -> None:
        while True:
            function = await self._soon
            self._soon = TrioWaiter()
            function()

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        if not self._queue and not self._broken:
            rest = rest[self._send(rest) :]
        if self._broken:
            self.untaken += len(rest)
        elif rest:
            self._queue.append(rest)
            self.unsent += len(rest)
            self.writable = self.unsent <= _HIGH_WATER
            if not self._wake_writer.done():
                self._wake_writer.set_result(None)

    def call_soon(self, function: Callable[[], None]) -> None:
        if not self._soon.done():
            self._soon.set_result(function)

    def pause_reading(self) -> None:
        if self._resumed is None:
            self._resumed = TrioWaiter()

    def resume_reading(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    # ---------------------------------------------------------------- the end

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self._ending = True
        if not self._queue:
            self._shut_down()

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):  # not connected any more
            self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        _fork.release(self._protection)
        self._break()
        self.resume_reading()
        await trio.lowlevel.cancel_shielded_checkpoint()
