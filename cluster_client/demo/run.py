"""Conducting the demo."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
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
    """
    port = _free_port() if port is None else port
    with tempfile.TemporaryDirectory(prefix="cluster-client-demo-") as folder:
        show = partial(_show, Screen(console), port, Path(folder), backend, steps)
        return anyio.run(show, backend=backend)


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
