"""Event loops that do not turn: it is told, and a leader can be ended by its watchdog."""

from __future__ import annotations

import json
from typing import Any

from support.processes import Host, Worker

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
