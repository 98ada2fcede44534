"""A long stream to a slow reader, and what it costs the leader.

``python -m functional.long_stream --rows 1000000`` does it with as many rows as one likes and
prints the leader's memory on the way. The directories ``tests``, ``examples`` and ``protocol``
have to be on ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import structlog

from cluster_client import Client, cluster
from support.ports import free_port
from support.processes import Host
from support.times import LIMIT
from support.works import Works

CHANNEL: Final = "works"
BROKEN_OFF_AFTER: Final = 10
MEASUREMENTS: Final = 10


@dataclass
class LongStream:
    """What was seen of a stream.

    Attributes:
        rows: How many came, all in order.
        seconds: How long that took.
        memory: The leader's resident memory in KiB: at first, on the way, at the end.
        yielded: Rows that the generator of a second stream had yielded when it was broken off.
    """

    rows: int = 0
    seconds: float = 0.0
    memory: list[int] = field(default_factory=list)
    yielded: int = 0


async def read_slowly(host: Host, *, rows: int, pause: float) -> LongStream:
    """Read a stream whose generator is in another process, with a pause after each tenth of it.

    The generator never waits, so only the reader holds it up.
    """
    worker = await host.spawn()
    await worker.open(CHANNEL, real="works", port=host.port, is_leader=True)
    seen = LongStream()
    builder = cluster(Works, name=CHANNEL, port=host.port, is_leader=False)
    builder.delegate("event", idempotent=True, response_timeout=LIMIT)
    async with builder.create() as client:
        await _read(client, 1000)  # what is allocated once is not counted
        seen.memory.append(resident(worker.pid))
        begin = time.monotonic()
        async for row in client.call(Works.rows, rows):
            assert row == seen.rows, "rows out of order"
            seen.rows += 1
            if seen.rows % (rows // MEASUREMENTS) == 0:
                await anyio.sleep(pause)  # the leader could run ahead now
                seen.memory.append(resident(worker.pid))
        seen.seconds = time.monotonic() - begin
        seen.yielded = await _break_off(client, rows)
    return seen


async def _read(client: Client[Works], rows: int) -> None:
    async for _ in client.call(Works.rows, rows):
        pass


async def _break_off(client: Client[Works], rows: int) -> int:
    read = 0
    async for _ in client.call(Works.rows, rows + 1):
        read += 1
        if read == BROKEN_OFF_AFTER:
            break
    closed = 0
    while closed < 3:  # the first read, the long one, and this one
        closed = len(events := await client.call(Works.events))
    return int(events[-1].removeprefix("closed after "))


def resident(pid: int) -> int:
    """Return a process's resident memory in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert match is not None
    return int(match[1])


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with Host(Path(directory), free_port(), backend=options.backend) as host:
            seen = await read_slowly(host, rows=options.rows, pause=options.pause)
    grown = [memory - seen.memory[0] for memory in seen.memory]
    sys.stdout.write(
        f"rows, in order                        {seen.rows}\n"
        f"seconds, {MEASUREMENTS * options.pause:g} of them pauses          {seen.seconds:.1f}\n"
        f"leader's memory, KiB                  {' '.join(map(str, seen.memory))}\n"
        f"  grown by                            {grown[-1]}, at most {max(grown)}\n"
        f"another one broken off after          {BROKEN_OFF_AFTER}\n"
        f"  its generator closed after          {seen.yielded}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds after each tenth")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    anyio.run(main, arguments, backend=arguments.backend)
