"""Real clients as the library holds them, for tests of what is around them."""

from __future__ import annotations

from typing import Any

from cluster_client import Leadership
from cluster_client._real_client import RealClient
from support.logs import LogRecorder


class Told:
    """A leadership that keeps what a real client tells it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.leadership = Leadership(
            lost=lambda reason: self.events.append(f"lost: {reason}"),
            step_down=lambda reason: self.events.append(f"step down: {reason}"),
            state_changed=lambda: self.events.append("state changed"),
        )


class Provided:
    """Has the same real client for ever."""

    def __init__(self, real: RealClient) -> None:
        self.current = real

    async def wait(self) -> RealClient:
        return self.current


def real_client(
    cls: type[Any],
    *args: Any,
    close: str | None = None,
    threads: int = 1,
    log: LogRecorder | None = None,
    told: Told | None = None,
    **kwargs: Any,
) -> RealClient:
    return RealClient(
        cls,
        args,
        kwargs,
        close=close,
        threads=threads,
        leadership=(told or Told()).leadership,
        log=log or LogRecorder(),
    )
