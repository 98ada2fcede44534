"""However a forked child ends, its parent goes on, and nobody closes what is the parent's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from functional.fork_and_leave import STATUS, WAYS
from support.ledger import LedgerBook
from support.programs import program

LOOPS = ["asyncio", "asyncio.run", "uvloop", "trio"]

ENDS = {
    "sys.exit": STATUS,
    "exception": 1,
    "return": 0,
    "os._exit": STATUS,
    "killed": -9,
}

NOISE = (
    "never awaited",
    "ResourceWarning",
    "was destroyed",
    "never retrieved",
    "Exception ignored",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # of the test; the programs have their own


CASES = [
    (loop, way)
    for loop in LOOPS
    for way in WAYS
    # What libuv shares with a child cannot be taken from that: it must not come back to the loop.
    if loop != "uvloop" or way in {"os._exit", "killed"}
]


@pytest.mark.parametrize(("loop", "way"), CASES)
async def test_the_parent_goes_on(loop: str, way: str, port: int, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = ("-m", "functional.fork_and_leave", loop, way, tmp_path, port)
    async with program(*arguments, environment=environment) as running:
        parent = int((await running.line(r"^parent (\d+)$"))[1])
        ended = int((await running.line(r"^child ended with (-?\d+)$"))[1])
        await running.line("parent went on")
        assert await running.end(tracebacks=way == "exception") == 0
    output = "".join(running.output)
    assert ended == ENDS[way], output
    assert [noise for noise in NOISE if noise in output] == [], output
    assert output.count("atexit of the child") == (way == "sys.exit")
    assert ("LookupError: of the child" in output) == (way == "exception")
    assert LedgerBook(tmp_path).sessions() == [f"open {parent}", f"close {parent}"]
