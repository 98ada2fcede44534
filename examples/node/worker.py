"""An application worker in Python: it follows. Usage: python worker.py PORT [VALUE]."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import Any

import anyio

from cluster_client import ClusterBuilder, cluster
from config_client import ConfigAPI


def app_cluster(cls: type[Any], /, *, port: int, **options: Any) -> ClusterBuilder[Any]:
    """Fill in what the framework knows, as ``app.cluster`` does in Egg."""
    return cluster(cls, **options, port=port, is_leader=False)


async def main(port: int, value: str | None) -> None:
    """Follow until SIGTERM or Ctrl-C."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with ConfigAPI(cluster=partial(app_cluster, port=port)) as config:
            greeting = await config.get_value("greeting")
            print(f"python {os.getpid()} follows, the greeting is {greeting}", flush=True)
            await config.subscribe(
                {"key": "greeting"},
                lambda value: print(f"python {os.getpid()} got {value}", flush=True),
            )
            if value is not None:
                await config.publish({"key": "greeting", "value": value})
            async for _ in signals:
                return


if __name__ == "__main__":
    anyio.run(
        main, int(sys.argv[1]) if sys.argv[1:] else 7777, sys.argv[2] if sys.argv[2:] else None
    )
