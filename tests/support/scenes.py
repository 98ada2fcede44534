"""A ledger that stops in the middle of whatever it does, where the test wants it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from support.ledger import Ledger, Listener
from support.waiting import until


class Stage:
    """What the test and the ledgers know of each other, in files.

    Args:
        directory: Where they are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def hold(self, moment: str) -> None:
        """Have ledgers stop there."""
        self._held(moment).touch()

    def let_go(self, moment: str) -> None:
        self._held(moment).unlink()

    async def come(self, moment: str) -> None:
        """Stop there, if the test wants it."""
        if self._held(moment).exists():
            new = self._directory / f"new.{moment}"
            new.write_text(str(os.getpid()))
            new.rename(self._at(moment))
            await until(lambda: not self._held(moment).exists())

    async def reached(self, moment: str) -> int:
        """Wait until a ledger has come there; returns its process."""
        await until(self._at(moment).exists)
        return int(self._at(moment).read_text())

    def _held(self, moment: str) -> Path:
        return self._directory / f"hold.{moment}"

    def _at(self, moment: str) -> Path:
        return self._directory / f"at.{moment}"


class Many(Ledger):
    """Whatever is subscribed to has one value: which process leads."""

    def subscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        del reg
        listener(os.getpid())

    def unsubscribe(self, reg: dict[str, Any], listener: Listener) -> None: ...


class Scenes(Ledger):
    """See the module."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self._stage = Stage(Path(directory))

    async def __aenter__(self) -> Self:
        await self._stage.come("start")
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self._stage.come("hand-over")
        await super().__aexit__()

    async def held(self) -> int:
        await self._stage.come("call")
        return os.getpid()

    async def rows(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            if number == count // 2:
                await self._stage.come("stream")
            yield number

    async def burst(self, count: int) -> int:
        """Publish values from 1."""
        for number in range(1, count + 1):
            if number == count // 2:
                await self._stage.come("burst")
            await self.publish({"value": number})
        return os.getpid()
