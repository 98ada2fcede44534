"""Sessions of `ZooKeeperClient`: taken over, expired, closed; and their passwords."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import anyio
import pytest
from kazoo.exceptions import SessionExpiredError
from kazoo.protocol.serialization import Connect

from cluster_client.contrib import _zookeeper_session
from cluster_client.contrib.zookeeper import ZooKeeperClient
from support.listening import Recorder
from support.times import scaled
from support.zookeeper import ZooKeeperServer
from support.zookeeper_clients import (
    LeadershipRecorder,
    break_connection,
    die,
    expire,
    kazoo_of,
    opened,
    suspended,
)


def on_server(session_id: int) -> int:
    """Return an id as the server shows it: without a sign."""
    return session_id % (1 << 64)


async def test_there_is_one_session_and_it_ends_with_the_client(server: ZooKeeperServer) -> None:
    async with opened(server) as client:
        session_id = on_server(await client.session_id())
        assert session_id in server.sessions()
    await anyio.to_thread.run_sync(server.wait_for_end_of, session_id)


async def test_the_leadership_is_told_once_that_there_is_something_to_keep(
    server: ZooKeeperServer,
) -> None:
    leadership = LeadershipRecorder()
    async with opened(server, leadership=leadership) as client:
        assert leadership.changes == 1
        await anyio.to_thread.run_sync(server.restart)
        await client.exists("/")
        assert leadership.changes == 1
        assert leadership.losses == []
        state = client.snapshot()
        assert state is not None
        assert state[0] == await client.session_id()
    assert client.snapshot() is None
    assert leadership.losses == []  # a close is no loss


# ------------------------------------------------------------------ handed over


async def test_a_session_is_taken_over_with_its_ephemeral_nodes(
    server: ZooKeeperServer, path: str
) -> None:
    leadership = LeadershipRecorder()
    async with opened(server) as client:
        await client.create(path, b"x", ephemeral=True)
        made = (await client.get(path))["czxid"]
        state = client.snapshot()
        await die(client)
        async with opened(server, leadership=leadership, state=state) as successor:
            assert successor.snapshot() == state
            assert (await successor.get(path))["czxid"] == made
            await successor.publish({"path": path, "data": "x"})
            assert (await successor.get(path))["czxid"] == made
    assert (leadership.changes, leadership.losses) == (1, [])


async def test_a_session_is_taken_over_while_its_connection_still_stands(
    server: ZooKeeperServer, path: str
) -> None:
    """As with a leader that was killed in a moment when nobody has told the server yet."""
    async with opened(server) as client:
        await client.create(path, ephemeral=True)
        session_id = await client.session_id()
        kazoo_of(client)._stopped.set()  # it does not come back
        async with opened(server, state=client.snapshot()) as successor:
            assert await successor.session_id() == session_id
            stat = await successor.exists(path)
            assert stat is not None
        await anyio.to_thread.run_sync(kazoo_of(client)._safe_close)


async def test_a_session_that_is_handed_over_outlives_the_client(
    server: ZooKeeperServer, path: str
) -> None:
    async with opened(server) as client:
        await client.publish({"path": path, "data": "x"})
        made = (await client.get(path))["czxid"]
        state = client.snapshot()
        client.hand_over()
    async with opened(server, state=state) as successor:
        assert successor.snapshot() == state
        assert (await successor.get(path))["czxid"] == made
    async with opened(server) as other:
        assert await other.exists(path) is None


async def test_a_session_is_handed_over_while_there_is_no_connection(
    server: ZooKeeperServer, path: str
) -> None:
    async with opened(server) as client:
        await client.create(path, ephemeral=True)
        state = client.snapshot()
        async with suspended(client):
            server.kill()
        client.hand_over()
    await anyio.to_thread.run_sync(server.start)
    async with opened(server, state=state) as successor:
        assert await successor.exists(path) is not None


async def test_a_session_that_is_not_to_be_resumed_is_not_left_behind(
    server: ZooKeeperServer, path: str
) -> None:
    async with opened(server, resume=False) as client:
        await client.create(path, ephemeral=True)
        client.hand_over()
    async with opened(server) as other:
        assert await other.exists(path) is None


async def test_an_expired_session_is_replaced_by_a_new_one(server: ZooKeeperServer) -> None:
    leadership = LeadershipRecorder()
    async with opened(server) as client:
        state = client.snapshot()
    async with opened(server, leadership=leadership, state=state) as successor:
        assert state is not None
        assert await successor.session_id() != state[0]
        assert successor.snapshot() != state
    assert (leadership.changes, leadership.losses) == (1, [])


async def test_a_wrong_password_gets_a_new_session(server: ZooKeeperServer) -> None:
    async with opened(server) as client:
        session_id = await client.session_id()
        async with opened(server, state=[session_id, bytes(16)]) as successor:
            assert await successor.session_id() != session_id
        assert await client.exists("/") is not None


@pytest.mark.parametrize(
    "state", ["x", 7, [1], [1, b"short"], [b"x" * 16, 1], [1, b"x" * 16, 2], {"id": 1}]
)
async def test_a_state_of_another_form_is_passed_over(
    server: ZooKeeperServer, state: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server, state=state) as client:
        assert await client.exists("/") is not None
    assert "no ZooKeeper session" in caplog.text


async def test_nothing_is_handed_over_if_not_wanted(server: ZooKeeperServer) -> None:
    async with opened(server) as client:
        state = client.snapshot()
        assert state is not None
        async with opened(server, state=state, resume=False) as successor:
            assert successor.snapshot() is None
            assert await successor.session_id() != state[0]


# ---------------------------------------------------------------------- its end


async def until_expired(client: ZooKeeperClient) -> None:
    while True:
        await client.get("/")


async def test_an_expired_session_is_told_once(server: ZooKeeperServer, path: str) -> None:
    leadership = LeadershipRecorder()
    values = Recorder()
    async with opened(server, leadership=leadership) as client:
        session_id = await client.session_id()
        client.subscribe({"path": path}, values)
        await client.publish({"path": f"{path}/a"})
        await expire(server, client)
        assert await leadership.until_lost() == "the ZooKeeper session expired"
        for call in (
            client.session_id(),
            client.get("/"),
            client.create(path, ephemeral=True),
            client.publish({"path": path}),
            client.unpublish({"path": path}),
        ):
            with pytest.raises(SessionExpiredError, match="the ZooKeeper session expired"):
                await call
        assert client.snapshot() is None
        client.subscribe({"path": path, "watch": "children"}, values)  # by one who is late
        async with opened(server) as other:
            assert await other.exists(path) is not None
            assert await other.exists(f"{path}/a") is None
        await anyio.to_thread.run_sync(server.wait_for_end_of, on_server(session_id))
    assert len(leadership.losses) == 1
    assert leadership.changes == 1
    assert leadership.resignations == []


async def test_calls_on_their_way_when_the_session_expires_say_so(server: ZooKeeperServer) -> None:
    leadership = LeadershipRecorder()

    async def read() -> None:
        with pytest.raises(SessionExpiredError):
            await until_expired(client)

    async with opened(server, leadership=leadership) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(read)
            await expire(server, client)


async def test_a_session_that_expires_with_nobody_to_tell(server: ZooKeeperServer) -> None:
    async with opened(server) as client:
        await expire(server, client)
        with pytest.raises(SessionExpiredError):
            await until_expired(client)
        assert client.snapshot() is None


async def test_a_short_break_is_no_loss(server: ZooKeeperServer, path: str) -> None:
    leadership = LeadershipRecorder()
    async with opened(server, leadership=leadership) as client:
        await client.create(path, ephemeral=True)
        for _ in range(3):
            await break_connection(client)
            assert await client.exists(path) is not None
    assert leadership.losses == []


# ------------------------------------------------------------- start and close


async def test_a_start_that_is_cancelled_leaves_nothing(server: ZooKeeperServer) -> None:
    before = set(threading.enumerate())
    server.pause()
    with anyio.move_on_after(0.2) as scope:
        async with opened(server, session_timeout=0.6):
            raise AssertionError
    assert scope.cancelled_caught
    server.resume()
    assert_ended(set(threading.enumerate()) - before)


async def test_a_close_does_not_wait_for_a_server_for_ever(
    server: ZooKeeperServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_zookeeper_session, "CLOSE_LIMIT", 0.2)
    async with opened(server) as client:
        server.pause()
        await client.aclose()
        assert "no ZooKeeper server answered the close" in caplog.text
        server.resume()


async def test_no_thread_is_left(server: ZooKeeperServer) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        async with opened(server) as client:
            await client.publish({"path": "/threads"})
    assert_ended(set(threading.enumerate()) - before)


def assert_ended(threads: set[threading.Thread]) -> None:
    for thread in threads:
        thread.join(scaled(5))  # each has told that it ends
        assert not thread.is_alive(), thread


async def test_the_password_is_shown_nowhere(
    server: ZooKeeperServer, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("", "kazoo", "kazoo.client", "kazoo.protocol.connection"):
        caplog.set_level(1, logger=name)
    async with opened(server) as client:
        state = client.snapshot()
        assert state is not None
        await die(client)
    async with opened(server, state=state) as successor:
        await successor.create(path, b"payload", ephemeral=True)
        await break_connection(successor)
        await successor.exists(path)
        assert successor._open is not None
        shown = repr([successor, vars(successor), *map(vars, successor._open)])
    password = state[1]
    assert isinstance(password, bytes)
    assert "Connecting to" in caplog.text
    for secret in (repr(password)[2:-1], password.hex(), "payload"):
        assert secret not in caplog.text
        assert secret not in shown


def test_a_request_for_a_connection_is_not_shown_even_in_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = _zookeeper_session._DiscreetLog(logging.getLogger("kazoo.client"), None)
    log.error("odd answer to %s in %s s", Connect(0, 0, 10_000, 7, b"secret", None), 3)
    assert caplog.messages == ["odd answer to Connect(…) in 3 s"]


async def test_a_server_that_accepts_and_does_not_answer_costs_no_session(
    server: ZooKeeperServer, path: str
) -> None:
    leadership = LeadershipRecorder()
    async with opened(server, leadership=leadership, session_timeout=scaled(6)) as client:
        await client.create(path, ephemeral=True)
        async with suspended(client):
            server.kill()
        with socket.create_server(("127.0.0.1", server.port)) as silent:
            silent.settimeout(scaled(10))
            connection, _ = await anyio.to_thread.run_sync(silent.accept)
        with connection:
            await anyio.to_thread.run_sync(server.start)
            assert await client.exists(path) is not None
    assert leadership.losses == []
