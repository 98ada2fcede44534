"""Calls through `Client.call`."""

from __future__ import annotations

from typing import Any, assert_type

from cluster_client import Client, Stream, cluster
from typed_registry import Other, Registry


async def right(client: Client[Registry]) -> None:
    assert_type(await client.call(Registry.get_data, "k"), int)
    assert_type(await client.call(Registry.get_data, "k", 1, strict=True), int)
    assert_type(await client.call(Registry.get_data, key="k"), int)
    assert_type(await client.call(Registry.size), int)
    assert_type(await client.call(Registry.rows, "t"), list[str])
    assert_type(client.call(Registry.history, "k"), Stream[str])
    assert_type(client.call(Registry.lines, "p"), Stream[bytes])
    async for item in client.call(Registry.history, "k"):
        assert_type(item, str)
    async with client.call(Registry.lines, path="p") as lines:
        async for line in lines:
            assert_type(line, bytes)
    assert_type(await client.call("get_data", "k", anything=1), Any)
    async for _ in client.call("history", "k"):
        pass
    await client.get_data("not known to be wrong", 1, 2, 3)


async def wrong_arguments(client: Client[Registry]) -> None:
    await client.call(Registry.get_data, 1)  # error: wrong type
    await client.call(Registry.get_data, "k", strict=1)  # error: wrong type
    await client.call(Registry.get_data)  # error: missing
    await client.call(Registry.get_data, "k", strct=True)  # error: unknown
    await client.call(Registry.get_data, "k", 1, True)  # error: too many
    await client.call(Registry.size, 1)  # error: too many
    await client.call(Registry.rows, b"t")  # error: wrong type
    client.call(Registry.history, 1)  # error: wrong type
    client.call(Registry.history)  # error: missing
    client.call(Registry.lines, "p", "q")  # error: too many
    await client.call(Other.get_data, "k")  # error: another class
    await client.call(3)  # error: neither method nor name


async def wrong_use(client: Client[Registry]) -> None:
    client.call(Registry.get_data, "k")  # error: not awaited
    client.call(Registry.size)  # error: not awaited
    text: str = await client.call(Registry.get_data, "k")  # error: it is an int
    await client.call(Registry.history, "k")  # error: a stream is iterated over
    for _ in client.call(Registry.lines, "p"):  # error: with async for
        pass
    async for _ in client.call(Registry.get_data, "k"):  # error: a coroutine is awaited
        pass
    async for _ in client.call(Registry.rows, "t"):  # error: a coroutine is awaited
        pass
    async for line in client.call(Registry.lines, "p"):
        line.encode()  # error: these are bytes


def made() -> None:
    assert_type(cluster(Registry, port=7777).create("zk:2181"), Client[Registry])
    cluster(Registry("zk:2181"))  # error: no class
    cluster(Registry).delegate("remove", idempotent="yes")  # error: no bool
    other: Client[Other] = cluster(Registry).create()  # error: another class
