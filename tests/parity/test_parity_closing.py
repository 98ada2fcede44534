"""Closing, as the original's suite does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster_client import APIClientBase, ClientState, ClusterFactory
from support.listening import Recorder
from support.logs import LogRecorder


class WithoutClose:
    """A real client that has nothing to close."""

    async def echo(self, value: str) -> str:
        return value


class WithClose(WithoutClose):
    closed = 0

    async def close(self) -> None:
        type(self).closed += 1


class WithoutCloseAPI(APIClientBase[WithoutClose]):
    data_client = WithoutClose


class WithCloseAPI(APIClientBase[WithClose]):
    data_client = WithClose


async def test_a_facade_can_be_closed_whatever_its_real_client_has(
    factory: ClusterFactory,
) -> None:
    WithClose.closed = 0
    for cls in (WithoutCloseAPI, WithCloseAPI):
        async with cls(cluster=factory) as api:
            assert await api.echo("open") == "open"
            await api.aclose()
            assert api.state is ClientState.CLOSED
            await api.aclose()
    assert WithClose.closed == 1


class Lingering:
    """A real client that has something to say when it is closed already."""

    def __init__(self, listeners: list[Callable[[Any], None]]) -> None:
        self._listeners = listeners

    def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        self._listeners.append(listener)
        listener("in time")

    async def close(self) -> None: ...


async def test_what_a_closed_real_client_says_disturbs_nobody(factory: ClusterFactory) -> None:
    listeners: list[Callable[[Any], None]] = []
    log = LogRecorder()
    seen = Recorder()
    async with factory(Lingering, logger=log).create(listeners) as client:
        await client.subscribe("anything", seen)
        await seen.until("in time")
    (listener,) = listeners
    listener("late")
    await client.aclose()
    assert seen.values == ["in time"]
    assert [entry for entry in log.entries if entry.level != "info"] == []
