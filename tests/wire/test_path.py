"""Finding the part of a value that a codec cannot carry."""

from __future__ import annotations

import pytest

from cluster_protocol.codecs._path import find_unencodable, text_flaw, type_flaw

from ._culprits import Junk
from ._values import nested


def flaw(value: object, _: int = 0) -> str | None:
    """A codec that carries ints and short texts."""
    if isinstance(value, str):
        return "too long" if len(value) > 3 else None
    return None if isinstance(value, int) else type_flaw(value)


def find(value: object) -> tuple[str, str] | None:
    return find_unencodable(value, flaw, flaw)


@pytest.mark.parametrize(
    "value", [1, "abc", [], (), {}, [1, ({"a": 2, 3: ["b"]},)], nested(500, 1)]
)
def test_a_value_that_is_carried_has_no_culprit(value: object) -> None:
    assert find(value) is None


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (None, "value", "it is of type NoneType"),
        ([1, "abcd"], "value[1]", "it is too long"),
        ((1, [2, {"a": [3, None]}]), "value[1][1]['a'][1]", "it is of type NoneType"),
        ({"a": 1, "abcd": 2}, "value", "key 'abcd' is too long"),
        ([{None: 1}], "value[0]", "key None is of type NoneType"),
        ({1: {"i's": None}}, 'value[1]["i\'s"]', "it is of type NoneType"),
        ([Junk()], "value[0]", f"it is of type {Junk.__module__}.Junk"),
    ],
)
def test_the_culprit_has_a_path_and_a_reason(value: object, path: str, reason: str) -> None:
    assert find(value) == (path, reason)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([1, None, "abcd"], "value[1]"),
        ([[1, [None]], None], "value[0][1][0]"),
        ({"a": [None], "b": None}, "value['a'][0]"),
        ({"a": [None], "abcd": 1}, "value"),
    ],
    ids=["of two", "the deeper one", "in a dict", "a key before the items"],
)
def test_the_first_culprit_is_told_in_the_order_of_the_value(value: object, path: str) -> None:
    found = find(value)

    assert found is not None
    assert found[0] == path


@pytest.mark.parametrize("depth", [501, 600, 100_000])
def test_more_than_500_levels_are_a_mistake(depth: int) -> None:
    path, reason = find(nested(depth, 1)) or ("", "")

    assert path == ("value" + "[0]" * 30)[:80] + "…"
    assert reason == "nested deeper than 500 levels, or contains itself"


def test_dicts_in_dicts_count_as_levels_too() -> None:
    value: dict[str, object] = {}
    value["me"] = value

    path, reason = find(value) or ("", "")

    assert path.startswith("value['me']['me']['me']")
    assert reason == "nested deeper than 500 levels, or contains itself"


def test_a_value_may_occur_twice_without_containing_itself() -> None:
    row = [1]

    assert find([row, row, {"a": row}]) is None


def test_a_key_that_cannot_be_shown_is_left_out() -> None:
    class Silent(int):
        def __repr__(self) -> str:
            raise RuntimeError

    assert find({10**5000: [None]}) == ("value[…][0]", "it is of type NoneType")
    assert find({Silent(1): [None]}) == ("value[…][0]", "it is of type NoneType")


@pytest.mark.parametrize("text", ["", "a", "é\0\N{GRINNING FACE}"])
def test_text_has_no_flaw(text: str) -> None:
    assert text_flaw(text) is None


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\udc00\ud800"])
def test_a_lone_surrogate_is_a_flaw(text: str) -> None:
    assert text_flaw(text) == "text with a lone surrogate"


def test_a_type_is_told_with_its_module_unless_builtin() -> None:
    assert type_flaw({1}) == "of type set"
    assert type_flaw(Junk()) == f"of type {Junk.__module__}.Junk"
