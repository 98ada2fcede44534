"""Unix domain sockets that one process at a time may listen on (SPEC section 8.1).

`bind` fails wherever a file is, also one that a dead process has left. So the race is for a lock
beside it, which the kernel releases with its process; whoever has it may take the file away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
from typing import Final

from cluster_client import _fork

if sys.platform != "win32":
    import fcntl

__all__ = ["SocketFileLock", "check_directory", "remove_stale"]

_HELD_ELSEWHERE: Final = (errno.EACCES, errno.EAGAIN)


_held: Final[set[str]] = set()
_guard: Final = threading.Lock()


class SocketFileLock:
    """The right to listen on a path; made by `acquire`.

    A record lock, and not `flock`: that one is inherited by children, so a child that lives on
    would keep it. A record lock has another trap: closing *any* descriptor of the file gives it
    up. So in a process nobody opens the file of a lock that is held.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._generation = _fork.generation()
        self.bound = False
        """Whether the file at the path is our socket."""

    @classmethod
    def acquire(cls, path: str) -> SocketFileLock | None:
        """Take the lock; ``None`` if another process, or another thread of this one, has it.

        Args:
            path: Of the socket, without symbolic links in it.

        Raises:
            OSError: If the file cannot be made or locked for another reason.
        """
        with _guard:
            if path in _held:
                return None
            descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                os.close(descriptor)
                if exc.errno in _HELD_ELSEWHERE:
                    return None
                raise
            _held.add(path)
            return cls(path, descriptor)

    def release(self) -> None:
        """Remove the socket, if it is ours, and give the lock up; in a forked child, nothing."""
        if self._generation != _fork.generation():
            return
        with _guard:
            if self._path not in _held:
                return
            if self.bound:
                with contextlib.suppress(OSError):  # somebody has tidied up
                    os.unlink(self._path)
            _held.discard(self._path)
            os.close(self._descriptor)


def check_directory(path: str) -> None:
    """Make the directory of a socket, or check that nobody else can put anything there.

    Raises:
        OSError: If it cannot be made, or is open to others.
    """
    directory = os.path.dirname(path)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    found = os.stat(directory)
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PermissionError(
            errno.EACCES,
            f"it belongs to user {found.st_uid} and has the mode {stat.S_IMODE(found.st_mode):o}, "
            f"where only user {os.geteuid()} may have access (mode 700), or others could listen "
            f"in our place",
            directory,
        )


def remove_stale(path: str) -> None:
    """Remove the socket of a process that has ended; for whoever has the lock.

    Raises:
        OSError: If there is something else, which is not ours to remove.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "it is no socket, and so is not removed", path)
    os.unlink(path)


def _in_child() -> None:
    _held.clear()  # they are the parent's
    _guard.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_in_child
    )
