"""Waiting for something that comes and goes."""

from __future__ import annotations

import anyio

__all__ = ["Change", "Changes"]


class Change:
    """The next change; maybe an error.

    Attributes:
        event: Set when it has come.
        error: For those that wait, if nothing good has come.
    """

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.error: Exception | None = None

    async def wait(self) -> None:
        """Wait for it.

        Raises:
            Exception: The error that has come.
        """
        await self.event.wait()
        if self.error is not None:
            raise self.error


class Changes:
    """A series of changes.

    Attributes:
        next: To be taken before looking, lest one is missed.
    """

    def __init__(self) -> None:
        self.next = Change()

    def announce(self, error: Exception | None = None) -> None:
        """Wake everybody that waits; with an error, let them fail with it."""
        change, self.next = self.next, Change()
        change.error = error
        change.event.set()
