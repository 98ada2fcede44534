"""A rolling restart is noticed by no call."""

from __future__ import annotations

from collections import Counter

import pytest

from functional.rolling_restart import PROCESSES, RollingRestart, restart_in_turn
from support.processes import Host

CALLERS = 24  # in each process


@pytest.fixture
async def seen(host: Host) -> RollingRestart:
    return await restart_in_turn(host, rounds=1, callers=CALLERS)


async def test_no_call_fails_is_lost_or_executed_twice(seen: RollingRestart) -> None:
    assert seen.restarts == PROCESSES
    assert seen.hand_overs >= 1
    assert seen.failed == []
    assert seen.executions == Counter(seen.returned)
    # One real client after the other, never two at a time.
    assert seen.sessions[::2] == [entry.replace("close", "open") for entry in seen.sessions[1::2]]
