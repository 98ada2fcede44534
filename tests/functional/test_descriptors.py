"""Processes without a descriptor to spare: they wait for one, in peace, and go on then."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import anyio
import pytest

from cluster_client import ElectionError, LeaderUnavailableError
from support.load import Account
from support.processes import Host, Worker, each
from support.times import scaled

BUSY = 0.5
"""Share of a core that nobody who waits takes; a loop without a pause takes all of it."""


def cpu_time(worker: Worker) -> float:
    """Return the seconds that a process has computed for."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def assert_peace(worker: Worker, seconds: float) -> None:
    """Watch a process for a while: it neither computes nor writes much."""
    computed, written = cpu_time(worker), len(worker.output().splitlines())
    await anyio.sleep(seconds)
    assert cpu_time(worker) - computed < BUSY * seconds
    assert len(worker.output().splitlines()) - written < 10


async def answered(worker: Worker) -> int:
    """Call until there is a leader again; returns which process that is."""
    while True:
        with contextlib.suppress(ElectionError, LeaderUnavailableError):
            pid: int = await worker.call("pid")
            return pid


async def test_a_leader_that_cannot_accept(host: Host) -> None:
    first, second = await host.start(2)
    leader = await host.leader()
    follower = second if leader is first else first
    await leader.ask("take_all_descriptors")
    newcomer = await host.spawn()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.open_ledger, newcomer)
        while "accept_failed" not in leader.output():
            assert await follower.call("pid") == leader.pid
        await assert_peace(leader, scaled(1))
        assert await follower.call("pid") == leader.pid
        await leader.ask("give_descriptors_back")
    assert await newcomer.call("pid") == leader.pid
    assert leader.output().count("accept_failed") == 1
    assert leader.output().count("accepting_again") == 1


@pytest.mark.parametrize("is_leader", [None, False])
async def test_a_follower_that_can_neither_bind_nor_connect(
    host: Host, is_leader: bool | None
) -> None:
    await host.start(1)
    leader = await host.leader()
    poor = await host.spawn()
    await host.open_ledger(poor, is_leader=is_leader, max_wait_time=scaled(1))
    await poor.ask("take_all_descriptors")
    await leader.kill()
    with pytest.raises((ElectionError, LeaderUnavailableError)):
        await poor.call("pid")
    await assert_peace(poor, scaled(1))
    (other,) = await host.start(1)
    await poor.ask("give_descriptors_back")
    assert await answered(poor) == other.pid


async def test_everybody_is_without_when_the_leader_dies(host: Host) -> None:
    workers = await host.start(3, delegates={"record": {"idempotent": True}})
    leader = await host.leader()
    survivors = [worker for worker in workers if worker is not leader]
    await each(survivors, lambda worker: worker.ask("take_all_descriptors"))
    await leader.kill()
    for worker in survivors:
        with pytest.raises(ElectionError, match="Too many open files"):
            await worker.call("record", "in vain")
    await each(survivors, lambda worker: worker.ask("give_descriptors_back"))
    await each(survivors, answered)
    successor = await host.leader()
    await each(survivors, lambda worker: worker.begin_load(4))
    await each(survivors, lambda worker: worker.first_answer_of(successor))
    seen = Account(await each(survivors, Worker.end_load))
    assert seen.failed == []
