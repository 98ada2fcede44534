"""How the targets that need an event loop get one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final, TypeVarTuple

import anyio

from support.times import LIMIT

BACKEND: Final = ContextVar("BACKEND", default="asyncio")
"""The event loop's library."""

Args = TypeVarTuple("Args")


def run(function: Callable[[*Args], Awaitable[None]], *args: *Args) -> None:
    """Run one input to its end, in an event loop of its own.

    Raises:
        TimeoutError: If it hangs.
    """

    async def limited() -> None:
        with anyio.fail_after(LIMIT):
            await function(*args)

    anyio.run(limited, backend=BACKEND.get())
