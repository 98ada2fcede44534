"""Methods that return what nobody can send: an error of that call, and of no other one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster_client import Client, EncodeError, RemoteInvokeError, cluster
from support.registry import Role
from support.times import scaled


class Nasty:
    def __getattribute__(self, name: str) -> Any:
        raise KeyError(name)

    def __repr__(self) -> str:
        raise ValueError("in __repr__")

    def __reduce__(self) -> Any:
        raise ValueError("in __reduce__")

    def __eq__(self, _: object) -> bool:
        raise ValueError("in __eq__")

    def __hash__(self) -> int:
        raise ValueError("in __hash__")


class Text(str):
    def __str__(self) -> str:
        raise ValueError("in __str__")


def endless_list() -> list[Any]:
    endless: list[Any] = [1]
    endless.append(endless)
    return endless


def endless_dict() -> dict[str, Any]:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    return endless


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


GARBAGE: dict[str, Any] = {
    "an object": object,
    "nasty": Nasty,
    "nasty within": lambda: {"a": [Nasty()]},
    "a subclass of str": lambda: [Text("x"), Nasty()],
    "an endless list": endless_list,
    "an endless dict": endless_dict,
    "very deep": lambda: deep(100_000),
    "a function": lambda: len,
    "a class": lambda: Nasty,
    "a generator": lambda: (n for n in range(3)),
    "a lone surrogate": lambda: "\ud800",
}


class Giver:
    async def give(self, what: str) -> Any:
        return GARBAGE[what]()

    async def give_items(self, what: str) -> AsyncIterator[Any]:
        yield 1
        yield GARBAGE[what]()

    async def ping(self) -> str:
        return "pong"


@pytest.fixture
async def client(role: Role, port: int) -> AsyncIterator[Client[Giver]]:
    def make() -> Client[Giver]:
        options = {"port": port, "single_mode": role == "single", "response_timeout": scaled(10)}
        return cluster(Giver, **options).create()

    async with make() as first:
        if role == "leader":
            yield first
            return
        async with make() as second:
            yield second


@pytest.mark.parametrize("what", GARBAGE)
async def test_it_is_an_error_of_its_call(client: Client[Giver], what: str) -> None:
    epoch = client.epoch
    with pytest.raises((EncodeError, RemoteInvokeError)):
        await client.give(what)
    stream = client.give_items(what)
    assert await anext(stream) == 1
    with pytest.raises((EncodeError, RemoteInvokeError)):
        await anext(stream)
    assert await client.ping() == "pong"
    assert client.epoch == epoch
