"""The state machines of the toolkit (SPEC section 7), each one enum and one table."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

__all__ = ["ClientState", "LinkState", "StateMachine"]


class ClientState(enum.Enum):
    """Where a client is between opening and closing.

    ::

        NEW ─> ELECTING ─┬─> LEADING ───> HANDING_OVER ─┐
                  ^      ├─> FOLLOWING ─> DRAINING ─────┤
                  └──────┴──────────────────────────────┘
        any but NEW ─> CLOSED
    """

    NEW = "new"
    """Not entered yet."""
    ELECTING = "electing"
    """Looking for a leader, or about to become it. Calls wait."""
    LEADING = "leading"
    """This process owns the real client."""
    HANDING_OVER = "handing over"
    """It gives leadership up: running calls finish, new ones wait."""
    FOLLOWING = "following"
    """Another process owns the real client."""
    DRAINING = "draining"
    """The leader said goodbye: answers still arrive, new calls wait."""
    CLOSED = "closed"
    """The end; a closed client cannot be opened again."""


class LinkState(enum.Enum):
    """Where a registered connection is, seen from either side."""

    OPEN = "open"
    DRAINING = "draining"
    """Goodbye was acknowledged: the follower sends no more requests."""
    CLOSED = "closed"


CLIENT_TRANSITIONS: Final[Mapping[ClientState, frozenset[ClientState]]] = {
    ClientState.NEW: frozenset({ClientState.ELECTING}),
    ClientState.ELECTING: frozenset(
        {ClientState.LEADING, ClientState.FOLLOWING, ClientState.CLOSED}
    ),
    ClientState.LEADING: frozenset(
        {ClientState.HANDING_OVER, ClientState.ELECTING, ClientState.CLOSED}
    ),
    ClientState.HANDING_OVER: frozenset({ClientState.ELECTING, ClientState.CLOSED}),
    ClientState.FOLLOWING: frozenset(
        {ClientState.DRAINING, ClientState.ELECTING, ClientState.CLOSED}
    ),
    ClientState.DRAINING: frozenset({ClientState.ELECTING, ClientState.CLOSED}),
    ClientState.CLOSED: frozenset(),
}

LINK_TRANSITIONS: Final[Mapping[LinkState, frozenset[LinkState]]] = {
    LinkState.OPEN: frozenset({LinkState.DRAINING, LinkState.CLOSED}),
    LinkState.DRAINING: frozenset({LinkState.CLOSED}),
    LinkState.CLOSED: frozenset(),
}

StateT = TypeVar("StateT", bound=enum.Enum)


class StateMachine(Generic[StateT]):
    """Holds a state and refuses transitions that its table lacks.

    Args:
        initial: First state.
        transitions: What may follow each state.
        on_change: Called with the old and the new state after each change.
    """

    def __init__(
        self,
        initial: StateT,
        transitions: Mapping[StateT, frozenset[StateT]],
        on_change: Callable[[StateT, StateT], None] | None = None,
    ) -> None:
        self._state = initial
        self._transitions = transitions
        self._on_change = on_change

    @property
    def state(self) -> StateT:
        return self._state

    def to(self, state: StateT) -> None:
        """Go to *state*.

        Raises:
            RuntimeError: If the table has no such transition; a bug of ours.
        """
        old = self._state
        if state not in self._transitions[old]:
            raise RuntimeError(f"no transition from {old} to {state}")
        self._state = state
        if self._on_change is not None:
            self._on_change(old, state)
