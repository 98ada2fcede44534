"""What no method should raise: it is its caller's affair, and nobody else notices."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its cancellation is raised
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from typing import Any

import anyio
import pytest
import trio  # noqa: TID251 - likewise

from cluster_client import Client, RemoteInvokeError, cluster
from support.registry import Role
from support.times import scaled


class OddError(BaseException):
    """No `Exception`."""


class SpitefulError(Exception):
    """Whatever is asked of it fails."""

    def __str__(self) -> str:
        raise OddError("in __str__")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise OddError("in __reduce__")

    @property
    def code(self) -> Any:
        raise OddError("in code")

    def __eq__(self, _: object) -> bool:
        raise OddError("in __eq__")

    __hash__ = None  # type: ignore[assignment]


KINDS: dict[str, Any] = {
    "SystemExit": lambda: SystemExit(3),
    "GeneratorExit": GeneratorExit,
    "asyncio.CancelledError": asyncio.CancelledError,
    "trio.Cancelled": lambda: trio.Cancelled._create(source="unknown"),
    "OddError": lambda: OddError("odd"),
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [SystemExit(1), OddError()]),
    "SpitefulError": SpitefulError,
}


def made(kind: str) -> BaseException:
    error: BaseException = KINDS[kind]()
    return error


class Thrower:
    async def throw(self, kind: str) -> None:
        await anyio.lowlevel.checkpoint()
        raise made(kind)

    def throw_in_thread(self, kind: str) -> None:
        raise made(kind)

    async def throw_behind(self, kind: str) -> AsyncIterator[int]:
        yield 1
        raise made(kind)

    async def publish(self, reg: dict[str, str]) -> None:
        raise made(reg["kind"])

    async def subscribe(self, reg: dict[str, str], listener: Any) -> None:
        await anyio.lowlevel.checkpoint()
        raise made(reg["kind"])

    async def ping(self) -> str:
        return "pong"


@pytest.fixture
async def client(role: Role, port: int) -> AsyncIterator[Client[Thrower]]:
    def make() -> Client[Thrower]:
        options = {"port": port, "single_mode": role == "single", "response_timeout": scaled(10)}
        return cluster(Thrower, **options).delegate("throw_in_thread").create()

    async with make() as first:
        if role == "leader":
            yield first
            return
        async with make() as second:
            yield second


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_an_error_of_its_call(client: Client[Thrower], kind: str) -> None:
    epoch = client.epoch
    for use in (
        lambda: client.throw(kind),
        lambda: client.throw_in_thread(kind),
        lambda: anext_but_one(client.throw_behind(kind)),
        lambda: client.publish({"kind": kind}),
        lambda: client.subscribe({"kind": kind}, print),
    ):
        with pytest.raises((RemoteInvokeError, CancelledError, RuntimeError)):
            await use()
        assert await client.ping() == "pong"
    assert client.epoch == epoch


async def anext_but_one(stream: Any) -> None:
    assert await anext(stream) == 1
    await anext(stream)
