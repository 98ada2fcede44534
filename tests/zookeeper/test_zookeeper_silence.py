"""Calls of `ZooKeeperClient` while the server does not answer, or is not there."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from kazoo.exceptions import ConnectionClosedError, ConnectionLoss

from cluster_client.contrib import _zookeeper_session
from cluster_client.contrib._zookeeper_requests import WINDOW
from support.times import scaled
from support.zookeeper import ZooKeeperServer
from support.zookeeper_clients import break_connection, opened


async def test_a_call_is_cancelled_while_the_server_does_not_answer(
    server: ZooKeeperServer, path: str
) -> None:
    async with opened(server) as client:
        server.pause()
        with anyio.move_on_after(0.1) as scope:
            await client.get("/")
        assert scope.cancelled_caught
        server.resume()
        assert await client.create(path) == path


async def test_a_call_that_was_cancelled_before_it_was_sent_is_never_sent(
    server: ZooKeeperServer, path: str
) -> None:
    async with opened(server) as client:
        await client.create(path)
        server.pause()
        async with anyio.create_task_group() as tasks:
            for number in range(WINDOW + 10):
                tasks.start_soon(client.create, f"{path}/{number:03}")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        server.resume()
        assert len(await client.children(path)) == WINDOW


async def test_any_number_of_calls_waits_without_holding_up_the_event_loop(
    server: ZooKeeperServer, path: str
) -> None:
    count = 2000  # kazoo alone would block at some 280
    async with opened(server) as client:
        await client.create(path)
        server.kill()
        answers: list[Any] = []

        async def read() -> None:
            answers.append(await client.exists(path))

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(server.start)
        assert len(answers) == count
        assert all(answers)


async def test_reads_are_repeated_when_the_connection_breaks_and_writes_are_not(
    server: ZooKeeperServer, path: str
) -> None:
    async with opened(server) as client:
        server.pause()
        read: list[Any] = []

        async def get() -> None:
            read.append(await client.exists("/"))

        async def create() -> None:
            with pytest.raises(ConnectionLoss, match=f"create {path}"):
                await client.create(path)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get)
            tasks.start_soon(create)
            await anyio.wait_all_tasks_blocked()
            await break_connection(client)
            server.resume()
        assert read[0] is not None


async def test_a_call_that_waits_when_the_client_is_closed_says_so(
    server: ZooKeeperServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_zookeeper_session, "CLOSE_LIMIT", scaled(0.2))

    async def read() -> None:
        with pytest.raises(ConnectionClosedError, match="is closed"):
            await client.get("/")

    async with opened(server) as client:
        server.pause()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await client.aclose()  # which does not wait for the server for ever, either
        server.resume()
