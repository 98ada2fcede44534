"""Values to send, and values that nobody can."""

from __future__ import annotations

from hypothesis import strategies as st

from cluster_protocol import Json


def json_values(*, max_leaves: int = 12) -> st.SearchStrategy[Json]:
    """Any value of JSON; ints no longer than every reader takes."""
    leaves: st.SearchStrategy[Json] = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**40), 10**40),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=max_leaves,
    )


def nested(depth: int, innermost: object = None) -> list[object]:
    """Return a list in a list in a list …"""
    value: list[object] = [innermost]
    for _ in range(depth - 1):
        value = [value]
    return value
