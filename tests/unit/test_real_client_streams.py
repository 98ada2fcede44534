"""Iterating over what a method of the real client returns, whatever that is."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its futures are what a user's code may await
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from cluster_client._real_client import RealClient
from support.logs import LogRecorder
from support.real_clients import real_client
from support.times import LIMIT


class Items:
    """An asynchronous iterator that is no generator."""

    def __init__(self, count: int) -> None:
        self._numbers = iter(range(count))

    def __aiter__(self) -> Items:
        return self

    async def __anext__(self) -> int:
        for number in self._numbers:
            return number
        raise StopAsyncIteration


class Table:
    """A collection that makes its iterator where it is asked for one."""

    def __init__(self, idents: list[int]) -> None:
        self._idents = idents

    def __iter__(self) -> Iterator[int]:
        self._idents.append(threading.get_ident())
        return iter(range(3))


class Rows:
    """Its methods return three items in every way there is, and other things."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.idents: list[int] = []

    async def asynchronous(self, count: int = 3) -> AsyncIterator[int]:
        try:
            for number in range(count):
                yield number
        finally:
            await checkpoint()
            self.events.append("closed")

    def synchronous(self, count: int = 3) -> Iterator[int]:
        self.idents.append(threading.get_ident())
        try:
            yield from range(count)
        finally:
            self.idents.append(threading.get_ident())
            self.events.append("closed")

    def table(self) -> Table:
        self.idents.append(threading.get_ident())
        return Table(self.idents)

    def listed(self) -> list[int]:
        return [0, 1, 2]

    def iterator(self) -> Iterator[int]:
        return iter(range(3))

    def asynchronous_iterator(self) -> AsyncIterator[int]:
        return Items(3)

    def generator_behind_a_function(self) -> AsyncIterator[int]:
        return self.asynchronous()

    async def later_listed(self) -> list[int]:
        await checkpoint()
        return [0, 1, 2]

    async def later(self) -> AsyncIterator[int]:
        await checkpoint()
        return self.asynchronous()

    async def value(self, value: Any) -> Any:
        return value

    async def fail(self) -> AsyncIterator[int]:
        raise KeyError("not even one")

    async def fail_after_one(self) -> AsyncIterator[int]:
        yield 0
        raise KeyError("no more")

    async def with_tasks(self) -> AsyncIterator[int]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            try:
                for number in range(3):
                    await checkpoint()
                    yield number
            finally:
                tasks.cancel_scope.cancel()
                self.events.append("closed")

    async def with_limit(self) -> AsyncIterator[int]:
        with anyio.move_on_after(0) as scope:
            try:
                yield 0
                await anyio.sleep_forever()
            finally:
                self.events.append("closed")
        assert scope.cancelled_caught
        yield 1
        yield 2

    async def hang_in_close(self) -> AsyncIterator[int]:
        try:
            yield 0
        finally:
            await anyio.sleep_forever()

    async def fail_in_close(self) -> AsyncIterator[int]:
        try:
            yield 0
        finally:
            raise KeyError("never mind")

    async def go_on_when_closed(self) -> AsyncIterator[int]:
        try:
            yield 0
        except GeneratorExit:
            yield 1

    async def wait(self) -> AsyncIterator[int]:
        try:
            yield 0
            self.events.append("waits")
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.events.append("cancelled")
            raise


class SynchronousRows:
    """A purely synchronous class, as one over SQLite is."""

    def __init__(self) -> None:
        self.idents = [threading.get_ident()]

    def rows(self) -> Iterator[int]:
        self.idents.append(threading.get_ident())
        try:
            yield from range(100)
        finally:
            self.idents.append(threading.get_ident())

    def close(self) -> None:
        self.idents.append(threading.get_ident())


@asynccontextmanager
async def opened(
    cls: type[Any] = Rows, *, threads: int = 1, log: LogRecorder | None = None
) -> AsyncGenerator[tuple[RealClient, Any]]:
    real = real_client(cls, threads=threads, log=log)
    async with real.open():
        yield real, real._instance


async def collect(real: RealClient, target: str, *args: Any) -> list[Any]:
    async with real.iterate(target, args, {}) as items:
        return [item async for item in items]


