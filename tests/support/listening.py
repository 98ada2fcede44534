"""A listener for tests that can be waited for."""

from __future__ import annotations

from typing import Any

import anyio


class Recorder:
    """Keeps what it is called with; `until` waits for it."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._more = anyio.Event()

    def __call__(self, value: Any) -> None:
        self.values.append(value)
        self._more.set()

    async def until(self, *values: Any) -> None:
        """Wait until the values have come, in this order and nothing else."""
        while len(self.values) < len(values):
            self._more = anyio.Event()
            await self._more.wait()
        assert self.values == list(values)

    async def until_last(self, value: Any) -> None:
        """Wait until *value* is the last one that has come."""
        while not self.values or self.values[-1] != value:
            self._more = anyio.Event()
            await self._more.wait()
