"""A user's code that awaits what somebody else has cancelled ends neither leader nor client.

Only asyncio has it: there the exception is the one that cancels a task.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - its futures are what a user's code may await
from typing import Any

import pytest

from cluster_client import RemoteInvokeError
from support.registry import Registry, Role, Upstream, registry_in_role


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def stray() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


class Straying(Registry):
    async def get_data(self, path: str, default: Any = None, *, strict: bool = False) -> Any:
        await stray()


async def test_a_methods_stray_cancellation_is_an_error_of_its_call(
    role: Role, upstream: Upstream, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "get_data", Straying.get_data)
    async with registry_in_role(role, upstream, port) as client:
        epoch = client.epoch
        with pytest.raises(RemoteInvokeError, match="CancelledError: what was awaited"):
            await client.get_data("/k")
        assert await client.echo(1) == 1
        assert client.epoch == epoch


class SelfCancelling(Registry):
    """Its methods cancel the task in which they run, now or when they have long returned."""

    tasks: list[asyncio.Task[Any]]

    async def get_data(self, path: str, default: Any = None, *, strict: bool = False) -> Any:
        task = asyncio.current_task()
        assert task is not None
        if path == "keep":
            type(self).tasks.append(task)
            return None
        task.cancel()
        await asyncio.sleep(3600)


async def test_a_method_that_cancels_its_own_task_does_not_end_the_leader(
    upstream: Upstream, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "get_data", SelfCancelling.get_data)
    async with registry_in_role("follower", upstream, port) as client:
        epoch = client.epoch
        waits = asyncio.ensure_future(client.wait_at_gate("slow"))
        await upstream.entered.wait()
        for _ in range(3):
            with pytest.raises(RemoteInvokeError, match="CancelledError: the task in which it ran"):
                await client.get_data("/k")
        upstream.gate.set()
        assert await waits == "slow"
        assert await client.echo(1) == 1
        assert (client.epoch, upstream.started) == (epoch, 1)


async def test_a_subscribe_that_cancels_its_own_task_is_an_error_of_the_subscription(
    upstream: Upstream, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def subscribe(self: Registry, reg: Any, listener: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(3600)

    monkeypatch.setattr(Registry, "subscribe", subscribe)
    async with registry_in_role("follower", upstream, port) as client:
        epoch = client.epoch
        with pytest.raises(RemoteInvokeError, match="CancelledError: the task in which it ran"):
            await client.subscribe({"path": "/k"}, print)
        assert await client.echo(1) == 1
        assert (client.epoch, upstream.started) == (epoch, 1)


async def test_a_task_that_is_cancelled_when_its_call_is_over_does_not_end_the_leader(
    upstream: Upstream, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SelfCancelling, "tasks", [], raising=False)
    monkeypatch.setattr(Registry, "tasks", SelfCancelling.tasks, raising=False)
    monkeypatch.setattr(Registry, "get_data", SelfCancelling.get_data)
    async with registry_in_role("follower", upstream, port) as client:
        epoch = client.epoch
        await client.get_data("keep")
        (task,) = SelfCancelling.tasks
        task.cancel()
        assert [await client.echo(number) for number in range(3)] == [0, 1, 2]
        assert task.done()
        assert (client.epoch, upstream.started) == (epoch, 1)


async def test_a_listeners_stray_cancellation_is_logged_and_the_next_value_comes(
    role: Role, upstream: Upstream, port: int
) -> None:
    values: list[Any] = []
    second = asyncio.Event()

    async def listener(value: Any) -> None:
        values.append(value)
        if value == 2:
            second.set()
        else:
            await stray()

    async with registry_in_role(role, upstream, port) as client:
        await client.subscribe({"path": "/k"}, listener)
        await client.set_data("/k", 1)
        await client.set_data("/k", 2)
        await second.wait()
    assert values == [1, 2]
