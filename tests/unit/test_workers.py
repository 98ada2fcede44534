"""Resident workers: every job is done, in order and in turn, and sees nothing of the one before."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its tasks can be cancelled by anybody
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client._workers import _AT_A_TIME, _MAX_IDLE, Lane, Workers
from support.logs import LogRecorder

seen: ContextVar[str] = ContextVar("seen", default="nothing")


class Job:
    """Does what the test gives it."""

    def __init__(self, function: Callable[[], Awaitable[object]]) -> None:
        self._function = function
        self.scope: anyio.CancelScope | None = None
        self.ended = False

    def run(self, scope: anyio.CancelScope) -> Coroutine[Any, Any, None]:
        return self._run(scope)

    async def _run(self, scope: anyio.CancelScope) -> None:
        self.scope = scope
        try:
            await self._function()
        finally:
            self.ended = True
            self.scope = None


def lane() -> Lane:
    return Lane(lambda: None)


@asynccontextmanager
async def workers() -> AsyncGenerator[tuple[Workers, anyio.abc.TaskGroup]]:
    async with anyio.create_task_group() as tasks:
        yield Workers(tasks, LogRecorder()), tasks
        tasks.cancel_scope.cancel()


async def test_jobs_of_a_lane_are_begun_in_order() -> None:
    done: list[int] = []

    async def note(number: int) -> None:
        done.append(number)

    async with workers() as (pool, _):
        one = lane()
        for number in range(100):
            pool.submit(one, Job(lambda number=number: note(number)))  # type: ignore[misc]
        await wait_all_tasks_blocked()
    assert done == list(range(100))


async def test_a_job_that_waits_keeps_nobody_waiting() -> None:
    gate = anyio.Event()
    done: list[str] = []

    async def wait() -> None:
        await gate.wait()
        done.append("waited")

    async def hurry() -> None:
        done.append("hurried")

    async with workers() as (pool, _):
        one = lane()
        for function in (wait, hurry, wait, hurry, wait):
            pool.submit(one, Job(function))
        await wait_all_tasks_blocked()
        assert done == ["hurried"] * 2
        gate.set()
        await wait_all_tasks_blocked()
        assert done == ["hurried"] * 2 + ["waited"] * 3


async def test_lanes_take_turns() -> None:
    """A burst of one does not keep another one waiting."""
    done: list[str] = []

    async def note(name: str) -> None:
        done.append(name)

    async with workers() as (pool, _):
        busy, other = lane(), lane()
        for _ in range(1000):
            pool.submit(busy, Job(lambda: note("busy")))
        for _ in range(3):
            pool.submit(other, Job(lambda: note("other")))
        await wait_all_tasks_blocked()
    assert len(done) == 1003
    assert [number for number, name in enumerate(done) if name == "other"] == [1, 3, 5]


async def test_a_burst_of_jobs_that_never_wait_leaves_a_turn_to_everybody_else() -> None:
    done = 0

    async def hurry() -> None:
        nonlocal done
        done += 1

    async with workers() as (pool, _):
        one = lane()
        for _ in range(5 * _AT_A_TIME):
            pool.submit(one, Job(hurry))
        turns = [0]
        while done < 5 * _AT_A_TIME:
            await anyio.lowlevel.checkpoint()
            turns.append(done)
    assert max(after - before for before, after in pairwise(turns)) <= 2 * _AT_A_TIME


async def test_a_cancelled_job_takes_no_other_one_along() -> None:
    done: list[str] = []

    async def hurry() -> None:
        done.append("hurried")

    async with workers() as (pool, _):
        one = lane()
        slow = [Job(anyio.sleep_forever) for _ in range(3)]
        for job in slow:
            pool.submit(one, job)
        await wait_all_tasks_blocked()
        assert slow[1].scope is not None
        slow[1].scope.cancel()
        for _ in range(10):
            pool.submit(one, Job(hurry))
        await wait_all_tasks_blocked()
        assert [job.ended for job in slow] == [False, True, False]
        assert done == ["hurried"] * 10


async def test_a_job_that_ends_well_though_it_is_cancelled_takes_no_other_one_along() -> None:
    done: list[str] = []
    job: Job

    async def cancel_itself() -> None:
        assert job.scope is not None
        job.scope.cancel()
        done.append("did not notice")

    async def wait() -> None:
        await anyio.lowlevel.checkpoint()
        done.append("not cancelled")

    async with workers() as (pool, _):
        one = lane()
        job = Job(cancel_itself)
        pool.submit(one, job)
        pool.submit(one, Job(wait))
        await wait_all_tasks_blocked()
    assert done == ["did not notice", "not cancelled"]


async def test_a_job_does_not_see_what_another_one_has_set() -> None:
    found: list[str] = []

    async def set_and_look() -> None:
        found.append(seen.get())
        seen.set("something")
        await anyio.lowlevel.checkpoint()
        found.append(seen.get())

    async with workers() as (pool, _):
        one = lane()
        for _ in range(5):
            pool.submit(one, Job(set_and_look))
            await wait_all_tasks_blocked()
    assert found == ["nothing", "something"] * 5


async def test_a_job_does_not_see_what_a_cancelled_one_has_set() -> None:
    found: list[str] = []

    async def set_and_wait() -> None:
        seen.set("something")
        await anyio.sleep_forever()

    async def look() -> None:
        found.append(seen.get())

    async with workers() as (pool, _):
        one = lane()
        job = Job(set_and_wait)
        pool.submit(one, job)
        await wait_all_tasks_blocked()
        assert job.scope is not None
        job.scope.cancel()
        await wait_all_tasks_blocked()
        for _ in range(3):
            pool.submit(one, Job(look))
        await wait_all_tasks_blocked()
    assert found == ["nothing"] * 3


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise ValueError("more than one element")

    __hash__ = None  # type: ignore[assignment]


async def test_what_a_job_has_set_need_not_be_comparable() -> None:
    value: ContextVar[Incomparable] = ContextVar("value")
    value.set(Incomparable())
    done: list[str] = []

    async def set_another() -> None:
        value.set(Incomparable())
        done.append("set")

    async with workers() as (pool, _):
        one = lane()
        for _ in range(3):
            pool.submit(one, Job(set_another))
            await wait_all_tasks_blocked()
    assert done == ["set"] * 3


# ------------------------------------------- somebody cancels the worker's task

only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""On trio nobody can cancel a task but through its scopes."""


