"""Finding the part of a value that a codec cannot carry."""

from __future__ import annotations

from collections.abc import Callable

_MAX_DEPTH = 500
"""Both libraries give up between 500 and 1,000 levels; so deep a value is a mistake."""


def find_unencodable(
    value: object,
    is_leaf: Callable[[object], bool],
    is_key: Callable[[object], bool],
) -> tuple[str, str] | None:
    """Return path and reason of the first unencodable part, or ``None``.

    Args:
        value: The whole value.
        is_leaf: Whether the codec carries a value that is no list, tuple or dict.
        is_key: Whether the codec carries a key of a dict.
    """
    # Depth first, in the order of the value, without recursion: the depth is the caller's.
    pending: list[tuple[str, object, int]] = [("value", value, 0)]
    while pending:
        path, part, depth = pending.pop()
        if depth > _MAX_DEPTH:
            return path[:80] + "…", f"nested deeper than {_MAX_DEPTH} levels, or contains itself"
        if isinstance(part, dict):
            for key in part:
                if not is_key(key):
                    return path, f"key {key!r} is of type {_type_name(key)}"
            inner = [(f"{path}[{key!r}]", item, depth + 1) for key, item in part.items()]
        elif isinstance(part, (list, tuple)):
            inner = [(f"{path}[{index}]", item, depth + 1) for index, item in enumerate(part)]
        elif is_leaf(part):
            continue
        else:
            return path, f"it is of type {_type_name(part)}"
        pending.extend(reversed(inner))
    return None


def _type_name(value: object) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )
