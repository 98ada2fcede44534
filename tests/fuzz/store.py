"""The real client that hostile followers call: asynchronous, and everything in it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self

import anyio

Listener = Callable[[Any], Any]

_MOST_ROWS: Final = 50


class Store:
    """Keeps values under paths."""

    def __init__(self) -> None:
        self.data: dict[Any, Any] = {}
        self._listeners: dict[Any, list[Listener]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def echo(self, value: Any) -> Any:
        return value

    async def get(self, path: str, default: Any = None, *, strict: bool = False) -> Any:
        """Return what is under a path."""
        return self.data[path] if strict else self.data.get(path, default)

    async def put(self, path: str, value: Any) -> None:
        """Keep a value, and tell those that have subscribed."""
        self.data[path] = value
        for listener in list(self._listeners.get(path, [])):
            listener(value)

    async def hold(self) -> None:
        """Never return by itself."""
        await anyio.sleep_forever()

    async def fail(self, *args: Any) -> None:
        """Raise an error with whatever arguments."""
        raise ValueError(*args)

    async def rows(self, count: int) -> AsyncIterator[int]:
        """Yield numbers, though not many."""
        for number in range(min(count, _MOST_ROWS)):
            yield number

    async def publish(self, reg: dict[str, Any]) -> None:
        await self.put(reg["path"], reg["value"])

    async def subscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self._listeners.setdefault(reg["path"], []).append(listener)
        if reg["path"] in self.data:
            listener(self.data[reg["path"]])

    async def unsubscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self._listeners[reg["path"]].remove(listener)
