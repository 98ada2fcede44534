"""What a forked child does with the sockets that it inherits; here in the process itself."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the event loops themselves are looked at
import fcntl
import os
import select
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler

import anyio
import pytest

from cluster_client import _backend, _fork, cluster
from support.times import LIMIT


@pytest.fixture(autouse=True)
def own_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests' forks count for nothing else."""
    monkeypatch.setattr(_fork, "_protections", set())
    monkeypatch.setattr(_fork, "_pollers", Counter())
    monkeypatch.setattr(_fork, "_generation", 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        yield here, there


def test_an_inherited_socket_is_replaced(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    _fork.protect(here)
    _fork._in_child()
    assert _fork.generation() == 1
    with pytest.raises(OSError, match="not connected"):
        here.getpeername()
    assert there.recv(1) == b"", "the peer must see the end"
    assert not os.get_inheritable(here.fileno())


def test_a_socket_that_was_released_is_left_alone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    protection = _fork.protect(here)
    _fork.release(protection)
    _fork.release(protection)
    _fork._in_child()
    there.send(b"x")
    assert here.recv(1) == b"x"


def test_a_descriptor_that_is_somebody_elses_by_now_is_left_alone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    lost, other = socket.socketpair()
    _fork.protect(lost)
    os.dup2(here.fileno(), lost.fileno())
    _fork._in_child()
    there.send(b"x")
    assert lost.recv(1) == b"x"
    lost.close()
    other.close()


def test_a_descriptor_that_is_closed_by_now_is_no_error() -> None:
    with socket.socket() as sock:
        lost = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 500)
    _fork._protections.add(_fork.Protection(lost))
    os.close(lost)  # and no socket gets so high a number meanwhile
    _fork._in_child()
    assert _fork._protections == set()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lost)


def test_each_fork_counts() -> None:
    _fork._in_child()
    _fork._in_child()
    assert _fork.generation() == 2


def test_no_child_is_forked_while_a_socket_is_not_protected_yet() -> None:
    opening, forked = threading.Event(), threading.Event()

    def fork() -> None:
        opening.wait(LIMIT)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        forked.set()
        os.waitpid(pid, 0)

    def open_socket() -> socket.socket:
        opening.set()
        assert not forked.wait(0.05), "the other thread did not wait"
        return socket.socket()

    thread = threading.Thread(target=fork)
    thread.start()
    sock, protection = _fork.open_protected(open_socket)
    assert forked.wait(LIMIT)
    thread.join()
    assert protection in _fork._protections
    sock.close()


def test_a_child_has_an_epoll_instance_of_its_own(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    with select.epoll() as poller, select.epoll() as shared:
        poller.register(here, select.EPOLLIN)
        os.dup2(poller.fileno(), shared.fileno())  # what a parent has of it
        with _fork.isolated(_fork.Poller(poller.fileno())):
            _fork._in_child()
        there.send(b"x")
        assert poller.poll(0) == []
        assert shared.poll(0) == [(here.fileno(), select.EPOLLIN)]


def test_what_is_no_epoll_instance_any_more_is_left_alone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    with _fork.isolated(_fork.Poller(here.fileno())), _fork.isolated(_fork.Poller(here.fileno())):
        _fork._in_child()
    there.send(b"x")
    assert here.recv(1) == b"x"


def test_an_event_loop_counts_as_long_as_somebody_needs_it() -> None:
    one = _fork.Poller(17)
    with _fork.isolated(one):
        with _fork.isolated(one), _fork.isolated(None):
            pass
        assert _fork._pollers == {one: 1}
    assert _fork._pollers == {}


def test_signals_of_a_child_do_not_wake_the_parents_event_loop() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        signal.set_wakeup_fd(there.fileno())
        try:
            with _fork.isolated(_fork.Poller(here.fileno())):
                _fork._in_child()
        finally:
            left = signal.set_wakeup_fd(-1)
    assert left == -1


def target_of(poller: _fork.Poller | None) -> str:
    assert poller is not None, "the event loop's library keeps it elsewhere now"
    return os.readlink(f"/dev/fd/{poller.epoll}")


async def test_the_event_loops_epoll_instance_is_known() -> None:
    poller = _backend.poller()
    assert target_of(poller) == "anon_inode:[eventpoll]"
    assert poller is not None
    assert poller.waker is not None


def test_a_child_wakes_its_copy_of_the_event_loop_and_no_other() -> None:
    here, there = socket.socketpair()
    parents = here.dup()
    with here, there, parents, select.epoll() as epoll:
        waker = here.fileno(), there.fileno()
        with _fork.isolated(_fork.Poller(epoll.fileno(), waker)):
            _fork._in_child()
        there.send(b"x")
        assert epoll.poll(0) == [(here.fileno(), select.EPOLLIN)]
        assert here.recv(2) == b"x"
        parents.setblocking(False)
        assert parents.recv(1) == b"", "its other end was replaced, and nothing was sent before"


def test_that_of_uvloop_too() -> None:
    async def main() -> None:
        assert not hasattr(asyncio.get_running_loop(), "_selector")
        assert target_of(_backend.poller()) == "anon_inode:[eventpoll]"

    anyio.run(main, backend_options={"use_uvloop": True})


def test_a_client_cannot_be_sent_to_another_process() -> None:
    class Nothing:
        async def get(self) -> None: ...

    with pytest.raises(TypeError, match="create one there"):
        ForkingPickler.dumps(cluster(Nothing).create())
