"""A real client for tests: a registry in memory that keeps account of what happens to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import anyio

from cluster_client import Client, cluster
from support.times import scaled

Role = Literal["leader", "follower", "single"]
Listener = Callable[[Any], None]


class RegistryError(Exception):
    """An error that is registered nowhere, with a code and a field of its own."""

    def __init__(self, message: str, *, code: str, path: str) -> None:
        super().__init__(message)
        self.code = code
        self.path = path


@dataclass
class Upstream:
    """What stands behind all registries of one test: data, and a log of what was done to it."""

    data: dict[str, Any] = field(default_factory=dict)
    listeners: dict[str, list[Listener]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    started: int = 0
    open: int = 0
    executed: list[str] = field(default_factory=list)
    fail_start: Exception | None = None
    fail_call: Exception | None = None
    cancelled: anyio.Event = field(default_factory=anyio.Event)
    entered: anyio.Event = field(default_factory=anyio.Event)
    gate: anyio.Event = field(default_factory=anyio.Event)

    def notify(self, path: str) -> None:
        for listener in list(self.listeners.get(path, [])):
            listener(self.data[path])


class Registry:
    """The real client of most tests."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    async def __aenter__(self) -> Self:
        self.upstream.started += 1
        if self.upstream.fail_start is not None:
            raise self.upstream.fail_start
        self.upstream.open += 1
        self.upstream.events.append("open")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.upstream.open -= 1
        self.upstream.events.append("close")

    async def get_data(self, path: str, default: Any = None, *, strict: bool = False) -> Any:
        """Return what is stored under a path."""
        if self.upstream.fail_call is not None:
            raise self.upstream.fail_call
        if strict and path not in self.upstream.data:
            raise KeyError(path)
        return self.upstream.data.get(path, default)

    async def set_data(self, path: str, value: Any) -> None:
        self.upstream.executed.append(path)
        self.upstream.data[path] = value
        self.upstream.notify(path)

    async def echo(self, value: Any) -> Any:
        return value

    async def fail(self, path: str) -> None:
        raise RegistryError(f"no {path}", code="E_PATH", path=path)

    async def wait_at_gate(self, name: str) -> str:
        """Take until the test opens the gate."""
        self.upstream.executed.append(name)
        self.upstream.entered.set()
        try:
            await self.upstream.gate.wait()
        except anyio.get_cancelled_exc_class():
            self.upstream.cancelled.set()
            raise
        return name

    def size(self) -> int:
        """A synchronous method."""
        return len(self.upstream.data)

    def subscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        path = reg["path"]
        self.upstream.events.append(f"subscribe {path}")
        self.upstream.listeners.setdefault(path, []).append(listener)
        if path in self.upstream.data:
            listener(self.upstream.data[path])

    def unsubscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self.upstream.events.append(f"unsubscribe {reg['path']}")
        self.upstream.listeners[reg["path"]].remove(listener)

    def publish(self, reg: dict[str, Any]) -> None:
        self.upstream.events.append(f"publish {reg['path']}={reg['value']}")
        self.upstream.data[reg["path"]] = reg["value"]
        self.upstream.notify(reg["path"])

    def unpublish(self, reg: dict[str, Any]) -> None:
        self.upstream.events.append(f"unpublish {reg['path']}={reg['value']}")
        self.upstream.data.pop(reg["path"], None)


def registry_client(upstream: Upstream, port: int, **options: Any) -> Client[Registry]:
    """Return a client with times that suit tests."""
    builder = cluster(
        Registry,
        **{
            "port": port,
            "response_timeout": scaled(5),
            "drain_timeout": scaled(5),
            "max_wait_time": scaled(10),
            **options,
        },
    )
    return (
        builder.delegate("size", idempotent=True).delegate("echo", idempotent=True).create(upstream)
    )


@asynccontextmanager
async def registry_in_role(
    role: Role, upstream: Upstream, port: int, **options: Any
) -> AsyncIterator[Client[Registry]]:
    """Open a client that has the role; another one, its leader or equal, is opened before it."""
    options = {"single_mode": role == "single", **options}
    async with registry_client(upstream, port, **options) as first:
        if role == "leader":
            yield first
            return
        async with registry_client(upstream, port, **options) as second:
            assert second.is_leader is (role == "single")
            yield second
