"""States and events over one subscription, for leaders that know only that (SPEC section 6.10)."""

from __future__ import annotations

from cluster_client._registrations import Registration
from cluster_client._subscriptions import EncodedValue

__all__ = ["SharedSubscriptions"]


class SharedSubscriptions:
    """Who wants the values that come under a key: subscriptions to states, to events, or both."""

    def __init__(self) -> None:
        self._wanted: dict[str, set[str]] = {}
        self._last: dict[str, EncodedValue] = {}

    def add(self, registration: Registration) -> bool:
        """Add a subscription; tells whether the leader is to know: of the first one, and of
        one that was added before, as that has failed.
        """
        wanted = self._wanted.setdefault(registration.for_state.key, set())
        again = registration.key in wanted
        wanted.add(registration.key)
        return again or len(wanted) == 1

    def remove(self, registration: Registration) -> bool:
        """Remove a subscription; tells whether it was the last one."""
        key = registration.for_state.key
        wanted = self._wanted.get(key, set())
        wanted.discard(registration.key)
        if wanted:
            return False
        self._last.pop(key, None)
        return self._wanted.pop(key, None) is not None

    def receivers(self, key: str, value: EncodedValue) -> set[str]:
        """Return the keys of the subscriptions that a value is for, and keep it for later ones."""
        wanted = self._wanted.get(key)
        if wanted is None:
            return {key}  # nobody's: it was unsubscribed from
        self._last[key] = value
        return wanted

    def last(self, registration: Registration) -> EncodedValue | None:
        """Return the last value that came, for a state that joins the events."""
        return self._last.get(registration.key)
