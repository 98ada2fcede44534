"""The Python twin of ``registry.js``: a real client in memory for clusters of both languages.

Its methods have Python's names; with ``camel_case=True`` they are those of the twin on the wire.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import anyio

from cluster_client import Client, cluster
from support.times import scaled

CHANNEL: Final = "registry"

Listener = Callable[[Any], None]


class BoomError(Exception):
    """An error with a code, as Node's have it."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Registry:
    """See the module.

    Args:
        options: As in the twin, whose constructor takes an object.
    """

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self._options = options or {}
        self._data: dict[str, Any] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._notes: list[Any] = []
        self._calls: Counter[str] = Counter()

    async def start(self) -> None:
        await anyio.sleep(self._options.get("startDelay", 0) / 1000)
        if message := self._options.get("failStart"):
            raise BoomError(message, "E_START")

    async def pid(self) -> int:
        return os.getpid()

    async def get_data(self, key: str) -> Any:
        return self._data.get(key)

    async def set_data(self, key: str, value: Any) -> None:
        self._set(key, value)

    async def echo(self, value: Any = None, *, loud: bool = False) -> Any:
        return [value, loud] if loud else value

    async def nothing(self) -> None:
        """Return nothing."""

    async def fail(self, message: str, code: str | None = None) -> None:
        raise BoomError(message, code)

    async def slow(self, ms: float, value: Any = None) -> Any:
        await anyio.sleep(ms / 1000)
        return value

    async def count(self) -> int:
        return len(self._data)

    async def note(self, value: Any) -> None:
        self._notes.append(value)

    async def notes(self) -> list[Any]:
        return self._notes

    async def calls(self) -> dict[str, int]:
        return dict(self._calls)

    async def values(self) -> dict[str, Any]:
        """Return one value of each kind that both languages have."""
        return {
            "buffer": bytes([0, 1, 127, 128, 255]),
            "date": dt.datetime(2023, 11, 14, 22, 13, 20, 123000, dt.UTC),
            "true": True,
            "null": None,
            "empty": {"string": "", "list": [], "object": {}},
            "text": "a b+c|d^e%fü😀\n",
            "integers": [0, 1, -1, 35, 36, 2**31, -(2**31), 2**53, 10**21],
            "floats": [0.1 + 0.2, 1.5, -2.25, 1e-7, 5e-324],
        }

    async def rows(self, count: int) -> AsyncIterator[int]:
        """Stream; the twin has no such method, as Node has no streams."""
        for number in range(count):
            yield number

    def publish(self, reg: dict[str, Any]) -> None:
        self._calls["publish"] += 1
        self._set(_key_of(reg), reg["value"])

    def subscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self._calls["subscribe"] += 1
        key = _key_of(reg)
        self._listeners.setdefault(key, []).append(listener)
        if key in self._data:
            listener(self._data[key])

    def unsubscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self._calls["unSubscribe"] += 1
        self._listeners[_key_of(reg)].remove(listener)

    def _set(self, key: str, value: Any) -> None:
        self._data[key] = value
        for listener in self._listeners.get(key, []):
            listener(value)


def registry_client(
    port: int, options: dict[str, Any] | None = None, **settings: Any
) -> Client[Registry]:
    """Return a client for clusters with Node."""
    settings = {
        "name": CHANNEL,
        "port": port,
        "camel_case": True,
        "response_timeout": scaled(3),
        "max_wait_time": scaled(10),
        **settings,
    }
    return cluster(Registry, **settings).delegate("note", "invoke_oneway").create(options)


def _key_of(reg: Any) -> str:
    return str(reg["path"]) if isinstance(reg, dict) and "path" in reg else json.dumps(reg)
