"""A follower that does not read costs the leader little memory, and the others no time."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from support.flood import SilentFollower, resident_size
from support.processes import Host, Worker

CHANNEL = "flood"
REG = {"key": "value"}
MIB = 1 << 20
MOST_GROWTH = 32 * MIB
MOST_SLOWDOWN = 20.0
"""By which the median latency may grow; generous, as the machine may be busy with other things."""

Record = Callable[[str, object], None]


async def join(host: Host) -> Worker:
    worker = await host.spawn()
    await worker.open(CHANNEL, real="flood", port=host.port)
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
