"""What a forked child inherits, and must not keep.

A child shares the parent's sockets: while it lives the port stays bound and
the peers see no end of file, even if the parent is dead. So in the child each
of our descriptors is replaced. They are replaced and not closed: the event loop's
objects still refer to the numbers, and closing them the ordinary way would
unregister them from an epoll instance that is shared with the parent.

That epoll instance is replaced, too, by one that waits for nothing but threads of the child.
A child that goes on in the event loop it was copied with, be it for as long as ``sys.exit``
unwinds it, would else take the parent's events away, or have it forget sockets. And the
child's signals are not written into the parent's event loop any more: SIGTERM for the child
would terminate the parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Generator
from typing import Final, NamedTuple, Protocol

_protections: Final[set[Protection]] = set()
_pollers: Final[Counter[Poller]] = Counter()
_generation = 0
_no_fork: Final = threading.RLock()
"""Held while there is a socket that is not protected yet; forks of other threads wait for it."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Protection:
    """A socket that no child is to keep, from `protect` to `release`.

    The number alone would not do: an event loop closes a lost connection by
    itself, and then the number may be somebody else's before we hear of it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._inode = os.fstat(descriptor).st_ino

    def replace_with(self, substitute: int) -> None:
        """Replace the descriptor if it is still the socket."""
        try:
            if os.fstat(self._descriptor).st_ino == self._inode:
                os.dup2(substitute, self._descriptor, inheritable=False)
        except OSError:
            return  # closed in the meantime: nothing is inherited


def protect(sock: HasFileno) -> Protection:
    """Replace the socket's descriptor in every child forked until `release`."""
    protection = Protection(sock.fileno())
    _protections.add(protection)
    return protection


def open_protected(open_socket: Callable[[], socket.socket]) -> tuple[socket.socket, Protection]:
    """Make a socket and protect it, with no chance for a fork in between.

    Args:
        open_socket: Makes it, and does not block.

    Raises:
        OSError: What *open_socket* raises.
    """
    with _no_fork:
        sock = open_socket()
        return sock, protect(sock)


def release(protection: Protection) -> None:
    """Forget the socket, which has been closed; may be repeated."""
    _protections.discard(protection)


class Poller(NamedTuple):
    """What an event loop waits with.

    Attributes:
        epoll: Descriptor of its epoll instance.
        waker: The two ends of the pair of sockets that wakes it, the reading one first.
    """

    epoll: int
    waker: tuple[int, int] | None = None


@contextlib.contextmanager
def isolated(poller: Poller | None) -> Generator[None]:
    """Give every child that is forked meanwhile a poller of its own.

    Args:
        poller: The event loop's; ``None`` if it has none of this kind, as kqueue is not inherited.
    """
    if poller is None:
        yield
        return
    _pollers[poller] += 1
    try:
        yield
    finally:
        _pollers[poller] -= 1
        if not _pollers[poller]:
            del _pollers[poller]


def generation() -> int:
    """Return how many forks lie between the first process and this one.

    Whoever was made in another generation belongs to a parent process.
    """
    return _generation


def _in_child() -> None:
    global _generation  # noqa: PLW0603 - one process, one number
    _generation += 1
    if _protections or _pollers:
        # An unconnected socket: whatever the inherited event loop tries with it fails at once.
        with socket.socket() as substitute:
            for protection in _protections:
                protection.replace_with(substitute.fileno())
        for poller in _pollers:
            _replace_poller(poller)
        with contextlib.suppress(ValueError):  # in a subinterpreter, which has no signals
            signal.set_wakeup_fd(-1)
        _protections.clear()
        _pollers.clear()


def _replace_poller(poller: Poller) -> None:
    with contextlib.suppress(OSError):  # closed
        if os.readlink(f"/proc/self/fd/{poller.epoll}") != "anon_inode:[eventpoll]":
            return
        with select.epoll() as substitute:
            if poller.waker is not None:
                ends = socket.socketpair()
                for end, descriptor in zip(ends, poller.waker, strict=True):
                    end.setblocking(False)
                    os.dup2(end.fileno(), descriptor, inheritable=False)
                    end.close()
                substitute.register(poller.waker[0], select.EPOLLIN)
            os.dup2(substitute.fileno(), poller.epoll, inheritable=False)


def _after_in_child() -> None:
    try:
        _in_child()
    finally:
        _no_fork.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_no_fork.acquire,
        after_in_parent=_no_fork.release,
        after_in_child=_after_in_child,
    )
