"""Sockets: the port is taken in one step, and a stream ends without errors."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its exceptions are what a user's code may raise
import errno
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import _backend
from cluster_client._backend import (
    SocketListener,
    Transport,
    _sockets,
    bind_and_listen,
    connect,
    event_loop_waker,
)
from cluster_client._endpoints import LOCALHOST
from cluster_client._fork import Protection


def listen(port: int) -> SocketListener:
    listener = bind_and_listen(port)
    assert listener is not None
    return listener


@asynccontextmanager
async def connection(port: int) -> AsyncGenerator[tuple[Transport, Transport]]:
    """Give both ends of a connection, and close them."""
    listener = listen(port)
    try:
        here = await connect(port)
        assert here is not None
        there = await listener.accept()
        try:
            yield here, there
        finally:
            await here.aclose()
            await there.aclose()
    finally:
        listener.close()


# ---------------------------------------------------------------- listening


async def test_the_port_can_be_taken_once(port: int) -> None:
    listener = listen(port)
    assert bind_and_listen(port) is None
    listener.close()
    listen(port).close()


async def test_a_port_that_another_program_holds_is_a_lost_race(port: int) -> None:
    with socket.socket() as other:
        other.bind((LOCALHOST, port))
        other.listen()
        assert bind_and_listen(port) is None


async def test_any_other_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def bind(self, _: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(PermissionError):
        bind_and_listen(80)


async def test_lingering_connections_of_a_dead_leader_do_not_keep_the_port(port: int) -> None:
    async with connection(port) as (here, there):
        await there.aclose()
        assert await here.receive() == b""
    listen(port).close()


async def test_the_port_is_free_when_all_handles_are_closed(port: int) -> None:
    listener = listen(port)
    second = listener.duplicate()
    listener.close()
    listener.close()
    assert bind_and_listen(port) is None
    here = await connect(port)
    assert here is not None
    there = await second.accept()
    second.close()
    await here.aclose()
    await there.aclose()
    listen(port).close()


async def test_each_handle_accepts(port: int) -> None:
    listener = listen(port)
    second = listener.duplicate()
    accepted: list[Transport] = []

    async def accept(handle: SocketListener) -> None:
        accepted.append(await handle.accept())

    async with anyio.create_task_group() as tasks:
        for handle in (listener, second):
            tasks.start_soon(accept, handle)
        await wait_all_tasks_blocked()
        ends = [await connect(port) for _ in range(2)]
    for end in (*ends, *accepted):
        assert end is not None
        await end.aclose()
    listener.close()
    second.close()


async def test_a_connection_is_accepted_by_one_handle_only(port: int) -> None:
    listener = listen(port)
    second = listener.duplicate()
    accepted: list[Transport] = []

    async def accept(handle: SocketListener) -> None:
        accepted.append(await handle.accept())

    async with anyio.create_task_group() as tasks:
        for handle in (listener, second):
            tasks.start_soon(accept, handle)
        await wait_all_tasks_blocked()
        here = await connect(port)
        while not accepted:
            await wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert here is not None
    assert len(accepted) == 1
    for end in (here, *accepted):
        await end.aclose()
    listener.close()
    second.close()


async def test_a_connection_that_is_gone_before_it_is_accepted_is_passed_over(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_transport = _sockets.open_transport
    gone: list[socket.socket] = []

    async def fail_once(connection: socket.socket, protection: Protection) -> Transport:
        if not gone:
            gone.append(connection)
            connection.close()
            raise OSError(errno.EINVAL, "Invalid argument")
        return await open_transport(connection, protection)

    listener = listen(port)
    ends = [await connect(port) for _ in range(2)]
    monkeypatch.setattr(_sockets, "open_transport", fail_once)
    ends.append(await listener.accept())
    assert gone[0].fileno() < 0
    for end in ends:
        assert end is not None
        await end.aclose()
    listener.close()


async def test_closing_wakes_whoever_accepts(port: int) -> None:
    listener = listen(port)
    ended = anyio.Event()

    async def accept() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await listener.accept()
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        await wait_all_tasks_blocked()
        listener.close()
        await ended.wait()
    with pytest.raises(anyio.ClosedResourceError):
        await listener.accept()


# --------------------------------------------------------------- connecting


async def test_where_nobody_listens_there_is_no_connection(port: int) -> None:
    assert await connect(port) is None


async def test_a_connection_to_oneself_counts_as_nobody(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel makes one if it chooses the very port that we connect to as our own."""

    class BoundToThePort(socket.socket):
        def connect_ex(self, address: Any) -> int:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(address)
            return super().connect_ex(address)

    monkeypatch.setattr(socket, "socket", BoundToThePort)
    assert await connect(port) is None
    monkeypatch.undo()
    listen(port).close()


