"""The lock on a socket's path: one holder on the host, in a process, and over forks."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster_client._backend._socket_files import SocketFileLock, check_directory, remove_stale


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "app.sock")


def take(path: str) -> SocketFileLock:
    lock = SocketFileLock.acquire(path)
    assert lock is not None
    return lock


def test_one_of_a_process_has_it_whichever_thread_asks(path: str) -> None:
    lock = take(path)
    others: list[SocketFileLock | None] = []
    thread = threading.Thread(target=lambda: others.append(SocketFileLock.acquire(path)))
    thread.start()
    thread.join()
    assert others == [None]
    lock.release()
    take(path).release()


def test_a_second_release_takes_it_from_nobody(path: str) -> None:
    first = take(path)
    first.release()
    second = take(path)
    assert SocketFileLock.acquire(path) is None
    second.release()
    second.release()


def test_it_removes_only_what_was_bound(path: str) -> None:
    Path(path).touch()
    take(path).release()
    assert Path(path).exists()
    lock = take(path)
    lock.bound = True
    lock.release()
    assert not Path(path).exists()


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SocketFileLock.acquire(str(tmp_path / "missing" / "app.sock"))


def test_nothing_is_no_stale_socket(path: str) -> None:
    remove_stale(path)


def test_a_directory_is_made_for_one_user(tmp_path: Path) -> None:
    check_directory(str(tmp_path / "run" / "app.sock"))
    check_directory(str(tmp_path / "run" / "app.sock"))
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


FORKED = """
import os
from cluster_client._backend._socket_files import SocketFileLock

lock = SocketFileLock.acquire({path!r})
lock.bound = True
open({path!r}, "w").close()
child = os.fork()
if child == 0:
    lock.release()  # the parent's, and so nothing happens
    os._exit(0 if SocketFileLock.acquire({path!r}) is None else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child has got it"
assert os.path.exists({path!r})
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.read(reading, 1)  # it lives on
    os._exit(0)
lock.release()
assert SocketFileLock.acquire({path!r}) is not None
os.write(writing, b".")
os.waitpid(child, 0)
"""


def test_a_child_neither_has_it_nor_keeps_it(path: str) -> None:
    subprocess.run([sys.executable, "-c", FORKED.format(path=path)], check=True)
    lock = take(path)  # the process that has ended kept nothing
    lock.release()
    assert Path(f"{path}.lock").exists()
