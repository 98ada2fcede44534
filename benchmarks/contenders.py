"""Who takes part, and in what."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ENVIRONMENT: Final = HERE / ".env"
"""Where ``make bench`` installs the peers: see ``install.py``."""


@dataclass(frozen=True)
class Contender:
    """A library under load.

    Attributes:
        name: For ``--contenders`` and in the results.
        title: For people.
        kind: Which program its processes run: ``"async"``, ``"blocking"`` or ``"node"``.
        scenarios: What it takes part in.
        skips: Payloads that it cannot carry.
    """

    name: str
    title: str
    kind: str
    scenarios: frozenset[str]
    skips: frozenset[str] = frozenset()

    @property
    def warm_up(self) -> float:
        """Seconds of load before a figure is taken, in a quick run, too.

        Long enough that more of it changes nothing. Node compiles while it runs: in its first
        quarter of a second it makes a fifth of the calls that it makes after a second or two,
        and who measures then flatters all the others.
        """
        return 2.0 if self.kind == "node" else 0.5

    def command(self) -> list[str]:
        """Return the command of a process of it; which role it plays is told later."""
        if self.kind == "node":
            return ["node", str(HERE / "node" / "worker.js"), self.name]
        program = "benchmarks.worker" if self.kind == "async" else "benchmarks.blocking_worker"
        return [sys.executable, "-m", program, self.name]


_ALL: Final = frozenset(
    {"calls", "payloads", "fanout", "stream", "failover", "idle", "crowd", "neighbour"}
)
_NODE: Final = _ALL - {"stream"}  # of which it has none
_CALLS: Final = frozenset({"calls"})

CONTENDERS: Final = (
    Contender("ours-asyncio", "ours, asyncio", "async", _ALL),
    Contender("ours-uvloop", "ours, uvloop", "async", _ALL),
    Contender("ours-trio", "ours, trio", "async", _ALL),
    Contender("node", "Node's cluster-client", "node", _NODE),
    Contender(
        "node-json",
        "Node's, JSON transcode",
        "node",
        _NODE - {"failover", "idle"},  # where values do not matter
        frozenset({"bytes 1 MiB"}),
    ),
    Contender("managers", "multiprocessing.managers", "blocking", _CALLS),
    Contender("rpyc", "RPyC", "blocking", _CALLS | {"stream"}),
    Contender("grpc", "grpc.aio", "async", _CALLS | {"stream"}),
    Contender("zmq", "pyzmq asyncio", "async", _CALLS),
    Contender("dirty", "gunicorn dirty arbiter", "async", _CALLS),
    Contender("floor-asyncio", "floor: asyncio.Protocol", "async", _CALLS | {"crowd"}),
    Contender("floor-blocking", "floor: blocking sockets", "blocking", _CALLS),
)
OURS: Final = ("ours-asyncio", "ours-uvloop", "ours-trio")
PEERS: Final = ("managers", "rpyc", "grpc", "zmq", "dirty")
"""The Python peers."""

BY_NAME: Final = {contender.name: contender for contender in CONTENDERS}
