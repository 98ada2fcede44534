"""Publications of `ZooKeeperClient`: ephemeral nodes that stand until they are withdrawn."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from kazoo.exceptions import NodeExistsError, NoNodeError, SessionExpiredError

from cluster_client.contrib import _zookeeper_requests
from cluster_client.contrib.zookeeper import ZooKeeperClient
from support.times import scaled
from support.zookeeper import ZooKeeperServer
from support.zookeeper_clients import break_connection, expire, opened, suspended


@pytest.fixture
async def client(server: ZooKeeperServer) -> AsyncIterator[ZooKeeperClient]:
    """The one that publishes."""
    async with opened(server) as client:
        yield client


@pytest.fixture
async def other(server: ZooKeeperServer) -> AsyncIterator[ZooKeeperClient]:
    """Another one, which looks on and interferes."""
    async with opened(server) as client:
        yield client


async def until_there(
    other: ZooKeeperClient, path: str, data: bytes, *, owner: ZooKeeperClient
) -> None:
    """Wait until a node has the data and belongs to the owner's session."""
    session_id = await owner.session_id()
    while True:
        with contextlib.suppress(NoNodeError):
            node = await other.get(path)
            if (node["data"], node["ephemeral_owner"]) == (data, session_id):
                return


async def settled(client: ZooKeeperClient) -> None:
    """Wait until all that was asked before is answered, and what follows from it."""
    for _ in range(5):
        await client.exists("/")
        await anyio.wait_all_tasks_blocked()


