"""What Node's clients announce as events: a change of state, or a value that is subscribed to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster_client import APIClientBase, Client, ClientState, ClusterFactory, RemoteInvokeError
from support.listening import Recorder
from support.logs import LogRecorder

Listener = Callable[[Any], None]


class Announcer:
    """A real client that has something to say of its own accord: the test says when."""

    def __init__(self, listeners: list[Listener]) -> None:
        self._listeners = listeners

    def subscribe(self, reg: str, listener: Listener) -> None:
        self._listeners.append(listener)

    def unsubscribe(self, reg: str, listener: Listener) -> None:
        self._listeners.remove(listener)

    async def refuse(self) -> None:
        raise AnnouncerError("mock error")


class AnnouncerError(Exception):
    """An error that is registered nowhere."""


class AnnouncerAPI(APIClientBase[Announcer]):
    data_client = Announcer


class Wrapper:
    """A user's own class over a facade, as one more layer."""

    def __init__(self, api: AnnouncerAPI) -> None:
        self._api = api

    async def watch(self, listener: Listener) -> None:
        await self._api.subscribe("foo", listener)

    async def refuse(self) -> None:
        await self._api.refuse()


async def test_readiness_and_what_the_real_client_announces_arrive(
    factory: ClusterFactory,
) -> None:
    listeners: list[Listener] = []
    client: Client[Announcer] = factory(Announcer).create(listeners)
    changes: list[tuple[ClientState, ClientState]] = []
    forget = client.on_state_change(lambda old, new: changes.append((old, new)))
    async with client:
        assert changes[0][0] is ClientState.NEW
        assert changes[-1][1] is client.state
        seen = Recorder()
        await client.subscribe("foo", seen)
        listeners[0]("bar")
        await seen.until("bar")
        forget()
        before = list(changes)
    assert client.state is ClientState.CLOSED
    assert changes == before


async def test_through_all_layers_a_value_comes_once(factory: ClusterFactory) -> None:
    listeners: list[Listener] = []
    async with AnnouncerAPI(listeners, cluster=factory) as api:
        seen = Recorder()
        await Wrapper(api).watch(seen)
        for value in ("bar", "and no more"):
            listeners[0](value)
        await seen.until("bar", "and no more")


async def test_through_all_layers_an_error_comes_once_and_is_not_logged_as_well(
    factory: ClusterFactory,
) -> None:
    log = LogRecorder()

    def with_log(cls: type[Any], /, **options: Any) -> Any:
        return factory(cls, **options, logger=log)

    async with AnnouncerAPI([], cluster=with_log) as api:
        with pytest.raises(RemoteInvokeError, match="AnnouncerError: mock error"):
            await Wrapper(api).refuse()
    assert [entry for entry in log.entries if entry.level != "info"] == []
