"""The calls of `ZooKeeperClient`, and its errors, against a real server."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest
from kazoo.exceptions import (
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_digest_acl

from cluster_client import cluster
from cluster_client._delegates import DelegateTable
from cluster_client._exceptions import from_failure, to_failure
from cluster_client.contrib.zookeeper import ZooKeeperClient
from cluster_protocol.codecs import MsgpackCodec
from support.ports import free_port
from support.zookeeper import ZooKeeperServer
from support.zookeeper_clients import break_connection, kazoo, opened


async def test_a_node_is_created_read_set_and_deleted(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        assert await client.exists(path) is None
        assert await client.create(path, b"one") == path
        node = await client.get(path)
        assert (node["data"], node["version"], node["ephemeral_owner"]) == (b"one", 0, 0)
        stat = await client.set(path, b"three")
        assert (stat["version"], stat["data_length"]) == (1, 5)
        assert stat["mzxid"] > node["mzxid"]
        assert await client.exists(path) == stat
        await client.delete(path)
        assert await client.exists(path) is None


async def test_what_is_returned_can_be_sent(server: ZooKeeperServer, path: str) -> None:
    codec = MsgpackCodec()
    async with opened(server) as client:
        await client.create(path, bytes(range(256)))
        for value in (
            await client.get(path),
            await client.exists(path),
            await client.children(path),
            await client.session_id(),
            client.snapshot(),
        ):
            assert codec.decode(codec.encode(value)) == value


async def test_a_node_without_data_is_empty(server: ZooKeeperServer, path: str) -> None:
    def create() -> None:
        with kazoo(server.hosts) as other:
            other.create(path, None)

    await anyio.to_thread.run_sync(create)
    async with opened(server) as client:
        assert (await client.get(path))["data"] == b""


async def test_children_are_sorted(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        for name in ("b", "c", "a"):
            await client.create(f"{path}/{name}", make_parents=True)
        assert await client.children(path) == ["a", "b", "c"]
        assert await client.children(f"{path}/a") == []


async def test_parents_are_made_if_wanted(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        with pytest.raises(NoNodeError):
            await client.create(f"{path}/a/b")
        assert await client.create(f"{path}/a/b", b"x", make_parents=True) == f"{path}/a/b"
        assert (await client.get(f"{path}/a"))["data"] == b""
        with pytest.raises(NodeExistsError):
            await client.create(f"{path}/a/b", make_parents=True)


async def test_parents_are_made_by_many_at_once(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client, anyio.create_task_group() as tasks:
        for number in range(50):
            name = f"{path}/a/b/c/{number:02}"
            tasks.start_soon(partial(client.create, name, make_parents=True))
    async with opened(server) as client:
        assert await client.children(f"{path}/a/b/c") == [f"{n:02}" for n in range(50)]


async def test_a_parent_needs_no_right_to_be_made_that_is_there(
    server: ZooKeeperServer, path: str
) -> None:
    def prepare() -> None:
        with kazoo(server.hosts) as other:
            nobody = make_digest_acl("nobody", "secret", all=True)
            other.create(path)
            other.create(f"{path}/open")
            other.set_acls(path, [nobody])

    await anyio.to_thread.run_sync(prepare)
    async with opened(server) as client:
        await client.create(f"{path}/open/a/b", make_parents=True)
        with pytest.raises(NoAuthError):
            await client.create(f"{path}/other", make_parents=True)


async def test_names_are_numbered(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        first = await client.create(f"{path}/n-", sequence=True, make_parents=True)
        assert first == f"{path}/n-0000000000"
        assert await client.create(f"{path}/", sequence=True) == f"{path}/0000000001"
        below = await client.create(f"{path}/a/", sequence=True, make_parents=True)
        assert below == f"{path}/a/0000000000"


async def test_an_ephemeral_node_goes_with_the_session(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as other:
        async with opened(server) as client:
            await client.create(path, ephemeral=True)
            owner = (await other.get(path))["ephemeral_owner"]
            assert owner == await client.session_id()
            with pytest.raises(NoChildrenForEphemeralsError):
                await client.create(f"{path}/child")
        assert await other.exists(path) is None


async def test_a_version_has_to_match(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        await client.create(path)
        await client.set(path, b"x", version=0)
        with pytest.raises(BadVersionError):
            await client.set(path, b"y", version=0)
        with pytest.raises(BadVersionError):
            await client.delete(path, version=0)
        await client.delete(path, version=1)


async def test_a_tree_is_deleted_if_wanted(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        for name in ("a/b", "a/c", "d"):
            await client.create(f"{path}/{name}", make_parents=True)
        with pytest.raises(NotEmptyError):
            await client.delete(path)
        with pytest.raises(BadVersionError):
            await client.delete(path, version=7, recursive=True)
        assert await client.children(f"{path}/a") == ["b", "c"]
        await client.delete(path, version=0, recursive=True)
        assert await client.exists(path) is None
        with pytest.raises(NoNodeError):
            await client.delete(path, recursive=True)


async def test_errors_say_what_was_asked(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        with pytest.raises(NoNodeError, match=f"^get {path}: Node does not exist"):
            await client.get(path)


async def test_errors_of_concurrent_calls_are_separate(server: ZooKeeperServer, path: str) -> None:
    errors: list[BaseException] = []

    async def write() -> None:
        with pytest.raises(ConnectionLoss) as caught:
            await client.create(path)
        errors.append(caught.value)

    async with opened(server) as client:
        server.pause()
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            await break_connection(client)
        assert len({id(error) for error in errors}) == 2


@pytest.mark.parametrize("error", [NoNodeError, SessionExpiredError, KazooTimeoutError])
def test_errors_arrive_as_themselves(error: type[Exception]) -> None:
    arrived = from_failure(to_failure(error("what it says"), MsgpackCodec()))
    assert type(arrived) is error
    assert str(arrived) == "what it says"


def test_what_is_delegated() -> None:
    cluster(ZooKeeperClient).create("127.0.0.1")  # no name clashes with one of the client's
    table = DelegateTable(ZooKeeperClient, {})
    assert {name: method.idempotent for name, method in table.by_name.items()} == {
        "children": True,
        "create": False,
        "delete": False,
        "exists": True,
        "get": True,
        "session_id": True,
        "set": False,
    }
    assert table.hands_over_state
    assert table.leaves_standing
    for part in ("subscribe", "unsubscribe", "publish", "unpublish"):
        assert table.has_part(part)


# --------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "x", "x/y", "//", "/x/", "/x//y", "/x/../y", "/./x", "/..", "/\0", "/\n", "/\ud800"),
        *("/\ue000", "/\U0001f600", "/\x7f", None, 7, b"/x", ["/x"]),
    ],
)
async def test_a_wrong_path_is_refused_and_costs_nobody_the_connection(
    server: ZooKeeperServer, wrong: Any
) -> None:
    async with opened(server) as client:
        session_id = await client.session_id()
        for call in (
            client.get(wrong),
            client.exists(wrong),
            client.children(wrong),
            client.create(wrong),
            client.set(wrong, b""),
            client.delete(wrong),
        ):
            with pytest.raises(ValueError, match="path="):
                await call
        assert await client.exists("/") is not None
        assert await client.session_id() == session_id


async def test_wrong_data_and_versions_are_refused(server: ZooKeeperServer, path: str) -> None:
    wrong: Any
    async with opened(server) as client:
        for wrong in ("text", None, bytearray(b"x")):
            with pytest.raises(TypeError, match="data must be bytes"):
                await client.create(path, wrong)
        with pytest.raises(ValueError, match="1048577 bytes"):
            await client.create(path, bytes((1 << 20) + 1))
        for wrong in (-2, 1 << 31, "1", None):
            with pytest.raises(ValueError, match="version="):
                await client.set(path, b"", version=wrong)
        with pytest.raises(ValueError, match="cannot be deleted"):
            await client.delete("/", recursive=True)
        wrong = 1
        with pytest.raises(TypeError, match="ephemeral"):
            await client.create(path, ephemeral=wrong)
        assert await client.exists(path) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"hosts": ""}, "hosts=''"),
        ({"hosts": "zk:port"}, "hosts='zk:port'"),
        ({"hosts": ["zk"]}, r"hosts=\['zk'\]"),
        ({"hosts": None}, "hosts=None"),
        ({"session_timeout": 0}, "session_timeout=0"),
        ({"session_timeout": -1.0}, "session_timeout=-1.0"),
        ({"session_timeout": float("nan")}, "session_timeout=nan"),
        ({"session_timeout": float("inf")}, "session_timeout=inf"),
        ({"session_timeout": True}, "session_timeout=True"),
        ({"connect_timeout": "10"}, "connect_timeout='10'"),
        ({"connect_timeout": 1e9}, "connect_timeout=1000000000.0"),
        ({"resume": 1}, "resume=1"),
    ],
)
def test_a_wrong_option_is_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ZooKeeperClient(**{"hosts": "127.0.0.1:2181", **arguments})


async def test_a_client_that_is_not_started_or_closed_says_so(server: ZooKeeperServer) -> None:
    client = ZooKeeperClient(server.hosts)
    assert repr(client) == f"<ZooKeeperClient {server.hosts}>"
    with pytest.raises(ConnectionClosedError, match="not started, or closed"):
        await client.get("/")
    await client.aclose()
    await client.start()
    await client.aclose()
    await client.aclose()
    with pytest.raises(ConnectionClosedError, match="not started, or closed"):
        client.subscribe({"path": "/"}, print)
    client.unsubscribe({"path": "/"}, print)


async def test_a_server_that_is_not_there_is_named() -> None:
    hosts = f"127.0.0.1:{free_port()}"
    client = ZooKeeperClient(hosts, connect_timeout=0.3)
    with pytest.raises(KazooTimeoutError, match=f"no ZooKeeper server among {hosts} answered"):
        await client.start()


async def test_all_is_below_a_node_if_wanted(server: ZooKeeperServer, path: str) -> None:
    async with opened(server) as client:
        await client.create(path)
        async with opened(server, below=path) as below:
            assert await below.create("/a/b", make_parents=True) == "/a/b"
            await below.publish({"path": "/c"})
            assert await below.children("/") == ["a", "c"]
        assert await client.exists(f"{path}/a/b") is not None
