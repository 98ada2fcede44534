"""A leader that is terminated hands over; one that is frozen is waited for."""

from __future__ import annotations

import pytest

from cluster_client import ResponseTimeoutError
from support.load import Account
from support.processes import Host, Worker, each
from support.times import scaled

CALLERS = 32


async def test_a_terminated_leader_hands_over_under_load(host: Host) -> None:
    workers = await host.start(4)
    await each(workers, lambda worker: worker.begin_load(CALLERS))
    leader = await host.leader()
    await each(workers, lambda worker: worker.first_answer_of(leader))

    await leader.terminate()

    successor = await host.leader()
    assert successor is not leader
    await each(host.workers, lambda worker: worker.first_answer_of(successor))
    seen = Account(await each(host.workers, Worker.end_load), host.book.executions())
    assert seen.failed == []
    assert seen.unknown == []
    assert seen.executed_more_than_once == []
    assert seen.returned_but_not_executed_once == []
    assert host.book.sessions() == [
        f"open {leader.pid}",
        f"close {leader.pid}",
        f"open {successor.pid}",
    ]


async def test_a_terminated_follower_disturbs_nobody(host: Host) -> None:
    workers = await host.start(3)
    await each(workers, lambda worker: worker.begin_load(CALLERS))
    leader = await host.leader()
    await each(workers, lambda worker: worker.first_answer_of(leader))

    follower, *_ = await host.followers()
    await follower.terminate()

    assert await host.leader() is leader
    seen = Account(await each(host.workers, Worker.end_load))
    assert seen.failed == []
    assert seen.unknown == []


async def test_a_frozen_leader_is_waited_for(host: Host) -> None:
    workers = await host.start(3, response_timeout=scaled(1))
    leader = await host.leader()
    followers = await host.followers()
    epochs = await each(workers, Worker.epoch)

    await leader.freeze()

    async def call_in_vain(worker: Worker) -> None:
        with pytest.raises(ResponseTimeoutError, match="'record' was not answered"):
            await worker.call("record", f"to a frozen leader from {worker.pid}")

    await each(followers, call_in_vain)
    leader.thaw()
    for worker in workers:
        assert await worker.call("record", f"after that from {worker.pid}") == leader.pid
    assert await each(workers, Worker.epoch) == epochs
    # Whoever gave up is not surprised by a late execution.
    assert set(host.book.executions()) == {f"after that from {w.pid}" for w in workers}
