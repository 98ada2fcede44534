"""How deeply values nest (SPEC 2.3).

A scalar nests 0 levels deep, an empty list 1. A document of n bytes nests no deeper than n, so a
small one costs a comparison of integers; nor is it deeper than it has brackets. What that does not
settle is looked at level by level, not part by part: a table has two levels, however many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Final, TypeAlias

__all__ = [
    "DEFAULT_DEPTH",
    "MAX_DEPTH",
    "Opener",
    "check_max_depth",
    "nesting_of",
    "too_deep",
]

DEFAULT_DEPTH: Final = 100
MAX_DEPTH: Final = 500
"""The greatest limit: the libraries give up between 500 and 1,000 levels."""

Opener: TypeAlias = Callable[[Any], Iterable[object]]
"""Gives the parts of what it is called with."""

_CONTAINERS: Final[Mapping[type, Opener]] = {
    dict: dict.values,
    list: iter,
    tuple: iter,
    set: iter,
    frozenset: iter,
}


def too_deep(limit: int) -> str:
    """Say that a value nests deeper than it may; fits behind "it is"."""
    return f"nested deeper than {limit} levels, or contains itself"


def check_max_depth(limit: int) -> int:
    """Return *limit*, if a codec can have it.

    Raises:
        ValueError: If it cannot.
    """
    if not 1 <= limit <= MAX_DEPTH:
        raise ValueError(f"max_depth={limit!r} must be from 1 to {MAX_DEPTH}")
    return limit


def nesting_of(
    value: object, limit: int, *, open_others: Callable[[type], Opener | None] = lambda _: None
) -> int:
    """Return how deeply a value nests; one more than *limit* stands for all that is deeper.

    Args:
        value: Lists, dicts, tuples and sets, and what is in there. Finite: it was encoded, or has
            just been decoded.
        limit: Greatest depth of interest.
        open_others: Tells how to open instances of another class, if they hold anything.
    """
    level: list[Any] = [value]
    for depth in range(limit + 1):
        kinds = set(map(type, level))
        inner: list[Any] = []
        found = False
        for kind in kinds:
            opener = _CONTAINERS.get(kind) or _opener_of_base(kind) or open_others(kind)
            if opener is None:
                continue
            found = True
            if depth == limit:
                return limit + 1
            parts: list[Any] = level
            if len(kinds) > 1:
                parts = [part for part in level if type(part) is kind]
            # No `map`, which a StopIteration of users' code would end in silence.
            inner += chain.from_iterable([opener(part) for part in parts])
            if issubclass(kind, dict) and not _has_plain_keys(parts):
                inner += chain.from_iterable(parts)
        if not found:
            return depth
        level = inner
    raise AssertionError  # the loop returns


def _has_plain_keys(dicts: list[dict[object, object]]) -> bool:
    try:
        "".join(chain.from_iterable(dicts))  # type: ignore[arg-type] # fails on what is no text
    except TypeError:
        return False
    return True


def _opener_of_base(kind: type) -> Opener | None:
    for base, opener in _CONTAINERS.items():
        if issubclass(kind, base):
            return opener
    return None
