"""How late the event loop runs: told once per episode, and remembered for a minute."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import _clock
from cluster_client._loop_lag import LoopLag
from support.logs import LogRecorder


class Time:
    """A clock, and pauses that take as long as the test says, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self._late: list[float] = []
        self._more = anyio.Event()
        monkeypatch.setattr(_clock, "now", lambda: self.now)
        monkeypatch.setattr(anyio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        while not self._late:
            self._more = anyio.Event()
            await self._more.wait()
        self.now += seconds + self._late.pop(0)

    async def pass_by(self, *late: float) -> None:
        """Let so many pauses end, each so late."""
        self._late += late
        self._more.set()
        await wait_all_tasks_blocked()


@pytest.fixture
async def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def watcher(warning: float = 1.0) -> tuple[LoopLag, LogRecorder]:
    log = LogRecorder()
    return LoopLag(warning, log), log


async def run(tasks: anyio.abc.TaskGroup, lag: LoopLag) -> Callable[[], None]:
    """Have it run; returns what ends it."""

    async def run_in_scope(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            await lag.run()

    scope = await tasks.start(run_in_scope)
    await wait_all_tasks_blocked()
    cancel: Callable[[], None] = scope.cancel
    return cancel


async def test_a_late_loop_is_told_once_per_episode(time: Time) -> None:
    lag, log = watcher()
    async with anyio.create_task_group() as tasks:
        await run(tasks, lag)
        await time.pass_by(0.0, 0.9, 1.25, 3.0, 0.9, 1.0)
        assert log.of("event_loop_blocked") == [{"lag": 1.25}, {"lag": 1.0}]
        assert [entry.level for entry in log.entries] == ["warning", "warning"]
        tasks.cancel_scope.cancel()


async def test_the_worst_of_the_last_minute_is_known(time: Time) -> None:
    lag, _ = watcher()
    assert lag.worst == 0
    async with anyio.create_task_group() as tasks:
        await run(tasks, lag)
        await time.pass_by(0.3, 5.0, 2.0, 0.1)
        assert lag.worst == pytest.approx(5.0)
        time.now += 58
        assert lag.worst == pytest.approx(2.0)
        await time.pass_by(*[0.0] * 10)
        assert lag.worst == pytest.approx(58.0)  # since the last pause the clock went on
        time.now += 120
        assert lag.worst == 0
        tasks.cancel_scope.cancel()


async def test_clients_of_one_loop_share_what_measures(time: Time) -> None:
    one, log_of_one = watcher(0.2)
    other, log_of_other = watcher(10.0)
    async with anyio.create_task_group() as tasks:
        end_one = await run(tasks, one)
        end_other = await run(tasks, other)
        await time.pass_by(0.5)
        assert time.pauses == [0.1, 0.1]
        assert one.worst == other.worst == pytest.approx(0.5)
        assert len(log_of_one.entries) == 1
        assert log_of_other.entries == []
        end_one()
        await wait_all_tasks_blocked()
        await time.pass_by(20.0)  # the other one goes on
        assert time.pauses[2:] == [0.5, 0.5]
        assert log_of_other.of("event_loop_blocked") == [{"lag": 20.0}]
        assert len(log_of_one.entries) == 1
        end_other()
        await wait_all_tasks_blocked()
        await run(tasks, one)  # and when nobody is left, a later one begins anew
        await time.pass_by(0.0, 1.0)
        assert len(log_of_one.entries) == 2
        tasks.cancel_scope.cancel()


async def test_a_low_limit_does_not_make_it_look_all_the_time(time: Time) -> None:
    lag, _ = watcher(0.001)
    async with anyio.create_task_group() as tasks:
        await run(tasks, lag)
        assert time.pauses == [0.05]
        tasks.cancel_scope.cancel()


async def test_it_can_be_turned_off(time: Time) -> None:
    lag, _ = watcher(math.inf)
    await lag.run()
    assert (lag.worst, time.pauses) == (0, [])
