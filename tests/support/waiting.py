"""Waiting for what gives no sign of its own."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; the test's own limit ends it if that never comes."""
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.002)