async def test_a_publication_is_an_ephemeral_node(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.publish({"path": f"{path}/a/host:1", "data": "weight=ü"})
    node = await other.get(f"{path}/a/host:1")
    assert node["data"] == "weight=ü".encode()
    assert node["ephemeral_owner"] == await client.session_id()
    await client.publish({"path": f"{path}/a/host:2"})
    assert (await other.get(f"{path}/a/host:2"))["data"] == b""
    await client.publish({"path": f"{path}/a/host:2"})
    assert await other.children(f"{path}/a") == ["host:1", "host:2"]


async def test_it_is_made_again_whoever_deletes_it(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.publish({"path": f"{path}/a", "data": "x"})
    for somebody in (other, client, other):
        await somebody.delete(f"{path}/a")
        await until_there(other, f"{path}/a", b"x", owner=client)
    await other.delete(path, recursive=True)
    await until_there(other, f"{path}/a", b"x", owner=client)


async def test_its_data_is_set_again_whoever_changes_it(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.publish({"path": path, "data": "x"})
    await other.set(path, b"y")
    await until_there(other, path, b"x", owner=client)


async def test_it_is_published_with_other_data(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.publish({"path": path, "data": "x"})
    await client.publish({"path": path, "data": "y"})
    assert (await other.get(path))["data"] == b"y"
    await other.delete(path)
    await until_there(other, path, b"y", owner=client)


async def test_a_node_of_our_session_is_adopted(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.create(path, b"before", ephemeral=True)
    made = (await other.get(path))["czxid"]
    await client.publish({"path": path, "data": "now"})
    node = await other.get(path)
    assert (node["data"], node["czxid"]) == (b"now", made)


async def test_the_same_node_of_a_predecessor_is_replaced_when_it_goes(
    server: ZooKeeperServer, client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    async with opened(server) as predecessor:
        await predecessor.publish({"path": path, "data": "x"})
        await client.publish({"path": path, "data": "x"})
        assert (await other.get(path))["ephemeral_owner"] == await predecessor.session_id()
    await until_there(other, path, b"x", owner=client)


async def test_the_same_node_of_a_predecessor_goes_with_its_session(
    server: ZooKeeperServer, client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    async with opened(server) as predecessor:
        await predecessor.create(path, b"x", ephemeral=True)
        await client.publish({"path": path, "data": "x"})
        await expire(server, predecessor)
        await until_there(other, path, b"x", owner=client)


@pytest.mark.parametrize("ephemeral", [True, False])
async def test_another_node_is_respected(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str, ephemeral: bool
) -> None:
    await other.create(path, b"theirs", ephemeral=ephemeral)
    with pytest.raises(NodeExistsError, match="belongs to"):
        await client.publish({"path": path, "data": "ours"})
    assert (await other.get(path))["data"] == b"theirs"
    # What was refused is not published later, either.
    await other.delete(path)
    await settled(client)
    assert await other.exists(path) is None
    await client.publish({"path": path, "data": "ours"})


async def test_a_node_for_good_is_not_taken_for_ours(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await other.create(path, b"x")
    with pytest.raises(NodeExistsError, match="belongs to nobody"):
        await client.publish({"path": path, "data": "x"})


async def test_a_refused_replacement_leaves_what_was_published_before(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await other.create(path, b"x", ephemeral=True)
    await client.publish({"path": path, "data": "x"})
    with pytest.raises(NodeExistsError):
        await client.publish({"path": path, "data": "y"})
    await other.delete(path)
    await until_there(other, path, b"x", owner=client)


async def test_a_node_that_gets_in_the_way_later_is_replaced_when_it_goes(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    await other.create(path, b"x", ephemeral=True)
    await client.publish({"path": path, "data": "x"})
    await other.set(path, b"theirs")
    while "is there already" not in caplog.text:
        await settled(client)
    await other.delete(path)
    await until_there(other, path, b"x", owner=client)


async def test_it_ends_when_it_is_unpublished(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.publish({"path": path, "data": "x"})
    await client.unpublish({"path": path})
    assert await other.exists(path) is None
    await client.unpublish({"path": path})
    await settled(client)
    assert await other.exists(path) is None
    await client.publish({"path": path, "data": "x"})
    assert await other.exists(path) is not None


async def test_unpublishing_leaves_others_nodes(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await other.create(path, b"x", ephemeral=True)
    await client.publish({"path": path, "data": "x"})
    await client.unpublish({"path": path, "data": "x"})
    assert (await other.get(path))["ephemeral_owner"] == await other.session_id()


async def test_a_node_that_an_earlier_instance_published_can_be_unpublished(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.create(path, b"x", ephemeral=True)  # in the same session
    await client.unpublish({"path": path})
    assert await other.exists(path) is None


async def test_publications_of_one_path_at_once_end_with_the_last_one(
    client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(client.publish, {"path": path, "data": str(number)})
    data = (await other.get(path))["data"]
    await other.delete(path)
    await until_there(other, path, data, owner=client)


async def test_it_is_seen_to_after_a_broken_connection(
    server: ZooKeeperServer, client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.publish({"path": path, "data": "x"})
    server.pause()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other.delete, path)
        await anyio.wait_all_tasks_blocked()
        await break_connection(client)
        server.resume()
    await until_there(other, path, b"x", owner=client)


async def test_publishing_waits_for_a_connection(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        server.kill()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.publish, {"path": path, "data": "x"})
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(server.start)
        assert (await client.get(path))["data"] == b"x"


async def test_a_publication_that_is_cancelled_does_not_stand(
    server: ZooKeeperServer, client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    server.pause()
    with anyio.move_on_after(0.1) as scope:
        await client.publish({"path": path, "data": "x"})
    assert scope.cancelled_caught
    server.resume()
    await settled(client)
    assert await other.exists(path) is None


async def test_a_replacement_that_is_cancelled_leaves_what_was_published_before(
    server: ZooKeeperServer, client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    await client.publish({"path": path, "data": "x"})
    server.pause()
    with anyio.move_on_after(0.1):
        await client.publish({"path": path, "data": "y"})
    server.resume()
    await settled(client)
    assert (await other.get(path))["data"] == b"x"


async def test_unpublishing_ends_a_publication_that_still_waits(
    server: ZooKeeperServer, client: ZooKeeperClient, other: ZooKeeperClient, path: str
) -> None:
    async def publish() -> None:
        with pytest.raises(Exception, match="was unpublished in the meantime"):
            await client.publish({"path": path})

    server.pause()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(client.unpublish, {"path": path})
        await anyio.wait_all_tasks_blocked()
        server.resume()
    await settled(client)
    assert await other.exists(path) is None


async def test_one_that_waits_when_the_session_expires_says_so(
    server: ZooKeeperServer, path: str
) -> None:
    async with opened(server) as client:
        async with suspended(client):
            server.kill()
        async with anyio.create_task_group() as tasks:

            async def publish() -> None:
                with pytest.raises(SessionExpiredError):
                    await client.publish({"path": path})

            tasks.start_soon(publish)
            await anyio.wait_all_tasks_blocked()
            # A server that knows nothing of the session.
            await anyio.to_thread.run_sync(server.forget)
            await anyio.to_thread.run_sync(server.start)


async def test_what_keeps_it_from_being_made_again_is_tried_again(
    client: ZooKeeperClient,
    other: ZooKeeperClient,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_zookeeper_requests, "RETRY_PAUSE", scaled(0.02))
    await client.publish({"path": f"{path}/a", "data": "x"})
    await other.delete(f"{path}/a")
    await until_there(other, f"{path}/a", b"x", owner=client)
    # An ephemeral parent can have no children.
    await client.unpublish({"path": f"{path}/a"})
    await client.publish({"path": f"{path}/a", "data": "x"})
    await replace_parent(client, other, path)
    while "may not have children" not in caplog.text:
        await settled(client)
    await other.delete(path)
    await until_there(other, f"{path}/a", b"x", owner=client)


async def replace_parent(client: ZooKeeperClient, other: ZooKeeperClient, path: str) -> None:
    """Have an ephemeral node where the parent was; the published one is made again, so: a race."""
    while True:
        await other.delete(path, recursive=True)
        try:
            await other.create(path, ephemeral=True)
        except NodeExistsError:
            continue
        return


@pytest.mark.parametrize(
    ("reg", "says"),
    [
        (None, "must be a dict with a path"),
        ({"data": "x"}, "must be a dict with a path"),
        ({"path": "/"}, "cannot be published"),
        ({"path": "/x/"}, "has the name ''"),
        ({"path": "/x", "data": 7}, "data=7"),
        ({"path": "/x", "data": None}, "data=None"),
        ({"path": "/x", "value": "x"}, r"has \['value'\]"),
    ],
)
async def test_a_wrong_registration_is_refused(
    client: ZooKeeperClient, reg: Any, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        await client.publish(reg)
    with pytest.raises(ValueError, match=says):
        await client.unpublish(reg)
