"""An event loop that nobody started with anyio, as in uvicorn: there callbacks are in no task."""

from __future__ import annotations

import asyncio  # noqa: TID251 - that's the test
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cluster_client import Leadership, cluster
from support.times import LIMIT, scaled


class Source:
    def attach_leadership(self, leadership: Leadership) -> None:
        self.leadership = leadership

    async def echo(self, value: int) -> int:
        return value

    async def rows(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def lose(self) -> None:
        thread = threading.Thread(target=self.leadership.lost, args=["a thread says so"])
        thread.start()
        thread.join()

    def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        thread = threading.Thread(target=listener, args=[reg["path"]])
        thread.start()
        thread.join()

    def publish(self, reg: Any) -> None:
        self.published = reg


async def use(port: int) -> None:
    options = {"port": port, "response_timeout": scaled(5)}
    async with cluster(Source, **options).create() as leader:
        async with cluster(Source, **options).create() as follower:
            assert leader.is_leader
            for client in (leader, follower):
                assert await asyncio.gather(*map(client.echo, range(100))) == list(range(100))
                assert [row async for row in client.rows(300)] == list(range(300))
                await client.publish({"path": "p"})
                async with client.subscription({"path": f"of {client.epoch}"}) as values:
                    assert await anext(values) == f"of {client.epoch}"
            await follower.lose()
            assert await follower.echo(1) == 1
            await leader.aclose()
            assert await follower.echo(2) == 2
            assert follower.is_leader


def test_everything_works_on_asyncio_itself(port: int) -> None:
    asyncio.run(asyncio.wait_for(use(port), LIMIT))


def test_and_on_uvloop_itself(port: int) -> None:
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(asyncio.wait_for(use(port), LIMIT))
