"""Egg's agent process, in Python: it leads. Usage: python agent.py PORT."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import Any

import anyio

from cluster_client import ClusterBuilder, cluster
from config_client import ConfigAPI


def agent_cluster(cls: type[Any], /, *, port: int, **options: Any) -> ClusterBuilder[Any]:
    """Fill in what the framework knows, as ``agent.cluster`` does in Egg."""
    return cluster(cls, **options, port=port, is_leader=True)


async def main(port: int) -> None:
    """Lead until SIGTERM or Ctrl-C."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with ConfigAPI(cluster=partial(agent_cluster, port=port)) as config:
            print(f"python {os.getpid()} leads", flush=True)
            await config.subscribe(
                {"key": "greeting"},
                lambda value: print(f"python {os.getpid()} got {value}", flush=True),
            )
            async for _ in signals:
                return


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if sys.argv[1:] else 7777)
