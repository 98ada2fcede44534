"""A follower that does not read costs the leader little memory, and the others no time."""

from __future__ import annotations

import json
import statistics
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from support.flood import SilentFollower, resident_size
from support.processes import Host, Worker
from support.times import scaled
from support.waiting import until

CHANNEL = "flood"
REG = {"key": "value"}
MIB = 1 << 20
MOST_GROWTH = 32 * MIB
MOST_SLOWDOWN = 20.0
"""By which the median latency may grow; generous, as the machine may be busy with other things."""

Record = Callable[[str, object], None]


async def join(host: Host, **options: Any) -> Worker:
    worker = await host.spawn()
    await worker.open(CHANNEL, real="flood", port=host.port, **options)
    return worker


@pytest.fixture
async def leader(host: Host) -> Worker:
    return await join(host)


@pytest.fixture
async def silent(host: Host, leader: Worker) -> AsyncIterator[SilentFollower]:
    assert await leader.is_leader(CHANNEL)
    follower = SilentFollower(host.port, CHANNEL)
    yield follower
    follower.close()


async def test_followers_that_do_not_read_while_a_gibibyte_is_published(
    host: Host, leader: Worker, silent: SilentFollower, record_property: Record
) -> None:
    frozen, bystander, publisher = [await join(host) for _ in range(3)]
    silent.subscribe(REG)
    await frozen.subscribe(CHANNEL)
    await bystander.subscribe(CHANNEL, keep=1)
    # So that nothing is measured that the first value of this size, or the first call, costs.
    await publisher.call("emit", 4, MIB, 0.003, channel=CHANNEL)
    await bystander.latencies("pid", 200, CHANNEL)

    await frozen.freeze()
    size_before = resident_size(leader.pid)
    before = await bystander.latencies("pid", 2000, CHANNEL)
    meanwhile: list[float] = []
    largest: list[int] = []
    ended = anyio.Event()

    async def publish() -> None:
        for _ in range(8):
            size = await publisher.call("emit", 128, MIB, 0.003, channel=CHANNEL)
            largest.append(size)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        while not ended.is_set():
            meanwhile += await bystander.latencies("pid", 100, CHANNEL)

    growth = max(largest) - size_before
    medians = [statistics.median(taken) for taken in (before, meanwhile)]
    figures = {
        "published_mib": 1024,
        "leader_grew_mib": round(growth / MIB, 1),
        "median_before_us": round(medians[0] * 1e6),
        "median_meanwhile_us": round(medians[1] * 1e6),
        "calls_meanwhile": len(meanwhile),
    }
    record_property("figures", figures)
    print(figures)  # noqa: T201 - `pytest -s` shows them
    assert growth < MOST_GROWTH, figures
    assert medians[1] < MOST_SLOWDOWN * medians[0], figures
    frozen.thaw()


async def test_large_results_that_nobody_reads_are_not_made(
    leader: Worker, silent: SilentFollower, record_property: Record
) -> None:
    await leader.call("large", MIB, channel=CHANNEL)
    size_before = resident_size(leader.pid)
    for _ in range(500):
        silent.call("large", MIB)
    executed = -1
    while executed != (executed := await leader.call("results", channel=CHANNEL)):
        await leader.latencies("pid", 2000, CHANNEL)
    growth = resident_size(leader.pid) - size_before
    figures = {"executed": executed - 1, "leader_grew_mib": round(growth / MIB, 1)}
    record_property("figures", figures)
    print(figures)  # noqa: T201 - `pytest -s` shows them
    assert growth < 2 * MOST_GROWTH, figures

    # Whoever reads again gets them all.
    answers = await anyio.to_thread.run_sync(silent.read_answers, 501)
    assert sum(len(answer.application) > MIB for answer in answers) == 500


# ------------------------------------------- those that do not read for good


def events_of(worker: Worker, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in worker.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


async def flood(publisher: Worker, mebibytes: int = 16) -> None:
    """Publish more than the operating system takes for a follower that does not read."""
    await publisher.call("emit", mebibytes, MIB, 0.0, channel=CHANNEL)


async def test_a_follower_that_takes_nothing_for_good_is_dropped(host: Host) -> None:
    leader = await join(host, stalled_timeout=scaled(1))
    stuck, bystander = await join(host), await join(host)
    await stuck.subscribe(CHANNEL, keep=1)
    await bystander.subscribe(CHANNEL, keep=1)
    await stuck.freeze()
    await flood(bystander)
    await until(lambda: bool(events_of(leader, "follower_stalled")))
    (entry,) = events_of(leader, "follower_stalled")
    assert (entry["follower_pid"], entry["level"]) == (stuck.pid, "warning")
    await until(lambda: bool(events_of(leader, "follower_left")))
    assert await bystander.call("pid", channel=CHANNEL) == leader.pid

    # When it goes on, it joins again, and its subscription goes on.
    stuck.thaw()
    assert await stuck.call("pid", channel=CHANNEL) == leader.pid
    await until(lambda: len(events_of(leader, "follower_joined")) == 3)
    assert len(events_of(leader, "follower_stalled")) == 1


async def test_a_follower_that_was_stopped_for_a_while_stays(host: Host) -> None:
    leader = await join(host, stalled_timeout=scaled(6))
    stopped, bystander = await join(host), await join(host)
    await stopped.subscribe(CHANNEL, keep=1)
    await stopped.freeze()
    await flood(bystander)
    await anyio.sleep(scaled(2))  # as in a debugger: this is what is tested
    stopped.thaw()
    assert await stopped.call("pid", channel=CHANNEL) == leader.pid
    assert events_of(leader, "follower_left") == []


async def test_a_leader_that_was_stopped_itself_drops_nobody(host: Host) -> None:
    leader = await join(host, stalled_timeout=scaled(3))
    bystander = await join(host)
    silent = SilentFollower(host.port, CHANNEL)
    silent.subscribe(REG)
    await until(lambda: len(events_of(leader, "follower_joined")) == 2)
    await flood(bystander)
    await leader.freeze()
    await anyio.sleep(scaled(4))  # longer than the limit, by the clock
    leader.thaw()
    # Now it is awake, and has much for a follower that could take nothing as nothing came.
    silent.call("pid")
    await anyio.to_thread.run_sync(silent.read_answers, 3)
    assert await bystander.call("pid", channel=CHANNEL) == leader.pid
    assert events_of(leader, "follower_stalled") == []
    assert events_of(leader, "follower_left") == []
    silent.close()
