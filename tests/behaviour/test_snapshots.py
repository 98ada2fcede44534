"""What a real client hands over to its successor (SPEC 8.7)."""

from __future__ import annotations

import pytest

from cluster_client import Client
from cluster_client._snapshots import Snapshot
from support.logs import LogRecorder
from support.sessions import Service, Sessions, sessions_client
from support.waiting import until


@pytest.fixture
def service() -> Service:
    return Service()


def has_snapshot(follower: Client[Sessions], token: str) -> bool:
    """Tell whether what the leader sends has arrived; nothing public shows it."""
    return follower._membership._snapshot == Snapshot.of({"token": token})


async def lead_next(client: Client[Sessions]) -> str:
    """Wait until the client leads, and return its real client's token."""
    await until(lambda: client.is_leader)
    token: str = await client.get()
    return token


async def test_the_next_leader_starts_from_it(service: Service, port: int) -> None:
    async with sessions_client(service, port) as leader:
        async with sessions_client(service, port) as follower:
            assert await follower.get() == "token 1"
            await leader.aclose()
            assert await lead_next(follower) == "token 1"
    assert service.tokens == 1
    assert service.events == [
        *("1 starts", "1 hands over", "1 closes"),
        *("2 starts", "2 closes"),
    ]


async def test_nothing_is_handed_over_where_nobody_follows(service: Service, port: int) -> None:
    async with sessions_client(service, port):
        pass
    assert service.events == ["1 starts", "1 closes"]


async def test_the_latest_one_counts(service: Service, port: int) -> None:
    async with sessions_client(service, port) as leader:
        async with sessions_client(service, port) as follower:
            await leader.change("second")
            await follower.change("third")
            await until(lambda: has_snapshot(follower, "third"))
            await leader.aclose()
            assert await lead_next(follower) == "third"


async def test_one_that_cannot_be_restored_is_left_out(service: Service, port: int) -> None:
    async with sessions_client(service, port) as leader:
        async with sessions_client(service, port) as follower:
            await follower.change("broken")
            await until(lambda: has_snapshot(follower, "broken"))
            await leader.aclose()
            assert await lead_next(follower) == "token 2"


async def test_a_lost_real_client_leaves_nothing(service: Service, port: int) -> None:
    async with sessions_client(service, port) as leader:
        async with sessions_client(service, port) as follower:
            service.current.leadership.lost("expired")
            await until(lambda: len(service.instances) == 2)
            assert await follower.get() == "token 2"
            await leader.aclose()
            assert await lead_next(follower) == "token 2"


async def test_it_is_shown_nowhere(service: Service, port: int) -> None:
    log = LogRecorder()
    async with sessions_client(service, port, logger=log) as leader:
        async with sessions_client(service, port, logger=log) as follower:
            await follower.change("a secret")
            await until(lambda: has_snapshot(follower, "a secret"))
            await leader.aclose()
            assert await lead_next(follower) == "a secret"
    assert "secret" not in repr(log.entries)
    assert "secret" not in repr(Snapshot.of("a secret"))


def test_a_snapshot_has_a_limit() -> None:
    with pytest.raises(ValueError, match="the limit is 1048576"):
        Snapshot.of("x" * (1 << 20))
    assert Snapshot.of(None) is None
    assert Snapshot.of([1, b"2"]) == Snapshot.of([1, b"2"]) != Snapshot.of([1])
