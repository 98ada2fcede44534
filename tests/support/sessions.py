"""A real client with a session that can be lost, resumed and left standing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from cluster_client import Client, Leadership, cluster
from support.times import scaled


@dataclass
class Service:
    """What stands behind all sessions of one test."""

    instances: list[Sessions] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    value: str = "first"
    fail_starts: int = 0
    hang_start: bool = False
    tokens: int = 0

    @property
    def current(self) -> Sessions:
        return self.instances[-1]


class Sessions:
    """A real client; each instance has a token, and takes over its predecessor's if it is told."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.token = ""
        self.number = len(service.instances) + 1
        self.listeners: list[Callable[[Any], None]] = []
        service.instances.append(self)

    def attach_leadership(self, leadership: Leadership) -> None:
        self.leadership = leadership

    def restore(self, state: dict[str, str]) -> None:
        if state["token"] == "broken":
            raise ValueError("what a token")
        self.token = state["token"]

    def snapshot(self) -> dict[str, str] | None:
        return {"token": self.token} if self.token else None

    def hand_over(self) -> None:
        self._note("hands over")

    async def start(self) -> None:
        if self.service.fail_starts:
            self.service.fail_starts -= 1
            raise ConnectionRefusedError("the service is down")
        if self.service.hang_start:
            await anyio.sleep_forever()
        if not self.token:
            self.service.tokens += 1
            self.token = f"token {self.service.tokens}"
        self._note("starts")

    async def aclose(self) -> None:
        self._note("closes")

    async def get(self) -> str:
        return self.token

    async def change(self, token: str) -> None:
        """Have another token."""
        self.token = token
        self.leadership.state_changed()

    def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        self.listeners.append(listener)
        listener(f"{self.service.value} of {self.number}")

    def unsubscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        self.listeners.remove(listener)

    def publish(self, reg: dict[str, str]) -> None:
        self._note(f"publishes {reg['name']}")

    def _note(self, event: str) -> None:
        self.service.events.append(f"{self.number} {event}")


def sessions_client(service: Service, port: int, **options: Any) -> Client[Sessions]:
    times = {"response_timeout": scaled(5), "drain_timeout": scaled(1)}
    return cluster(Sessions, port=port, **{**times, **options}).create(service)
