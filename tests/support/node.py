"""Node processes for tests, with the original of the library from npm.

::

    async with MixedHost(directory, port) as host:
        python = await host.start(2)
        node = await host.start_node(2)
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from support.processes import CHANNEL, Host, Worker, WorkerError, each
from support.times import scaled

INTEROP: Final = Path(__file__).resolve().parent.parent / "interop"
"""Where ``package.json`` is, and the worker."""

_LOCK_FILE: Final = INTEROP / "package-lock.json"
_INSTALLED: Final = INTEROP / "node_modules" / ".package-lock.json"
"""Written by npm when all else is there."""

_INSTALL_LIMIT: Final = scaled(120)
_ANSWER_LIMIT: Final = scaled(10)
_POLL: Final = 0.1


class NodeError(WorkerError):
    """An error of JavaScript.

    Attributes:
        name: Of the error, ``"TypeError"`` say.
        message: Without the name.
        code: As far as it has one.
        fields: Its other fields, tagged.
        stack: Where it was made.
    """

    def __init__(self, name: str, message: str, fields: dict[str, Any], stack: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message
        self.fields = dict(fields)
        self.code = self.fields.pop("code", None)
        self.stack = stack


class NodeWorker(Worker):
    """A process that runs ``interop/worker.js``; made by a `MixedHost`.

    Arguments, results and values are tagged, see ``interop/tagged.js``: plain
    JSON stands for itself. What a command raises is a `NodeError`.
    """

    language: ClassVar[str] = "node"

    async def oneway(self, method: str, *arguments: Any, channel: str = CHANNEL) -> None:
        await self.ask("oneway", channel=channel, method=method, arguments=arguments)

    async def subscribe_to(self, reg: dict[str, Any], channel: str = CHANNEL) -> None:
        """Subscribe; the values of an earlier subscription are forgotten."""
        await self.ask("subscribe", channel=channel, reg=reg)

    async def unsubscribe(self, reg: dict[str, Any], channel: str = CHANNEL) -> None:
        await self.ask("unsubscribe", channel=channel, reg=reg)

    async def publish_to(self, reg: dict[str, Any], channel: str = CHANNEL) -> None:
        """Publish; Node does not tell when that has happened."""
        await self.ask("publish", channel=channel, reg=reg)

    async def values(self, channel: str = CHANNEL) -> list[Any]:
        """Return what the subscriber has got so far."""
        values: list[Any] = await self.ask("values", channel=channel)
        return values

    async def errors(self, channel: str = CHANNEL) -> list[NodeError]:
        """Return what the ``error`` events of the client told."""
        return [self._error(error) for error in await self.ask("errors", channel=channel)]

    async def received(self) -> list[dict[str, Any]]:
        """Return the last 10,000 frames that came from peers, of all channels."""
        frames: list[dict[str, Any]] = (await self.ask("received"))["frames"]
        return frames

    async def received_count(self) -> int:
        """Return how many frames have come from peers."""
        count: int = (await self.ask("received"))["count"]
        return count

    def _error(self, description: dict[str, Any]) -> NodeError:
        (message,) = description["arguments"]
        return NodeError(
            description["type"], message, description["attributes"], description["traceback"]
        )


class MixedHost(Host):
    """A host on which processes of both languages can run; needs `install_node_modules`."""

    async def spawn_node(self) -> NodeWorker:
        """Start a Node process without a client."""
        return await self.run(NodeWorker, ["node", str(INTEROP / "worker.js")])

    async def start_node(self, count: int, **settings: Any) -> list[NodeWorker]:
        """Start Node processes with a client of the ledger each, as `start` does."""

        async def start_one(_: int) -> NodeWorker:
            worker = await self.spawn_node()
            await self.open_ledger(worker, **settings)
            return worker

        return await each(range(count), start_one)

    @property
    def node_workers(self) -> list[NodeWorker]:
        """Those of `workers` that are Node's."""
        return [worker for worker in self.workers if isinstance(worker, NodeWorker)]


def require_node() -> None:
    """Skip the test where Node or npm is not installed; in CI it fails."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        what = f"not installed: {' and '.join(missing)}; Node 18 or newer is needed"
        if os.environ.get("CI"):
            pytest.fail(what)
        pytest.skip(what)


def install_node_modules() -> Path:
    """Install what ``package-lock.json`` says, unless that was done; returns the directory.

    Raises:
        RuntimeError: If npm failed, or took too long; with its output.
    """
    with _locked():
        if not _is_installed():
            _run_npm()
    return INTEROP


def node_version() -> tuple[int, ...]:
    """Return the version of Node, ``(20, 11, 1)`` say."""
    output = subprocess.run(
        ["node", "--version"], capture_output=True, text=True, timeout=_ANSWER_LIMIT, check=True
    ).stdout
    return tuple(map(int, output.strip().removeprefix("v").split(".")))


def _is_installed() -> bool:
    try:
        return _INSTALLED.stat().st_mtime >= _LOCK_FILE.stat().st_mtime
    except FileNotFoundError:
        return False


def _run_npm() -> None:
    command = ["npm", "ci", "--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts"]
    try:
        npm = subprocess.run(
            command,
            cwd=INTEROP,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_INSTALL_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        what, output = f"took more than {_INSTALL_LIMIT:g} s", exc.stdout or b""
    else:
        if npm.returncode == 0:
            _INSTALLED.touch()  # where nothing had to be done, npm leaves it as it was
            return
        what, output = f"failed with {npm.returncode}", npm.stdout
    raise RuntimeError(
        f"{' '.join(command)} in {INTEROP} {what}:\n{output.decode(errors='replace')}"
    )


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other test runs out; the kernel gives the lock back whatever happens to this one."""
    deadline = time.monotonic() + 1.5 * _INSTALL_LIMIT
    with _LOCK_FILE.open("rb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"another process holds the lock on {_LOCK_FILE}") from None
                time.sleep(_POLL)  # noqa: TID251 - with a limit, which flock itself has not
            else:
                break
        yield
