"""Finding the part of a value that a codec cannot carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_DEPTH: Final = 500
"""Both libraries give up between 500 and 1,000 levels; so deep a value is a mistake."""

TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels, or contains itself"


def find_unencodable(
    value: object,
    leaf_flaw: Callable[[object], str | None],
    key_flaw: Callable[[object], str | None],
) -> tuple[str, str] | None:
    """Return path and reason of the first unencodable part, or ``None``.

    Args:
        value: The whole value.
        leaf_flaw: Says what is wrong with a value that is no list, tuple or
            dict; ``None`` if the codec carries it.
        key_flaw: The same for a key of a dict.
    """
    # Depth first, in the order of the value, without recursion: the depth is the caller's.
    pending: list[tuple[str, object, int]] = [("value", value, 0)]
    while pending:
        path, part, depth = pending.pop()
        if depth > MAX_DEPTH:
            return path[:80] + "…", TOO_DEEP
        if isinstance(part, dict):
            for key in part:
                flaw = key_flaw(key)
                if flaw is not None:
                    return path, f"key {_show(key)[:80]} is {flaw}"
            inner = [(f"{path}[{_show(key)}]", item, depth + 1) for key, item in part.items()]
        elif isinstance(part, (list, tuple)):
            inner = [(f"{path}[{index}]", item, depth + 1) for index, item in enumerate(part)]
        else:
            flaw = leaf_flaw(part)
            if flaw is not None:
                return path, f"it is {flaw}"
            continue
        pending.extend(reversed(inner))
    return None


def text_flaw(value: str) -> str | None:
    """Say what is wrong with *value*, if it is not text that UTF-8 can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return "text with a lone surrogate"
    return None


def type_flaw(value: object) -> str:
    """Say that the codec does not carry values of the type of *value*."""
    cls = type(value)
    name = cls.__qualname__
    return f"of type {name if cls.__module__ == 'builtins' else f'{cls.__module__}.{name}'}"


def _show(key: object) -> str:
    try:
        return repr(key)
    except Exception:  # an int of more than 4,300 digits, or a class's own __repr__
        return "…"
