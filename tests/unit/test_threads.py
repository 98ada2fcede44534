"""Worker threads: always the same ones, in order, and none is waited for without a limit."""

from __future__ import annotations

import contextvars
import itertools
import math
import threading
import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import _clock
from cluster_client._threads import (
    _ITEMS_PER_TURN,
    NotRunError,
    ThreadIterator,
    WorkerThreads,
)
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


async def test_retired_threads_begin_no_more_calls_and_end_those_that_run() -> None:
    called: list[str] = []
    gate = Gate()
    async with workers() as threads, anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run_unless_retired, gate)
        await gate.wait_until_entered()
        tasks.start_soon(threads.run, called.append, "the rest of the lifecycle")
        await wait_all_tasks_blocked()
        threads.retire()
        gate.released.set()
        with pytest.raises(NotRunError):
            await threads.run_unless_retired(called.append, "a call")
    assert gate.left.is_set()
    assert called == ["the rest of the lifecycle"]


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


# ---------------------------------------------------------------- iterators


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No item takes any time, however slow the machine is."""
    monkeypatch.setattr(_clock, "now", lambda: 0.0)


@pytest.fixture
def slow_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item takes longer than a turn."""
    seconds = itertools.count()
    monkeypatch.setattr(_clock, "now", lambda: float(next(seconds)))


class Numbers:
    """Counts, and keeps account of it."""

    def __init__(self, count: float = math.inf) -> None:
        self.made = 0
        self.idents: set[int] = set()
        self.closed = 0
        self._count = count

    def __iter__(self) -> Iterator[int]:
        self._note()
        try:
            while self.made < self._count:
                self._note()
                self.made += 1
                yield self.made
        finally:
            self._note()
            self.closed += 1

    def _note(self) -> None:
        self.idents.add(threading.get_ident())


async def test_an_iterators_items_come_in_order_and_then_its_end() -> None:
    async with workers() as threads:
        assert [item async for item in ThreadIterator(range(100), threads)] == list(range(100))
        assert [item async for item in ThreadIterator([], threads)] == []


@pytest.mark.usefixtures("still_clock")
async def test_quick_items_are_made_several_at_a_turn() -> None:
    numbers = Numbers()
    async with workers() as threads:
        items = ThreadIterator(numbers, threads)
        for turn in range(1, 4):
            await anext(items)
            await threads.run(len, "abc")  # by now the turn is over
            assert numbers.made == turn * _ITEMS_PER_TURN
            rest = [await anext(items) for _ in range(_ITEMS_PER_TURN - 1)]
            assert rest[-1] == numbers.made == turn * _ITEMS_PER_TURN


@pytest.mark.usefixtures("slow_items")
async def test_a_slow_item_does_not_wait_for_others() -> None:
    numbers = Numbers()
    async with workers() as threads:
        items = ThreadIterator(numbers, threads)
        for number in range(1, 4):
            assert await anext(items) == number
            assert numbers.made == number


async def test_an_iterator_is_made_asked_and_closed_in_the_worker_thread() -> None:
    numbers = Numbers()
    async with workers() as threads:
        ident = await threads.run(threading.get_ident)
        items = ThreadIterator(numbers, threads)
        for _ in range(100):
            await anext(items)
        await items.aclose()
        assert (numbers.idents, numbers.closed) == ({ident}, 1)


class Interrupting(BaseException):
    pass


@pytest.mark.parametrize("error", [KeyError("no more"), Interrupting("no more")])
@pytest.mark.usefixtures("still_clock")
async def test_an_iterators_error_comes_behind_the_items_before_it(error: BaseException) -> None:
    def fail() -> Iterator[int]:
        yield from range(5)
        raise error

    async with workers() as threads:
        items = ThreadIterator(fail(), threads)
        assert [await anext(items) for _ in range(5)] == list(range(5))
        with pytest.raises(type(error), match="no more"):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(items)
        assert await threads.run(len, "abc") == 3  # the thread lives on


async def test_an_iterable_that_cannot_be_iterated_over_fails_with_the_first_item() -> None:
    class Broken:
        def __iter__(self) -> Iterator[int]:
            raise KeyError("no rows")

    async with workers() as threads:
        items = ThreadIterator(Broken(), threads)
        with pytest.raises(KeyError, match="no rows"):
            await anext(items)
        await items.aclose()


@pytest.mark.parametrize("count", [1, 3])
async def test_closing_an_iterator_waits_for_the_item_that_is_being_made(count: int) -> None:
    events: list[str] = []
    gate = Gate()

    def rows() -> Iterator[int]:
        try:
            gate()
            events.append("made")
            yield 1
        finally:
            events.append("closed")

    async with workers(count) as threads, anyio.create_task_group() as tasks:
        items = ThreadIterator(rows(), threads)
        async with anyio.create_task_group() as reading:
            reading.start_soon(anext, items)
            await gate.wait_until_entered()
            reading.cancel_scope.cancel()
        tasks.start_soon(items.aclose)
        await wait_all_tasks_blocked()
        assert events == []
        gate.released.set()
    assert events == ["made", "closed"]


@pytest.mark.usefixtures("still_clock")
async def test_a_closed_iterator_makes_no_more_items() -> None:
    numbers = Numbers()
    gate = Gate()

    def rows() -> Iterator[int]:
        gate()
        yield from numbers

    async with workers() as threads, anyio.create_task_group() as tasks:
        items = ThreadIterator(rows(), threads)
        async with anyio.create_task_group() as reading:
            reading.start_soon(anext, items)
            await gate.wait_until_entered()
            reading.cancel_scope.cancel()
        tasks.start_soon(items.aclose)
        await wait_all_tasks_blocked()
        gate.released.set()
    assert numbers.made == 1
    assert numbers.closed == 1


async def test_an_iterator_is_closed_even_if_nobody_waits_for_it() -> None:
    numbers = Numbers()
    gate = Gate()
    async with workers() as threads, anyio.create_task_group() as tasks:
        items = ThreadIterator(numbers, threads)
        await anext(items)
        tasks.start_soon(threads.run, gate)
        await gate.wait_until_entered()
        with anyio.move_on_after(0):
            await items.aclose()
        gate.released.set()
        await threads.run(len, "abc")
        assert numbers.closed == 1


async def test_an_iterator_that_was_never_asked_is_closed_and_an_iterable_is_not() -> None:
    class Cursor:
        closed = False

        def __iter__(self) -> Self:
            return self

        def __next__(self) -> int:
            return 1

        def close(self) -> None:
            self.closed = True

    class Table:
        closed = False

        def __iter__(self) -> Iterator[int]:
            return iter([1])

        def close(self) -> None:
            self.closed = True

    cursor, table = Cursor(), Table()
    async with workers() as threads:
        await ThreadIterator(cursor, threads).aclose()
        await ThreadIterator(table, threads).aclose()
    assert (cursor.closed, table.closed) == (True, False)


async def test_an_iterator_without_a_close_need_not_have_one() -> None:
    async with workers() as threads:
        items = ThreadIterator(iter([1, 2]), threads)
        assert await anext(items) == 1
        await items.aclose()