def running_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


@only_asyncio
async def test_who_cancels_the_task_of_a_job_ends_no_other_one() -> None:
    done: list[str] = []
    gate = anyio.Event()

    async def cancel_its_task() -> None:
        running_task().cancel()
        await anyio.sleep_forever()

    async def wait() -> None:
        await gate.wait()
        done.append("waited")

    async with workers() as (pool, _):
        one = lane()
        for function in (wait, cancel_its_task, wait):
            pool.submit(one, Job(function))
        await wait_all_tasks_blocked()
        gate.set()
        pool.submit(one, Job(wait))
        await wait_all_tasks_blocked()
    assert done == ["waited"] * 3


@only_asyncio
@pytest.mark.parametrize("moment", ["idle", "called", "cancelled just now"])
async def test_a_worker_whose_task_is_cancelled_while_it_has_no_job_is_replaced(
    moment: str,
) -> None:
    tasks: list[asyncio.Task[Any]] = []
    done: list[str] = []

    async def show_its_task() -> None:
        tasks.append(running_task())

    async def hurry() -> None:
        done.append("hurried")

    async with workers() as (pool, _):
        one = lane()
        pool.submit(one, Job(show_its_task))
        await wait_all_tasks_blocked()
        assert len(pool._idle) == 1
        if moment == "called":
            pool.submit(one, Job(hurry))
        tasks[0].cancel()
        if moment == "idle":
            await wait_all_tasks_blocked()
            assert pool._idle == []
        for _ in range(3):
            pool.submit(one, Job(hurry))
        await wait_all_tasks_blocked()
        assert tasks[0].done()
    assert done == ["hurried"] * (4 if moment == "called" else 3)


async def test_who_submits_is_told_when_nothing_waits_any_more() -> None:
    told = 0

    def tell() -> None:
        nonlocal told
        told += 1

    async def nothing() -> None: ...

    async with workers() as (pool, _):
        one = Lane(tell)
        for _ in range(10):
            pool.submit(one, Job(nothing))
        await wait_all_tasks_blocked()
        assert told == 1
        pool.submit(one, Job(nothing))
        await wait_all_tasks_blocked()
        assert told == 2


async def test_after_a_burst_some_workers_stay() -> None:
    gate = anyio.Event()
    async with workers() as (pool, _):
        one = lane()
        jobs = [Job(gate.wait) for _ in range(3 * _MAX_IDLE)]
        for job in jobs:
            pool.submit(one, job)
        await wait_all_tasks_blocked()
        gate.set()
        await wait_all_tasks_blocked()
        assert all(job.ended for job in jobs)
        assert len(pool._idle) == _MAX_IDLE


async def test_their_end_comes_amid_their_jobs() -> None:
    async with workers() as (pool, tasks):
        job = Job(anyio.sleep_forever)
        pool.submit(lane(), job)
        await wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert job.ended


async def test_a_bug_in_a_job_is_no_secret() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def work() -> None:
        async with workers() as (pool, _):
            pool.submit(lane(), Job(fail))
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await work()
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
