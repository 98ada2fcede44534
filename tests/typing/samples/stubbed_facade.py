"""Facades whose delegates are generated: their types come from ``stubbed_facade.pyi``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cluster_client import APIClientBase, Delegate, delegated
from typed_registry import Registry

LIMIT = 3


class LocalRegistry:
    """A real client in the facade's own module."""

    async def history(self, key: str) -> AsyncIterator[str]:
        yield key

    async def get_data(self, key: str) -> int:
        return LIMIT


class StubbedAPI(APIClientBase[Registry]):
    """A facade with logic of its own."""

    data_client = Registry
    cluster_options = {"name": "registry", "port": 7777}
    delegates = {
        "remove": "invoke_oneway",
        "size": Delegate(name="number_of_rows"),
        "rows": "stream",
        "watch": "subscribe",
        "lines": "stream",
        "search": "stream",
    }
    get = delegated(Registry.get_data, idempotent=True)

    _cache: dict[str, int]

    def __init__(self, *args: Any, limit: int = LIMIT, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cache = {}

    async def get_data(self, key: str) -> int:
        return self._cache.get(key) or await self._client.call(Registry.get_data, key)

    async def keys(self) -> AsyncIterator[str]:
        for key in self._cache:
            yield key


class LocalAPI(APIClientBase[LocalRegistry]):
    data_client = LocalRegistry


class DerivedAPI(StubbedAPI):
    delegates = {"chunks": "stream"}

    async def remove(self, key: str) -> None:
        self._cache.pop(key, None)


def make(hosts: str) -> StubbedAPI:
    return StubbedAPI(hosts)
