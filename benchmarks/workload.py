"""What is sent, and how the answers are checked; its twin is ``node/workload.js``.

Small values are compared in full. Of large ones the length and the ends are: comparing a
megabyte would be measured, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

SMALL: Final = {"id": 7, "name": "row", "tags": ["a", "b"], "price": 1.5}
ROWS: Final = 5_000
_TEXT: Final = "0123456789abcdef"


def payload(name: str) -> Any:
    """Return the value that is called *name* in all scenarios and languages."""
    return _PAYLOADS[name]()


def checker(name: str) -> Callable[[Any], bool]:
    """Return a function that says whether an answer is what was sent."""
    sent = payload(name)
    if name in {"none", "small"}:
        return lambda answer: bool(answer == sent)
    length, first, last = len(sent), sent[0], sent[-1]
    return lambda answer: (
        type(answer) is type(sent)
        and len(answer) == length
        and answer[0] == first
        and answer[-1] == last
    )


def numbered(number: int) -> dict[str, Any]:
    """Return one of many small values that can be told apart."""
    return {**SMALL, "id": number}


def _text(length: int) -> str:
    return _TEXT * (length // len(_TEXT))


def _document() -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "name": f"row {number}",
            "price": number + 0.25,
            "active": number % 2 == 0,
            "tags": ["a", f"tag {number % 7}"],
        }
        for number in range(ROWS)
    ]


_PAYLOADS: Final[dict[str, Callable[[], Any]]] = {
    "none": lambda: None,
    "small": lambda: SMALL,
    "str 1 KiB": lambda: _text(1 << 10),
    "str 64 KiB": lambda: _text(1 << 16),
    "str 1 MiB": lambda: _text(1 << 20),
    "bytes 1 MiB": lambda: _text(1 << 20).encode(),
    "document": _document,
}
PAYLOADS: Final = tuple(_PAYLOADS)
