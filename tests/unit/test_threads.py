"""Worker threads: always the same ones, in order, and none is waited for without a limit."""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client._threads import WorkerThreads
from support.times import LIMIT


@asynccontextmanager
async def workers(count: int = 1) -> AsyncGenerator[WorkerThreads]:
    threads = WorkerThreads(count, "Real")
    try:
        yield threads
    finally:
        await threads.aclose()


class Gate:
    """Holds a function up in its thread, for as long as the test wants."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()
        self.left = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self.released.wait(LIMIT)
        self.left.set()

    async def wait_until_entered(self) -> None:
        await anyio.to_thread.run_sync(self.entered.wait, LIMIT)
        assert self.entered.is_set()


async def test_one_thread_runs_everything_and_it_is_not_the_event_loops() -> None:
    async with workers() as threads:
        idents = {await threads.run(threading.get_ident) for _ in range(5)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents


async def test_arguments_results_and_exceptions_go_through() -> None:
    def divide(a: int, b: int) -> float:
        return a / b

    async with workers() as threads:
        assert await threads.run(divide, 6, b=3) == 2
        with pytest.raises(ZeroDivisionError):
            await threads.run(divide, 6, 0)


async def test_a_system_exit_ends_the_call_and_not_the_thread() -> None:
    def leave() -> None:
        raise SystemExit(3)

    async with workers() as threads:
        with pytest.raises(SystemExit):
            await threads.run(leave)
        assert await threads.run(len, "abc") == 3


async def test_one_thread_keeps_the_order() -> None:
    seen: list[int] = []
    gate = Gate()
    async with workers() as threads, anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, gate)
        await gate.wait_until_entered()
        for number in range(10):
            tasks.start_soon(threads.run, seen.append, number)
            await wait_all_tasks_blocked()
        assert seen == []
        gate.released.set()
    assert seen == list(range(10))


async def test_several_threads_run_side_by_side() -> None:
    barrier = threading.Barrier(3, timeout=LIMIT)
    async with workers(3) as threads, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(threads.run, barrier.wait)


async def test_context_variables_of_the_caller_are_seen() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("the caller's")
    async with workers() as threads:
        assert await threads.run(variable.get) == "the caller's"


async def test_a_cancelled_call_that_has_not_begun_is_dropped() -> None:
    seen: list[str] = []
    gate = Gate()
    async with workers() as threads, anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, gate)
        await gate.wait_until_entered()
        with anyio.move_on_after(0):
            await threads.run(seen.append, "dropped")
        gate.released.set()
        await threads.run(seen.append, "next")
    assert seen == ["next"]


async def test_a_cancelled_call_that_has_begun_runs_to_its_end() -> None:
    gate = Gate()
    async with workers() as threads:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(threads.run, gate)
            await gate.wait_until_entered()
            tasks.cancel_scope.cancel()
        assert not gate.left.is_set()
        gate.released.set()
        assert await threads.run(len, "abc") == 3
        assert gate.left.is_set()


async def test_closing_waits_for_the_running_function() -> None:
    gate = Gate()
    threads = WorkerThreads(1, "Real")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, gate)
        await gate.wait_until_entered()
        closing = threads.aclose()
        threading.Timer(0, gate.released.set).start()
        await closing
        assert gate.left.is_set()


async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster_client._threads._JOIN_LIMIT", 0.01)
    gate = Gate()
    threads = WorkerThreads(1, "Real")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, gate)
        await gate.wait_until_entered()
        tasks.cancel_scope.cancel()
    await threads.aclose()
    assert not gate.left.is_set()
    gate.released.set()


async def test_closing_ends_every_thread() -> None:
    async with workers(3) as threads:
        idents = threads._threads
    for thread in idents:
        thread.join(LIMIT)
        assert not thread.is_alive()


async def test_a_thread_does_not_keep_the_interpreter_and_has_a_name() -> None:
    def describe() -> tuple[bool, str]:
        thread = threading.current_thread()
        return thread.daemon, thread.name

    async with workers() as threads:
        daemon, name = await threads.run(describe)
    assert daemon
    assert name.startswith("Real-")
    assert name.endswith(".0")


async def test_a_thread_does_not_keep_the_last_result() -> None:
    class Result:
        pass

    async with workers() as threads:
        result: Any = await threads.run(Result)
        alive = weakref.ref(result)
        del result
        await threads.run(len, "abc")  # by now the thread has let go of the former one
        assert alive() is None
