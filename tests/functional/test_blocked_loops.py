"""Event loops that do not turn: it is told, and a leader can be ended by its watchdog."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from cluster_client import OutcomeUnknownError
from cluster_client._watchdog import EXIT_STATUS
from support.inspection import is_alive
from support.processes import Host, Worker
from support.times import scaled

CHANNEL = "flood"


async def join(host: Host, **options: Any) -> Worker:
    worker = await host.spawn()
    await worker.open(CHANNEL, real="flood", port=host.port, **options)
    return worker


def events_of(worker: Worker, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in worker.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


async def lag_of(worker: Worker) -> float:
    lag: float = (await worker.ask("state", channel=CHANNEL))["loop_lag"]
    return lag


async def test_a_blocked_event_loop_is_logged_and_measured(host: Host) -> None:
    leader, follower = await join(host), await join(host)
    for worker in (leader, follower):
        await worker.ask("block", seconds=3)
        while await lag_of(worker) < 2:
            pass
        (entry,) = [e for e in events_of(worker, "event_loop_blocked") if e["lag"] > 2]
        assert (entry["level"], entry["client"]) == ("warning", CHANNEL)
    assert await follower.call("pid", channel=CHANNEL) == leader.pid


# ------------------------------------------------------------- the watchdog


async def test_a_leader_that_hangs_is_ended_and_another_one_leads(host: Host) -> None:
    leader, caller = await join(host, watchdog=scaled(1)), await join(host)
    with pytest.raises(OutcomeUnknownError):
        await caller.call("block", channel=CHANNEL)
    await leader.process.wait()
    assert leader.process.returncode == EXIT_STATUS
    (entry,) = events_of(leader, "event_loop_hung")
    assert (entry["level"], entry["pid"], entry["seconds"]) == ("error", leader.pid, scaled(1))
    assert "Thread 0x" in leader.output()
    assert "in block" in leader.output()
    assert await caller.call("pid", channel=CHANNEL) == caller.pid


async def test_a_leader_that_was_stopped_lives(host: Host) -> None:
    limit = scaled(1)
    leader, caller = await join(host, watchdog=limit), await join(host)
    for _ in range(2):
        await leader.freeze()
        await anyio.sleep(2 * limit)  # nothing happens meanwhile: that is what is tested
        leader.thaw()
        assert await caller.call("pid", channel=CHANNEL) == leader.pid
    with anyio.move_on_after(2 * limit):
        while leader.is_running:
            await caller.latencies("pid", 100, CHANNEL)
    assert leader.is_running
    assert events_of(leader, "event_loop_hung") == []


async def test_a_follower_may_hang(host: Host) -> None:
    limit = scaled(0.5)
    leader, follower = await join(host), await join(host, watchdog=limit)
    await follower.ask("block", seconds=4 * limit)
    assert await follower.call("pid", channel=CHANNEL) == leader.pid


async def test_a_forked_child_of_the_leader_may_hang(host: Host) -> None:
    limit = scaled(0.5)
    leader = await join(host, watchdog=limit)
    child = await leader.ask("fork_child_that_hangs")
    leader.children.append(child)
    with anyio.move_on_after(4 * limit):
        while leader.is_running:
            await leader.latencies("pid", 100, CHANNEL)
    assert leader.is_running
    assert is_alive(child)


async def test_whoever_led_before_may_hang(host: Host) -> None:
    limit = scaled(0.5)
    worker = await join(host, watchdog=limit)
    assert await worker.call("pid", channel=CHANNEL) == worker.pid
    await worker.close(CHANNEL)
    await worker.ask("block", seconds=4 * limit)
    assert worker.is_running