# ------------------------------------------------------------------ streams


async def test_bytes_go_both_ways_and_the_end_is_told(port: int) -> None:
    async with connection(port) as (here, there):
        assert await here.send(b"there")
        assert await there.receive() == b"there"
        assert await there.send(b"and back")
        assert await here.receive() == b"and back"
        await here.send_eof()
        assert await there.receive() == b""
        assert await there.send(b"last words")
        await there.aclose()
        assert await here.receive() == b"last words"
        assert await here.receive() == b""


async def test_a_cancelled_receive_loses_nothing(port: int) -> None:
    async with connection(port) as (here, there):
        with anyio.move_on_after(0):
            await here.receive()
        await there.send(b"still there")
        assert await here.receive() == b"still there"


async def test_a_broken_stream_raises_nothing(port: int) -> None:
    async with connection(port) as (here, there):
        await here.send(b"unread")  # closing now resets the connection
        await there.aclose()
        while await here.send(b"x" * 100_000):
            pass
        assert await here.receive() == b""
        await here.send_eof()


async def test_a_closed_transport_raises_nothing(port: int) -> None:
    async with connection(port) as (here, _):
        await here.aclose()
        await here.aclose()
        assert await here.receive() == b""
        assert not await here.send(b"x")
        await here.send_eof()


async def test_closing_does_not_wait_for_a_peer_that_does_not_read(port: int) -> None:
    async with connection(port) as (here, _):
        with anyio.move_on_after(0.01):
            while await here.send(b"x" * 1_000_000):
                pass
        await here.aclose()


async def test_closing_is_not_stopped_by_a_cancellation(port: int) -> None:
    async with connection(port) as (here, there):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await here.aclose()
        assert await there.receive() == b""


async def test_small_frames_are_not_held_back(port: int) -> None:
    async with connection(port) as ends:
        for end in ends:
            own: Any = end
            sock = getattr(own, "_socket", None) or own._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# -------------------------------------------------------------------- waker


async def test_a_foreign_thread_wakes_the_event_loop() -> None:
    woken = anyio.Event()
    here = threading.get_ident()
    idents: list[int] = []

    def function() -> None:
        idents.append(threading.get_ident())
        woken.set()

    wake = event_loop_waker()
    thread = threading.Thread(target=wake, args=(function,))
    thread.start()
    thread.join()
    await woken.wait()
    assert idents == [here]


def test_after_the_loops_end_nobody_is_woken(anyio_backend_name: str) -> None:
    async def make() -> Callable[[Callable[[], object]], None]:
        return event_loop_waker()

    wake = anyio.run(make, backend=anyio_backend_name)
    wake(lambda: pytest.fail("there is no loop"))


# ------------------------------------------------------ stray cancellations


async def test_a_cancellation_of_ones_own_task_stays_one() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        with _backend.stray_cancellations_as_errors():
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_one_of_something_else_is_an_ordinary_error() -> None:
    """On trio it means nothing at all, wherever it comes from."""
    with pytest.raises(CancelledError), _backend.stray_cancellations_as_errors():
        raise asyncio.CancelledError


async def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), _backend.stray_cancellations_as_errors():
        raise ZeroDivisionError
