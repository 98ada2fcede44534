"""The contenders' own code, one module each; each imports its library and no other."""

from __future__ import annotations

import importlib
from typing import Any, Final

_DRIVERS: Final = {
    "ours-asyncio": ("ours", "OnAsyncio"),
    "ours-uvloop": ("ours", "OnUvloop"),
    "ours-trio": ("ours", "OnTrio"),
    "managers": ("managers", "Managers"),
    "rpyc": ("rpyc_service", "Rpyc"),
    "grpc": ("grpc_aio", "GrpcAio"),
    "zmq": ("zmq_asyncio", "ZmqAsyncio"),
    "dirty": ("dirty", "Dirty"),
    "floor-asyncio": ("floors", "OnAsyncio"),
    "floor-blocking": ("floors", "Blocking"),
}


def load(name: str) -> Any:
    """Return the driver of a contender, and import what it needs."""
    module, cls = _DRIVERS[name]
    return getattr(importlib.import_module(f"benchmarks.drivers.{module}"), cls)()
