"""Snapshots on their way to one follower (SPEC section 6.8)."""

from __future__ import annotations

from typing import Final

import anyio.abc

from cluster_client._link import Link
from cluster_client._snapshots import Snapshot
from cluster_protocol import Snapshot as SnapshotMessage

__all__ = ["OutgoingSnapshots"]

_HEAD: Final = SnapshotMessage().encode()


class OutgoingSnapshots:
    """Sends a follower what it is to start from; one that does not read gets the latest later.

    Args:
        link: To the follower.
        tasks: Where that is waited for.
    """

    def __init__(self, link: Link, tasks: anyio.abc.TaskGroup) -> None:
        self._link = link
        self._tasks = tasks
        self._waiting: bytes | None = None

    def put(self, snapshot: Snapshot | None) -> None:
        """Send a snapshot, or that there is none any more."""
        is_waiting = self._waiting is not None
        self._waiting = b"" if snapshot is None else snapshot.data
        if not self._link.congested:
            self._send()
        elif not is_waiting:
            self._tasks.start_soon(self._send_later)

    async def _send_later(self) -> None:
        await self._link.wait_writable()
        self._send()

    def _send(self) -> None:
        snapshot, self._waiting = self._waiting, None
        if snapshot is not None:
            self._link.post(_HEAD, snapshot)
