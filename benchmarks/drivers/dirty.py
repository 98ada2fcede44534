"""gunicorn's dirty arbiters, with one dirty worker of one thread, as by default.

Its client has one call in flight, so there is one client per call, and as many connections:
an HTTP worker has one per thread or task, too. It speaks over a Unix socket only. Between the
caller and the worker stands the arbiter, a process of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from gunicorn.dirty.app import DirtyApp
from gunicorn.dirty.client import DirtyClient

from benchmarks.drivers.interface import AsyncConnection, AsyncDriver

_APP: Final = "benchmarks.drivers.dirty:EchoApp"
_LIMIT: Final = 20.0
"""Seconds for gunicorn to start."""


class EchoApp(DirtyApp):  # type: ignore[misc, unused-ignore]  # untyped
    """The dirty application."""

    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer HTTP requests, of which there are none; gunicorn does not start without."""
    start_response("204 No Content", [])
    return []


class Connection(AsyncConnection):
    """As many clients as there are calls in flight."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[Any] = []

    async def echo(self, value: Any) -> Any:
        client = self._idle.pop() if self._idle else DirtyClient(self._path)
        answer = await client.execute_async(_APP, "echo", value)
        self._idle.append(client)
        return answer


class Dirty(AsyncDriver):
    """gunicorn.dirty."""

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncGenerator[None]:
        directory = _directory(port)
        directory.mkdir()
        command = [
            *(sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"),
            *("--dirty-app", _APP, "--dirty-workers", "1", "--log-level", "warning"),
            "benchmarks.drivers.dirty:application",
        ]
        process = await anyio.open_process(
            command,
            stdin=None,
            stdout=None,
            stderr=None,
            env={**os.environ, "TMPDIR": str(directory)},
        )
        try:
            with anyio.fail_after(_LIMIT):
                while not _socket(port) and process.returncode is None:
                    await anyio.sleep(0.05)
                while True:  # the arbiter listens before its worker does
                    try:
                        await Connection(_socket(port)).echo(None)
                        break
                    except Exception:
                        await anyio.sleep(0.05)
            yield
        finally:
            process.kill()

    @asynccontextmanager
    async def connect(self, port: int) -> AsyncGenerator[AsyncConnection]:
        yield Connection(_socket(port))


def _directory(port: int) -> Path:
    """Return where gunicorn makes its socket, under a name of its own choice."""
    return Path(tempfile.gettempdir()) / f"cluster-client-bench-{os.getuid()}-{port}"


def _socket(port: int) -> str:
    return next((str(path) for path in _directory(port).glob("gunicorn-dirty-*/arbiter.sock")), "")
