"""Calls, as the original's suite makes them: mocked, spied on, answered later, in a codec."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from unittest.mock import AsyncMock

import pytest

from cluster_client import Client, ClusterFactory
from support.listening import Recorder
from support.registry import Registry, Upstream

NOW: Final = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)


@asynccontextmanager
async def two_clients(
    factory: ClusterFactory, cls: type[Any], *args: Any, delegates: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Client[Any], Client[Any]]]:
    def client() -> Client[Any]:
        builder = factory(cls)
        for method in delegates:
            builder.delegate(method)
        return builder.create(*args)

    async with client() as one, client() as two:
        yield one, two


class Later:
    """A real client with a method that is no coroutine function, but returns an awaitable."""

    def get_later(self, key: str) -> Awaitable[str]:
        async def later() -> str:
            if key == "error":
                raise ValueError("mock error")
            return key

        return later()

    async def get(self, key: str) -> str:
        return key

    async def _get_secretly(self, key: str) -> str:
        return key


async def test_a_method_that_returns_an_awaitable_is_a_coroutine_method(
    factory: ClusterFactory,
) -> None:
    async with two_clients(factory, Later, delegates=("get_later",)) as clients:
        for client in clients:
            assert await client.get_later("123") == "123"
            with pytest.raises(ValueError, match="mock error"):
                await client.get_later("error")


async def test_private_methods_are_not_on_the_client(factory: ClusterFactory) -> None:
    async with two_clients(factory, Later) as clients:
        for client in clients:
            assert not hasattr(client, "_get_secretly")


async def test_a_delegate_can_be_mocked(
    factory: ClusterFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_clients(factory, Later) as clients:
        for client in clients:
            with monkeypatch.context() as mocked:
                mocked.setattr(client, "get", AsyncMock(return_value="456"))
                assert await client.get("123") == "456"
            assert await client.get("123") == "123"


async def test_a_delegate_can_be_spied_on(
    factory: ClusterFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_clients(factory, Later) as clients:
        for client in clients:
            spy = AsyncMock(wraps=client.get)
            monkeypatch.setattr(client, "get", spy)
            assert await client.get("123") == "123"
            spy.assert_awaited_once_with("123")


# ------------------------------------------------------------ a codec of one's own


class TaggedJson:
    """JSON with tags for what it lacks, as a user would write it."""

    name = "tagged json"

    def encode(self, value: object, /) -> bytes:
        return json.dumps(value, default=self._tag).encode()

    def decode(self, data: bytes, /) -> object:
        return json.loads(data, object_hook=self._untag)

    def _tag(self, value: object) -> dict[str, Any]:
        match value:
            case dt.datetime():
                return {"type": "date", "data": value.isoformat()}
            case bytes():
                return {"type": "buffer", "data": value.hex()}
        raise TypeError(f"{type(value).__name__} has no tag")

    def _untag(self, value: dict[str, Any]) -> Any:
        readers: dict[str | None, Callable[[str], Any]] = {
            "date": dt.datetime.fromisoformat,
            "buffer": bytes.fromhex,
        }
        read = readers.get(value.get("type"))
        return value if read is None else read(value["data"])


@pytest.mark.parametrize(
    "value", [NOW, b"hello", {"name": "peter"}, [NOW, {"deep": b"\x00"}]], ids=repr
)
async def test_ones_own_codec_carries_arguments_results_and_values(
    factory: ClusterFactory, value: Any
) -> None:
    upstream = Upstream()

    def client() -> Client[Registry]:
        return factory(Registry, transcode=TaggedJson()).create(upstream)

    async with client() as one, client() as two:
        listeners = [Recorder(), Recorder()]
        await one.subscribe({"path": "/k"}, listeners[0])
        await two.subscribe({"path": "/k"}, listeners[1])
        for each in (one, two):
            assert await each.echo(value) == value
            await each.set_data("/k", value)
        for listener in listeners:
            await listener.until(value, value)
        for number, each in enumerate((one, two)):
            await each.publish({"path": "/k", "value": number})
        for listener in listeners:
            await listener.until(value, value, 0, 1)
