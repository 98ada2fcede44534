"""What a real client may tell the leadership that it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Leadership"]

_LONGEST_REASON: Final = 1000


class Leadership:
    """Given to a real client that has a method ``attach_leadership(leadership)``.

    The method is called once, after the constructor and before the start. It must be an
    ordinary function. Each instance of the real client gets a `Leadership` of its own, which
    says nothing any more when that instance has been replaced or closed.

    All methods may be called from any thread, return at once and never fail.

    Args:
        lost: Takes what `lost` was told.
        step_down: Takes what `step_down` was told.
        state_changed: Has the state taken anew.

    Source:
        SPEC sections 8.6 and 8.7. Node's cluster-client has nothing of the kind: there a real
        client that has lost its session stays the leader's for ever.
    """

    def __init__(
        self,
        *,
        lost: Callable[[str], None],
        step_down: Callable[[str], None],
        state_changed: Callable[[], None],
    ) -> None:
        self._lost = lost
        self._step_down = step_down
        self._state_changed = state_changed

    def lost(self, reason: str) -> None:
        """Say that this instance is of no use any more: its session expired, its pool broke.

        The leader closes it and makes another one, with backoff. Calls wait meanwhile,
        subscribers are told of the gap and subscribed anew, sticky publications are made again.

        Args:
            reason: For logs and for the subscribers.
        """
        self._lost(_text(reason))

    def step_down(self, reason: str) -> None:
        """Say that another process should lead, as this one cannot serve any more.

        The leaders of all channels that this process serves on the port hand over, and it does
        not race for 2 s.

        Args:
            reason: For logs.
        """
        self._step_down(_text(reason))

    def state_changed(self) -> None:
        """Say that ``snapshot()`` has something new to tell: it is called again soon.

        However often this is said while ``snapshot()`` is running, it is called once more after
        that. What ``snapshot()`` says itself, or what it calls in its own context, counts for
        nothing: its result tells what it has changed.
        """
        self._state_changed()


def _text(reason: str) -> str:
    """Make a text that can be sent, whatever was given."""
    try:
        return str(reason)[:_LONGEST_REASON].encode("utf-8", "backslashreplace").decode()
    except Exception as exc:
        return f"(a reason that raised {type(exc).__name__})"
