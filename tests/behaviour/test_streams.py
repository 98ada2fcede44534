"""Results item by item, in every role (SPEC 6.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from cluster_client import (
    APIClientBase,
    Client,
    ClientClosedError,
    ClusterBuilder,
    EncodeError,
    OutcomeUnknownError,
    ResponseTimeoutError,
    Stream,
    StreamInterruptedError,
    cluster,
    delegated,
)
from support.registry import Role
from support.times import scaled

MOST_AHEAD = 64
LARGE = 1 << 16


class Source:
    """Where the generators note what becomes of them; one per test."""

    def __init__(self) -> None:
        self.yielded = 0
        self.closed = anyio.Event()
        self.gate = anyio.Event()
        self.calls: list[str] = []


class Rows:
    """A real client whose methods yield."""

    def __init__(self, source: Source) -> None:
        self.source = source

    async def rows(self, count: int, size: int = 0) -> AsyncIterator[Any]:
        self.source.calls.append("rows")
        try:
            for number in range(count):
                self.source.yielded = number + 1
                yield bytes(size) if size else number
        finally:
            await anyio.lowlevel.checkpoint()  # a clean-up may take its time
            self.source.closed.set()

    async def fail_after(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        raise KeyError("no more")

    async def wait_before(self, number: int) -> AsyncIterator[int]:
        """Yield numbers up to one that has to wait for the test's gate."""
        try:
            for item in range(number):
                yield item
            await self.source.gate.wait()
            yield number
        finally:
            self.source.closed.set()

    async def unsendable(self) -> AsyncIterator[Any]:
        try:
            yield 1
            yield object()
        finally:
            self.source.closed.set()

    async def with_tasks(self, count: int) -> AsyncIterator[int]:
        """Have a task group of its own, as generators may that are left in order."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            try:
                for number in range(count):
                    yield number
            finally:
                tasks.cancel_scope.cancel()
                self.source.closed.set()

    async def echo(self, value: Any) -> Any:
        return value

    async def listed(self, count: int) -> list[int]:
        return list(range(count))


class SyncRows:
    """A purely synchronous real client."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def rows(self, count: int) -> Iterator[int]:
        for number in range(count):
            self.source.yielded = number + 1
            yield number


def rows(source: Source, port: int, **options: Any) -> ClusterBuilder[Rows]:
    times = {"response_timeout": scaled(5), "drain_timeout": scaled(5)}
    return cluster(Rows, port=port, **{**times, **options}).delegate("listed", "stream")


@pytest.fixture
async def source() -> Source:
    return Source()


@asynccontextmanager
async def in_role(
    role: Role, source: Source, port: int, **options: Any
) -> AsyncIterator[Client[Rows]]:
    options["single_mode"] = role == "single"
    async with rows(source, port, **options).create(source) as first:
        if role == "leader":
            yield first
            return
        async with rows(source, port, **options).create(source) as second:
            yield second


@pytest.fixture
async def client(role: Role, source: Source, port: int) -> AsyncIterator[Client[Rows]]:
    async with in_role(role, source, port) as client:
        yield client


# ----------------------------------------------------------------- whole streams


@pytest.mark.parametrize("count", [0, 1, 31, 64, 65, 1000])
async def test_items_come_whole_and_in_order(client: Client[Rows], count: int) -> None:
    assert [item async for item in client.call(Rows.rows, count)] == list(range(count))


async def test_an_error_comes_behind_the_items_before_it(client: Client[Rows]) -> None:
    stream = client.call(Rows.fail_after, 100)
    assert [await anext(stream) for _ in range(100)] == list(range(100))
    with pytest.raises(KeyError, match="no more"):
        await anext(stream)


async def test_an_item_that_cannot_be_sent_ends_the_stream(
    client: Client[Rows], source: Source
) -> None:
    stream = client.call(Rows.unsendable)
    assert await anext(stream) == 1
    with pytest.raises(EncodeError, match="item of 'unsendable'"):
        await anext(stream)
    await source.closed.wait()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_what_a_method_returns_can_be_streamed(client: Client[Rows]) -> None:
    assert [item async for item in client.listed(3)] == [0, 1, 2]


async def test_arguments_are_checked_when_it_is_called(client: Client[Rows]) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'count'"):
        client.rows()


# ------------------------------------------------------------------- slow readers


async def test_nothing_is_called_before_the_first_item_is_asked_for(
    client: Client[Rows], source: Source
) -> None:
    stream = client.call(Rows.rows, 3)
    await anyio.wait_all_tasks_blocked()
    assert source.calls == []
    assert await anext(stream) == 0
    assert source.calls == ["rows"]


