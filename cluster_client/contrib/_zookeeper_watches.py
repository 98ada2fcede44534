"""Subscriptions to nodes of ZooKeeper, kept through broken connections."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Final, TypeVar

from kazoo.exceptions import NoNodeError, SessionExpiredError

from cluster_client.contrib._zookeeper_nodes import check_path
from cluster_client.contrib._zookeeper_requests import Request, Requests, Steps, Upkeep, log

__all__ = ["Listener", "Watches"]

Listener = Callable[[Any], object]

_KEYS: Final = {"path", "watch"}
_UNKNOWN: Final = object()

T = TypeVar("T")


class Watch(Upkeep[T | None]):
    """What all listeners at one node share, and the one watch that kazoo has for them.

    kazoo cannot take a watch back. One without listeners is kept until it is triggered, and
    used again if somebody subscribes meanwhile: subscribing time and again costs no memory.

    Args:
        requests: Takes the steps.
        path: Of the node.
        forget: Called with the watch when nothing holds it any more.
    """

    def __init__(
        self, requests: Requests, path: str, forget: Callable[[Watch[Any]], object]
    ) -> None:
        super().__init__(requests, path)
        self._forget = forget
        self._listeners: list[Listener] = []
        self._seen: Any = _UNKNOWN

    @property
    def is_wanted(self) -> bool:
        return bool(self._listeners)

    def refresh(self) -> None:
        if self._listeners:
            super().refresh()
        else:
            self._forget(self)

    def add(self, listener: Listener) -> None:
        """Tell a listener the value, at once if it is known, and each one that follows."""
        self._listeners.append(listener)
        if self._seen is not _UNKNOWN:
            self._tell(listener)
        else:
            self.refresh()

    def remove(self, listener: Listener) -> None:
        """Tell a listener nothing more."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners:
            self.stop()
            self._seen = _UNKNOWN

    @abc.abstractmethod
    def present(self, seen: T) -> Any:
        """Return a value of its own for a listener."""

    def succeeded(self, value: T | None) -> None:
        if value != self._seen:
            self._seen = value
            for listener in list(self._listeners):
                self._tell(listener)

    def failed(self, exc: Exception) -> bool:
        if isinstance(exc, SessionExpiredError):
            return False
        self.complain(exc)
        return True

    def _tell(self, listener: Listener) -> None:
        try:
            listener(None if self._seen is None else self.present(self._seen))
        except Exception:
            log.exception("a listener at %s failed", self._path)


class DataWatch(Watch[tuple[bytes, int]]):
    """Watches the data of a node, and whether it is there."""

    def steps(self) -> Steps[tuple[bytes, int] | None]:
        while True:
            try:
                data, stat = yield Request("get", self._path, watch=self.on_event)
                return data or b"", stat.version
            except NoNodeError:
                pass
            # Only this request leaves a watch where there is no node.
            if (yield Request("exists", self._path, watch=self.on_event)) is None:
                return None

    def present(self, seen: tuple[bytes, int]) -> dict[str, Any]:
        return {"data": seen[0], "version": seen[1]}


class ChildrenWatch(Watch[tuple[str, ...]]):
    """Watches the names below a node, and whether it is there."""

    def steps(self) -> Steps[tuple[str, ...] | None]:
        while True:
            try:
                names = yield Request("get_children", self._path, watch=self.on_event)
                return tuple(sorted(names))
            except NoNodeError:
                pass
            if (yield Request("exists", self._path, watch=self.on_event)) is None:
                return None

    def present(self, seen: tuple[str, ...]) -> list[str]:
        return list(seen)


_KINDS: Final[dict[str, type[Watch[Any]]]] = {"data": DataWatch, "children": ChildrenWatch}


class Watches:
    """All subscriptions of a session.

    Args:
        requests: Of the session.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._watches: dict[tuple[str, str], Watch[Any]] = {}

    def subscribe(self, reg: object, listener: Listener) -> None:
        """See `ZooKeeperClient.subscribe`."""
        kind, path = key = check_reg(reg)
        watch = self._watches.get(key)
        if watch is None:

            def forget(unused: Watch[Any]) -> None:
                if self._watches.get(key) is unused:
                    del self._watches[key]

            watch = self._watches[key] = _KINDS[kind](self._requests, path, forget)
        watch.add(listener)

    def unsubscribe(self, reg: object, listener: Listener) -> None:
        """See `ZooKeeperClient.unsubscribe`."""
        watch = self._watches.get(check_reg(reg))
        if watch is not None:
            watch.remove(listener)

    def connected(self) -> None:
        """Set all watches again: kazoo forgets them with a connection."""
        for watch in list(self._watches.values()):
            watch.refresh()


def check_reg(reg: object) -> tuple[str, str]:
    """Return kind and path.

    Raises:
        ValueError: If the registration is not one for a node.
    """
    if not isinstance(reg, dict) or "path" not in reg:
        raise ValueError(f"reg={reg!r} must be a dict with a path, like {{'path': '/x'}}")
    if unknown := reg.keys() - _KEYS:
        raise ValueError(f"reg={reg!r} has {sorted(map(str, unknown))}; it may have path and watch")
    kind = reg.get("watch", "data")
    if kind not in ("data", "children"):
        raise ValueError(f"watch={kind!r} in reg={reg!r} must be 'data' or 'children'")
    return kind, check_path(reg["path"])
