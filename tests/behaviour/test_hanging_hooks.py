"""Hooks of a real client that hang: none of them holds up a leadership for ever (SPEC 8.6, 8.7)."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from cluster_client import Client, Leadership, cluster
from cluster_client import _real_client as module
from support.logs import LogRecorder
from support.registry import Role
from support.times import LIMIT, scaled
from support.waiting import until


class Upstream:
    """What stands behind the real clients of one test, and where they hang.

    Attributes:
        hangs: Methods that hang.
        released: Lets those in threads go on.
        events: What was called.
    """

    def __init__(self) -> None:
        self.hangs: set[str] = set()
        self.released = threading.Event()
        self.events: list[str] = []
        self.made: list[Any] = []

    def note(self, method: str, number: int) -> bool:
        """Note a call, and tell whether it is to hang."""
        self.events.append(f"{number} {method}")
        return method in self.hangs


class InLoop:
    def __init__(self, upstream: Upstream) -> None:
        upstream.made.append(self)
        self.upstream = upstream
        self.number = len(upstream.made)

    async def _call(self, method: str) -> None:
        if self.upstream.note(method, self.number):
            await anyio.sleep_forever()

    def attach_leadership(self, leadership: Leadership) -> None:
        self.leadership = leadership

    async def restore(self, state: int) -> None:
        await self._call("restore")

    async def start(self) -> None:
        await self._call("start")

    async def snapshot(self) -> int:
        await self._call("snapshot")
        return self.number

    async def aclose(self) -> None:
        await self._call("close")

    async def get(self) -> int:
        return self.number


class InThread:
    def __init__(self, upstream: Upstream) -> None:
        upstream.made.append(self)
        self.upstream = upstream
        self.number = len(upstream.made)

    def _call(self, method: str) -> None:
        if self.upstream.note(method, self.number):
            self.upstream.released.wait(LIMIT)

    def attach_leadership(self, leadership: Leadership) -> None:
        self.leadership = leadership

    def restore(self, state: int) -> None:
        self._call("restore")

    def start(self) -> None:
        self._call("start")

    def snapshot(self) -> int:
        self._call("snapshot")
        return self.number

    def close(self) -> None:
        self._call("close")

    def get(self) -> int:
        return self.number


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.released.set()


@pytest.fixture(params=[InLoop, InThread])
def cls(request: pytest.FixtureRequest) -> type[Any]:
    chosen: type[Any] = request.param
    return chosen


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOOK_LIMIT", LIMIT)
    monkeypatch.setattr(module, "_CLOSE_LIMIT", scaled(0.1))
    monkeypatch.setattr("cluster_client._threads._JOIN_LIMIT", scaled(0.1))


def limit_hooks(seconds: float) -> None:
    """Not from the beginning: only what hangs is to reach the limit; undone with the test."""
    module._HOOK_LIMIT = seconds  # type: ignore[misc]


def client_of(cls: type[Any], upstream: Upstream, port: int, **options: Any) -> Client[Any]:
    chosen = {"response_timeout": scaled(10), "drain_timeout": scaled(1), **options}
    return cluster(cls, port=port, **chosen).delegate("get", idempotent=True).create(upstream)


@asynccontextmanager
async def in_role(
    role: Role, cls: type[Any], upstream: Upstream, port: int, **options: Any
) -> AsyncIterator[Client[Any]]:
    options = {"single_mode": role == "single", **options}
    async with client_of(cls, upstream, port, **options) as first:
        if role == "leader":
            yield first
            return
        async with client_of(cls, upstream, port, **options) as second:
            yield second


async def test_the_next_leader_starts_without_a_snapshot_whose_restore_hangs(
    cls: type[Any], upstream: Upstream, port: int
) -> None:
    log = LogRecorder()
    async with client_of(cls, upstream, port) as leader:
        async with client_of(cls, upstream, port, logger=log) as follower:
            await until(lambda: follower._membership._snapshot is not None)
            upstream.hangs.add("restore")
            limit_hooks(scaled(0.3))
            await leader.aclose()
            assert await follower.get() == 3
    assert upstream.events[:3] == ["1 start", "1 snapshot", "1 close"]
    assert "2 restore" in upstream.events
    assert "2 start" not in upstream.events
    assert "3 restore" not in upstream.events
    assert "restore() took longer" in log.of("restore_failed")[0]["error"]


async def test_it_does_so_however_little_time_there_is(upstream: Upstream, port: int) -> None:
    """The limit of the whole start ends no leadership that would come about without it."""
    limit = scaled(0.5)
    async with client_of(InLoop, upstream, port) as leader:
        async with client_of(InLoop, upstream, port, max_wait_time=limit) as follower:
            await until(lambda: follower._membership._snapshot is not None)
            upstream.hangs.add("restore")
            await leader.aclose()
            await until(lambda: follower.is_leader)
    assert upstream.events.count("2 restore") == 1
    assert not any(event.endswith("restore") for event in upstream.events if event[0] != "2")


async def test_a_snapshot_that_hangs_does_not_hold_up_the_start(
    role: Role, upstream: Upstream, port: int
) -> None:
    log = LogRecorder()
    upstream.hangs.add("snapshot")
    limit_hooks(scaled(0.3))
    async with in_role(role, InLoop, upstream, port, logger=log) as client:
        assert await client.get() == 1
    assert "snapshot() took longer" in log.of("snapshot_failed")[0]["error"]


async def test_a_start_that_hangs_when_it_is_renewed_is_tried_again(
    role: Role, cls: type[Any], upstream: Upstream, port: int
) -> None:
    log = LogRecorder()
    limit = scaled(1)
    async with in_role(role, cls, upstream, port, logger=log, max_wait_time=limit) as client:
        upstream.hangs.add("start")
        upstream.made[0].leadership.lost("expired")
        await until(lambda: "2 start" in upstream.events)
        upstream.hangs.clear()
        with pytest.raises(TimeoutError, match=f"did not start within {limit:g} s"):
            await client.get()
        await until(lambda: "3 start" in upstream.events)
        assert await client.get() == 3
    assert log.of("real_client_start_failed")


async def test_what_hangs_in_a_thread_is_closed_when_it_goes_on(
    upstream: Upstream, port: int
) -> None:
    async with client_of(InThread, upstream, port, max_wait_time=scaled(1)) as client:
        upstream.hangs.add("start")
        upstream.made[0].leadership.lost("expired")
        await until(lambda: "2 start" in upstream.events)
        upstream.hangs.clear()
        await until(lambda: "3 start" in upstream.events)
        assert "2 close" not in upstream.events
        upstream.released.set()
        await until(lambda: "2 close" in upstream.events)
        assert await client.get() == 3
