"""The real client in Python, and its facade: twins of ``config_client.js``, ``config_api.js``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster_client import APIClientBase


class ConfigClient:
    """What has one connection to a configuration centre, were there one."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {"greeting": "hello"}
        self._listeners: dict[str, list[Callable[[Any], None]]] = {}

    async def get_value(self, key: str) -> Any:
        """Return the value of a key."""
        return self._values.get(key)

    def subscribe(self, reg: dict[str, Any], listener: Callable[[Any], None]) -> None:
        """Call *listener* with each value of a key."""
        key = reg["key"]
        self._listeners.setdefault(key, []).append(listener)
        if key in self._values:
            listener(self._values[key])

    def unsubscribe(self, reg: dict[str, Any], listener: Callable[[Any], None]) -> None:
        """End that."""
        self._listeners[reg["key"]].remove(listener)

    def publish(self, reg: dict[str, Any]) -> None:
        """Set a value."""
        self._values[reg["key"]] = reg["value"]
        for listener in self._listeners.get(reg["key"], []):
            listener(reg["value"])


class ConfigAPI(APIClientBase[ConfigClient]):
    """The facade: its users don't see who leads, nor in which language."""

    data_client = ConfigClient
    cluster_options = {"name": "config", "camel_case": True}  # getValue on the wire, as in Node
