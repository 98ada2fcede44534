"""Conducting the demo."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
from rich.console import Console

from cluster_client.demo.screen import Screen
from cluster_client.demo.stage import DemoError, Stage
from cluster_client.demo.steps import STEPS, Finding, Step, port_trouble

_STEP_LIMIT: Final = 15.0
"""Seconds that a step may take; one that hangs is a failure."""

_FIRST_PORT: Final = 7777
_LAST_PORT: Final = 7877


def run_demo(
    *, port: int | None, backend: str, console: Console, steps: Sequence[Step] = STEPS
) -> bool:
    """Show the steps on the console; tells whether all were seen to work.

    Args:
        port: Election port; by default 7777, or the next one that is free.
        backend: ``"asyncio"`` or ``"trio"``, for all processes.
        console: Where to show it.
        steps: What to show.

    Raises:
        KeyboardInterrupt: If SIGINT or SIGTERM ended it; its processes are gone then.
    """
    port = _free_port() if port is None else port
    with tempfile.TemporaryDirectory(prefix="cluster-client-demo-") as folder:
        show = partial(_show, Screen(console), port, Path(folder), backend, steps)
        worked = anyio.run(_until_interrupted, show, backend=backend)
    if worked is None:
        raise KeyboardInterrupt
    return worked


async def _until_interrupted(show: Callable[[], Awaitable[bool]]) -> bool | None:
    """Return what *show* returns; ``None`` if a signal came first."""
    worked: bool | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(_cancel_on_signal, tasks.cancel_scope)
        worked = await show()
        tasks.cancel_scope.cancel()
    return worked


async def _cancel_on_signal(
    scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    # Python's KeyboardInterrupt could strike anywhere, and leave a traceback of any length.
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return


async def _show(
    screen: Screen, port: int, folder: Path, backend: str, steps: Sequence[Step]
) -> bool:
    screen.open(port=port, backend=backend)
    failed: Step | None = None
    async with Stage.open(port, folder, backend) as stage:
        for step in steps:
            try:
                with screen.step(step) as findings:
                    findings.append(await _limited(step, stage))
            except DemoError:
                failed = step
                break
    screen.close(failed=failed, steps=len(steps))
    return failed is None


async def _limited(step: Step, stage: Stage) -> Finding:
    with anyio.move_on_after(_STEP_LIMIT):
        return await step.show(stage)
    raise DemoError(f"it took longer than {_STEP_LIMIT:g} s")


def _free_port() -> int:
    ports = range(_FIRST_PORT, _LAST_PORT)
    return next((port for port in ports if port_trouble(port) is None), _FIRST_PORT)
