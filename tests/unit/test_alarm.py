"""One timer for many deadlines."""

from __future__ import annotations

import math

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import _clock
from cluster_client._alarm import Alarm
from cluster_client._clock import now
from support.times import scaled


class Deadlines:
    """Deadlines that are watched over, and those that have passed."""

    def __init__(self) -> None:
        self.pending: list[float] = []
        self.passed: list[float] = []
        self.looks = 0
        self.news = anyio.Event()

    def look(self, at: float) -> float:
        self.looks += 1
        self.passed += [deadline for deadline in self.pending if deadline <= at]
        self.pending = [deadline for deadline in self.pending if deadline > at]
        self.news.set()
        self.news = anyio.Event()
        return min(self.pending, default=math.inf)


@pytest.fixture
async def deadlines() -> Deadlines:
    return Deadlines()


async def test_each_deadline_passes_when_its_time_has_come(deadlines: Deadlines) -> None:
    begin = now()
    deadlines.pending = [begin + scaled(delay) for delay in (0.03, 0.01, 0.02)]
    expected = sorted(deadlines.pending)
    alarm = Alarm(deadlines.look)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.run)
        for deadline in deadlines.pending:
            alarm.set(deadline)
        while deadlines.pending:
            await deadlines.news.wait()
        tasks.cancel_scope.cancel()
    assert deadlines.passed == expected
    assert now() >= expected[-1]


async def test_many_deadlines_that_pass_one_by_one_do_not_take_all_the_time(
    deadlines: Deadlines,
) -> None:
    begin = now()
    deadlines.pending = [begin + number * scaled(0.002) for number in range(200)]
    looking = 0.0

    def look(at: float) -> float:
        nonlocal looking
        started = now()
        while now() < started + scaled(0.005):
            pass  # as it takes with many thousands
        looking += now() - started
        return deadlines.look(at)

    alarm = Alarm(look)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.run)
        alarm.set(begin)
        while deadlines.pending:
            await deadlines.news.wait()
        tasks.cancel_scope.cancel()
    assert looking < (now() - begin) / 2


async def test_an_earlier_deadline_is_not_missed(deadlines: Deadlines) -> None:
    alarm = Alarm(deadlines.look)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.run)
        deadlines.pending = [now() + 3600]
        alarm.set(deadlines.pending[0])
        await wait_all_tasks_blocked()
        soon = now() + scaled(0.01)
        deadlines.pending.append(soon)
        alarm.set(soon)
        await deadlines.news.wait()
        assert deadlines.passed == [soon]
        tasks.cancel_scope.cancel()


async def test_later_deadlines_cost_nothing(
    deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm = Alarm(deadlines.look)
    first = now() + 3600
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.run)
        for later in range(1000):
            alarm.set(first + later)
        alarm.set(math.inf)
        await wait_all_tasks_blocked()
        assert deadlines.looks == 0
        monkeypatch.setattr(_clock, "now", lambda: first)  # the time comes at a stroke
        alarm.set(first - 1)
        await deadlines.news.wait()
        assert deadlines.looks == 1
        tasks.cancel_scope.cancel()
