"""Base 36 in bulk: consecutive numbers, and the numbers of bytes, at the speed of C loops.

serialize-json writes bytes as one number each, twice: the number, and its index.
One by one that takes some 400 ns a byte, with what is here 40.
"""

from __future__ import annotations

import codecs
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, count, repeat
from typing import Final

from cluster_protocol.codecs._javascript import (
    EXACT_DIGITS,
    MAX_EXACT,
    from_base36,
    to_base36,
)

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ENDINGS: Final[list[str]] = [first + second for first in _DIGITS for second in _DIGITS]
_BLOCK: Final = 36**2
_BLOCKS: Final = _BLOCK**2
_SHORT: Final[list[str]] = [*_DIGITS, *_ENDINGS[len(_DIGITS) :]]
"""The numbers of one or two digits, each at its own index."""

_ALPHABET: Final = f"{_DIGITS}-|".encode()


# ------------------------------------------------------------- single numbers


def integer_text(number: int) -> str:
    """Return `to_base36` of an int that is exactly a double."""
    if 0 <= number < _BLOCK:
        return _SHORT[number]
    if 0 < number < _BLOCKS:
        return _SHORT[number // _BLOCK] + _ENDINGS[number % _BLOCK]
    if not -MAX_EXACT <= number <= MAX_EXACT:
        return to_base36(number)
    if number < 0:
        return f"-{integer_text(-number)}"
    endings = ""
    while number >= _BLOCK:
        endings = _ENDINGS[number % _BLOCK] + endings
        number //= _BLOCK
    return _SHORT[number] + endings


def numbers_of(part: bytes) -> list[float]:
    """Return the numbers that *part* joins with ``|``; see `from_base36`.

    Raises:
        ValueError: If it is not that.
    """
    if part.translate(None, _ALPHABET):  # `int` takes small letters, too, and _ and blanks
        raise ValueError(f"not numbers in base 36: {part[:80]!r}")
    texts = part.decode().split("|") if part else []
    if max(map(len, texts), default=0) <= EXACT_DIGITS:
        return list(map(int, texts, repeat(36)))
    return [int(text, 36) if len(text) <= EXACT_DIGITS else from_base36(text) for text in texts]


# --------------------------------------------------------- consecutive numbers


def indexes() -> Iterator[str]:
    """Count from 0, for ever."""
    return chain.from_iterable(
        _block(number)[:-1].decode().split("|") if number else _SHORT for number in count()
    )


def run(start: int, size: int) -> list[bytes]:
    """Return *size* consecutive numbers from *start* on with ``|`` between them, in pieces."""
    pieces = [b""]
    end = start + size
    while start < end:
        number, first = divmod(start, _BLOCK)
        last = min(first + end - start, _BLOCK)
        block = _block(number)
        pieces.append(block[_offset(number, first, block) : _offset(number, last, block)])
        start += last - first
    pieces[-1] = pieces[-1][:-1]
    return pieces


def run_size(text: bytes, begin: int, end: int) -> tuple[int, int]:
    """Return the first of the consecutive numbers that ``text[begin:end]`` is, and how many.

    The latter is 0 if it is something else.
    """
    head = text[begin : begin + EXACT_DIGITS + 1].partition(b"|")[0]
    first = int(from_base36(head.decode()))
    start, position = first, begin
    while position < end:
        number, skipped = divmod(start, _BLOCK)
        block = _block(number)
        block = block[_offset(number, skipped, block) :]
        if end - position < len(block):  # the last one, perhaps without its end
            rest = text[position:end] + b"|"
            return first, start - first + rest.count(b"|") if block.startswith(rest) else 0
        if not text.startswith(block, position):
            return first, 0
        position += len(block)
        start += _BLOCK - skipped
    return first, 0  # ends with a bar


def _offset(number: int, position: int, block: bytes) -> int:
    """Return where in a block a number begins."""
    if number == 0:  # the only one with numbers of one digit
        return 2 * position + max(position - len(_DIGITS), 0)
    return position * len(block) // _BLOCK


# 1,024 blocks are 7 MB, and enough for 1.3 MB of bytes: 0.6 ms a MiB where they are found, 20 ms
# where they are made.
@lru_cache(maxsize=1024)
def _block(number: int) -> bytes:
    """Return the 1,296 numbers that only differ in their last two digits, each with ``|``."""
    if number == 0:
        return f"{'|'.join(_SHORT)}|".encode()
    beginning = integer_text(number)
    return f"{beginning}{f'|{beginning}'.join(_ENDINGS)}|".encode()


# ----------------------------------------------------------------------- bytes

_PIECE: Final = 1 << 16
"""So many bytes are converted at once: what that takes stays in the processor's cache, and is
not memory that the kernel has to clear first."""

_FIRST_DIGIT: Final = "".join(text[0] for text in _SHORT[:256]).encode()
_SECOND_DIGIT: Final = "".join(f"{text} "[1] for text in _SHORT[:256]).encode()
"""A blank where a byte has one digit."""


def bytes_text(data: bytes) -> list[bytes | bytearray]:
    """Return the numbers of *data* with ``|`` between them, in pieces."""
    pieces: list[bytes | bytearray] = [b""]
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        # In columns: three assignments, and then one pass that drops the blanks. 5 ms a MiB; to
        # look up and join each byte's text takes 60.
        columns = bytearray(3 * len(piece))
        columns[0::3] = piece.translate(_FIRST_DIGIT)
        columns[1::3] = piece.translate(_SECOND_DIGIT)
        columns[2::3] = b"|" * len(piece)
        pieces.append(columns.translate(None, b" "))
    pieces[-1] = pieces[-1][:-1]
    return pieces


# The same backwards: two columns are read as the low and the high byte of characters that a
# character map turns into one byte each. Maps are fast (a tenth) if character 0 stands for byte
# 0, so digits are first turned into their values, and a blank into 0.
_LOW: Final = bytes(_DIGITS.find(chr(char)) & 0xFF for char in range(256))
_HIGH: Final = bytes(f" {_DIGITS}".find(chr(char)) & 0xFF for char in range(256))
_BYTE_OF_CHARACTER: Final = codecs.charmap_build(
    "".join(
        chr(_LOW[first] | _HIGH[second] << 8)
        for first, second in zip(_FIRST_DIGIT, _SECOND_DIGIT, strict=True)
    )
)


_BAR_TO_TAB: Final = bytes.maketrans(b"|", b"\t")


def _bytes_of(data: bytes, begin: int, end: int) -> bytes | None:
    """Return the bytes whose numbers are in ``data[begin:end]``, if it has such numbers only."""
    contents = []
    while begin < end:
        limit = begin + 3 * _PIECE
        stop = end if end <= limit else data.rfind(b"|", begin, limit)
        content = _bytes_of_piece(data[begin:stop]) if stop > 0 else None
        if content is None:
            return None
        contents.append(content)
        begin = stop + 1
    return b"".join(contents)


def _bytes_of_piece(text: bytes) -> bytes | None:
    """Return the bytes whose numbers *text* has with ``|`` between them.

    Returns:
        ``None``, or more bytes than numbers, if these are not what `bytes_text` writes.
    """
    if any(blank in text for blank in (b" ", b"\t", b"\n", b"\r")):
        return None
    # 9 ms a MiB, and all else together 7; `replace` takes 5, as there are so many.
    columns = text.translate(_BAR_TO_TAB).expandtabs(3)
    if len(columns) % 3 == 0:  # the last number, which is not filled up, has three digits or none
        return None
    low = columns[0::3].translate(_LOW)
    high = columns[1::3].translate(_HIGH)  # one less if the last number has one digit
    characters = bytearray(2 * len(low))
    characters[0::2] = low
    characters[1 : 2 * len(high) : 2] = high
    try:
        text16 = characters.decode("utf-16-le")
        return codecs.charmap_encode(text16, "strict", _BYTE_OF_CHARACTER)[0]
    except UnicodeEncodeError:
        return None


class IntegerPart:
    """The numbers that a document joins with ``|``; those that are bytes are never split.

    Args:
        data: The document.
        begin: Where the numbers begin.
        end: Where they end.
        first: The index of the first one.

    Attributes:
        count: How many there are.
    """

    def __init__(self, data: bytes, begin: int, end: int, first: int) -> None:
        self.count = data.count(b"|", begin, end) + 1 if begin < end else 0
        self._data = data
        self._end = end
        self._behind = first + self.count
        self._index = first  # how far `take` has come, and where that is
        self._offset = begin
        self._starts: list[int] = []  # indexes of what was taken, ascending
        self._ends: list[int] = []
        self._sums = [0]  # how many of them the first ones are together
        self._left: list[tuple[int, int]] = []  # offsets of what is between them
        self._left_from = begin

    def take(self, start: int, size: int) -> bytes | None:
        """Take *size* numbers from index *start* on out, as bytes.

        Returns:
            ``None`` if there are none such behind those that were taken before.
        """
        if not self._index <= start <= self._behind - size:
            return None
        begin = self._skip(self._offset, start - self._index)
        self._index = start + size
        # Mostly bytes are all there is, or come last.
        self._offset = end = (
            self._end + 1 if self._index == self._behind else self._skip(begin, size)
        )
        content = _bytes_of(self._data, begin, end - 1)
        if content is None or len(content) != size:
            return None
        self._starts.append(start)
        self._ends.append(start + size)
        self._sums.append(self._sums[-1] + size)
        self._left.append((self._left_from, begin - 1))
        self._left_from = end
        return content

    def _skip(self, offset: int, size: int) -> int:
        """Return the offset behind the next *size* numbers, which are not the last."""
        # Each step goes as far as it may: a number has a bar at least. It takes log(size) steps.
        while size > _FEW:
            passed = self._data.count(b"|", offset, offset + size)
            offset += size
            size -= passed
        for _ in range(size):
            offset = self._data.index(b"|", offset) + 1
        return offset

    def left(self) -> list[float]:
        """Return the numbers that were not taken.

        Raises:
            ValueError: If one of them is not a number.
        """
        bounds = (*self._left, (self._left_from, self._end))
        pieces = [self._data[begin:end] for begin, end in bounds if begin < end]
        numbers = numbers_of(b"|".join(pieces))
        if len(numbers) + self._sums[-1] != self.count:
            raise ValueError("an integer has no digits")
        return numbers

    def moved(self, indexes: list[int]) -> list[int]:
        """Return what becomes of *indexes* when only what is `left` is kept.

        Raises:
            TakenError: If one of them is of a number that was taken.
        """
        return list(map(self._moved, indexes)) if self._starts else indexes

    def _moved(self, index: int) -> int:
        before = bisect_right(self._starts, index)
        if before and index < self._ends[before - 1]:
            raise TakenError
        return index - self._sums[before]


class TakenError(Exception):
    """A number that was taken as one of bytes is also referred to by itself.

    Node's encoder never does that, but its decoder would understand.
    """


_FEW: Final = 8
"""So few numbers are passed over one by one."""
