"""What a forked child does with the sockets that it inherits; here in the process itself."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator

import pytest

from cluster_client import _fork


@pytest.fixture(autouse=True)
def own_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests' forks count for nothing else."""
    monkeypatch.setattr(_fork, "_protections", set())
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
