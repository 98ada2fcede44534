"""A process is killed, frozen for a while or terminated amid whatever it does."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest

from cluster_client import OutcomeUnknownError
from support.processes import Host, Worker, WorkerGoneError, each
from support.scenes import Stage
from support.times import LIMIT

COUNT = 300

STRIKES = ["killed", "frozen", "terminated"]

struck = pytest.mark.parametrize("how", STRIKES)


async def strike(worker: Worker, how: str) -> None:
    match how:
        case "killed":
            await worker.kill()
        case "frozen":
            await worker.freeze()
        case "terminated":
            worker.process.send_signal(signal.SIGTERM)


async def get_over_it(worker: Worker, how: str) -> None:
    match how:
        case "frozen":
            worker.thaw()
        case "terminated":
            await worker._end_orderly()


def by_pid(workers: list[Worker], pid: int) -> Worker:
    return next(worker for worker in workers if worker.pid == pid)


async def assert_all_is_well(host: Host) -> None:
    """One leads, the others follow, a newcomer gets in, and real clients never overlapped."""
    members = [worker for worker in host.workers if worker.channels]
    await host.start(1, real="scenes")
    assert len(set(await each(host.workers, lambda worker: worker.call("pid")))) == 1
    for worker in members:
        assert "Traceback" not in worker.output()
    last = ""
    for line in host.book.sessions():
        event, _, pid = line.partition(" ")
        if event == "open" and last.startswith("open"):  # it has not closed: it must be dead
            assert last.partition(" ")[2] not in {str(w.pid) for w in host.workers if w.is_running}
        assert pid
        last = line


class Attempt:
    """Something that a process was asked for, and what came of it."""

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self._function = function

    async def run(self) -> None:
        try:
            self.result = await self._function()
        except Exception as exc:
            self.error = exc


SETTINGS: dict[str, Any] = {"real": "scenes", "response_timeout": LIMIT, "drain_timeout": LIMIT}


@struck
@pytest.mark.parametrize("moment", ["call", "stream", "burst", "hand-over"])
async def test_a_leader(host: Host, moment: str, how: str) -> None:
    stage = Stage(host.directory)
    workers = await host.start(3, **SETTINGS)
    leader = await host.leader()
    follower, other = await host.followers()
    await other.subscribe()
    attempts = {
        "call": lambda: follower.call("held"),
        "stream": lambda: follower.ask("rows", channel="ledger", count=COUNT),
        "burst": lambda: follower.call("burst", COUNT),
        "hand-over": lambda: leader.ask("exit"),
    }
    attempt = Attempt(attempts[moment])
    stage.hold(moment)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attempt.run)
        assert await stage.reached(moment) == leader.pid
        await strike(leader, how)
        stage.let_go(moment)
        await get_over_it(leader, how)
    if how == "killed":
        expected = WorkerGoneError if moment == "hand-over" else OutcomeUnknownError
        assert isinstance(attempt.error, expected)
    elif moment != "hand-over":
        assert attempt.error is None
        whole: Any = list(range(COUNT)) if moment == "stream" else leader.pid
        assert attempt.result == whole
    if moment == "hand-over":
        await leader._end()
    if moment == "burst":
        values = await other.values_until(host.book.value())
        assert values == sorted(values)
        assert (values[-1] == COUNT) is (how != "killed")
    assert len([worker for worker in workers if worker.is_running]) == (3 - (not leader.is_running))
    await assert_all_is_well(host)


@struck
async def test_one_that_is_starting_its_real_client(host: Host, how: str) -> None:
    stage = Stage(host.directory)
    workers = [await host.spawn() for _ in range(3)]
    openings = {
        worker: Attempt(partial(host.open_ledger, worker, **SETTINGS)) for worker in workers
    }
    stage.hold("start")
    async with anyio.create_task_group() as tasks:
        for opening in openings.values():
            tasks.start_soon(opening.run)
        starting = by_pid(workers, await stage.reached("start"))
        await strike(starting, how)
        stage.let_go("start")
        await get_over_it(starting, how)
    for worker, opening in openings.items():
        if worker is not starting or how == "frozen":
            assert opening.error is None
    await assert_all_is_well(host)


@struck
async def test_a_follower_amid_an_election(host: Host, how: str) -> None:
    await host.start(3, **SETTINGS)
    leader = await host.leader()
    victim, other = await host.followers()
    number = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP, "terminated": signal.SIGTERM}[how]
    await victim.ask("strike_in_state", channel="ledger", state="electing", number=number)
    await leader.kill()
    if how == "killed":
        await victim._end()
    elif how == "frozen":
        await victim.until_frozen()
    assert await other.call("pid") != leader.pid
    await get_over_it(victim, how)
    await assert_all_is_well(host)


@struck
async def test_a_follower_amid_a_burst_of_values(host: Host, how: str) -> None:
    stage = Stage(host.directory)
    await host.start(3, **SETTINGS)
    leader = await host.leader()
    victim, other = await host.followers()
    for worker in (victim, other):
        await worker.subscribe()
    burst = Attempt(lambda: other.call("burst", COUNT))
    stage.hold("burst")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(burst.run)
        await stage.reached("burst")
        await strike(victim, how)
        stage.let_go("burst")
        assert (await other.values_until(COUNT))[-1] == COUNT
        await get_over_it(victim, how)
    assert burst.result == leader.pid
    if how == "frozen":
        assert (await victim.values_until(COUNT))[-1] == COUNT
    await assert_all_is_well(host)
