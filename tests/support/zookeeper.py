"""A real ZooKeeper server for tests: started, paused, killed, and started again.

::

    with running_zookeeper(directory) as server:
        client = ZooKeeperClient(server.hosts)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

import zookeeper_server
from support.ports import free_port
from support.times import scaled

_START_LIMIT: Final = scaled(60)
_ANSWER_LIMIT: Final = scaled(5)
_POLL: Final = 0.05


class ZooKeeperServer:
    """A server on a port of its own, with its data in a directory.

    All waits are in the thread of the caller: they are short, and a few tests only stop it.

    Args:
        directory: For its data, its configuration and its log; must exist.

    Attributes:
        port: On 127.0.0.1; it stays the same.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._command = zookeeper_server.configure(directory, self.port)

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self._directory / "zookeeper.log"

    def start(self) -> None:
        """Start it, with the data that is there, and wait until it serves."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_LIMIT
        while not zookeeper_server.serves(self.port, scaled(0.5)):
            assert self._process.poll() is None, f"ZooKeeper ended:\n{self.log_tail()}"
            assert time.monotonic() < deadline, f"ZooKeeper does not serve:\n{self.log_tail()}"
            _pause()

    def stop(self) -> None:
        """End it in an orderly way, and wait for that."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again: connections break, sessions and data stay."""
        self.kill()
        self.start()

    def forget(self) -> None:
        """Lose all data and sessions; while it is not running."""
        assert self._process is None
        shutil.rmtree(self._directory / "data")

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._paused = True

    def resume(self) -> None:
        """Let it go on."""
        if self._paused and self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def ensure_running(self) -> None:
        """Undo what a test may have left behind."""
        self.resume()
        if self._process is None or self._process.poll() is not None:
            self.start()

    def sessions(self) -> set[int]:
        """Return the ids of all sessions that have a connection."""
        return zookeeper_server.sessions(self.port, _ANSWER_LIMIT)

    def wait_for_end_of(self, session_id: int) -> None:
        """Wait until a session has no connection: the server closes it after its answer."""
        deadline = time.monotonic() + _ANSWER_LIMIT
        while session_id in self.sessions():
            assert time.monotonic() < deadline, f"session {session_id:#x} goes on"
            _pause()

    def log_tail(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-200:])

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(number)
        try:
            self._process.wait(_START_LIMIT)
        finally:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(_START_LIMIT)
            self._process = None


def require_zookeeper() -> None:
    """Skip the test where none is installed; in CI it fails."""
    if what := zookeeper_server.missing():
        if os.environ.get("CI"):
            pytest.fail(what)
        pytest.skip(what)


@contextmanager
def running_zookeeper(directory: Path) -> Iterator[ZooKeeperServer]:
    """Have a server for the time of a block, where one is installed."""
    require_zookeeper()
    server = ZooKeeperServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _pause() -> None:
    time.sleep(_POLL)  # noqa: TID251 - a server gives no sign of what it does