@pytest.mark.parametrize(
    "target",
    [
        "asynchronous",
        "synchronous",
        "table",
        "listed",
        "iterator",
        "asynchronous_iterator",
        "generator_behind_a_function",
        "later_listed",
        "later",
        "with_tasks",
    ],
)
async def test_whatever_can_be_iterated_over_is(target: str) -> None:
    async with opened() as (real, _):
        assert await collect(real, target) == [0, 1, 2]


@pytest.mark.parametrize("value", ["text", b"bytes", {"a": 1}, None, 5], ids=repr)
async def test_what_is_no_iterator_is_an_error_that_says_so(value: Any) -> None:
    async with opened() as (real, _):
        message = f"Rows.value is streamed, but it returned {type(value).__name__}, which is no"
        with pytest.raises(TypeError, match=message):
            await collect(real, "value", value)


async def test_an_error_of_the_method_is_raised() -> None:
    async with opened() as (real, _):
        with pytest.raises(KeyError, match="not even one"):
            await collect(real, "fail")


async def test_an_error_between_items_is_raised_where_they_are_awaited() -> None:
    async with opened() as (real, _):
        async with real.iterate("fail_after_one", (), {}) as items:
            assert await anext(items) == 0
            with pytest.raises(KeyError, match="no more"):
                await anext(items)


# ------------------------------------------------------------------ threads


async def test_an_ordinary_iterator_is_made_and_run_in_the_thread() -> None:
    async with opened() as (real, rows):
        assert await collect(real, "table") == [0, 1, 2]
        async with real.iterate("synchronous", (), {}) as items:
            assert await anext(items) == 0
        assert rows.events == ["closed"]
        assert len(rows.idents) == 4
        assert len(set(rows.idents)) == 1
        assert threading.get_ident() not in rows.idents


async def test_a_purely_synchronous_class_never_leaves_its_thread() -> None:
    async with opened(SynchronousRows) as (real, rows):
        assert await collect(real, "rows") == list(range(100))
        async with real.iterate("rows", (), {}) as items:
            await anext(items)
    assert len(rows.idents) == 6
    assert len(set(rows.idents)) == 1
    assert threading.get_ident() not in rows.idents


async def test_two_generators_of_one_thread_take_turns() -> None:
    async with opened(SynchronousRows) as (real, _):
        async with (
            real.iterate("rows", (), {}) as first,
            real.iterate("rows", (), {}) as second,
        ):
            pairs = [(await anext(first), await anext(second)) for _ in range(100)]
    assert pairs == [(number, number) for number in range(100)]


# ---------------------------------------------------------------- its close


@pytest.mark.parametrize("target", ["asynchronous", "generator_behind_a_function", "with_tasks"])
async def test_a_generator_that_is_left_early_is_closed_before_anything_else(target: str) -> None:
    async with opened() as (real, rows):
        async with real.iterate(target, (), {}) as items:
            assert await anext(items) == 0
            assert rows.events == []
        assert rows.events == ["closed"]


async def test_a_generator_that_was_never_asked_for_an_item_does_not_run() -> None:
    async with opened() as (real, rows):
        async with real.iterate("asynchronous", (), {}):
            pass
        assert rows.events == []


async def test_a_close_may_wait_though_the_reader_was_cancelled() -> None:
    async with opened() as (real, rows):
        with anyio.CancelScope() as scope:
            async with real.iterate("asynchronous", (), {}) as items:
                await anext(items)
                scope.cancel()
                await checkpoint()
        assert scope.cancelled_caught
        assert rows.events == ["closed"]


async def test_a_generator_that_waits_is_cancelled_with_its_reader() -> None:
    async with opened() as (real, rows):
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                async with real.iterate("wait", (), {}) as items:
                    assert await anext(items) == 0
                    await anext(items)

            tasks.start_soon(read)
            while rows.events != ["waits"]:
                await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert rows.events == ["waits", "cancelled"]


async def test_a_generator_may_have_a_time_limit_of_its_own() -> None:
    async with opened() as (real, rows):
        assert await collect(real, "with_limit") == [0, 1, 2]
        assert rows.events == ["closed"]


