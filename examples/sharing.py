"""What leader.py, follower.py and api_client.py have in common: arguments, and Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import structlog

from cluster_client import Client, ClusterClientError, cluster
from database_client import DatabaseClient

OMEGA: Final = 0x3A9
"""The character that the examples vote for."""


def shared_database(port: int, file: Path, *, is_leader: bool | None) -> Client[DatabaseClient]:
    """Return a `DatabaseClient` that all processes share.

    Its methods are synchronous, so those to be shared are named: only coroutine methods are
    delegated by themselves. What is idempotent is sent again if the leader dies meanwhile.
    """
    return (
        cluster(DatabaseClient, port=port, is_leader=is_leader)
        .delegate("pid", idempotent=True)
        .delegate("get", idempotent=True)
        .delegate("find", idempotent=True)
        .delegate("vote_once", idempotent=True)
        .delegate("vote")
        .create(file)
    )


def run(main: Callable[[int, Path], Awaitable[None]], *, description: str | None) -> None:
    """Run *main* with the arguments of the command line until it ends or Ctrl-C stops it."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=7777, help="election port (%(default)s)")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    default_file = Path(tempfile.gettempdir(), "characters.db")
    parser.add_argument("--file", type=Path, default=default_file, help="%(default)s")
    arguments = parser.parse_args()
    # The library logs each change of state; here only what goes wrong is of interest.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    failures: list[str] = []
    try:
        anyio.run(_until_stopped, main, arguments.port, arguments.file, backend=arguments.backend)
    except* ClusterClientError as group:  # a port in use, or no leader: no traceback for these
        failures = [str(error) for error in group.exceptions]
    sys.exit("; ".join(failures) or 0)


async def _until_stopped(
    main: Callable[[int, Path], Awaitable[None]], port: int, file: Path
) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(_stop_on_signal, tasks.cancel_scope)
        await main(port, file)
        tasks.cancel_scope.cancel()


async def _stop_on_signal(
    scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    # Cancelling is all that it takes: the client closes in order, a leader hands over.
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return
