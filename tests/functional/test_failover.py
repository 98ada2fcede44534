"""The leader is killed, and its work goes on elsewhere."""

from __future__ import annotations

from collections import Counter

import pytest

from functional.failover import Failover, kill_leaders
from support.processes import Host

KILLS = 3
CALLERS = 24  # in each of four processes, so 72 in those that live on


class TestIdempotentCalls:
    @pytest.fixture
    async def seen(self, host: Host) -> Failover:
        return await kill_leaders(host, kills=KILLS, callers=CALLERS, idempotent=True)

    async def test_none_fails(self, seen: Failover) -> None:
        assert min(seen.in_flight) >= 64
        assert seen.failed == []
        assert seen.unknown == []
        assert min(seen.resent) > 0
        assert all(seen.executions[call] >= 1 for call in seen.returned)
        for values in seen.values:
            assert values[-1] == KILLS
            assert values == sorted(values)


class TestCallsNotDeclaredIdempotent:
    @pytest.fixture
    async def seen(self, host: Host) -> Failover:
        return await kill_leaders(host, kills=KILLS, callers=CALLERS, idempotent=False)

    async def test_each_is_executed_once_or_raises_outcome_unknown(self, seen: Failover) -> None:
        assert min(seen.in_flight) >= 64
        assert seen.failed == []
        assert seen.executed_twice == []
        assert Counter(seen.executions[call] for call in seen.returned) == {1: len(seen.returned)}
        assert seen.resent == [0] * KILLS
