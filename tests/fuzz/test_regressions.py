"""Inputs that were once not read as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.findings import Watch, read_findings
from fuzz.targets import TARGETS
from support.times import scaled

_ERROR = b"\x00\x86\xa4name\xb2UnicodeEncodeError\xa7message\xa0\xa6module\xa8builtins\xa5stack\xa0"
_CODE = b"\xa4code\xc0"

INPUTS = {
    "a kind that is none, alone": ("decoder", b"\0\0\x01\x02"),
    "a registration with a lone surrogate": (
        "messages",
        b'\x00{"type":"subscribe","key":"k","reg":"\\udc00\\ud800"}',
    ),
    "a registration that is infinite": (
        "messages",
        b'\x00{"type":"subscribe","key":"k","reg":[1e999]}',
    ),
    "a key with a lone surrogate": ("json", b'{"\\ud800":true}'),
    "an infinite number": ("json", b"[-1e999]"),
    "notes that are no list": (
        "failures",
        b"\x00\x85\xa4name\xaaValueError\xa7message\xa1m\xa6module\xa8builtins\xa5stack\xa1s"
        b"\xa6fields\x81\xa9__notes__\x05",
    ),
    "an error of ours without its attributes": (
        "failures",
        b"\x00\x84\xa4name\xacRefusedError\xa7message\xa1m\xa6module\xb5cluster_client.errors"
        b"\xa5stack\xa0",
    ),
    "an error whose text lies before its object": (
        "failures",
        _ERROR + b"\xa4args\x95\xa5utf-8\xa2xy\xd2\xc4e6\x00\xd2\xc4e6\x01\xa3why" + _CODE,
    ),
    "an error whose text lies behind its object": (
        "failures",
        _ERROR + b"\xa4args\x95\xa5utf-8\xa2xy\xcdu0\xcdu1\xa3why" + _CODE,
    ),
    "a timestamp of msgpack itself": ("msgpack", b"\xd6\xff\x00\x00\x00\x01"),
}


@pytest.mark.parametrize(("name", "data"), INPUTS.values(), ids=INPUTS.keys())
def test_what_once_failed_is_read(name: str, data: bytes) -> None:
    TARGETS[name].check(data)


_SIZE = 1 << 18
_LISTS = ((b"\xdd" + _SIZE.to_bytes(4, "big")) * 500).ljust(_SIZE + 50, b"\xc1")
_LONG_KEY = b'{"' + b"k" * (_SIZE // 8) + b'":[0' + b",0" * (_SIZE // 8) + b"]}"

LARGE = {
    "lists that announce too much": ("msgpack", _LISTS),
    "tuples that announce too much": ("msgpack", b"\xc9\x00\x04\x00\x32\x07" + _LISTS),
    "a number of many digits": (
        "msgpack",
        b"\xc9" + _SIZE.to_bytes(4, "big") + b"\x05" + b"9" * _SIZE,
    ),
    "digits that are no number": ("serialize-json", b"^^" + b"1" * _SIZE + b"x^^0"),
    "an integer of many digits": ("serialize-json", b"^" + b"Z" * _SIZE + b"^^^0"),
    "many brackets": ("serialize-json", b"^^^^@" + b"$]" * (_SIZE // 2) + b"]"),
    "many items below a long key": ("registrations", _LONG_KEY),
    "many items below a long key, as JSON": ("json", _LONG_KEY),
    "many open brackets": ("json", b"[" * _SIZE),
    "many characters that are escaped": ("json", b'["' + b"\\ud83d\\ude00" * (_SIZE // 12) + b'"]'),
    "many arguments": ("calls", b"\0\xff" + b"\0" * _SIZE),
}


@pytest.mark.parametrize(("name", "data"), LARGE.values(), ids=LARGE.keys())
def test_large_input_takes_time_and_memory_in_proportion(
    name: str, data: bytes, tmp_path: Path
) -> None:
    # What goes with the square takes minutes.
    watch = Watch(TARGETS[name].check, tmp_path / "findings", time_limit=scaled(20))
    watch(data)
    assert read_findings(tmp_path / "findings") == []
