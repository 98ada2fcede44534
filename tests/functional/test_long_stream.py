"""A stream costs the leader no memory, however slow its reader is."""

from __future__ import annotations

from collections.abc import Callable

from functional.long_stream import BROKEN_OFF_AFTER, read_slowly
from support.processes import Host
from support.times import scaled

ROWS = 60_000
MOST_GROWTH = 4096
"""KiB: the rows that the leader could have run ahead by would take more."""

MOST_AHEAD = 200


async def test_the_leaders_memory_stays_flat(
    host: Host, record_property: Callable[[str, object], None]
) -> None:
    seen = await read_slowly(host, rows=ROWS, pause=scaled(0.05))
    record_property("figures", vars(seen))
    assert seen.rows == ROWS
    assert max(seen.memory) - seen.memory[0] < MOST_GROWTH
    assert seen.yielded <= BROKEN_OFF_AFTER + MOST_AHEAD, "the generator went on"
