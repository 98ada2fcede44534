"""Finding the part of a value that a codec cannot carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from cluster_protocol.codecs._depth import MAX_DEPTH, too_deep

_LONGEST_PATH: Final = 80

Flaw: TypeAlias = Callable[[object, int], str | None]
"""Says what is wrong with a value, which may nest so many levels deep; ``None`` if nothing is."""


def find_unencodable(
    value: object,
    leaf_flaw: Flaw,
    key_flaw: Flaw,
    max_depth: int = MAX_DEPTH,
    *,
    room: int | None = None,
) -> tuple[str, str] | None:
    """Return path and reason of the first unencodable part, or ``None``.

    Args:
        value: The whole value.
        leaf_flaw: Says what is wrong with a value that is no list, tuple or
            dict; ``None`` if the codec carries it.
        key_flaw: The same for a key of a dict.
        max_depth: How deeply values may nest; told in the reason.
        room: How deeply this one may, which is a part of another; by default *max_depth*.
    """
    room = max_depth if room is None else room
    # Depth first, in the order of the value, without recursion: the depth is the caller's. An
    # iterator for each level, and a path only for a culprit: a peer chooses how long keys are, and
    # how many items lie below them.
    levels: list[Iterator[tuple[object, object]]] = [iter([(None, value)])]
    keys: list[object] = []  # of the part that is looked at, one for each level
    while levels:
        for key, part in levels[-1]:
            keys[len(levels) - 1 :] = [key]
            left = room - len(levels) + 1  # for what is in this part
            if left <= 0 and isinstance(part, (dict, list, tuple)):
                return _shortened(_path(keys)), too_deep(max_depth)
            if isinstance(part, dict):
                for name in part:
                    flaw = key_flaw(name, left - 1)
                    if flaw is not None:
                        return _path(keys), f"key {_show(name)[:80]} is {flaw}"
                levels.append(iter(part.items()))
                break
            if isinstance(part, (list, tuple)):
                levels.append(enumerate(part))
                break
            flaw = leaf_flaw(part, left)
            if flaw is not None:
                return _path(keys), f"it is {flaw}"
        else:
            levels.pop()
    return None


def _path(keys: list[object]) -> str:
    """Return the path; the first key is that of the whole value, which has none."""
    return "value" + "".join(f"[{_show(key)}]" for key in keys[1:])


def _shortened(path: str) -> str:
    return path if len(path) <= _LONGEST_PATH else path[:_LONGEST_PATH] + "…"


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
