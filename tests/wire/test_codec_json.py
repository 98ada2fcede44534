"""The codec ``json``: plain JSON and nothing more (SPEC section 4.2)."""

from __future__ import annotations

import datetime as dt
import json
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import Json, RemoteProtocolError, UnencodableValueError
from cluster_protocol.codecs import Codec, JsonCodec

from ._culprits import Junk, refusal, tells_the_culprit
from ._values import json_values, nested
from ._vectors import exactly

CODEC = JsonCodec()


def refused(value: object) -> UnencodableValueError:
    """Return the error of encoding *value*."""
    with pytest.raises(UnencodableValueError) as caught:
        CODEC.encode(value)
    assert caught.value.codec == "json"
    return caught.value


def test_it_is_a_codec_named_json() -> None:
    codec: Codec = CODEC

    assert isinstance(codec, Codec)
    assert codec.name == "json"


# ---------------------------------------------------------------- both directions


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, b"null"),
        (True, b"true"),
        (False, b"false"),
        (0, b"0"),
        (-(2**70), b"-1180591620717411303424"),
        (1.5, b"1.5"),
        (1.0, b"1.0"),
        (-0.0, b"-0.0"),
        ("", b'""'),
        ('a"\\\n', b'"a\\"\\\\\\n"'),
        ("é\N{GRINNING FACE}", b'"\xc3\xa9\xf0\x9f\x98\x80"'),
        ([], b"[]"),
        ([1, [None, "a"]], b'[1,[null,"a"]]'),
        ({}, b"{}"),
        ({"b": 1, "a": {"": []}}, b'{"b":1,"a":{"":[]}}'),
    ],
)
def test_a_value_is_compact_json_in_utf8(value: Json, text: bytes) -> None:
    assert CODEC.encode(value) == text
    assert exactly(CODEC.decode(text)) == exactly(value)


@pytest.mark.parametrize("size", range(1, 14))
def test_text_cut_short_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^not JSON: b'"):
        CODEC.decode(b'{"a":[1,"\xc3\xa9"]}'[:size])


def test_a_tuple_arrives_as_a_list() -> None:
    assert CODEC.encode((1, ("a",))) == b'[1,["a"]]'


def test_white_space_and_escapes_are_understood() -> None:
    assert CODEC.decode(b' {"a" :\r\n"\\u00e9"}\t') == {"a": "é"}


def test_the_last_of_two_equal_keys_holds() -> None:
    assert CODEC.decode(b'{"a":1,"a":2}') == {"a": 2}


@given(json_values())
def test_any_value_comes_out_as_it_went_in(value: Json) -> None:
    data = CODEC.encode(value)

    assert exactly(CODEC.decode(data)) == exactly(value)
    assert exactly(json.loads(data)) == exactly(value)  # for every other reader, too


# -------------------------------------------------------------------- decoding


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"[1",
        b"[1,]",
        b"{1:2}",
        b"'a'",
        b"01",
        b"1 2",
        b"null\0",
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b"undefined",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'{"\\uDFFF":1}',
        b'["\\ude00\\ud83d"]',
        b"1e999",
        b"[-1e309]",
        b"1" * 400 + b".0",
        b'\xef\xbb\xbf"a"',
        '"a"'.encode("utf-16"),
        '"a"'.encode("utf-32-be"),
    ],
)
def test_what_is_not_json_in_utf8_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^not JSON: b['\"]"):
        CODEC.decode(data)


def test_pairs_of_surrogates_are_one_character() -> None:
    assert CODEC.decode(b'{"\\uD83D\\ude00":"\\\\ud800"}') == {"\U0001f600": "\\ud800"}


def test_the_greatest_and_the_smallest_double_are_read() -> None:
    assert CODEC.decode(b"[1.7976931348623157e308,5e-324,1e-999]") == [
        *(1.7976931348623157e308, 5e-324, 0.0)
    ]


@pytest.mark.parametrize("data", [b"[" * 100_000, b"9" * 5000], ids=["deep", "long int"])
def test_what_python_cannot_read_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        CODEC.decode(data)

    assert len(str(caught.value)) < 100


@given(
    st.binary() | st.text().map(str.encode) | st.text('[]{}":,0123456789.eE-+ \\u').map(str.encode)
)
def test_any_bytes_are_a_value_or_the_peers_error(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        CODEC.decode(data)


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (Junk(), "value", f"it is of type {Junk.__module__}.Junk"),
        (b"a", "value", "it is of type bytes"),
        ([{1}], "value[0]", "it is of type set"),
        ({"at": dt.date(2024, 1, 1)}, "value['at']", "it is of type datetime.date"),
        ((0, {"rows": [1, 1j]}), "value[1]['rows'][1]", "it is of type complex"),
        ([1j, b""], "value[0]", "it is of type complex"),
        ({"a": {1: 2}}, "value['a']", "key 1 is of type int"),
        ({None: 1}, "value", "key None is of type NoneType"),
        ({("a",): 1}, "value", "key ('a',) is of type tuple"),
        ({"a": [float("nan")]}, "value['a'][0]", "it is nan, which JSON has not"),
        ([float("-inf")], "value[0]", "it is -inf, which JSON has not"),
        (["a", "\ud800"], "value[1]", "it is text with a lone surrogate"),
        ([{"\ud800": 1}], "value[0]", "key '\\ud800' is text with a lone surrogate"),
        ({"n": 10**4300}, "value['n']", "it is an int of over 4,300 digits"),
    ],
)
def test_the_error_tells_the_place_and_the_reason(value: object, path: str, reason: str) -> None:
    error = refused(value)

    assert (error.path, error.reason) == (path, reason)
    assert str(error) == f"{path} cannot be encoded with codec 'json': {reason}"


def test_the_longest_int_that_is_sent_can_be_read() -> None:
    longest = 2**14_284 - 1

    assert CODEC.decode(CODEC.encode([-longest])) == [-longest]
    assert refused([longest + 1]).path == "value[0]"


def test_a_value_that_this_process_cannot_write_is_refused() -> None:
    """Here an int, where the process has lowered Python's limit."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        error = refused([10**1000])
    finally:
        sys.set_int_max_str_digits(limit)

    assert error.path == "value"
    assert "640 digits" in error.reason


@pytest.mark.parametrize("depth", [100, 1000, 100_000])
def test_a_value_nested_too_deeply_is_refused(depth: int) -> None:
    error = refused({"deep": nested(depth)})

    assert error.path.startswith("value['deep'][0][0]")
    assert len(error.path) < 100
    assert error.reason == "nested deeper than 100 levels, or contains itself"


def test_a_value_nested_100_levels_deep_is_sent() -> None:
    assert CODEC.decode(CODEC.encode(nested(100))) == nested(100)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)

    assert refused(value).path.startswith("value['a'][1]['a'][1]")


junk_texts = ("\ud800", "a\udfff")
junk = st.builds(Junk) | st.sampled_from([1j, b"", dt.date(1, 1, 1), *junk_texts])
anything = st.recursive(
    json_values(max_leaves=3) | junk,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from([1j, b"", *junk_texts]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(anything)
def test_any_junk_is_told_with_a_path_that_leads_to_it(value: object) -> None:
    error = refusal(CODEC, value)
    if error is None:
        data = CODEC.encode(value)
        assert CODEC.encode(CODEC.decode(data)) == data
    else:
        assert tells_the_culprit(error, value, (Junk, complex, bytes, dt.date), junk_texts)
