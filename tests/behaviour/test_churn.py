"""Clients that come and go at random, under load: nobody else may notice."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest

from cluster_client import Client, cluster
from support.times import scaled

CLIENTS = 5
CALLERS = 4
DURATION = scaled(3)


class Ledger:
    """A real client that notes what it is told to."""

    executed: Counter[int]

    def __init__(self, executed: Counter[int], dice: random.Random) -> None:
        self.executed = executed
        self.dice = dice

    async def start(self) -> None:
        await anyio.sleep(self.dice.uniform(0, 0.02))

    async def note(self, number: int) -> int:
        await anyio.sleep(self.dice.uniform(0, 0.01))
        self.executed[number] += 1
        return number

    def subscribe(self, reg: str, listener: object) -> None:
        assert callable(listener)
        listener(reg)

    def unsubscribe(self, reg: str, listener: object) -> None: ...


@pytest.mark.parametrize("seed", [1, 2])
async def test_calls_and_subscriptions_survive_clients_that_come_and_go(
    port: int, seed: int
) -> None:
    dice = random.Random(seed)
    executed: Counter[int] = Counter()
    answered: list[int] = []
    values = 0
    end = anyio.current_time() + DURATION

    async def call(client: Client[Ledger], until: float) -> None:
        while anyio.current_time() < until:
            number = dice.randrange(2**60)
            assert await client.note(number) == number
            answered.append(number)

    async def subscribe(client: Client[Ledger], until: float) -> None:
        nonlocal values
        while anyio.current_time() < until:
            reg = dice.choice("abc")
            async with client.subscription(reg) as subscription:
                assert await anext(aiter(subscription)) == reg
                values += 1

    async def come_and_go() -> None:
        while anyio.current_time() < end:
            async with cluster(Ledger, port=port).create(executed, dice) as client:
                until = anyio.current_time() + dice.uniform(0.05, 0.5)
                async with anyio.create_task_group() as users:
                    for _ in range(CALLERS):
                        users.start_soon(call, client, until)
                    users.start_soon(subscribe, client, until)

    async with anyio.create_task_group() as tasks:
        for _ in range(CLIENTS):
            tasks.start_soon(come_and_go)

    assert len(answered) > 100
    assert values > 10
    assert executed == Counter(answered)  # each once, and none that nobody asked for