@pytest.mark.parametrize(("size", "most"), [(0, MOST_AHEAD), (LARGE, (1 << 20) // LARGE)])
async def test_the_leader_runs_ahead_of_a_reader_only_so_far(
    client: Client[Rows], source: Source, size: int, most: int
) -> None:
    async with client.call(Rows.rows, 10_000, size) as stream:
        await anext(stream)
        assert await client.echo("meanwhile") == "meanwhile"
        await anyio.wait_all_tasks_blocked()
        assert await client.echo("meanwhile") == "meanwhile"
        assert 1 < source.yielded <= most + 2


async def test_streams_do_not_wait_for_each_other(client: Client[Rows]) -> None:
    idle = client.call(Rows.rows, 10_000)
    assert await anext(idle) == 0
    assert len([item async for item in client.call(Rows.rows, 500)]) == 500
    assert await anext(idle) == 1
    await idle.aclose()


# ------------------------------------------------------------------- its early end


async def test_a_break_closes_the_generator(client: Client[Rows], source: Source) -> None:
    async for item in client.call(Rows.rows, 10_000):
        if item == 5:
            break
    await source.closed.wait()
    assert source.yielded <= 6 + MOST_AHEAD


async def test_the_end_of_a_block_closes_it(client: Client[Rows], source: Source) -> None:
    async with client.call(Rows.rows, 10_000) as stream:
        await anext(stream)
    await source.closed.wait()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_reader_that_is_cancelled_closes_it(client: Client[Rows], source: Source) -> None:
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            async for item in client.call(Rows.wait_before, 3):
                if item == 2:
                    tasks.cancel_scope.cancel()

        tasks.start_soon(read)
    await source.closed.wait()


async def test_a_generator_may_have_a_task_group_of_its_own(
    client: Client[Rows], source: Source
) -> None:
    assert [item async for item in client.call(Rows.with_tasks, 3)] == [0, 1, 2]
    source.closed = anyio.Event()
    async for _ in client.call(Rows.with_tasks, 1000):
        break
    await source.closed.wait()
    assert await client.echo("goes on") == "goes on"


async def test_only_one_task_reads_at_a_time(client: Client[Rows], source: Source) -> None:
    stream = client.call(Rows.wait_before, 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anext, stream)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="is being read by another task"):
            await anext(stream)
        source.gate.set()


# ------------------------------------------------------------------------- limits


async def test_the_first_item_has_a_limit(role: Role, source: Source, port: int) -> None:
    async with in_role(role, source, port, response_timeout=scaled(0.2)) as client:
        with pytest.raises(ResponseTimeoutError, match="'wait_before'"):
            await anext(client.call(Rows.wait_before, 0))
        await source.closed.wait()


async def test_later_items_have_none(role: Role, source: Source, port: int) -> None:
    async with in_role(role, source, port, response_timeout=scaled(0.2)) as client:
        stream = client.call(Rows.wait_before, 1)
        assert await anext(stream) == 0
        await anyio.sleep(scaled(0.4))  # longer than the limit: that is the test
        source.gate.set()
        assert await anext(stream) == 1


# --------------------------------------------------------------- ends of clients


async def test_a_stream_ends_with_its_client(role: Role, source: Source, port: int) -> None:
    async with in_role(role, source, port, drain_timeout=scaled(0.1)) as client:
        stream = client.call(Rows.wait_before, 1)
        assert await anext(stream) == 0
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await anext(stream)


async def test_a_stream_is_not_resumed_by_the_next_leader(source: Source, port: int) -> None:
    async with rows(source, port, drain_timeout=scaled(0.1)).create(source) as leader:
        async with rows(source, port).create(source) as follower:
            stream = follower.call(Rows.wait_before, 2)
            assert await anext(stream) == 0
            await leader.aclose()
            assert await anext(stream) == 1  # it had arrived
            with pytest.raises(StreamInterruptedError) as caught:
                await anext(stream)
            assert caught.value.received == 2
            assert isinstance(caught.value, OutcomeUnknownError)
            assert await follower.echo("goes on") == "goes on"


async def test_a_closing_leader_lets_a_stream_come_to_its_end(source: Source, port: int) -> None:
    async with rows(source, port).create(source) as leader:
        async with rows(source, port).create(source) as follower:
            stream = follower.call(Rows.rows, 1000)
            assert await anext(stream) == 0
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(leader.aclose)
                assert [item async for item in stream] == list(range(1, 1000))


# ---------------------------------------------------------- other ways to the same


class RowsAPI(APIClientBase[Rows]):
    data_client = Rows
    table = delegated(Rows.rows)


async def test_a_facades_delegate_is_a_stream(role: Role, source: Source, port: int) -> None:
    def here(cls: type[Any], /, **options: Any) -> ClusterBuilder[Any]:
        return cluster(cls, port=port, single_mode=role == "single", **options)

    async with in_role(role, source, port):
        async with RowsAPI(source, cluster=here) as api:
            stream = api.table(3)
            assert isinstance(stream, Stream)
            assert [item async for item in stream] == [0, 1, 2]


@pytest.mark.parametrize("single_mode", [False, True])
async def test_a_synchronous_generator_runs_in_the_real_clients_thread(
    source: Source, port: int, *, single_mode: bool
) -> None:
    builder = cluster(SyncRows, port=port, single_mode=single_mode).delegate("rows")
    async with builder.create(source) as client:
        assert [item async for item in client.rows(1000)] == list(range(1000))
        async for _ in client.rows(100_000):
            break
        await anyio.wait_all_tasks_blocked()
        assert source.yielded < 1000
