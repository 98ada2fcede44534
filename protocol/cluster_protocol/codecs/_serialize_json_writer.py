"""Writing serialize-json."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from cluster_protocol.codecs._base36 import bytes_text, indexes, integer_text, run
from cluster_protocol.codecs._depth import MAX_DEPTH, too_deep
from cluster_protocol.codecs._javascript import (
    MAX_EXACT,
    JavaScriptError,
    Undefined,
    in_key_order,
    is_double,
    number_text,
)
from cluster_protocol.codecs._path import type_flaw
from cluster_protocol.codecs._serialize_json_tables import MAX_LEVEL, MIN_ROWS, table_of


class Token:
    """Tokens of the structure that are no indexes."""

    TRUE: Final = "-1"
    FALSE: Final = "-2"
    NULL: Final = "-3"
    EMPTY_STRING: Final = "-4"
    UNDEFINED: Final = "-5"
    OBJECT: Final = "$"
    ARRAY: Final = "@"
    BYTES: Final = "*"
    ERROR: Final = "#"
    END: Final = "]"


class UnfitError(ValueError):
    """A value that cannot be carried; the text fits behind "it is"."""


class Writer:
    """One document: first `walk`, then `finish`.

    Args:
        max_depth: How deeply the value may nest.
    """

    def __init__(self, max_depth: int = MAX_DEPTH) -> None:
        self._max_depth = max_depth
        # A table has as many levels below it.
        self._deepest_table = min(MAX_LEVEL, max_depth - MAX_LEVEL - 1)
        self._tokens: list[str] = []
        self._strings: list[str] = []
        self._indexes = indexes()
        # Numbers come behind the strings in the dictionary: what their indexes are is known
        # when all strings are. Until then only their places among the tokens are.
        self._integers: list[int] = []
        self._integer_places: list[int] = []
        self._floats: list[float] = []
        self._float_places: list[int] = []
        self._dates: list[int] = []
        self._date_places: list[int] = []
        self._bytes: list[tuple[int, bytes]] = []  # with the number of integers before it

    def walk(self, value: object) -> None:  # noqa: PLR0912, PLR0915 - calls would cost more
        """Take *value* apart; raises whatever code of the values raises, too."""
        # Not `append` itself: calls of a list's method are what Python 3.11 makes fast.
        tokens, strings, next_index = self._tokens, self._strings, self._indexes.__next__
        integers, integer_places = self._integers, self._integer_places
        max_depth = self._max_depth
        floats, float_places = self._floats, self._float_places
        outer: list[Iterator[Any]] = []
        items: Iterator[Any] = iter((value,))
        while True:
            for item in items:
                kind = type(item)
                if kind is str:
                    if item:
                        strings.append(item)
                        tokens.append(next_index())
                    else:
                        tokens.append(Token.EMPTY_STRING)
                elif kind is int:
                    if not -MAX_EXACT <= item <= MAX_EXACT:
                        _require_double(item)
                    integers.append(item)
                    integer_places.append(len(tokens))
                    tokens.append("")
                elif kind is float:
                    if item.is_integer():
                        integers.append(int(item))
                        integer_places.append(len(tokens))
                    else:
                        floats.append(item)
                        float_places.append(len(tokens))
                    tokens.append("")
                elif kind is bool:
                    tokens.append(Token.TRUE if item else Token.FALSE)
                elif item is None:
                    tokens.append(Token.NULL)
                else:
                    if kind is dict:
                        tokens.append(Token.OBJECT)
                        inner: Iterator[Any] | None = _flat(item)
                    elif kind is list:
                        if len(item) >= MIN_ROWS and self._walk_table(item, len(outer)):
                            continue
                        tokens.append(Token.ARRAY)
                        inner = iter(item)
                    else:
                        inner = self._enter(item)
                    if inner is not None:
                        if len(outer) == max_depth:
                            raise ValueError(too_deep(max_depth))
                        outer.append(items)
                        items = inner
                        break  # and go on with what is in there
            else:
                if not outer:
                    return
                items = outer.pop()
                tokens.append(Token.END)

    def _walk_table(self, items: list[Any], depth: int) -> bool:
        """Take *items* apart if they are a table; return whether they are."""
        table = table_of(items) if depth <= self._deepest_table else None
        if table is None:
            return False
        integers, integer_places, floats, float_places = table.numbers(len(self._tokens) + 1)
        self._integers += integers
        self._integer_places += integer_places
        self._floats += floats
        self._float_places += float_places
        strings, tokens = table.strings(self._indexes)
        self._strings += strings
        self._tokens.append(Token.ARRAY)
        self._tokens += tokens
        self._tokens.append(Token.END)
        return True

    def _enter(self, item: Any) -> Iterator[object] | None:
        """Open a container and return its content; of anything else write all, return ``None``."""
        match item:
            case dict():
                self._tokens.append(Token.OBJECT)
                return _flat(item)
            case list() | tuple():
                self._tokens.append(Token.ARRAY)
                return iter(item)
            case JavaScriptError():
                self._tokens.append(Token.ERROR)
                return chain(("message", item.message, "stack", item.stack), _flat(item.fields))
            case bytes() | bytearray() | memoryview():
                self._tokens.append(Token.BYTES)
                self._bytes.append((len(self._integers), bytes(item)))
            case dt.datetime():
                self._dates.append(_milliseconds(item))
                self._date_places.append(len(self._tokens))
                self._tokens.append("")
            case Undefined():
                self._tokens.append(Token.UNDEFINED)
            # Subclasses of what is above, enumerations for instance, whose methods may lie.
            case str():
                self.walk(str.__str__(item))
            case int():
                self.walk(int.__index__(item))
            case float():
                self.walk(float.__float__(item))
            case _:
                raise UnfitError(type_flaw(item))
        return None

    def finish(self) -> bytes:
        """Return the whole document."""
        integers: list[bytes | bytearray] = []
        runs: list[list[bytes]] = []  # the indexes of each bytes
        done, index = 0, len(self._strings)
        for before, data in (*self._bytes, (len(self._integers), b"")):
            if before > done:
                integers += b"|", "|".join(map(integer_text, self._integers[done:before])).encode()
                index = self._place(self._integer_places[done:before], index)
                done = before
            if data:
                integers += b"|", *bytes_text(data)
            runs.append(run(index, len(data)))
            index += len(data)
        index = self._place(self._float_places, index)
        self._place(self._date_places, index)
        head, *tails = self._structure().encode().split(b"*")
        # One join of all pieces: with megabytes of bytes each copy shows.
        pieces: list[bytes | bytearray] = [
            _strings_text(self._strings).encode(),
            b"^",
            *integers[1:],
            b"^",
            _floats_text(self._floats).encode(),
            b"^",
            "|".join(map(integer_text, self._dates)).encode(),
            b"^",
            head,
        ]
        for numbers, tail in zip(runs, tails, strict=False):
            pieces += b"*", *numbers, b"]", tail
        return b"".join(pieces)

    def _place(self, places: list[int], index: int) -> int:
        """Number the *places* from *index* on; return the next index."""
        tokens = self._tokens
        texts = b"".join(run(index, len(places))).decode().split("|")
        for place, text in zip(places, texts, strict=False):  # of no places one text, and empty
            tokens[place] = text
        return index + len(places)

    def _structure(self) -> str:
        """Return the structure, with an asterisk for each bytes."""
        text = "|".join(self._tokens)
        # There is a bar between values only. Brackets are nothing but that: indexes are digits.
        for superfluous in ("$|", "@|", "#|", "|]"):
            text = text.replace(superfluous, superfluous.strip("|"))
        return text


def _require_double(number: int) -> None:
    if not is_double(number):
        raise UnfitError(
            "an int that is no double: JavaScript's numbers are exact up to 2**53, send it as a str"
        )


def _flat(members: dict[str, object]) -> Iterator[object]:
    """Return key, value, key, value, … in JavaScript's order of keys."""
    # The least key tells whether one may begin with a digit. It also fails where not all are str.
    if members and min(members) < ":":
        members = in_key_order(members)
    return chain.from_iterable(members.items())


def _strings_text(strings: list[str]) -> str:
    text = "|".join(strings)
    if text.count("|") < max(len(strings), 1):  # no string has a bar: all can be escaped at once
        return _escaped(text)
    return "|".join([_escaped(string).replace("|", "%7C") for string in strings])


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("+", "%2B").replace("^", "%5E").replace(" ", "+")


def _floats_text(floats: list[float]) -> str:
    text = "|".join(map(repr, floats))
    # Python's spelling is JavaScript's but for exponents, infinities and NaN.
    return "|".join(map(number_text, floats)) if "e" in text or "n" in text else text


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_FIRST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_LAST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)


def _milliseconds(moment: dt.datetime) -> int:
    """Return JavaScript's time value.

    Raises:
        UnfitError: If a Date cannot be it.
    """
    if moment.utcoffset() is None:
        raise UnfitError("a datetime without time zone: a Date of Node is a point in time")
    if not _FIRST <= moment <= _LAST:
        raise UnfitError("a datetime beyond the years 1 to 9999 of UTC")
    milliseconds, rest = divmod(moment - _EPOCH, _MILLISECOND)
    if rest:
        raise UnfitError("a datetime with microseconds: round it to milliseconds, as Node has them")
    return milliseconds
