"""Subscriptions of `ZooKeeperClient`: no change is missed for good, whatever breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from cluster_client.contrib import _zookeeper_requests
from cluster_client.contrib.zookeeper import ZooKeeperClient
from support.listening import Recorder
from support.times import scaled
from support.zookeeper import ZooKeeperServer
from support.zookeeper_clients import break_connection, kazoo, kazoo_of, opened, suspended


@pytest.fixture
async def client(server: ZooKeeperServer) -> AsyncIterator[ZooKeeperClient]:
    """The one that subscribes."""
    async with opened(server) as client:
        yield client


@pytest.fixture
async def other(server: ZooKeeperServer) -> AsyncIterator[ZooKeeperClient]:
    """Another one, which changes things."""
    async with opened(server) as client:
        yield client


async def settled(client: ZooKeeperClient) -> None:
    """Wait until all that was asked before is answered."""
    await client.exists("/")
    await anyio.wait_all_tasks_blocked()


def value(data: bytes, version: int) -> dict[str, Any]:
    return {"data": data, "version": version}


async def test_the_value_comes_at_once_and_with_each_change(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    values = Recorder()
    await other.create(path, b"a")
    client.subscribe({"path": path}, values)
    await values.until(value(b"a", 0))
    await other.set(path, b"b")
    await values.until_last(value(b"b", 1))
    await other.set(path, b"b")
    await values.until_last(value(b"b", 2))
    await other.delete(path)
    await values.until_last(None)
    await other.create(path, b"c")
    await values.until(value(b"a", 0), value(b"b", 1), value(b"b", 2), None, value(b"c", 0))


async def test_a_node_that_is_not_there_is_none_until_it_is_made(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    values = Recorder()
    client.subscribe({"path": path, "watch": "data"}, values)
    await values.until(None)
    await other.create(path)
    await values.until(None, value(b"", 0))
    await other.set(path, b"x")
    await values.until(None, value(b"", 0), value(b"x", 1))


async def test_children_come_sorted(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    values = Recorder()
    client.subscribe({"path": path, "watch": "children"}, values)
    await values.until(None)
    await other.create(path)
    await values.until_last([])
    await other.create(f"{path}/b")
    await values.until_last(["b"])
    await other.create(f"{path}/a")
    await values.until_last(["a", "b"])
    await other.delete(path, recursive=True)
    await values.until_last(None)
    await other.create(f"{path}/c", make_parents=True)
    await values.until_last(["c"])


async def test_the_data_of_children_does_not_matter(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    values = Recorder()
    await other.create(f"{path}/a", make_parents=True)
    client.subscribe({"path": path, "watch": "children"}, values)
    await values.until(["a"])
    await other.set(f"{path}/a", b"x")
    await other.set(path, b"x")
    await settled(client)
    assert values.values == [["a"]]


async def test_a_later_listener_gets_the_value_at_once_and_one_of_its_own(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    first, second = Recorder(), Recorder()
    await other.create(path)
    client.subscribe({"path": path, "watch": "children"}, first)
    await first.until([])
    client.subscribe({"path": path, "watch": "children"}, second)
    assert second.values == [[]]
    first.values[0].append("changed")
    await other.create(f"{path}/a")
    await second.until([], ["a"])
    await first.until_last(["a"])


async def test_who_unsubscribes_is_told_nothing_more(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    first, second = Recorder(), Recorder()
    await other.create(path)
    client.subscribe({"path": path}, first)
    client.subscribe({"path": path}, second)
    await second.until(value(b"", 0))
    client.unsubscribe({"path": path}, first)
    client.unsubscribe({"path": path}, first)
    await other.set(path, b"x")
    await second.until_last(value(b"x", 1))
    assert first.values == [value(b"", 0)]
    client.unsubscribe({"path": path}, second)
    client.unsubscribe({"path": f"{path}/never"}, second)
    await other.set(path, b"y")
    await settled(client)
    assert second.values == [value(b"", 0), value(b"x", 1)]


async def test_who_unsubscribes_before_the_first_value_gets_none(
    client: ZooKeeperClient, path: str
) -> None:
    values = Recorder()
    client.subscribe({"path": path}, values)
    client.unsubscribe({"path": path}, values)
    await settled(client)
    assert values.values == []


async def test_subscribing_time_and_again_leaves_nothing_behind(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    values = Recorder()
    await other.create(path)
    for _ in range(20):
        client.subscribe({"path": path}, values)
        await values.until(value(b"", 0))
        client.unsubscribe({"path": path}, values)
        values.values.clear()
    (watchers,) = kazoo_of(client)._data_watchers.values()
    assert len(watchers) == 1
    await other.set(path, b"x")
    await settled(client)
    assert not kazoo_of(client)._data_watchers
    client.subscribe({"path": path}, values)
    await values.until(value(b"x", 1))


async def test_a_listener_that_fails_disturbs_no_other(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("on purpose")

    values = Recorder()
    client.subscribe({"path": path}, fail)
    client.subscribe({"path": path}, values)
    await values.until(None)
    await other.create(path)
    await values.until(None, value(b"", 0))
    assert "on purpose" in caplog.text


async def test_of_many_changes_the_last_one_comes(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    values = Recorder()
    await other.create(path)
    client.subscribe({"path": path}, values)
    for number in range(1, 200):
        await other.set(path, b"%d" % number)
    await values.until_last(value(b"199", 199))
    versions = [seen["version"] for seen in values.values]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("watch", ["data", "children"])
async def test_changes_during_a_broken_connection_are_not_missed(
    server: ZooKeeperServer,
    client: ZooKeeperClient,
    other: ZooKeeperClient,
    path: str,
    watch: str,
) -> None:
    gone, changed, made = f"{path}/gone", f"{path}/changed", f"{path}/made"
    paths = (gone, changed, made)
    for node in (gone, changed):
        await other.create(node, make_parents=True)
    recorders = {node: Recorder() for node in paths}
    for node in paths:
        client.subscribe({"path": node, "watch": watch}, recorders[node])
    empty: Any = value(b"", 0) if watch == "data" else []
    for node in paths:
        await recorders[node].until(None if node == made else empty)
    # The other one's requests are carried out as long as this one is not connected.
    server.pause()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other.delete, gone)
        tasks.start_soon(other.create, made)
        tasks.start_soon(other.set, changed, b"x")
        tasks.start_soon(other.create, f"{changed}/x")
        await anyio.wait_all_tasks_blocked()
        await break_connection(client)
        server.resume()
    await recorders[gone].until(empty, None)
    await recorders[made].until(None, empty)
    await recorders[changed].until(empty, value(b"x", 1) if watch == "data" else ["x"])


async def test_watches_outlive_a_restart_of_the_server(
    server: ZooKeeperServer, client: ZooKeeperClient, path: str
) -> None:
    data, children, nothing = Recorder(), Recorder(), Recorder()
    await client.create(path, b"a")
    client.subscribe({"path": path}, data)
    client.subscribe({"path": path, "watch": "children"}, children)
    client.subscribe({"path": f"{path}/x"}, nothing)
    await data.until(value(b"a", 0))
    await children.until([])
    await nothing.until(None)
    session_id = await client.session_id()
    for number in range(1, 3):
        await anyio.to_thread.run_sync(server.restart)
        await settled(client)
        await client.set(path, b"a")
        await data.until_last(value(b"a", number))
    assert await client.session_id() == session_id
    # What has not changed is not told again.
    assert (children.values, nothing.values) == ([[]], [None])
    await client.create(f"{path}/x")
    await children.until([], ["x"])
    await nothing.until(None, value(b"", 0))


async def test_subscribing_while_there_is_no_connection(
    server: ZooKeeperServer, client: ZooKeeperClient, path: str
) -> None:
    values = Recorder()
    async with suspended(client):
        server.kill()
    client.subscribe({"path": path}, values)
    await anyio.to_thread.run_sync(server.start)
    await values.until(None)
    await client.create(path)
    await values.until(None, value(b"", 0))


async def test_a_node_that_may_not_be_read_is_tried_again(
    server: ZooKeeperServer,
    client: ZooKeeperClient,
    path: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def set_rights(acl: Any) -> None:
        with kazoo(server.hosts, auth_data=[("digest", "somebody:secret")]) as raw:
            raw.ensure_path(path)
            raw.set_acls(path, acl)

    monkeypatch.setattr(_zookeeper_requests, "RETRY_PAUSE", scaled(0.02))
    values = Recorder()
    await anyio.to_thread.run_sync(set_rights, [make_digest_acl("somebody", "secret", all=True)])
    client.subscribe({"path": path}, values)
    while "Not authenticated" not in caplog.text:
        await settled(client)
    await anyio.to_thread.run_sync(set_rights, OPEN_ACL_UNSAFE)
    await values.until(value(b"", 0))
    assert caplog.text.count("Not authenticated") == 1


@pytest.mark.parametrize(
    ("reg", "says"),
    [
        (None, "must be a dict with a path"),
        ("/x", "must be a dict with a path"),
        ({}, "must be a dict with a path"),
        ({"watch": "data"}, "must be a dict with a path"),
        ({"path": "x"}, "must begin with '/'"),
        ({"path": 7}, "path=7 must be a str"),
        ({"path": "/x/"}, "has the name ''"),
        ({"path": "/x", "watch": "exists"}, "watch='exists'"),
        ({"path": "/x", "watch": ["data"]}, r"watch=\['data'\]"),
        ({"path": "/x", "wach": "data"}, r"has \['wach'\]"),
    ],
)
async def test_a_wrong_registration_is_refused(
    client: ZooKeeperClient, reg: Any, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        client.subscribe(reg, print)
    with pytest.raises(ValueError, match=says):
        client.unsubscribe(reg, print)
