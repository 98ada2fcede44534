"""A real client whose methods take their time, and tell what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from cluster_client import delegate


class Works:
    """Notes the beginning and the end of each call, for whoever asks."""

    def __init__(self) -> None:
        self._events: list[str] = []
        self._noted = anyio.Event()

    async def wait(self, name: str) -> None:
        """Never return by itself."""
        self._note(f"{name} begins")
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self._note(f"{name} is cancelled")
            raise

    async def note(self, name: str) -> None:
        """Return at once."""
        self._note(name)

    async def rows(self, count: int) -> AsyncIterator[int]:
        """Yield numbers, and note how many when it is over."""
        number = 0
        try:
            for number in range(1, count + 1):
                yield number - 1
        finally:
            self._note(f"closed after {number}")

    async def wait_with_rows(self, name: str) -> AsyncIterator[int]:
        """Yield one row, and then nothing for ever."""
        self._note(f"{name} begins")
        try:
            yield 0
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self._note(f"{name} is cancelled")
            raise

    @delegate(idempotent=True)
    async def event(self, text: str) -> None:
        """Wait until something has been noted."""
        while text not in self._events:
            await self._noted.wait()

    @delegate(idempotent=True)
    async def events(self) -> list[str]:
        return self._events

    def _note(self, text: str) -> None:
        self._events.append(text)
        noted, self._noted = self._noted, anyio.Event()
        noted.set()
