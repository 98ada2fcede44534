"""Each operation is cancelled at each await: nobody else notices, and nothing is left."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import pytest

from cluster_client import Client
from faults.checkpoints import cancelled_at
from faults.conversation import (
    ITEMS,
    Real,
    Upstream,
    check_nothing_is_left,
    count_descriptors,
    count_tasks,
    open_client,
)
from support.listening import Recorder
from support.waiting import until

REG = {"key": "k"}
MOST = 1000
"""Awaits of one operation; more would be a loop without an end."""


@dataclass
class Stage:
    """A leader, a follower that subscribes, and what stands behind them."""

    upstream: Upstream
    port: int
    leader: Client[Real]
    follower: Client[Real]
    values: Recorder = field(default_factory=Recorder)
    told: int = 0

    async def check(self) -> None:
        """Both clients work as if nothing had happened, and nothing is left of it."""
        answers: dict[str, str] = {}

        async def echo(client: Client[Real], text: str) -> None:
            answers[text] = await client.echo(text)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(echo, self.leader, f"leader {number}")
                tasks.start_soon(echo, self.follower, f"follower {number}")
        assert len(answers) == 6
        for text, answer in answers.items():
            assert answer == text, "an answer has reached another caller"
        self.told += 1
        self.upstream.tell(self.told)
        await self.values.until_last(self.told)
        await until(lambda: self.upstream.waiting == 0)
        await until(lambda: len(self.upstream.listeners) == 1)
        await check_nothing_is_left(self.leader, self.follower)


@asynccontextmanager
async def open_stage(port: int) -> AsyncIterator[Stage]:
    upstream = Upstream()
    async with (
        open_client(upstream, port) as leader,
        open_client(upstream, port) as follower,
    ):
        stage = Stage(upstream, port, leader, follower)
        await follower.subscribe(REG, stage.values)
        await stage.check()
        yield stage


# ---------------------------------------------------------------- operations

Operation = Callable[[Stage], Awaitable[None]]


async def open_and_close_a_follower(stage: Stage) -> None:
    async with open_client(stage.upstream, stage.port) as client:
        assert not client.is_leader
        assert await client.echo("own") == "own"


async def call_as_follower(stage: Stage) -> None:
    assert await stage.follower.add(1) == 2


async def call_as_leader(stage: Stage) -> None:
    assert await stage.leader.add(1) == 2


async def read_a_stream_as_follower(stage: Stage) -> None:
    assert [item async for item in stage.follower.numbers(ITEMS)] == list(range(ITEMS))


async def read_a_stream_as_leader(stage: Stage) -> None:
    assert [item async for item in stage.leader.numbers(ITEMS)] == list(range(ITEMS))


async def break_off_a_stream(stage: Stage) -> None:
    async with stage.follower.numbers(1000) as items:
        async for item in items:
            if item == 2:
                break


async def subscribe_and_unsubscribe_as_follower(stage: Stage) -> None:
    await _subscribe_and_unsubscribe(stage.follower)


async def subscribe_and_unsubscribe_as_leader(stage: Stage) -> None:
    await _subscribe_and_unsubscribe(stage.leader)


async def _subscribe_and_unsubscribe(client: Client[Real]) -> None:
    reg, values = {"key": "another"}, Recorder()
    try:
        await client.subscribe(reg, values)
        await until(lambda: values.values != [])
    finally:
        with anyio.CancelScope(shield=True):
            await client.unsubscribe(reg, values)


async def iterate_over_values(stage: Stage) -> None:
    async with stage.follower.subscription({"key": "a third"}) as values:
        await anext(values)


async def publish_as_follower(stage: Stage) -> None:
    await stage.follower.publish({"key": "k", "value": stage.told})


async def publish_as_leader(stage: Stage) -> None:
    await stage.leader.publish({"key": "k", "value": stage.told})


async def give_up_a_slow_call(stage: Stage) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.follower.wait)
        await until(lambda: stage.upstream.waiting == 1)
        tasks.cancel_scope.cancel()


async def run_until_started(stage: Stage) -> None:
    async with anyio.create_task_group() as tasks:
        client = await tasks.start(open_client(stage.upstream, stage.port).run)
        assert await client.echo("own") == "own"
        await client.aclose()


@pytest.mark.parametrize(
    "operation",
    [
        open_and_close_a_follower,
        call_as_follower,
        call_as_leader,
        read_a_stream_as_follower,
        read_a_stream_as_leader,
        break_off_a_stream,
        subscribe_and_unsubscribe_as_follower,
        subscribe_and_unsubscribe_as_leader,
        iterate_over_values,
        publish_as_follower,
        publish_as_leader,
        give_up_a_slow_call,
        run_until_started,
    ],
    ids=lambda operation: operation.__name__,
)
async def test_nobody_else_notices(operation: Any, port: int) -> None:
    async with open_stage(port) as stage:
        await operation(stage)
        await stage.check()
        tasks, descriptors = count_tasks(), count_descriptors()
        for number in range(1, MOST):
            met = await cancelled_at(number, operation(stage))
            await stage.check()
            await until(lambda: count_tasks() <= tasks)
            await until(lambda: count_descriptors() <= descriptors)
            if not met:
                break
        assert 1 < number < MOST - 1


# -------------------------------------------------------- opening and closing


def port_is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            return False
    return True


async def test_a_leader_that_is_cancelled_leaves_the_port_free(port: int) -> None:
    upstream = Upstream()

    async def lead() -> None:
        async with open_client(upstream, port) as client:
            assert client.is_leader
            assert await client.echo("own") == "own"

    await lead()
    tasks, descriptors = count_tasks(), count_descriptors()
    for number in range(1, MOST):
        met = await cancelled_at(number, lead())
        assert port_is_free(port)
        await until(lambda: count_tasks() <= tasks)
        await until(lambda: count_descriptors() <= descriptors)
        if not met:
            break
    assert 5 < number < MOST - 1


async def test_a_leader_whose_close_is_cancelled_has_handed_over_all_the_same(port: int) -> None:
    """The close is shielded: the follower leads, its subscription goes on, and no call is lost."""
    upstream = Upstream()
    tasks, descriptors = count_tasks(), count_descriptors()
    for number in range(1, MOST):
        leader = open_client(upstream, port)
        values = Recorder()
        async with anyio.create_task_group() as group:
            await group.start(leader.run)
            async with open_client(upstream, port) as follower:
                await follower.subscribe(REG, values)
                met = await cancelled_at(number, leader.aclose())
                assert await follower.add(number) == number + 1
                await until(partial(getattr, follower, "is_leader"))
                upstream.tell(number)
                await values.until_last(number)
        assert port_is_free(port)
        await until(lambda: count_tasks() <= tasks)
        await until(lambda: count_descriptors() <= descriptors)
        if not met:
            break
    assert 1 < number < MOST - 1
    assert upstream.executed.count("add") == number
