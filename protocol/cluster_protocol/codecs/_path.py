"""Finding the part of a value that a codec cannot carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    # Depth first, in the order of the value, without recursion: the depth is the caller's. An
    # iterator for each level, and a path only for a culprit: a peer chooses how long keys are, and
    # how many items lie below them.
    levels: list[Iterator[tuple[object, object]]] = [iter([(None, value)])]
    keys: list[object] = []  # of the part that is looked at, one for each level
    while levels:
        for key, part in levels[-1]:
            keys[len(levels) - 1 :] = [key]
            if len(levels) > MAX_DEPTH + 1:
                return _path(keys)[:80] + "…", TOO_DEEP
            if isinstance(part, dict):
                for name in part:
                    flaw = key_flaw(name)
                    if flaw is not None:
                        return _path(keys), f"key {_show(name)[:80]} is {flaw}"
                levels.append(iter(part.items()))
                break
            if isinstance(part, (list, tuple)):
                levels.append(enumerate(part))
                break
            flaw = leaf_flaw(part)
            if flaw is not None:
                return _path(keys), f"it is {flaw}"
        else:
            levels.pop()
    return None


def _path(keys: list[object]) -> str:
    """Return the path; the first key is that of the whole value, which has none."""
    return "value" + "".join(f"[{_show(key)}]" for key in keys[1:])


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
