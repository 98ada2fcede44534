"""One ZooKeeper session for all processes of a host, and what a leader's death does to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from functional.zookeeper_failover import PROCESSES, end_leaders
from support.processes import Host
from support.zookeeper import ZooKeeperServer, running_zookeeper

KILLS = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    with running_zookeeper(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.mark.parametrize("orderly", [False, True], ids=["killed", "terminated"])
async def test_a_session_outlives_its_leaders(
    host: Host,
    server: ZooKeeperServer,
    record_property: Callable[[str, object], None],
    *,
    orderly: bool,
) -> None:
    seen = await end_leaders(host, server, times=KILLS, resume=True, orderly=orderly)
    record_property("figures", vars(seen))
    assert seen.known == [1] * KILLS
    assert len(seen.sessions) == KILLS + 1
    assert len(set(seen.sessions)) == 1
    assert seen.absences == [], "the ephemeral node was gone"
    assert len(seen.values) == KILLS * (PROCESSES - 1)


async def test_without_a_snapshot_each_leader_has_a_session_of_its_own(
    host: Host, server: ZooKeeperServer, record_property: Callable[[str, object], None]
) -> None:
    seen = await end_leaders(host, server, times=KILLS, resume=False)
    record_property("figures", vars(seen))
    assert seen.known == [1] * KILLS
    assert len(set(seen.sessions)) == KILLS + 1
    assert len(seen.values) == KILLS * (PROCESSES - 1)
