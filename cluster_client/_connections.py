"""How many connections there are on a port, and what becomes of those that are too many."""

from __future__ import annotations

import math
from typing import Any, Final
from weakref import WeakSet

from cluster_client import _clock

__all__ = ["Connections", "Place"]

_BURST: Final = 10.0
"""Seconds in which refused connections are logged once."""


class Place:
    """What a connection takes up; made by `Connections.enter`.

    One that is forgotten is free again: nothing that goes wrong elsewhere can use up a port.
    """

    __slots__ = ("__weakref__", "_places")

    def __init__(self, places: WeakSet[Place]) -> None:
        self._places = places

    def free(self) -> None:
        """Give it up: the connection is closed. May be repeated."""
        self._places.discard(self)


class Connections:
    """The connections of a port, those without a registration among them.

    Attributes:
        refused: How many were refused, ever.
    """

    def __init__(self) -> None:
        self.refused = 0
        self._places: WeakSet[Place] = WeakSet()
        self._told_at = -math.inf
        self._told_of = 0

    def __len__(self) -> int:
        return len(self._places)

    def has_room(self, limit: int, log: Any) -> bool:
        """Tell whether one more connection may come; if not, that is logged, once per burst."""
        if len(self._places) < limit:
            return True
        self.refused += 1
        if _clock.now() - self._told_at >= _BURST:
            self._told_at = _clock.now()
            new, self._told_of = self.refused - self._told_of, self.refused
            log.warning("connections_refused", limit=limit, refused=new)
        return False

    def enter(self) -> Place:
        """Count one more."""
        place = Place(self._places)
        self._places.add(place)
        return place
