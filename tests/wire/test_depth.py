"""How deeply values may nest, with every codec (SPEC 2.3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import RemoteProtocolError, UnencodableValueError
from cluster_protocol.codecs import (
    JavaScriptError,
    JsonCodec,
    MsgpackCodec,
    SerializeJsonCodec,
    UserType,
    UserTypes,
)
from cluster_protocol.codecs._depth import nesting_of

from ._values import nested

LIMIT = 12


class Box:
    """Of a registered type: holds one value."""

    def __init__(self, content: object) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.content == other.content

    def __hash__(self) -> int:
        return 1


class Lid:
    """Of a registered type: nothing is left of what it is made of."""


LID = Lid()
TYPES = UserTypes(
    UserType("box", Box, lambda box: box.content, Box),
    UserType("lid", Lid, lambda _: None, lambda _: LID),
)
MSGPACK = MsgpackCodec(TYPES, max_depth=LIMIT)
CODECS: list[Any] = [MSGPACK, JsonCodec(max_depth=LIMIT), SerializeJsonCodec(max_depth=LIMIT)]
LOOSE = {
    codec.name: codec.with_max_depth(500) for codec in (MSGPACK, JsonCodec(), SerializeJsonCodec())
}
each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


def in_dicts(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"k": value, "other": 1}
    return value


def in_both(depth: int) -> object:
    value: object = None
    for index in range(depth):
        value = {"k": value} if index % 2 else [0, value]
    return value


def beside_much(depth: int) -> object:
    """The culprit is in a table, and not in its first row."""
    rows: list[object] = [{"name": f"row {index}", "value": index} for index in range(500)]
    rows[300] = {"name": "deep", "value": in_both(depth - 2)}
    return rows


def beside_text(depth: int) -> object:
    """Text whose bytes could all begin lists."""
    return [[["\u0400\u0480" * 5000, in_both(depth - 3)]]]


@each_codec
@pytest.mark.parametrize("make", [nested, in_dicts, in_both, beside_much, beside_text])
def test_a_value_may_be_as_deep_as_the_limit_and_no_deeper(
    codec: Any, make: Callable[[int], object]
) -> None:
    assert codec.decode(codec.encode(make(LIMIT))) == make(LIMIT)
    with pytest.raises(UnencodableValueError) as caught:
        codec.encode(make(LIMIT + 1))
    assert caught.value.reason == f"nested deeper than {LIMIT} levels, or contains itself"
    assert caught.value.path.startswith("value[")

    with pytest.raises(RemoteProtocolError, match=f"nests deeper than {LIMIT} levels"):
        codec.decode(LOOSE[codec.name].encode(make(LIMIT + 1)))


@each_codec
def test_what_no_codec_would_send_is_refused_when_it_arrives(codec: Any) -> None:
    bombs = {
        "msgpack": [b"\x91" * 1000 + b"\xc0", b"\x91" * 5000, b"\x81\xa1k" * 2000 + b"\xc0"],
        "json": [b"[" * 900 + b"]" * 900, b"[" * 100_000, b'{"k":' * 5000],
        "serialize-json": [b"^^^^" + b"@" * n + b"-3" + b"]" * n for n in (13, 900, 50_000)],
    }
    for bomb in bombs[codec.name]:
        with pytest.raises(RemoteProtocolError, match=r"deeper than 12 levels"):
            codec.decode(bomb)


def in_sets(depth: int) -> object:
    """Sets in tuples, so that both nest, and each set is a parser of its own."""
    value: Any = 1
    for index in range(depth):
        value = frozenset([value, "x"]) if index % 4 == 3 else (value, index)
    return {value}


def in_boxes(depth: int) -> object:
    value: object = 1
    for index in range(depth):
        value = Box(value) if index % 4 == 3 else [value, index]
    return value


def in_keys(depth: int) -> object:
    key: object = 1
    for _ in range(depth - 1):
        key = (key,)
    return {key: 1}


def in_keys_of_a_table(depth: int) -> object:
    rows: list[object] = [{"name": f"row {index}", "value": index} for index in range(2000)]
    rows[77] = in_keys(depth - 1)
    return rows


@pytest.mark.parametrize(
    "make",
    [
        lambda depth: [in_sets(depth - 2)],
        in_boxes,
        lambda depth: [Box([Box(nested(depth - 4))])],
        in_keys,
        in_keys_of_a_table,
        lambda depth: {Box(nested(depth - 2)): 1},
        lambda depth: [Box(1), Box(nested(depth - 2)), [[Box(2)]]],
        lambda depth: [*range(3000), Box(nested(depth - 2))],
    ],
    ids=["sets", "boxes", "a box", "keys", "a key in a table", "a box as key", "several", "many"],
)
def test_what_extensions_and_keys_hold_counts(make: Callable[[int], object]) -> None:
    loose = LOOSE["msgpack"]
    assert MSGPACK.decode(loose.encode(make(LIMIT))) == loose.decode(MSGPACK.encode(make(LIMIT)))
    with pytest.raises(UnencodableValueError) as caught:
        MSGPACK.encode(make(LIMIT + 1))
    assert f"nested deeper than {LIMIT} levels" in caught.value.reason
    with pytest.raises(RemoteProtocolError, match=f"nests deeper than {LIMIT} levels"):
        MSGPACK.decode(loose.encode(make(LIMIT + 1)))


def test_what_an_instance_was_made_of_counts_if_nothing_is_left_of_it() -> None:
    def lid(depth: int) -> msgpack.ExtType:
        return msgpack.ExtType(9, msgpack.packb(["lid", nested(depth)]))

    assert MSGPACK.decode(msgpack.packb([lid(1), lid(LIMIT - 2)])) == [LID, LID]
    # The second one is the same object, and not what is too deep.
    with pytest.raises(RemoteProtocolError, match="deeper than 12 levels"):
        MSGPACK.decode(msgpack.packb([lid(LIMIT - 1), lid(1)]))


def test_the_path_leads_into_the_value() -> None:
    with pytest.raises(UnencodableValueError) as caught:
        MSGPACK.encode({"rows": [1, {"deep": nested(LIMIT)}]})
    assert caught.value.path == "value['rows'][1]['deep']" + "[0]" * (LIMIT - 3)

    with pytest.raises(UnencodableValueError) as caught:
        MSGPACK.encode({"box": Box([1, nested(LIMIT)])})
    assert caught.value.path == "value['box']"
    assert f"in whose encoded form value[1]{'[0]' * (LIMIT - 3)} cannot be" in caught.value.reason


def test_an_encode_that_fails_the_second_time_is_told() -> None:
    calls = iter([[1]])
    codec = MsgpackCodec(UserTypes(UserType("box", Box, lambda _: next(calls), Box)), max_depth=3)
    with pytest.raises(UnencodableValueError, match="StopIteration"):
        codec.encode([[Box(1)], "\u0400" * 5000])


def test_instances_of_subclasses_nest_as_their_bases_do() -> None:
    value: object = OrderedDict(k=nested(LIMIT - 1))
    assert MSGPACK.encode(value) == MSGPACK.encode({"k": nested(LIMIT - 1)})
    with pytest.raises(UnencodableValueError):
        MSGPACK.encode([value])


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_codec_has_a_limit_that_its_library_keeps(limit: int) -> None:
    for codec in CODECS:
        with pytest.raises(ValueError, match=f"max_depth={limit} must be from 1 to 500"):
            codec.with_max_depth(limit)


def test_all_keep_their_other_settings_with_another_limit() -> None:
    assert MSGPACK.with_max_depth(20).decode(MSGPACK.encode(Box(1))) == Box(1)
    undefined = SerializeJsonCodec(undefined="nothing").with_max_depth(3)
    assert undefined.decode(b"^^^^-5") == "nothing"
    error = JavaScriptError("m", "s", {"a": [1]})
    assert undefined.decode(undefined.encode(error)) == error


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Box, inner)
        | st.builds(lambda item: (item,), inner).map(list)
    ),
    max_leaves=8,
)


def depth_of(value: object) -> int:
    """As the definition says it."""
    if isinstance(value, Box):
        return 1 + depth_of(value.content)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(values, st.integers(1, 6))
def test_both_sides_agree_with_the_definition(value: object, limit: int) -> None:
    codec = MSGPACK.with_max_depth(limit)
    fits = depth_of(value) <= limit
    data = LOOSE["msgpack"].encode(value)
    if fits:
        assert codec.encode(value) == data
        assert codec.decode(data) == value
    else:
        with pytest.raises(UnencodableValueError):
            codec.encode(value)
        with pytest.raises(RemoteProtocolError):
            codec.decode(data)
    opened = nesting_of(
        value, 50, open_others=lambda cls: (lambda box: (box.content,)) if cls is Box else None
    )
    assert opened == depth_of(value)
