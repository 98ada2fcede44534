"""Followers that take nothing are dropped, counted in time in which their leader was running."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import anyio
import pytest

from cluster_client._peer import Peer
from cluster_client._stalls import drop_stalled
from cluster_client._states import LinkState
from support.logs import LogRecorder

LIMIT = 300.0
STEP = 5.0
STEPS = 60
"""As many as the limit has."""


class Link:
    """A peer and its link in one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.taken = 0
        self.waiting_bytes = 0
        self.closed: list[str] = []
        self.state = LinkState.OPEN

    @property
    def link(self) -> Link:
        return self

    def close(self, reason: str) -> None:
        self.closed.append(reason)
        self.state = LinkState.CLOSED

    def write(self, size: int) -> None:
        self.waiting_bytes += size

    def take(self, size: int) -> None:
        self.waiting_bytes -= size
        self.taken += size


class FinishedError(Exception):
    """The test has seen enough."""


class Steps:
    """Stands in for the pause between two looks; calls what the test has for each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = LogRecorder()
        self._monkeypatch = monkeypatch

    async def run(
        self, peers: set[Link], count: int, before: Callable[[int], None] = lambda _: None
    ) -> None:
        """Look so many times, with a call of *before* ahead of each."""
        looks = 0

        async def sleep(seconds: float) -> None:
            nonlocal looks
            assert seconds == STEP
            if looks == count:
                raise FinishedError
            before(looks)
            looks += 1

        self._monkeypatch.setattr(anyio, "sleep", sleep)
        with pytest.raises(FinishedError):
            await drop_stalled(cast("set[Peer]", peers), LIMIT, self.log)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


async def test_whoever_takes_nothing_is_dropped_once_and_logged_with_its_pid(steps: Steps) -> None:
    stalled, idle = Link(7), Link(8)
    stalled.write(100)
    await steps.run({stalled, idle}, STEPS)
    assert stalled.closed == []
    await steps.run({stalled, idle}, STEPS + 5)
    assert stalled.closed == ["it took nothing for 300 s"]
    assert idle.closed == []
    assert steps.log.of("follower_stalled") == [
        {"follower_pid": 7, "seconds": LIMIT, "waiting_bytes": 100}
    ]


async def test_whoever_takes_a_byte_now_and_then_stays(steps: Steps) -> None:
    slow = Link(7)
    slow.write(100)

    def take(look: int) -> None:
        if look % (STEPS - 1) == STEPS - 2:
            slow.take(1)

    await steps.run({slow}, 20 * STEPS, take)
    assert slow.closed == []


async def test_what_is_written_meanwhile_is_no_progress(steps: Steps) -> None:
    stalled = Link(7)
    await steps.run({stalled}, STEPS + 5, lambda _: stalled.write(10))
    assert len(stalled.closed) == 1


async def test_whoever_has_nothing_to_take_stays(steps: Steps) -> None:
    quiet = Link(7)

    def exchange(_: int) -> None:
        quiet.write(10)
        quiet.take(10)

    await steps.run({quiet}, 3 * STEPS, exchange)
    assert quiet.closed == []


async def test_followers_come_and_go(steps: Steps) -> None:
    peers = {Link(7)}

    def replace(look: int) -> None:
        if look % 10 == 0:
            peers.clear()
            new = Link(look)
            new.write(1)
            peers.add(new)

    await steps.run(peers, 3 * STEPS, replace)
    assert all(peer.closed == [] for peer in peers)


async def test_a_short_limit_is_counted_in_short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 100:
            raise FinishedError

    monkeypatch.setattr(anyio, "sleep", sleep)
    link = Link(7)
    link.write(1)
    with pytest.raises(FinishedError):
        await drop_stalled(cast("set[Peer]", {link}), 1.0, LogRecorder())
    assert set(pauses) == {0.02}
    assert len(link.closed) == 1


async def test_without_a_limit_nobody_is_dropped() -> None:
    await drop_stalled(set(), math.inf, LogRecorder())
