"""Four processes, one real client."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.inspection import open_handles
from support.processes import Host, Worker, each

CHANNEL = "database"
LETTER = 0x41

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="needs /proc to count open files"
)


async def open_database(host: Host) -> Worker:
    """Start a process with a client of the example's SQLite file."""
    worker = await host.spawn()
    await worker.open(
        CHANNEL,
        str(database(host)),
        real="database",
        delegates={"pid": {"idempotent": True}, "get": {"idempotent": True}, "vote": {}},
        port=host.port,
    )
    return worker


def database(host: Host) -> Path:
    return host.directory / "characters.db"


@needs_proc
async def test_four_processes_have_one_handle_on_the_database(host: Host) -> None:
    workers = await each(range(4), lambda _: open_database(host))
    for votes, worker in enumerate(workers, start=1):
        assert await worker.call("vote", LETTER, channel=CHANNEL) == votes
    leader = await host.leader(CHANNEL)
    assert open_handles(database(host)) == {leader.pid: 1}


@needs_proc
async def test_it_is_still_one_after_the_leader_was_killed(host: Host) -> None:
    workers = await each(range(4), lambda _: open_database(host))
    killed = await host.leader(CHANNEL)
    await killed.call("vote", LETTER, channel=CHANNEL)
    await killed.kill()
    for worker in host.workers:
        row = await worker.call("get", LETTER, channel=CHANNEL)
        assert row["votes"] == 1
    leader = await host.leader(CHANNEL)
    assert leader in workers
    assert open_handles(database(host)) == {leader.pid: 1}


async def test_all_processes_know_who_leads(host: Host) -> None:
    workers = await host.start(4)
    leader = await host.leader()
    for worker in workers:
        assert await worker.is_leader() == (worker is leader)
        assert await worker.epoch() == await leader.epoch()
