"""Cancelling an operation where it awaits for the n-th time."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import anyio


async def cancelled_at(number: int, operation: Coroutine[Any, Any, object]) -> bool:
    """Run an operation and cancel it where it gives way to the event loop for the n-th time.

    What it has in other tasks is not counted; it is cancelled with the rest.

    Args:
        number: From 1.
        operation: A coroutine that has not begun.

    Returns:
        Whether there was such a moment: False says that it has ended before.
    """
    met = False

    def count(moment: int) -> None:
        nonlocal met
        if moment == number:
            met = True
            scope.cancel()

    with anyio.CancelScope() as scope:
        await _watched(operation, count)
    return met


@types.coroutine
def _watched(
    coroutine: Coroutine[Any, Any, object], count: Callable[[int], None]
) -> Generator[Any, Any, None]:
    """Run a coroutine, and call *count* with the number of each of its waits, as it begins."""
    value: Any = None
    error: BaseException | None = None
    moment = 0
    while True:
        try:
            trap = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration:
            return
        moment += 1
        count(moment)
        value, error = None, None
        try:
            value = yield trap
        except BaseException as exc:
            error = exc
