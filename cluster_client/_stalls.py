"""Dropping followers that take nothing of what waits for them (SPEC section 9.2)."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, Final

import anyio

from cluster_client._peer import Peer
from cluster_client._states import LinkState

__all__ = ["drop_stalled"]

_STEPS: Final = 50
_LONGEST_STEP: Final = 5.0


class _Stall:
    """How long a follower has taken nothing."""

    def __init__(self) -> None:
        self._taken = -1
        self._lasted = 0.0

    def after(self, step: float, peer: Peer) -> float:
        """Return for how many seconds it has, now that *step* more of them have passed."""
        taken = peer.link.taken
        waits = peer.waiting_bytes > 0
        self._lasted = self._lasted + step if waits and taken == self._taken else 0.0
        self._taken = taken
        return self._lasted


async def drop_stalled(peers: Collection[Peer], limit: float, log: Any) -> None:
    """Close the links of followers from which the operating system takes nothing, until cancelled.

    Time is counted in steps of our own. So a leader that was stopped itself, for however long,
    counts one step for that, and drops nobody who could not do anything meanwhile.

    Args:
        peers: The followers; may change at any time.
        limit: For how many seconds bytes may wait of which none is taken; ``math.inf`` for ever.
        log: Logger, already bound to the client.
    """
    if limit == math.inf:
        return
    step = min(limit / _STEPS, _LONGEST_STEP)
    stalls: dict[Peer, _Stall] = {}
    while True:
        await anyio.sleep(step)
        stalls = {
            peer: stalls.get(peer) or _Stall()
            for peer in peers
            if peer.link.state is not LinkState.CLOSED
        }
        for peer, stall in stalls.items():
            if stall.after(step, peer) >= limit:
                log.warning(
                    "follower_stalled",
                    follower_pid=peer.pid,
                    seconds=limit,
                    waiting_bytes=peer.waiting_bytes,
                )
                peer.link.close(f"it took nothing for {limit:g} s")
