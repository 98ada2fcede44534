"""What a forked child inherits, and must not keep.

A child shares the parent's sockets: while it lives the port stays bound and
the peers see no end of file, even if the parent is dead. So in the child each
of our descriptors is replaced. They are replaced and not closed: the event loop's
objects still refer to the numbers, and closing them the ordinary way would
unregister them from an epoll instance that is shared with the parent.
"""

from __future__ import annotations

import os
import socket
from typing import Final, Protocol

_protections: Final[set[Protection]] = set()
_generation = 0


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


def release(protection: Protection) -> None:
    """Forget the socket, which is about to be closed; may be repeated."""
    _protections.discard(protection)


def generation() -> int:
    """Return how many forks lie between the first process and this one.

    Whoever was made in another generation belongs to a parent process.
    """
    return _generation


def _in_child() -> None:
    global _generation  # noqa: PLW0603 - one process, one number
    _generation += 1
    if _protections:
        # An unconnected socket: whatever the inherited event loop tries with it fails at once.
        with socket.socket() as substitute:
            for protection in _protections:
                protection.replace_with(substitute.fileno())
        _protections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
