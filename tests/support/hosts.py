"""A host of real clients that do what the test says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from cluster_client import Leadership, cluster
from cluster_client import _host as module
from cluster_client._backoff import Backoff
from cluster_client._clock import Deadline
from cluster_client._host import Host, HostEvents
from cluster_client._session import ClientSpec
from cluster_client._snapshots import Snapshot
from support.logs import LogRecorder

Step = Callable[["FakeReal"], Awaitable[None]]


class Hooked:
    """A class of real clients with all hooks; never made."""

    async def start(self) -> None: ...

    def snapshot(self) -> None: ...

    def restore(self, state: Any) -> None: ...

    def hand_over(self) -> None: ...


class Hookless:
    async def get(self) -> None: ...


class FakeReal:
    """Stands for `RealClient`: its lifecycle, without a real client.

    Attributes:
        number: 1 for the first one of its stage.
        leadership: What the real client would be given.
        crash: Ends it by itself, when set.
    """

    def __init__(self, stage: Stage, leadership: Leadership) -> None:
        self.stage = stage
        self.leadership = leadership
        self.hung: str | None = None
        self.crash = anyio.Event()
        stage.reals.append(self)
        self.number = len(stage.reals)

    @asynccontextmanager
    async def open(self, snapshot: Snapshot | None, due: Deadline) -> AsyncGenerator[FakeReal]:
        self.stage.dues.append(due)
        self.note("starts" if snapshot is None else f"starts with {snapshot.reveal()}")
        try:
            if self.stage.starts:
                await self.stage.starts.pop(0)(self)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._fail)
                try:
                    yield self
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self.stage.may_close.wait()
            self.note("closes")

    async def _fail(self) -> None:
        await self.crash.wait()
        raise RuntimeError("a bug of the real client's")

    async def take_snapshot(self, due: Deadline) -> Snapshot | None:
        self.stage.dues.append(due)
        self.note("is asked")
        await self.stage.on_snapshot(self)
        return Snapshot.of(self.stage.state)

    async def hand_over(self) -> None:
        self.note("hands over")

    def retire(self) -> None:
        """Nothing runs in threads here."""

    def note(self, event: str) -> None:
        self.stage.events.append(f"{self.number} {event}")


class Stage:
    """What the real clients of one test do, and what is seen of it.

    Attributes:
        starts: What each of the next starts does, by default nothing.
        on_snapshot: What a snapshot does before it returns `state`.
        may_close: Closes wait for it; set at first.
        may_go_on: Pauses wait for it; set at first.
        events: What the real clients did.
        told: What a watcher was told.
        pauses: How many there were.
        dues: The limits that starts and snapshots were given.
    """

    def __init__(self) -> None:
        self.log = LogRecorder()
        self.reals: list[Any] = []  # of `FakeReal`, which a host takes for `RealClient`
        self.starts: list[Step] = []
        self.on_snapshot: Step = nothing
        self.state: Any = None
        self.may_close = anyio.Event()
        self.may_close.set()
        self.may_go_on = anyio.Event()
        self.may_go_on.set()
        self.events: list[str] = []
        self.told: list[str] = []
        self.pauses = 0
        self.dues: list[Deadline] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have every host use the fakes, and pause as long as the test wants."""
        stage = self

        def make(*_: object, leadership: Leadership, **__: object) -> FakeReal:
            return FakeReal(stage, leadership)

        class Pauses(Backoff):
            async def pause(self, *, less: float = 0.0, most: float = 0.0) -> None:
                stage.pauses += 1
                await stage.may_go_on.wait()

        monkeypatch.setattr(module, "RealClient", make)
        monkeypatch.setattr(module, "Backoff", Pauses)

    @property
    def last(self) -> Any:
        return self.reals[-1]

    def host(self, snapshot: Any = None, *, cls: type[Any] = Hooked, **options: Any) -> Host:
        """Return a host, and watch it."""
        spec: ClientSpec = cluster(cls, **options).create()._spec
        host = Host(spec, Snapshot.of(snapshot), self.log)
        host.watchers.append(
            HostEvents(
                real_client=lambda ready, reason: self.told.append(
                    "ready" if ready else f"lost: {reason}"
                ),
                snapshot=lambda one: self.told.append(
                    f"snapshot {None if one is None else one.reveal()}"
                ),
                step_down=lambda reason: self.told.append(f"step down: {reason}"),
            )
        )
        return host


async def nothing(_: FakeReal) -> None:
    """Start at once."""


async def hang(_: FakeReal) -> None:
    await anyio.sleep_forever()


async def fail(real: FakeReal) -> None:
    raise ValueError(f"start {real.number}")


async def hang_in_restore(real: FakeReal) -> None:
    real.hung = "restore"
    raise TimeoutError("restore() took longer")