@pytest.mark.parametrize("target", ["fail_in_close", "go_on_when_closed"])
async def test_a_close_that_fails_is_logged_and_no_error_of_the_stream(target: str) -> None:
    log = LogRecorder()
    async with opened(log=log) as (real, _):
        async with real.iterate(target, (), {}) as items:
            assert await anext(items) == 0
        (entry,) = log.of("stream_close_failed")
        assert entry["method"] == target


@pytest.fixture
def short_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster_client._real_client._CLOSE_LIMIT", 0.01)


@pytest.mark.usefixtures("short_close")
async def test_a_close_that_hangs_is_given_up_and_logged() -> None:
    log = LogRecorder()
    async with opened(log=log) as (real, _):
        async with real.iterate("hang_in_close", (), {}) as items:
            assert await anext(items) == 0
        assert log.of("stream_close_timed_out") == [{"method": "hang_in_close", "limit": 0.01}]


@pytest.mark.usefixtures("short_close")
async def test_a_close_that_hangs_does_not_hide_why_it_came_to_that() -> None:
    """Else a stream that was cut off would look like one that came to its end."""

    async def fail() -> None:
        async with real.iterate("hang_in_close", (), {}) as items:
            await anext(items)
            raise KeyError("of the reader")

    async with opened() as (real, _):
        with pytest.raises(KeyError, match="of the reader"):
            await fail()


@pytest.mark.parametrize("target", ["with_tasks", "fail_in_close", "go_on_when_closed"])
async def test_a_close_that_fails_does_not_hide_it_either(target: str) -> None:
    async def fail() -> None:
        async with real.iterate(target, (), {}) as items:
            await anext(items)
            raise KeyError("of the reader")

    async with opened() as (real, _):
        with pytest.raises(KeyError, match="of the reader"):
            await fail()


async def test_a_generator_with_a_task_group_is_closed_without_a_complaint() -> None:
    log = LogRecorder()
    async with opened(log=log) as (real, _):
        async with real.iterate("with_tasks", (), {}) as items:
            await anext(items)
    assert log.entries == []


async def test_a_task_that_fails_in_a_generators_close_is_logged() -> None:
    class Failing:
        async def rows(self) -> AsyncIterator[int]:
            async with anyio.create_task_group() as tasks:
                try:
                    yield 0
                finally:
                    tasks.start_soon(self.fail)

        async def fail(self) -> None:
            raise KeyError("in a task")

    log = LogRecorder()
    async with opened(Failing, log=log) as (real, _):
        async with real.iterate("rows", (), {}) as items:
            await anext(items)
    assert len(log.of("stream_close_failed")) == 1


@pytest.mark.usefixtures("short_close")
async def test_a_close_that_hangs_does_not_hide_a_cancellation() -> None:
    async with opened() as (real, _):
        with anyio.CancelScope() as scope:
            async with real.iterate("hang_in_close", (), {}) as items:
                await anext(items)
                scope.cancel()
                await checkpoint()
            pytest.fail("it must be cancelled")
        assert scope.cancelled_caught
        await checkpoint()  # and by no cancellation that is left over


@pytest.mark.usefixtures("short_close")
async def test_a_thread_that_hangs_holds_the_close_up_only_so_long() -> None:
    released = threading.Event()
    entered = threading.Event()
    log = LogRecorder()

    class Hanging:
        def rows(self) -> Iterator[int]:
            entered.set()
            released.wait(LIMIT)
            yield 1

    async with opened(Hanging, log=log) as (real, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, real, "rows")
            await anyio.to_thread.run_sync(entered.wait, LIMIT)
            tasks.cancel_scope.cancel()
        assert len(log.of("stream_close_timed_out")) == 1
        released.set()


class TestOnAsyncio:
    """Awaiting a cancelled future looks like being cancelled oneself, and is not."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_a_stray_cancellation_in_a_close_is_logged(self) -> None:
        class Straying:
            async def rows(self) -> AsyncIterator[int]:
                try:
                    yield 0
                finally:
                    future = asyncio.get_running_loop().create_future()
                    future.cancel()
                    await future

        log = LogRecorder()
        async with opened(Straying, log=log) as (real, _):
            async with real.iterate("rows", (), {}) as items:
                assert await anext(items) == 0
        (entry,) = log.of("stream_close_failed")
        assert CancelledError.__name__ in str(entry["error"])
