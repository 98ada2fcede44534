"""A callback on changes of a client's state."""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest

from cluster_client import Client, ClientClosedError, ClientState, ConfigurationError
from support.listening import Recorder
from support.logs import LogRecorder
from support.registry import Registry, Role, Upstream, registry_client, registry_in_role

S = ClientState
K = {"path": "/k"}


@pytest.mark.parametrize("single_mode", [False, True])
async def test_it_sees_every_change(upstream: Upstream, port: int, *, single_mode: bool) -> None:
    seen: list[tuple[ClientState, ClientState]] = []
    client = registry_client(upstream, port, single_mode=single_mode)
    client.on_state_change(lambda old, new: seen.append((old, new)))
    async with client:
        assert client.state is seen[-1][1]
    states = [S.NEW, S.ELECTING, S.LEADING, S.HANDING_OVER, S.CLOSED]
    assert seen == list(itertools.pairwise(states))


async def test_a_follower_sees_its_leader_go(upstream: Upstream, port: int) -> None:
    seen: list[ClientState] = []
    async with registry_client(upstream, port) as leader:
        async with registry_client(upstream, port) as follower:
            follower.on_state_change(lambda _, new: seen.append(new))
            await leader.aclose()
            await follower.echo("until it leads")
    assert seen == [S.DRAINING, S.ELECTING, S.LEADING, S.HANDING_OVER, S.CLOSED]


async def test_it_can_be_taken_away(role: Role, upstream: Upstream, port: int) -> None:
    seen: list[ClientState] = []
    async with registry_in_role(role, upstream, port) as client:
        remove = client.on_state_change(lambda _, new: seen.append(new))
        remove()
        remove()
    assert seen == []


async def test_one_that_raises_harms_nobody(upstream: Upstream, port: int) -> None:
    seen: list[ClientState] = []
    log = LogRecorder()

    def fail(old: ClientState, new: ClientState) -> None:
        raise KeyError(new)

    client = registry_client(upstream, port, logger=log)
    client.on_state_change(fail)
    client.on_state_change(lambda _, new: seen.append(new))
    async with client:
        assert await client.echo(1) == 1
    assert len(log.of("state_listener_failed")) == len(seen) == 4


async def test_it_may_ask_for_the_last_value_at_every_change(upstream: Upstream, port: int) -> None:
    seen: list[Any] = []
    client = registry_client(upstream, port)

    def ask(old: ClientState, new: ClientState) -> None:
        try:
            seen.append(client.last(K))
        except (LookupError, ClientClosedError) as exc:
            seen.append(type(exc))

    client.on_state_change(ask)
    client.on_state_change(lambda _old, new: seen.append(new))
    async with client:
        upstream.data["/k"] = 1
        await client.subscribe(K, Recorder())
    assert seen == [
        *(LookupError, S.ELECTING, LookupError, S.LEADING),
        *(1, S.HANDING_OVER, ClientClosedError, S.CLOSED),
    ]


async def use(client: Client[Registry], values: Recorder) -> None:
    assert await client.echo(1) == 1
    await client.subscribe(K, values)
    await client.unsubscribe(K, print)
    await client.publish({**K, "value": "new"})


async def test_tasks_that_it_starts_may_use_the_client(upstream: Upstream, port: int) -> None:
    values = Recorder()
    async with anyio.create_task_group() as tasks:
        client = registry_client(upstream, port)
        remove = client.on_state_change(lambda *_: tasks.start_soon(use, client, values))
        client.on_state_change(lambda *_: remove())
        async with client:
            await values.until("new")


async def test_it_must_be_an_ordinary_function(upstream: Upstream, port: int) -> None:
    async def listener(old: ClientState, new: ClientState) -> None: ...

    client = registry_client(upstream, port)
    with pytest.raises(ConfigurationError, match="must be an ordinary function"):
        client.on_state_change(listener)
