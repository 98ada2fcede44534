"""A race for a Unix domain socket: all as on a port, and others have no access."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cluster_client import ElectionError, LeaderUnavailableError
from functional.children import bear
from functional.failover import kill_leaders
from support.inspection import is_alive
from support.processes import Host, each
from support.times import scaled


@pytest.fixture
def path(host: Host) -> Path:
    path = host.directory / "run" / "app.sock"
    host.place = {"path": str(path)}
    return path


async def test_one_leads_and_the_others_follow(host: Host, path: Path) -> None:
    workers = await host.start(4)
    leader = await host.leader()
    assert await each(workers, lambda worker: worker.call("pid")) == [leader.pid] * 4
    assert path.is_socket()
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_leaders_are_killed_and_no_idempotent_call_fails(host: Host, path: Path) -> None:
    seen = await kill_leaders(host, kills=3, callers=24, idempotent=True)
    assert seen.failed == []
    assert seen.unknown == []
    assert seen.executions.keys() >= set(seen.returned)


async def test_an_orderly_end_removes_the_socket(host: Host, path: Path) -> None:
    for worker in await host.start(2):
        await worker.exit()
    assert [file.name for file in path.parent.iterdir()] == ["app.sock.lock"]


async def test_the_socket_of_a_killed_leader_is_in_nobodys_way(host: Host, path: Path) -> None:
    (worker,) = await host.start(1)
    await worker.kill()
    assert path.is_socket()
    (worker,) = await host.start(1)
    assert await worker.is_leader()


async def test_a_child_of_a_killed_leader_does_not_keep_it(
    host: Host, path: Path, anyio_backend_name: str
) -> None:
    await host.start(2)
    leader = await host.leader()
    child = await bear(host, leader, "fork", anyio_backend_name)
    assert child.error == ""
    assert child.sockets == 0
    await leader.kill()
    (survivor,) = host.workers
    assert await survivor.call("pid") == survivor.pid
    assert is_alive(child.pid)


async def test_a_frozen_leader_keeps_it(host: Host, path: Path) -> None:
    await host.start(2)
    leader = await host.leader()
    (follower,) = await host.followers()
    await leader.freeze()
    newcomer = await host.spawn()
    with pytest.raises(LeaderUnavailableError, match="said nothing"):
        await host.open_ledger(newcomer, max_wait_time=scaled(0.5))
    leader.thaw()
    assert await follower.call("pid") == leader.pid


async def test_what_is_no_socket_is_not_removed(host: Host, path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")
    worker = await host.spawn()
    with pytest.raises(ElectionError, match="it is no socket, and so is not removed"):
        await host.open_ledger(worker)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
async def test_a_directory_open_to_others_is_refused(host: Host, path: Path, mode: int) -> None:
    path.parent.mkdir()
    path.parent.chmod(mode)
    worker = await host.spawn()
    for is_leader in (None, True, False):
        with pytest.raises(ElectionError, match=rf"the mode {mode:o}, where only user \d+ may"):
            await host.open_ledger(worker, is_leader=is_leader)
    assert not path.exists()


async def test_a_directory_of_another_user_is_refused(host: Host, path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    path.parent.mkdir(mode=0o700)
    os.chown(path.parent, 65534, -1)
    worker = await host.spawn()
    with pytest.raises(ElectionError, match="it belongs to user 65534"):
        await host.open_ledger(worker)


async def test_a_directory_that_cannot_be_made_is_named(host: Host, path: Path) -> None:
    worker = await host.spawn()
    with pytest.raises(ElectionError, match=r"No such file or directory: '\S+/run/deeper'"):
        await host.open_ledger(worker, path=str(path.parent / "deeper" / "app.sock"))


async def test_who_listens_without_the_lock_is_another_program(host: Host, path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    worker = await host.spawn()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        await host.open_ledger(worker)  # whoever has the lock may remove the file
    assert await worker.is_leader()
