"""A program as a process: its output read line by line, ended by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

_LONGEST_LINE = 10_000


class Program:
    """A running program; made by `program`.

    Attributes:
        output: Its lines so far, those on stderr among them.
    """

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.output: list[str] = []
        self._process = process
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def line(self, pattern: str) -> re.Match[str]:
        """Read until a line matches."""
        while (line := await self._next_line()) is not None:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"no {pattern!r} in {self.output}")

    async def interrupt(self) -> int:
        """Press Ctrl-C; returns the exit code."""
        self._process.send_signal(signal.SIGINT)
        return await self.end()

    async def terminate(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await self.end()

    async def end(self, *, tracebacks: bool = False) -> int:
        """Wait until it has ended, without a traceback unless that is allowed; returns its code."""
        while await self._next_line() is not None:
            pass
        assert tracebacks or not any("Traceback" in line for line in self.output), "".join(
            self.output
        )
        return await self._process.wait()

    async def _next_line(self) -> str | None:
        try:
            line = await self._lines.receive_until(b"\n", _LONGEST_LINE)
        except anyio.IncompleteRead:
            return None
        self.output.append(line.decode())
        return self.output[-1]


@asynccontextmanager
async def program(
    *arguments: object,
    command: Sequence[str] = (sys.executable, "-u", "-W", "error"),
    environment: Mapping[str, str] = os.environ,
) -> AsyncGenerator[Program]:
    """Run ``python -W error``, or another command, with the arguments for the time of a block."""
    process = await anyio.open_process(
        [*command, *map(str, arguments)],
        env={**environment, "PYTHONUTF8": "1"},
        stderr=subprocess.STDOUT,
    )
    try:
        yield Program(process)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()
