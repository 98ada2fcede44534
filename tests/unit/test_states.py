"""State machines: what may follow what, and nothing else."""

from __future__ import annotations

import enum

import pytest

from cluster_client import ClientState
from cluster_client._states import CLIENT_TRANSITIONS, LINK_TRANSITIONS, LinkState, StateMachine


def test_a_machine_goes_where_its_table_allows_and_tells() -> None:
    changes: list[tuple[LinkState, LinkState]] = []
    machine = StateMachine(
        LinkState.OPEN, LINK_TRANSITIONS, lambda old, new: changes.append((old, new))
    )
    machine.to(LinkState.DRAINING)
    machine.to(LinkState.CLOSED)
    assert machine.state is LinkState.CLOSED
    assert changes == [
        (LinkState.OPEN, LinkState.DRAINING),
        (LinkState.DRAINING, LinkState.CLOSED),
    ]


def test_a_machine_refuses_everything_else() -> None:
    machine = StateMachine(LinkState.CLOSED, LINK_TRANSITIONS)
    for state in LinkState:
        with pytest.raises(RuntimeError, match=r"no transition from LinkState.CLOSED to LinkState"):
            machine.to(state)
    assert machine.state is LinkState.CLOSED


@pytest.mark.parametrize(
    ("states", "transitions"),
    [(ClientState, CLIENT_TRANSITIONS), (LinkState, LINK_TRANSITIONS)],
)
def test_every_state_has_its_row(
    states: type[enum.Enum], transitions: dict[enum.Enum, frozenset[enum.Enum]]
) -> None:
    assert set(transitions) == set(states)


def test_a_client_is_the_state_table_of_the_specification() -> None:
    """SPEC 7.1."""
    new, electing, leading, following, handing_over, draining, closed = (
        ClientState.NEW,
        ClientState.ELECTING,
        ClientState.LEADING,
        ClientState.FOLLOWING,
        ClientState.HANDING_OVER,
        ClientState.DRAINING,
        ClientState.CLOSED,
    )
    assert {(old, to) for old, row in CLIENT_TRANSITIONS.items() for to in row} == {
        (new, electing),
        (electing, leading),
        (electing, following),
        (leading, handing_over),
        (following, draining),
        *((state, electing) for state in (leading, following, handing_over, draining)),
        *((state, closed) for state in ClientState if state not in (new, closed)),
    }


def test_a_link_is_the_state_table_of_the_specification() -> None:
    """SPEC 7.2."""
    assert {(old, to) for old, row in LINK_TRANSITIONS.items() for to in row} == {
        (LinkState.OPEN, LinkState.DRAINING),
        (LinkState.OPEN, LinkState.CLOSED),
        (LinkState.DRAINING, LinkState.CLOSED),
    }
