"""Node and Python processes on one port and channel: the leader dies, whoever it is."""

from __future__ import annotations

from interop.mixed_race import LANGUAGES, OF_EACH, kill_leaders
from support.node import MixedHost

KILLS = 4


async def test_every_survivor_finds_the_next_leader(host: MixedHost) -> None:
    seen = await kill_leaders(host, kills=KILLS)
    assert len(seen.recoveries) == KILLS
    assert seen.failed == []
    assert seen.executed_more_than_once == []
    assert seen.returned_but_not_executed_once == []
    assert len(seen.values) == len(LANGUAGES) * OF_EACH
    for values in seen.values:
        assert values[-1] == KILLS
        assert values == sorted(values)
