"""The codec serialize-json, ours and Node's, on the same payloads in one run.

::

    PYTHONPATH=tests python -m interop.codec_speed [DIRECTORY]

*DIRECTORY* is where ``node_modules`` is, by default this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from cluster_protocol.codecs import SerializeJsonCodec

HERE: Final = Path(__file__).parent
ROUNDS: Final = 11

Times = dict[str, dict[str, float]]
"""Milliseconds, by payload and direction."""


def payloads() -> dict[str, Any]:
    """Return what ``values.js`` measures, too."""
    rows = [
        {
            "id": i,
            "name": f"row number {i}",
            "price": i * 1.25,
            "active": i % 2 == 0,
            "tags": ["a", "b"],
        }
        for i in range(5000)
    ]
    return {"rows": rows, "bytes": os.urandom(1 << 20)}


def one_round(values: dict[str, Any]) -> Times:
    codec = SerializeJsonCodec()
    times: Times = {}
    for name, value in values.items():
        start = time.perf_counter()
        data = codec.encode(value)
        middle = time.perf_counter()
        codec.decode(data)
        end = time.perf_counter()
        times[name] = {"encode": (middle - start) * 1000, "decode": (end - middle) * 1000}
    return times


def measure(directory: Path = HERE, rounds: int = ROUNDS) -> tuple[Times, Times]:
    """Return the medians of ours and of Node's, from rounds in turn."""
    values = payloads()
    node = subprocess.Popen(
        ["node", HERE / "values.js", "time-loop"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NODE_PATH": str(directory / "node_modules")},
    )
    with node:
        assert node.stdin is not None
        assert node.stdout is not None
        ours: list[Times] = []
        theirs: list[Times] = []
        for _ in range(2 + rounds):  # the first ones warm up
            ours.append(one_round(values))
            print(file=node.stdin, flush=True)
            theirs.append(json.loads(node.stdout.readline()))
        node.stdin.close()
    return _medians(ours[2:]), _medians(theirs[2:])


def _medians(rounds: list[Times]) -> Times:
    return {
        name: {
            direction: median(times[name][direction] for times in rounds)
            for direction in directions
        }
        for name, directions in rounds[0].items()
    }


def report(ours: Times, theirs: Times) -> str:
    lines = [f"{'':16}{'ours, ms':>10}{'Node, ms':>10}{'faster':>9}"]
    for name, directions in ours.items():
        for direction, mine in {**directions, "both": sum(directions.values())}.items():
            its = theirs[name].get(direction, sum(theirs[name].values()))
            lines.append(f"{name:6} {direction:9}{mine:10.1f}{its:10.1f}{its / mine:8.1f}x")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(*measure(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)))  # noqa: T201
