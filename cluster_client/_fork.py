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

_descriptors: Final[set[int]] = set()
_generation = 0


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def protect(sock: HasFileno) -> None:
    """Replace the socket's descriptor in every child forked from now on."""
    _descriptors.add(sock.fileno())


def release(sock: HasFileno) -> None:
    """Forget the socket; to be called right before it is closed."""
    _descriptors.discard(sock.fileno())


def generation() -> int:
    """Return how many forks lie between the first process and this one.

    Whoever was made in another generation belongs to a parent process.
    """
    return _generation


def _in_child() -> None:
    global _generation  # noqa: PLW0603 - one process, one number
    _generation += 1
    if not _descriptors:
        return
    # An unconnected socket: whatever the inherited event loop tries with it fails at once.
    with socket.socket() as substitute:
        for descriptor in _descriptors:
            os.dup2(substitute.fileno(), descriptor, inheritable=False)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
