"""Reading serialize-json, more strictly than Node does.

Loops in C read the dictionaries and the tokens, one in Python puts the value together.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from contextlib import suppress
from typing import Any, Final

from cluster_protocol.codecs._base36 import IntegerPart, TakenError, numbers_of, run_size
from cluster_protocol.codecs._javascript import JavaScriptError
from cluster_protocol.codecs._serialize_json_tokens import (
    ARRAY,
    BYTES,
    END,
    ERROR,
    OBJECT,
    check,
    indexes_of,
    tokens_of,
)

_PARTS: Final = 5

_MIN_RUN: Final = 128
"""Bytes whose indexes have more characters than this are read all at once, if they can be."""


def read(data: bytes, undefined: object, max_depth: int) -> object:
    """Return the value of a document.

    Args:
        data: The document.
        undefined: What JavaScript's undefined becomes.
        max_depth: How deeply the value may nest.

    Raises:
        ValueError: If *data* is not one; says why.
    """
    try:
        return _Reader(data, undefined, max_depth, _MIN_RUN).value()
    except TakenError:
        return _Reader(data, undefined, max_depth, math.inf).value()


class _Reader:
    """One document.

    Args:
        data: The document.
        undefined: What JavaScript's undefined becomes.
        max_depth: How deeply the value may nest.
        min_run: What takes *min_run* or fewer characters is not read at once.
    """

    def __init__(self, data: bytes, undefined: object, max_depth: int, min_run: float) -> None:
        # Offsets, as copies of megabytes show. For bytes, even of the structure there is none.
        count = data.count(b"^") + 1
        if count != _PARTS:
            raise ValueError(f"it has {count} parts, not {_PARTS}: {data[:80]!r}")
        integers = data.index(b"^") + 1
        floats = data.index(b"^", integers) + 1
        dates = data.index(b"^", floats) + 1
        structure = data.index(b"^", dates) + 1
        strings = _strings_of(data[: integers - 1].decode())
        others = [
            *_floats_of(data[floats : dates - 1]),
            *map(_date, numbers_of(data[dates : structure - 1])),
        ]
        self._data = data
        self._max_depth = max_depth
        self._integers = IntegerPart(data, integers, floats - 1, first=len(strings))
        self._count = len(strings) + self._integers.count + len(others)
        if self._count > len(data) - structure:
            # A peer could have us build millions of entries for nothing.
            raise ValueError("it has more entries than its structure can refer to")
        self._text, runs = _without_bytes(data, structure)
        self._contents: list[bytes | tuple[int, int]] = [
            (self._take(*run) if run[1] - run[0] > min_run else None) or run for run in runs
        ]
        self._entries = [*strings, *self._integers.left(), *others]
        self._constants = (undefined, "", None, False, True)  # -5, -4, -3, -2, -1

    def _take(self, begin: int, end: int) -> bytes | None:
        """Return the bytes with these indexes, if they are consecutive."""
        first, size = run_size(self._data, begin, end)
        return self._integers.take(first, size) if size else None

    def value(self) -> object:
        """Return the value."""
        try:
            return self._build(self._integers.moved(tokens_of(self._text)))
        except IndexError as exc:
            raise ValueError(
                f"it has an index beyond its {self._count} entries, or a bracket too many"
            ) from exc

    def _build(self, tokens: list[int]) -> object:
        """Return the value; raises `IndexError` for wrong tokens, which are not looked for."""
        entries, constants, contents = self._entries, self._constants, iter(self._contents)
        max_depth = self._max_depth
        outer: list[Any] = []  # of each bracket that is open: the one around it, and its items
        bracket = 0
        items: list[object] = []
        for token in tokens:
            if token >= 0:
                items.append(entries[token])
            elif token == END:
                whole: Any = items if bracket == ARRAY else _members(items)
                if bracket == ERROR:
                    whole = _error(whole)
                items = outer.pop()
                bracket = outer.pop()
                items.append(whole)
            elif token > OBJECT:
                items.append(constants[token])
            elif token == BYTES:
                content = next(contents)
                items.append(content if isinstance(content, bytes) else self._bytes(*content))
            else:
                if len(outer) == 2 * max_depth:
                    raise ValueError(f"it nests deeper than {max_depth} levels")
                outer.append(bracket)
                outer.append(items)
                bracket, items = token, []
        if outer:
            raise ValueError("it ends within brackets")
        if len(items) != 1:
            raise ValueError(f"it has {len(items)} values, not one")
        return items[0]

    def _bytes(self, begin: int, end: int) -> bytes:
        """Return the bytes with these indexes, one by one."""
        if begin == end:
            return b""
        text = self._data[begin:end].decode("ascii")
        check(text)
        indexes = self._integers.moved(indexes_of(text))
        items: list[Any] = [self._entries[index] for index in indexes]
        if min(indexes) < 0 or not set(map(type, items)) <= {int}:
            raise ValueError("it has bytes with an item that is no integer")
        return bytes(items)  # fails beyond 0 to 255


# ------------------------------------------------------------------- structure


def _without_bytes(data: bytes, offset: int) -> tuple[str, list[tuple[int, int]]]:
    """Return the structure without what its bytes consist of, and where that is."""
    texts: list[bytes] = []
    runs: list[tuple[int, int]] = []
    while (begin := data.find(b"*", offset) + 1) > 0:
        end = data.find(b"]", begin)
        if end < 0:
            raise ValueError("it ends within bytes")
        texts.append(data[offset:begin])
        runs.append((begin, end))
        offset = end + 1
    texts.append(data[offset:])
    return b"".join(texts).decode("ascii"), runs


def _members(items: list[object]) -> dict[Any, object]:
    if len(items) % 2:
        raise ValueError("a key has no value")
    pairs = iter(items)
    try:
        members: dict[Any, object] = dict(zip(pairs, pairs))  # noqa: B905 - strict is a fifth slower
        "".join(members)  # fails on any key that is no text, without a loop
    except TypeError as exc:
        raise ValueError("a key is no string") from exc
    return members


def _error(members: dict[Any, object]) -> JavaScriptError:
    """Make an error as Node does; a message or stack that is no text stays among the fields."""
    message, stack = (
        str(members.pop(key)) if type(members.get(key)) is str else ""
        for key in ("message", "stack")
    )
    return JavaScriptError(message, stack, members)


# ---------------------------------------------------------------- dictionaries


def _strings_of(part: str) -> list[str]:
    if not part:
        return []
    text = part.replace("+", " ")
    if "%" not in text:
        return text.split("|")
    text = text.replace("%2B", "+").replace("%5E", "^")
    if "%7C" not in text:
        return text.replace("%25", "%").split("|")
    return [string.replace("%7C", "|").replace("%25", "%") for string in text.split("|")]


_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# Digits in one way only: else a long row of them that is no number takes time by its square.
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?")


def _floats_of(part: bytes) -> list[float]:
    texts = part.decode("ascii").split("|") if part else []
    if not part.translate(None, b"0123456789.e+-|"):  # else `float` takes more than it should
        with suppress(ValueError):
            return list(map(float, texts))
    return list(map(_float, texts))


def _float(text: str) -> float:
    if text in _NOT_FINITE:
        return _NOT_FINITE[text]
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError(f"not a number of JavaScript: {text[:80]!r}")
    return float(text)


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _date(milliseconds: float) -> dt.datetime:
    try:
        return _EPOCH + dt.timedelta(milliseconds=milliseconds)
    except OverflowError as exc:
        raise ValueError("a date is beyond the years 1 to 9999") from exc
