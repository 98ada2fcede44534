"""The conversation of a worker with the run that started it: JSON lines on its two pipes.

A command is ``{"command": "load", …}``, its answer ``{"result": …}`` or ``{"error": "…"}``;
there is one at a time. The end of standard input ends the worker, so none outlives the run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, NoReturn

import anyio

_CHUNK: Final = 65536
# The pipe is ours alone: whatever a peer prints goes to standard error.
_answers = os.dup(1)
os.dup2(2, 1)


def answer(result: Any) -> None:
    """Tell what a command has returned."""
    _write({"result": result})


def answer_error(error: BaseException) -> None:
    """Tell that a command failed, and print the traceback to standard error."""
    traceback.print_exception(error, file=sys.stderr)
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    _write({"error": f"{type(error).__name__}: {error}"})


def commands() -> Iterator[dict[str, Any]]:
    """Yield the commands as they come, blocking."""
    for line in sys.stdin:
        yield json.loads(line)


async def commands_async() -> AsyncIterator[dict[str, Any]]:
    """Yield the commands as they come, while the event loop goes on."""
    rest = b""
    while True:
        await anyio.wait_readable(0)
        if not (data := os.read(0, _CHUNK)):
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def arguments(command: dict[str, Any], handlers: dict[str, Callable[..., Any]]) -> tuple[Any, Any]:
    """Return the handler of a command, and its keyword arguments."""
    name = command.pop("command")
    try:
        return handlers[name], command
    except KeyError:
        raise NotImplementedError(f"this contender knows no command {name!r}") from None


def end() -> NoReturn:
    """End the worker and all that it has started, at once: there is nothing to be kept."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _write(message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(_answers, data) :]
