"""What a contender has to bring."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio.abc


class AsyncConnection:
    """One connection of a caller to the leader."""

    async def echo(self, value: Any) -> Any:
        """Have the leader return the value."""
        raise NotImplementedError

    def rows(self, count: int) -> AsyncIterator[Any]:
        """Stream ``numbered(0)``, ``numbered(1)`` and so on from the leader."""
        raise NotImplementedError

    async def subscribe(self, listener: Callable[[Any], None]) -> None:
        """Have *listener* called with what the leader publishes."""
        raise NotImplementedError

    async def arrived(self) -> None:
        """Tell the leader that this process has got a whole burst."""
        raise NotImplementedError


class AsyncDriver:
    """A contender with an event loop.

    Attributes:
        backend: anyio's name of the event loop's library.
        backend_options: For it.
    """

    backend = "asyncio"
    backend_options: dict[str, Any] = {}

    def serve(self, port: int) -> AbstractAsyncContextManager[None]:
        """Be the leader inside."""
        raise NotImplementedError

    def connect(self, port: int) -> AbstractAsyncContextManager[AsyncConnection]:
        """Be connected to it inside."""
        raise NotImplementedError

    async def publish_burst(self, burst: int, processes: int) -> None:
        """In the leader: publish, and wait until *processes* have told that all has arrived."""
        raise NotImplementedError

    def commands(self, tasks: anyio.abc.TaskGroup) -> dict[str, Callable[..., Awaitable[Any]]]:
        """Return commands of this contender's own; *tasks* is for what goes on between them."""
        return {}


class BlockingConnection:
    """One connection of one thread."""

    def echo(self, value: Any) -> Any:
        """Have the server return the value."""
        raise NotImplementedError

    def rows(self, count: int) -> Iterator[Any]:
        """Stream ``numbered(0)``, ``numbered(1)`` and so on from the server."""
        raise NotImplementedError


class BlockingDriver:
    """A contender that blocks: a thread per call in flight, with a connection of its own."""

    def serve(self, port: int) -> None:
        """Be the server; called in a thread, and need not return."""
        raise NotImplementedError

    def connect(self, port: int) -> BlockingConnection:
        """Connect to it."""
        raise NotImplementedError
