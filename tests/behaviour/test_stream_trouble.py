"""Streams that are dropped, closed or cut off at awkward moments, in every role."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from cluster_client import (
    Client,
    ClientClosedError,
    OutcomeUnknownError,
    Stream,
    cluster,
    register_type,
)
from cluster_protocol import RemoteProtocolError
from cluster_protocol.codecs import REGISTERED_TYPES
from support.registry import Role
from support.times import scaled

WINDOW = 64
"""Small items that come before a reader has read one."""


class Source:
    """What the generators of a test wait for, and what becomes of them."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.begun = 0
        self.closed = anyio.Event()


class Rows:
    """A real client whose generators wait, never end, or yield what nobody can read."""

    def __init__(self, source: Source) -> None:
        self.source = source

    async def echo(self, value: Any) -> Any:
        return value

    async def wait(self, ready: int = 0) -> AsyncIterator[int]:
        """Yield some numbers at once, and one behind the gate."""
        self.source.begun += 1
        try:
            for number in range(ready):
                yield number
            await self.source.gate.wait()
            yield ready
        finally:
            self.source.closed.set()

    async def endless(self) -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            self.source.closed.set()

    async def odd(self) -> AsyncIterator[Any]:
        try:
            yield 1
            yield Unreadable()
            for number in range(1000):
                yield number
        finally:
            self.source.closed.set()


class Unreadable:
    """A type of the user's that cannot be read."""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the type for one test only."""
    monkeypatch.setattr(REGISTERED_TYPES, "by_name", dict(REGISTERED_TYPES.by_name))
    monkeypatch.setattr(REGISTERED_TYPES, "by_class", dict(REGISTERED_TYPES.by_class))

    def decode(_: Any) -> Unreadable:
        raise LookupError("what is it")

    register_type(Unreadable, name="unreadable", encode=lambda _: None, decode=decode)


@pytest.fixture
async def source() -> Source:
    return Source()


@asynccontextmanager
async def in_role(
    role: Role, source: Source, port: int, **options: Any
) -> AsyncIterator[Client[Rows]]:
    chosen = {"response_timeout": scaled(5), "drain_timeout": scaled(5), **options}
    builder = cluster(Rows, port=port, single_mode=role == "single", **chosen)
    async with builder.create(source) as first:
        if role == "leader":
            yield first
            return
        async with builder.create(source) as second:
            yield second


@pytest.fixture
async def client(role: Role, source: Source, port: int) -> AsyncIterator[Client[Rows]]:
    async with in_role(role, source, port) as client:
        yield client


async def rest_of(stream: Stream[Any]) -> list[Any]:
    return [item async for item in stream]


async def read_into(items: list[Any], stream: Stream[Any]) -> None:
    """Keep the items that come before an error."""
    async for item in stream:
        items.append(item)  # noqa: PERF401


# -------------------------------------------------------------------------- readers


async def test_an_item_that_cannot_be_read_ends_the_stream_in_the_leader_too(
    client: Client[Rows], source: Source
) -> None:
    stream = client.call(Rows.odd)
    assert await anext(stream) == 1
    with pytest.raises(RemoteProtocolError, match="its decode raised LookupError"):
        await anext(stream)
    await source.closed.wait()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_stream_that_is_closed_while_it_begins_does_not_begin(
    client: Client[Rows], source: Source
) -> None:
    stream = client.call(Rows.wait)
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            assert await rest_of(stream) == []

        tasks.start_soon(read)
        while not source.begun:
            await anyio.wait_all_tasks_blocked()
        await stream.aclose()
        source.gate.set()
    await source.closed.wait()


async def test_a_stream_that_is_closed_while_it_is_read_ends(
    client: Client[Rows], source: Source
) -> None:
    stream = client.call(Rows.wait, 1)
    assert await anext(stream) == 0
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            assert await rest_of(stream) == []

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await stream.aclose()
    await source.closed.wait()


async def test_a_stream_may_be_closed_before_it_is_read_and_after_its_end(
    client: Client[Rows], source: Source
) -> None:
    unread = client.call(Rows.wait)
    await unread.aclose()
    assert await rest_of(unread) == []
    assert source.begun == 0
    source.gate.set()
    stream = client.call(Rows.wait, 2)
    assert await rest_of(stream) == [0, 1, 2]
    await stream.aclose()
    await stream.aclose()
    assert await rest_of(stream) == []


async def test_a_stream_that_another_thread_drops_is_closed(
    client: Client[Rows], source: Source
) -> None:
    streams = [client.call(Rows.endless)]
    assert await anext(streams[0]) == 0
    await anyio.to_thread.run_sync(streams.clear)
    await source.closed.wait()


async def test_a_stream_in_a_cycle_is_closed_by_the_garbage_collector(
    client: Client[Rows], source: Source
) -> None:
    class Holder:
        pass

    holder: Any = Holder()
    holder.itself = holder
    holder.stream = client.call(Rows.endless)
    assert await anext(holder.stream) == 0
    del holder
    await anyio.to_thread.run_sync(gc.collect)
    await source.closed.wait()


async def test_a_stream_that_was_read_to_its_end_leaves_nothing_to_do(
    client: Client[Rows], source: Source
) -> None:
    source.gate.set()
    stream = client.call(Rows.wait, 3)
    assert await rest_of(stream) == [0, 1, 2, 3]
    del stream
    gc.collect()
    assert await client.echo("goes on") == "goes on"


async def test_many_streams_at_once_each_get_their_own_items(client: Client[Rows]) -> None:
    async def read(count: int) -> None:
        async with client.call(Rows.endless) as stream:
            for number in range(count):
                assert await anext(stream) == number

    async with anyio.create_task_group() as tasks:
        for count in range(200):
            tasks.start_soon(read, count)


# -------------------------------------------------------------------------- clients


async def test_a_client_that_is_closed_before_the_first_item_says_so(
    role: Role, source: Source, port: int
) -> None:
    async with in_role(role, source, port, drain_timeout=scaled(0.05)) as client:
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                with pytest.raises((OutcomeUnknownError, ClientClosedError)):
                    await anext(client.call(Rows.wait))

            tasks.start_soon(read)
            while not source.begun:
                await anyio.wait_all_tasks_blocked()
            await client.aclose()
        with pytest.raises(ClientClosedError):
            client.call(Rows.wait)


async def test_what_has_arrived_is_read_though_the_client_is_closed(
    role: Role, source: Source, port: int
) -> None:
    async with in_role(role, source, port, drain_timeout=scaled(0.05)) as client:
        stream = client.call(Rows.endless)
        assert await anext(stream) == 0
        await anyio.wait_all_tasks_blocked()
        assert await client.echo("behind the items") == "behind the items"
        await client.aclose()
        items: list[int] = []
        with pytest.raises(ClientClosedError, match=rf"closed after {WINDOW} items of 'endless'"):
            await read_into(items, stream)
        assert items == list(range(1, WINDOW))


async def test_a_reader_that_waits_is_told_that_its_client_is_closed(
    role: Role, source: Source, port: int
) -> None:
    async with in_role(role, source, port, drain_timeout=scaled(0.05)) as client:
        stream = client.call(Rows.wait, 1)
        assert await anext(stream) == 0
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                with pytest.raises(ClientClosedError, match=r"closed after 1 items of 'wait'"):
                    await anext(stream)

            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await client.aclose()
        assert await rest_of(stream) == []
