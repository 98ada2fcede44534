"""A rolling restart is noticed by no call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from functional.rolling_restart import PROCESSES, restart_in_turn
from support.processes import Host

CALLERS = 24  # in each process


async def test_no_call_fails_is_lost_or_executed_twice(
    host: Host, record_property: Callable[[str, object], None]
) -> None:
    seen = await restart_in_turn(host, rounds=1, callers=CALLERS)
    record_property("figures", seen.figures())
    assert seen.restarts == PROCESSES
    assert seen.hand_overs >= 1
    assert seen.failed == []
    assert seen.unknown == []
    assert seen.executions == Counter(seen.returned)
    # One real client after the other, never two at a time.
    assert seen.sessions[::2] == [entry.replace("close", "open") for entry in seen.sessions[1::2]]
