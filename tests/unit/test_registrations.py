"""Registrations: what they may be, and the keys under which they travel and are one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from cluster_client import EncodeError
from cluster_client._registrations import (
    MAX_REGISTRATION,
    check_for_node,
    check_registration,
    publication_key,
)
from cluster_protocol import Json


@pytest.mark.parametrize(
    ("reg", "key"),
    [
        ({"path": "/k"}, '$$inner$$__{"path":"/k"}'),
        ({"b": 1, "a": [True, None, 1.5]}, '$$inner$$__{"b":1,"a":[true,null,1.5]}'),
        ("/k", '$$inner$$__"/k"'),
        (["☃"], '$$inner$$__["☃"]'),
        (None, "$$inner$$__null"),
        ({"b": 1, "1": 2, "0": {"10": 0, "9": 0}}, '$$inner$$__{"0":{"9":0,"10":0},"1":2,"b":1}'),
        ([1.0, -0.0, 1e21, 1e-7, 0.1 + 0.2], "$$inner$$__[1,0,1e+21,1e-7,0.30000000000000004]"),
        (2**53, "$$inner$$__9007199254740992"),
    ],
)
def test_the_key_is_the_json_text_as_node_writes_it(reg: Any, key: str) -> None:
    assert check_registration(reg).key == key


def test_registrations_that_differ_in_the_order_of_keys_are_one() -> None:
    one = check_registration({"a": 1, "b": {"c": 2, "d": 3}})
    other = check_registration({"b": {"d": 3, "c": 2}, "a": 1})
    assert one.identity == other.identity
    assert one.key != other.key


def test_numbers_that_are_equal_make_one_registration() -> None:
    assert check_registration({"n": 1}).identity == check_registration({"n": 1.0}).identity


def test_great_integers_are_told_apart_though_javascript_could_not() -> None:
    one, other = check_registration({"id": 2**60 + 1}), check_registration({"id": 2**60 + 2})
    assert one.key != other.key
    assert one.identity != other.identity


@pytest.mark.parametrize("reg", [{"id": [2**53 + 1]}, {"id": [-(2**60) - 1]}, {"id": [10**400]}])
def test_what_javascript_would_round_is_not_for_node(reg: Any) -> None:
    with pytest.raises(EncodeError, match=r"value\['id'\]\[0\]; .* 2\*\*53: send it as a str"):
        check_for_node(check_registration(reg))


@pytest.mark.parametrize("reg", [{"id": 2**53}, {"id": 2**60}, {"id": 0.1}, "text", None])
def test_all_else_is(reg: Any) -> None:
    check_for_node(check_registration(reg))


def test_a_registration_is_a_copy() -> None:
    reg: dict[str, Any] = {"path": ["/k"]}
    registration = check_registration(reg)
    reg["path"].append("/other")
    assert registration.reg == {"path": ["/k"]}


def test_a_key_function_makes_key_and_identity() -> None:
    def format_key(reg: Any) -> str:
        return f"id {reg['id']}"

    registration = check_registration({"id": "x", "noise": 1}, format_key)
    assert (registration.key, registration.identity) == ("$$inner$$__id x", "id x")
    assert registration.reg == {"id": "x", "noise": 1}


@pytest.mark.parametrize(
    ("reg", "complaint"),
    [
        ({1: "int key"}, "a registration must be plain JSON: "),
        ({"when": dt.date(2026, 1, 2)}, r"value\['when'\] cannot be encoded"),
        ({"x": float("nan")}, r"value\['x'\] cannot be encoded"),
        (b"bytes", "a registration must be plain JSON"),
        ({"x": {1}}, r"value\['x'\] cannot be encoded"),
    ],
)
def test_a_registration_must_be_plain_json(reg: Any, complaint: str) -> None:
    with pytest.raises(EncodeError, match=complaint):
        check_registration(reg)


def not_a_key(_: Json) -> Any:
    return 3


def broken_key(_: Json) -> str:
    raise KeyError("id")


def test_a_key_function_that_fails_is_named() -> None:
    with pytest.raises(EncodeError, match=r"format_key must return a str, it gave 3 for \[1\]"):
        check_registration([1], not_a_key)
    with pytest.raises(EncodeError, match=r"format_key failed for \{'a': 1\}: KeyError\('id'\)"):
        check_registration({"a": 1}, broken_key)
    with pytest.raises(EncodeError, match=r"publish_key must return a str, it gave 3 for \[1\]"):
        publication_key([1], not_a_key)
    with pytest.raises(EncodeError, match=r"publish_key failed for \[1\]: KeyError\('id'\)"):
        publication_key([1], broken_key)


def test_a_publication_is_known_by_all_of_it_or_by_its_key() -> None:
    assert publication_key({"b": 1, "a": 2}, None) == publication_key({"a": 2, "b": 1}, None)
    assert publication_key({"a": 1}, None) != publication_key({"a": 2}, None)
    assert publication_key({"a": 1}, lambda _: "fixed") == "fixed"


def test_a_registration_must_fit_a_frame_together_with_its_key() -> None:
    large = "x" * MAX_REGISTRATION
    with pytest.raises(EncodeError, match=r"the limit is 262144: give less, or a format_key"):
        check_registration({"large": large})
    with pytest.raises(EncodeError, match="the limit is 262144"):
        check_registration(1, lambda _: large)
    half = "x" * (MAX_REGISTRATION // 2)
    with pytest.raises(EncodeError, match="the limit is 262144"):
        check_registration(half)
    assert check_registration(half, lambda _: "short").key == "$$inner$$__short"


def test_a_key_must_be_text() -> None:
    with pytest.raises(EncodeError, match=r"format_key must return a str, it gave '\\ud800'"):
        check_registration(1, lambda _: "\ud800")
