"""Subscriptions and publications, of a client and of a facade."""

from __future__ import annotations

from typing import Any, assert_type

from cluster_client import APIClientBase, Client, ClientState
from typed_registry import Registry


async def of_a_client(client: Client[Registry]) -> None:
    await client.subscribe({"path": "/k"}, print)
    async with client.subscription({"path": "/k"}) as values:
        async for value in values:
            assert_type(value, Any)
    await client.publish({"path": "/k"}, sticky=True)
    assert_type(client.state, ClientState)
    client.subscribe({"path": "/k"}, print)  # error: not awaited
    await client.subscribe({"path": "/k"})  # error: no listener
    await client.subscribe({"path": "/k"}, "print")  # error: not callable
    async for value in client.subscription({"path": "/k"}):  # error: with async with
        pass
    await client.publish({"path": "/k"}, True)  # error: by name
    client.is_leader = True  # error: not to be set


async def of_a_facade(api: APIClientBase[Registry]) -> None:
    assert_type(api._client, Client[Registry])
    await api.subscribe({"path": "/k"}, print)
    async with api.subscription({"path": "/k"}) as values:
        async for value in values:
            assert_type(value, Any)
    await api.publish({"path": "/k"}, sticky=None)
    await api.anything("is possible", without="types")
    await api.unsubscribe()  # error: from what
    await api.subscribe({"path": "/k"}, 1)  # error: not callable
    with api.subscription({"path": "/k"}):  # error: with async with
        pass
    async with api as opened:
        assert_type(opened, APIClientBase[Registry])
