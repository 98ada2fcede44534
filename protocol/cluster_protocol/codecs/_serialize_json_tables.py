"""Tables in serialize-json: lists of rows of one shape, taken apart column by column.

What takes time is to look at each value. Columns are looked at by loops in C: to encode 5,000
rows of seven values takes 13.5 ms instead of 17.5. What is not quite a table is left to the
general way, which writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, compress, islice
from operator import itemgetter, not_
from typing import Any, Final

from cluster_protocol.codecs._javascript import MAX_EXACT

MIN_ROWS: Final = 32
"""Fewer rows are hardly faster than one by one."""

_SAMPLE: Final = 8
"""So many rows, or a few more, show first whether it is worth while to look at all."""

MAX_LEVEL: Final = 8
"""Tables are not looked for deeper, nor deeper than that in a table: what is found to be none
is looked at again for each level of it."""

_CONSTANTS: Final = {True: "-1", False: "-2", None: "-3", "": "-4"}


def table_of(items: list[Any]) -> Table | None:
    """Return *items*, of which there are `MIN_ROWS`, as a table, if they are one."""
    if type(items[0]) is not dict or not Table(items[:: -(len(items) // _SAMPLE)]).fits:
        return None
    table = Table(items)
    return table if table.fits else None


class Table:
    """Rows, as far as they are a table.

    Args:
        rows: A list of lists or dicts.

    Attributes:
        fits: Whether they are a table; otherwise nothing else is of use.
    """

    def __init__(self, rows: list[Any]) -> None:
        self._size = len(rows)
        self._tokens: list[Sequence[str] | None] = []  # a column for each token of a row
        self._strings: list[tuple[int, Sequence[str | None]]] = []  # with the number of its token
        self._has_gaps = False  # in place of strings
        self._numbers: list[tuple[int, Sequence[float]]] = []
        self._has_floats = False
        self.fits = self._add(rows, MAX_LEVEL)

    def _add(self, column: Sequence[Any], levels: int) -> bool:
        """Add a column, which may be one of rows; return whether it fits."""
        kinds = set(map(type, column))
        if kinds == {dict}:
            return levels > 0 and self._add_dicts(column, levels - 1)
        if kinds == {list}:
            return levels > 0 and self._add_lists(column, levels - 1)
        if kinds <= {int, float}:
            return self._add_numbers(column, kinds)
        if kinds <= {bool, type(None)}:
            self._tokens.append(list(map(_CONSTANTS.__getitem__, column)))
        elif kinds <= {str, type(None)}:
            self._add_strings(column)
            self._has_gaps |= not all(column)
        else:
            return False
        return True

    def _add_dicts(self, rows: Sequence[dict[str, Any]], levels: int) -> bool:
        if len(set(map(len, rows))) > 1:
            return False  # sooner than below, as that is what most rows differ in
        keys = list(chain.from_iterable(rows))
        # No key's own methods are called: all are plain texts before they are compared.
        if set(map(type, keys)) != {str} or keys != list(rows[0]) * self._size:
            return False
        if min(rows[0]) < ":":  # may have to be put in JavaScript's order
            return False
        self._tokens.append(["$"] * self._size)
        for key in rows[0]:
            self._add_strings([key] * self._size)
            if not self._add(list(map(itemgetter(key), rows)), levels):
                return False
        self._tokens.append(["]"] * self._size)
        return True

    def _add_lists(self, rows: Sequence[list[Any]], levels: int) -> bool:
        if len(set(map(len, rows))) > 1:
            return False
        self._tokens.append(["@"] * self._size)
        if not all(self._add(column, levels) for column in zip(*rows, strict=True)):
            return False
        self._tokens.append(["]"] * self._size)
        return True

    def _add_strings(self, column: Sequence[str | None]) -> None:
        self._strings.append((len(self._tokens), column))
        self._tokens.append(None)

    def _add_numbers(self, column: Sequence[float], kinds: set[type]) -> bool:
        self._numbers.append((len(self._tokens), column))
        self._tokens.append(None)
        self._has_floats |= float in kinds
        if float in kinds:
            column = [item for item in column if type(item) is int] if int in kinds else ()
        return not column or -MAX_EXACT <= min(column) <= max(column) <= MAX_EXACT

    def strings(self, indexes: Iterator[str]) -> tuple[list[str], list[str]]:
        """Return the strings in order, and the tokens of all rows; those of numbers are empty.

        Args:
            indexes: Of the strings.
        """
        strings = self._by_rows([column for _, column in self._strings])
        if self._has_gaps:
            texts = [next(indexes) if item else _CONSTANTS[item] for item in strings]
            strings = list(filter(None, strings))
        else:
            texts = list(islice(indexes, len(strings)))
        columns = [column or [""] * self._size for column in self._tokens]
        for number, (place, _) in enumerate(self._strings):
            columns[place] = texts[number :: len(self._strings)]
        return strings, self._by_rows(columns)

    def numbers(self, start: int) -> tuple[list[int], list[int], list[float], list[int]]:
        """Return the integers and their places, and the same of other numbers.

        Args:
            start: The place of the first token.
        """
        width = len(self._tokens)
        end = start + width * self._size
        places = self._by_rows([range(start + place, end, width) for place, _ in self._numbers])
        numbers = self._by_rows([column for _, column in self._numbers])
        if not self._has_floats:
            return numbers, places, [], []
        integral = list(map(float.is_integer, map(float, numbers)))
        uneven = list(map(not_, integral))
        return (
            list(map(int, compress(numbers, integral))),
            list(compress(places, integral)),
            list(compress(numbers, uneven)),
            list(compress(places, uneven)),
        )

    def _by_rows(self, columns: list[Any]) -> list[Any]:
        """Return what is in the columns row by row."""
        items: list[Any] = [None] * (len(columns) * self._size)
        for number, column in enumerate(columns):
            items[number :: len(columns)] = column
        return items
