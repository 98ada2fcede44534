"""What a scenario is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.contenders import Contender


@dataclass(frozen=True)
class Pace:
    """How long everything takes.

    Attributes:
        quick: Whether a look is enough.
        rounds: How often every contender has its turn.
    """

    quick: bool
    rounds: int

    @property
    def seconds(self) -> float:
        """Of one measurement."""
        return 0.15 if self.quick else 0.5


@dataclass(frozen=True)
class Scenario:
    """Something to be measured.

    Attributes:
        name: For ``--only`` and in the results.
        title: For people.
        unit: Of the figures.
        measure: Yields one round of a contender: what, and how much.
        is_rate: Whether more is better, and a ratio to Node's makes sense.
        once: Whether one round is enough: it takes long, and varies little.
    """

    name: str
    title: str
    unit: str
    measure: Callable[[Contender, Pace], Iterator[tuple[str, float]]]
    is_rate: bool = True
    once: bool = False
