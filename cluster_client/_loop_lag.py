"""How late the event loop runs: measured once for all clients of a loop, and told."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

import anyio
from anyio.lowlevel import RunVar

from cluster_client import _clock

__all__ = ["LoopLag"]

_LONGEST_STEP: Final = 0.5
_SHORTEST_STEP: Final = 0.05
_MEMORY: Final = 60.0


class LoopLag:
    """Warns one client's log when the event loop runs late, while `run` runs.

    Args:
        warning: From how many seconds on; with ``math.inf`` nothing is measured either.
        log: Logger, already bound to the client.
    """

    def __init__(self, warning: float, log: Any) -> None:
        self.warning = warning
        self._log = log
        self._late = False
        self._monitor: _Monitor | None = None

    @property
    def worst(self) -> float:
        """The worst lag of the last minute, in seconds; 0 if nothing is measured."""
        return 0.0 if self._monitor is None else self._monitor.worst

    async def run(self) -> None:
        """Measure, or let another client of this event loop do so, until cancelled."""
        if self.warning < math.inf:
            self._monitor = _monitor()
            await self._monitor.serve(self)

    def take(self, lag: float) -> None:
        """Take note of a lag, and log it if it is the first of an episode."""
        if lag < self.warning:
            self._late = False
        elif not self._late:
            self._late = True
            self._log.warning("event_loop_blocked", lag=round(lag, 3))


class _Monitor:
    """Measures for all clients of an event loop, in the task of one of them."""

    def __init__(self) -> None:
        self._clients: set[LoopLag] = set()
        self._lags: deque[tuple[float, float]] = deque()  # when, and falling: what may be the worst
        self._measuring = False
        self._vacant = anyio.Event()

    @property
    def worst(self) -> float:
        self._forget(_clock.now())
        return self._lags[0][1] if self._lags else 0.0

    async def serve(self, client: LoopLag) -> None:
        """Tell a client; measure, if nobody else does."""
        self._clients.add(client)
        try:
            while True:
                while self._measuring:
                    await self._vacant.wait()
                self._measuring = True
                self._vacant = anyio.Event()
                try:
                    await self._measure()
                finally:
                    self._measuring = False
                    self._vacant.set()
        finally:
            self._clients.discard(client)

    async def _measure(self) -> None:
        while True:
            # A lag is seen from the end of a pause on: the shorter, the less of it is missed.
            least = min(client.warning for client in self._clients)
            step = min(max(least / 2, _SHORTEST_STEP), _LONGEST_STEP)
            due = _clock.now() + step
            await anyio.sleep(step)
            now = _clock.now()
            lag = max(0.0, now - due)
            self._keep(now, lag)
            for client in list(self._clients):
                client.take(lag)

    def _keep(self, now: float, lag: float) -> None:
        self._forget(now)
        while self._lags and self._lags[-1][1] <= lag:
            self._lags.pop()
        self._lags.append((now, lag))

    def _forget(self, now: float) -> None:
        while self._lags and self._lags[0][0] < now - _MEMORY:
            self._lags.popleft()


_monitor_of_run: Final[RunVar[_Monitor]] = RunVar("cluster_client_loop_monitor")


def _monitor() -> _Monitor:
    """Return the running event loop's."""
    try:
        return _monitor_of_run.get()
    except LookupError:
        monitor = _Monitor()
        _monitor_of_run.set(monitor)
        return monitor
