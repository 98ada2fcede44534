"""A leader that goes while three clients use it, as in the original's suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster_client import Client, cluster
from support.listening import Recorder
from support.times import scaled

SERVICE = {"service": "demo"}
Listener = Callable[[Any], None]


class Providers:
    """Knows the hosts of a service; another instance knows nothing of what this one was told."""

    def __init__(self) -> None:
        self._hosts: list[str] = []
        self._listeners: list[Listener] = []

    def subscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self._listeners.append(listener)
        if self._hosts:
            listener(self._hosts)

    def unsubscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self._listeners.remove(listener)

    async def publish(self, reg: dict[str, Any]) -> None:
        self._hosts = sorted({*self._hosts, reg["host"]})
        for listener in self._listeners:
            listener(self._hosts)


def provider_client(port: int) -> Client[Providers]:
    return cluster(
        Providers,
        port=port,
        sticky_publish=True,
        max_wait_time=scaled(10),
        response_timeout=scaled(5),
    ).create()


async def test_subscriptions_and_publications_outlive_their_leader(port: int) -> None:
    async with (
        provider_client(port) as one,
        provider_client(port) as two,
        provider_client(port) as three,
    ):
        clients = (one, two, three)
        assert [client.is_leader for client in clients] == [True, False, False]
        seen = [Recorder() for _ in clients]
        await one.subscribe(SERVICE, seen[0])
        await two.subscribe(SERVICE, seen[1])
        await two.publish({**SERVICE, "host": "299"})
        await seen[0].until(["299"])
        await seen[1].until(["299"])

        await one.aclose()

        await three.subscribe(SERVICE, seen[2])
        await seen[2].until_last(["299"])  # published anew, as the next leader knew nothing
        await three.publish({**SERVICE, "host": "300"})
        for listener in seen[1:]:
            await listener.until_last(["299", "300"])
        assert sorted(client.is_leader for client in clients) == [False, False, True]
