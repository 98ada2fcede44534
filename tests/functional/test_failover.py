"""The leader is killed, again and again, and its work goes on elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from functional.failover import Failover, kill_leaders
from support.processes import Host

KILLS = 3
CALLERS = 24  # in each of four processes, so 72 in those that live on


def assert_every_subscriber_has_the_last_value(seen: Failover) -> None:
    for values in seen.values:
        assert values[-1] == KILLS
        assert values == sorted(values)


async def test_no_idempotent_call_fails(
    host: Host, record_property: Callable[[str, object], None]
) -> None:
    seen = await kill_leaders(host, kills=KILLS, callers=CALLERS, idempotent=True)
    record_property("figures", seen.figures())
    assert min(seen.in_flight) >= 64
    assert sum(seen.resent) > 0
    assert seen.failed == []
    assert seen.unknown == []
    assert seen.executions.keys() >= set(seen.returned)
    assert_every_subscriber_has_the_last_value(seen)


async def test_any_other_call_is_executed_once_or_of_unknown_outcome(
    host: Host, record_property: Callable[[str, object], None]
) -> None:
    seen = await kill_leaders(host, kills=KILLS, callers=CALLERS, idempotent=False)
    record_property("figures", seen.figures())
    assert min(seen.in_flight) >= 64
    assert sum(seen.resent) == 0
    assert seen.failed == []
    assert seen.unknown != []
    assert seen.executed_more_than_once == []
    assert seen.returned_but_not_executed_once == []
    assert_every_subscriber_has_the_last_value(seen)
