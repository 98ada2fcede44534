"""What children inherit does no harm: not to them, not to their parents, not to the others."""

from __future__ import annotations

import os
import signal

import pytest

from functional.children import Child, adopt, bear, task
from support.inspection import is_alive
from support.load import Account
from support.offspring import WAYS
from support.processes import CHANNEL, Host, Worker, each
from support.times import scaled

CALLERS = 8

IN_LOOP = {way for way in WAYS if "fork" in way.split() or way in {"system", "posix_spawn"}}
"""Ways that a test goes in the thread of the event loop; the others take a thread of their own."""

CLOSING = {
    "close: client",
    "close: stream",
    "close: Stream",
    "close: _AsyncGeneratorContextManager",
}

SUCCESSION = scaled(5)
"""Seconds from a leader's death to an answer of the next one; a held port would take far longer."""


def assert_nothing_is_kept(child: Child, leader: Worker) -> None:
    assert child.error == ""
    assert child.sockets == 0
    assert child.leader == leader.pid, "with a client of its own it is an ordinary follower"


async def assert_the_leader_is_succeeded_at_once(host: Host) -> None:
    killed = await (await host.leader()).kill()
    answers = await each(host.workers, lambda worker: worker.first_answer_since(killed))
    assert max(answers) - killed < SUCCESSION


def assert_nobody_complained(host: Host) -> None:
    for worker in host.workers:
        assert "protocol_error" not in worker.output()
        assert "stranger_refused" not in worker.output()
        assert "Traceback" not in worker.output()


@pytest.mark.parametrize(
    ("way", "in_thread"), [*((way, way not in IN_LOOP) for way in WAYS), ("fork", True)]
)
async def test_a_child_is_no_burden(
    host: Host, way: str, in_thread: bool, anyio_backend_name: str
) -> None:
    """Under load, of the leader and of a follower; it lives on when its parent is killed."""
    workers = await host.start(3, response_timeout=scaled(10))
    leader = await host.leader()
    follower, *_ = await host.followers()
    await each(workers, lambda worker: worker.begin_load(CALLERS))

    children = await each(
        [leader, follower],
        lambda worker: bear(host, worker, way, anyio_backend_name, in_thread=in_thread),
    )

    for child in children:
        assert_nothing_is_kept(child, leader)
        assert child.outcomes is not None
        for use, outcome in child.outcomes.items():
            assert (use, outcome) == (use, "nothing" if use in CLOSING else "ForkedClientError")
        assert len(child.outcomes) > 20 or "fork" not in way.split()
    await assert_the_leader_is_succeeded_at_once(host)
    seen = Account(await each(host.workers, Worker.end_load))
    assert seen.failed == []
    assert all(is_alive(child.pid) for child in children)
    assert_nobody_complained(host)


async def test_a_parent_loses_no_call_to_its_children(host: Host, anyio_backend_name: str) -> None:
    workers = await host.start(3)
    leader = await host.leader()
    await each(workers, lambda worker: worker.begin_load(CALLERS))
    for worker in workers:
        child = await bear(host, worker, "fork", anyio_backend_name)
        os.kill(child.pid, signal.SIGKILL)
    for worker in workers:
        assert await worker.call("record", f"from {worker.pid}") == leader.pid
    seen = Account(await each(workers, Worker.end_load))
    assert seen.failed == []
    assert seen.unknown == []
    for worker in workers:
        await worker.exit()


async def test_terminating_a_child_is_nothing_to_its_parent(
    host: Host, anyio_backend_name: str
) -> None:
    """A parent's event loop that listens to signals gets those of children, on Python 3.11."""
    (parent,) = await host.start(1)
    child = await bear(host, parent, "fork", anyio_backend_name)
    os.kill(child.pid, signal.SIGTERM)
    while is_alive(child.pid):
        assert await parent.call("pid") == parent.pid
    assert await parent.call("pid") == parent.pid
    await parent.exit()


@pytest.mark.parametrize("method", ["fork_in_loop", "fork_in_thread"])
async def test_a_method_of_the_real_client_may_fork(
    host: Host, method: str, anyio_backend_name: str
) -> None:
    settings = {"real": "breeder", "delegates": {"fork_in_thread": {}}}
    workers = await host.start(2, **settings)
    leader = await host.leader()
    await each(workers, lambda worker: worker.begin_load(CALLERS))
    (follower,) = await host.followers()
    asked = task(host, "method", anyio_backend_name)
    asked.breeds = True
    pid = await follower.call(method, vars(asked))
    child = adopt(leader, await follower.ask("read_report", path=asked.report))
    assert child.pid == pid
    assert_nothing_is_kept(child, leader)
    await assert_the_leader_is_succeeded_at_once(host)
    assert is_alive(child.pid)
    assert_nobody_complained(host)


async def test_a_fork_amid_an_election(host: Host, anyio_backend_name: str) -> None:
    workers = await host.start(3)
    await each(workers, lambda worker: worker.begin_load(CALLERS))
    followers = await host.followers()
    tasks = {worker: task(host, str(worker.pid), anyio_backend_name) for worker in followers}
    for worker, one in tasks.items():
        await worker.ask("fork_in_state", channel=CHANNEL, state="electing", task=vars(one))
    await assert_the_leader_is_succeeded_at_once(host)
    leader = await host.leader()
    for worker, one in tasks.items():
        child = adopt(worker, await worker.ask("read_report", path=one.report))
        assert_nothing_is_kept(child, leader)
    await assert_the_leader_is_succeeded_at_once(host)
    seen = Account(await each(host.workers, Worker.end_load))
    assert seen.failed == []


async def test_a_fork_amid_a_hand_over(host: Host, anyio_backend_name: str) -> None:
    workers = await host.start(3)
    await each(workers, lambda worker: worker.begin_load(CALLERS))
    leader = await host.leader()
    one = task(host, "heir", anyio_backend_name)
    await leader.ask("fork_in_state", channel=CHANNEL, state="handing over", task=vars(one))
    await leader.end_load()

    await leader.exit()

    successor = await host.leader()
    child = adopt(successor, await successor.ask("read_report", path=one.report))
    assert_nothing_is_kept(child, successor)
    await assert_the_leader_is_succeeded_at_once(host)
    seen = Account(await each(host.workers, Worker.end_load))
    assert seen.failed == []
    assert is_alive(child.pid)
