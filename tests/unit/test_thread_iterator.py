"""An ordinary iterator, read from worker threads."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from cluster_client._threads import ThreadIterator, WorkerThreads


@pytest.fixture(params=[1, 3])
async def threads(request: pytest.FixtureRequest) -> AsyncIterator[WorkerThreads]:
    threads = WorkerThreads(request.param, "test")
    yield threads
    await threads.aclose()


def failing(count: int, error: BaseException) -> Iterator[int]:
    yield from range(count)
    raise error


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1000])
async def test_items_come_in_order(threads: WorkerThreads, count: int) -> None:
    items = ThreadIterator(iter(range(count)), threads)
    assert [item async for item in items] == list(range(count))
    with pytest.raises(StopAsyncIteration):
        await anext(items)


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3)])
async def test_an_error_comes_behind_the_items(
    threads: WorkerThreads, error: BaseException
) -> None:
    items = ThreadIterator(failing(40, error), threads)
    assert [await anext(items) for _ in range(40)] == list(range(40))
    with pytest.raises(type(error)):
        await anext(items)
    with pytest.raises(StopAsyncIteration):
        await anext(items)


async def test_an_item_does_not_wait_for_the_slow_one_behind_it(threads: WorkerThreads) -> None:
    gates = [threading.Event() for _ in range(3)]

    def slow() -> Iterator[int]:
        for number, gate in enumerate(gates):
            yield 2 * number
            yield 2 * number + 1
            gate.wait()

    items = ThreadIterator(slow(), threads)
    for number, gate in enumerate(gates):
        assert await anext(items) == 2 * number
        assert await anext(items) == 2 * number + 1
        gate.set()
    with pytest.raises(StopAsyncIteration):
        await anext(items)


async def test_an_item_that_comes_while_its_reader_waits_again_is_handed_on(
    threads: WorkerThreads,
) -> None:
    """The reader waits for a turn that has given an item already, and goes on."""
    asked, gate = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        yield 0
        asked.set()
        gate.wait()
        yield 1

    items = ThreadIterator(slow(), threads)
    assert await anext(items) == 0
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            assert await anext(items) == 1

        tasks.start_soon(read)
        await anyio.to_thread.run_sync(asked.wait)
        await anyio.wait_all_tasks_blocked()
        gate.set()


async def test_a_reader_that_gives_up_loses_no_item(threads: WorkerThreads) -> None:
    entered, gate = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        entered.set()
        gate.wait()
        yield from range(100)

    items = ThreadIterator(slow(), threads)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anext, items)
        await anyio.to_thread.run_sync(entered.wait)
        tasks.cancel_scope.cancel()
    gate.set()
    assert [item async for item in items] == list(range(100))


async def test_a_close_waits_for_the_item_that_is_being_made(threads: WorkerThreads) -> None:
    entered, gate = threading.Event(), threading.Event()
    closed: list[str] = []

    def slow() -> Iterator[int]:
        try:
            entered.set()
            gate.wait()
            yield 0
            yield 1
        finally:
            closed.append("closed")

    items = ThreadIterator(slow(), threads)
    with anyio.move_on_after(0.01):
        await anext(items)
    await anyio.to_thread.run_sync(entered.wait)
    gate.set()
    await items.aclose()
    assert closed == ["closed"]
