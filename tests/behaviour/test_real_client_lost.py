"""The real client is lost while its leader lives (SPEC 8.6)."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

import anyio
import anyio.abc
import pytest

from cluster_client import Client, Gap, Leadership, cluster
from cluster_client import _server as server
from support.listening import Recorder
from support.registry import Role
from support.sessions import Service, Sessions, sessions_client
from support.times import LIMIT, scaled
from support.waiting import until

K = {"path": "/k"}


@asynccontextmanager
async def in_role(role: Role, service: Service, port: int) -> AsyncIterator[Client[Sessions]]:
    single = role == "single"
    async with sessions_client(service, port, single_mode=single) as first:
        if role == "leader":
            yield first
            return
        async with sessions_client(service, port, single_mode=single) as second:
            yield second


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def client(role: Role, service: Service, port: int) -> AsyncIterator[Client[Sessions]]:
    async with in_role(role, service, port) as client:
        yield client


async def test_another_one_takes_its_place(client: Client[Sessions], service: Service) -> None:
    assert await client.get() == "token 1"
    service.current.leadership.lost("expired")
    await until(lambda: len(service.instances) == 2)
    assert await client.get() == "token 2"
    assert service.events == ["1 starts", "1 closes", "2 starts"]


async def test_it_may_say_so_from_any_thread_and_as_often_as_it_likes(
    client: Client[Sessions], service: Service
) -> None:
    def say() -> None:
        for _ in range(10):
            service.instances[0].leadership.lost("expired")

    thread = threading.Thread(target=say)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    await until(lambda: len(service.instances) == 2)
    service.instances[0].leadership.lost("again")
    assert await client.get() == "token 2"
    assert len(service.instances) == 2


async def test_calls_wait_and_learn_why_it_takes_so_long(
    client: Client[Sessions], service: Service
) -> None:
    service.fail_starts = 1
    service.current.leadership.lost("expired")
    outcomes: list[str] = []

    async def call() -> None:
        try:
            outcomes.append(await client.get())
        except ConnectionRefusedError as exc:
            outcomes.append(str(exc))

    while not outcomes or outcomes[-1] != "token 2":
        await call()
    assert set(outcomes) <= {"token 1", "the service is down", "token 2"}
    assert service.events == ["1 starts", "1 closes", "2 closes", "3 starts"]


async def test_subscribers_are_told_of_the_gap_and_get_the_new_state(
    client: Client[Sessions], service: Service
) -> None:
    values = Recorder()
    deaf = Recorder()
    await client.subscribe(K, values, on_gap=values)
    await client.subscribe(K, deaf)
    await values.until("first of 1")
    service.value = "second"
    service.current.leadership.lost("expired")
    await values.until("first of 1", Gap("the real client was lost: expired"), "second of 2")
    await deaf.until("first of 1", "second of 2")


async def test_a_gap_stands_among_the_values_where_it_is_wanted(
    client: Client[Sessions], service: Service
) -> None:
    async with client.subscription(K, gaps=True) as values, client.subscription(K) as plain:
        assert await anext(values) == "first of 1"
        assert await anext(plain) == "first of 1"
        service.current.leadership.lost("expired")
        assert isinstance(await anext(values), Gap)
        assert await anext(values) == "first of 2"
        assert await anext(plain) == "first of 2"
        assert client.last(K) == "first of 2"


async def test_sticky_publications_are_made_again(
    client: Client[Sessions], service: Service
) -> None:
    await client.publish({"name": "a"}, sticky=True)
    await client.publish({"name": "b"})
    service.current.leadership.lost("expired")
    await until(lambda: "2 publishes a" in service.events)
    assert "2 publishes b" not in service.events


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_client_closes_while_it_is_made_again(
    role: Role, service: Service, port: int, *, hangs: bool
) -> None:
    async with in_role(role, service, port):
        service.fail_starts, service.hang_start = (0, True) if hangs else (1000, False)
        service.current.leadership.lost("expired")
        await until(lambda: len(service.instances) == 2)
    assert service.events[:2] == ["1 starts", "1 closes"]
    assert service.events.count("2 closes") == 1


class Tasks:
    """A real client with a task group of its own, as anyio's manner is."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.crash = anyio.Event()

    async def __aenter__(self) -> Self:
        self.service.events.append("enters")
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(self._work)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self.service.events.append("leaves")
        self.tasks.cancel_scope.cancel()
        return await self.tasks.__aexit__(kind, exc, traceback)

    async def _work(self) -> None:
        await self.crash.wait()
        raise RuntimeError("a bug of the real client's")

    async def crash_soon(self) -> None:
        self.crash.set()

    async def echo(self, value: str) -> str:
        return value


async def test_a_real_client_may_have_a_task_group_and_is_lost_when_that_fails(
    role: Role, service: Service, port: int
) -> None:
    builder = cluster(Tasks, port=port, single_mode=role == "single")
    async with builder.create(service) as client:
        assert await client.echo("a") == "a"
        await client.crash_soon()
        await until(lambda: service.events.count("enters") == 2)
        assert await client.echo("b") == "b"
    assert service.events == ["enters", "leaves", "enters", "leaves"]


async def test_it_may_want_another_leadership(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both clients are of this process, so either may lead next."""
    monkeypatch.setattr(server, "YIELD_TIME", scaled(0.2))
    gaps = Recorder()
    async with sessions_client(service, port) as leader:
        async with sessions_client(service, port) as follower:
            epoch = follower.epoch
            await follower.subscribe(K, gaps, on_gap=gaps)
            service.current.leadership.step_down("no disk")
            await gaps.until("first of 1", Gap("another leader"), "first of 2")
            assert follower.epoch not in (None, epoch)
            assert await leader.get() == await follower.get() == "token 1"  # handed over


class Slow:
    """A real client with a synchronous method that takes as long as the test wants."""

    def __init__(self, instances: list[Slow], gate: threading.Event) -> None:
        instances.append(self)
        self.number = len(instances)
        self.entered = False
        self.closing = False
        self._gate = gate

    def attach_leadership(self, leadership: Leadership) -> None:
        self.leadership = leadership

    async def aclose(self) -> None:
        self.closing = True

    async def quick(self) -> int:
        return self.number

    def slow(self) -> int:
        self.entered = True
        self._gate.wait(LIMIT)
        return self.number


async def test_a_call_that_waits_for_a_thread_is_made_to_the_next_one(
    role: Role, port: int
) -> None:
    instances: list[Slow] = []
    gate = threading.Event()
    numbers: list[int] = []
    single = role == "single"
    builder = cluster(Slow, port=port, single_mode=single, response_timeout=LIMIT)
    builder.delegate("slow")

    async def open_clients(stack: AsyncExitStack) -> Client[Slow]:
        first = await stack.enter_async_context(builder.create(instances, gate))
        if role == "leader":
            return first
        return await stack.enter_async_context(builder.create(instances, gate))

    async with AsyncExitStack() as stack:
        client = await open_clients(stack)

        async def call() -> None:
            numbers.append(await client.call(Slow.slow))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: instances[0].entered)
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert await client.quick() == 1  # behind the second call: that waits for the thread
            instances[0].leadership.lost("expired")
            await until(lambda: instances[0].closing)
            gate.set()
    assert sorted(numbers) == [1, 2]
