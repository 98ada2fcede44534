"""What a forked child inherits does no harm: not to it, not to the parent, not to the others."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from support.inspection import is_alive
from support.load import Account
from support.processes import CHANNEL, Host, Worker, each


@dataclass(frozen=True)
class Child:
    """A child that was forked off a worker, and lives on.

    Attributes:
        pid: Its process id.
        outcomes: What it got when it used the client, by method.
        sockets: How many it has that belong to the election port.
    """

    pid: int
    outcomes: dict[str, str]
    sockets: int


async def fork(worker: Worker, port: int) -> Child:
    child = Child(**await worker.ask("fork", channel=CHANNEL, port=port))
    worker.children.append(child.pid)
    return child


async def test_in_the_child_every_use_of_the_client_raises(host: Host) -> None:
    for worker in await host.start(2):  # the leader and a follower
        child = await fork(worker, host.port)
        assert child.outcomes.pop("aclose") == "nothing"  # it is the parent's to close
        assert child.outcomes == dict.fromkeys(child.outcomes, "ForkedClientError")
        assert {"pid", "call", "subscribe", "publish"} <= set(child.outcomes)


async def test_the_child_has_no_socket_of_the_port(host: Host) -> None:
    for worker in await host.start(2):
        assert (await fork(worker, host.port)).sockets == 0


async def test_the_child_of_a_killed_leader_keeps_neither_port_nor_connections(host: Host) -> None:
    workers = await host.start(3)
    leader = await host.leader()
    child = await fork(leader, host.port)
    await leader.kill()
    assert await host.leader() in workers
    for worker in host.workers:
        assert await worker.call("pid") != leader.pid
    assert is_alive(child.pid)


async def test_the_parent_goes_on_when_its_child_has_ended(host: Host) -> None:
    workers = await host.start(3)
    leader = await host.leader()
    await each(workers, lambda worker: worker.begin_load(8))
    for worker in workers:
        child = await fork(worker, host.port)
        os.kill(child.pid, signal.SIGKILL)
    for worker in workers:
        assert await worker.call("record", f"from {worker.pid}") == leader.pid
    seen = Account(await each(workers, Worker.end_load))
    assert seen.failed == []
    assert seen.unknown == []
    for worker in workers:
        await worker.exit()


async def test_a_program_started_by_the_leader_does_not_keep_the_port(host: Host) -> None:
    await host.start(2)
    leader = await host.leader()
    leader.children.append(await leader.ask("start_subprocess"))
    await leader.kill()
    (survivor,) = host.workers
    assert await survivor.call("pid") == survivor.pid
    assert is_alive(leader.children[0])
