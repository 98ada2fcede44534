"""Inputs that were once not read as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_protocol.codecs import MsgpackCodec
from fuzz.findings import Watch, read_findings
from fuzz.targets import TARGETS

_ERROR = b"\x00\x86\xa4name\xb2UnicodeEncodeError\xa7message\xa0\xa6module\xa8builtins\xa5stack\xa0"
_CODE = b"\xa4code\xc0"

INPUTS = {
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


@pytest.mark.parametrize("head", [b"", b"\xc9\x00\x04\x00\x32\x07"], ids=["lists", "in a set"])
def test_lists_that_announce_too_much_take_no_memory(head: bytes, tmp_path: Path) -> None:
    """Half a thousand lists in each other, each of as many items as there are bytes."""
    size = 1 << 18
    lists = (b"\xdd" + size.to_bytes(4, "big")) * 500
    data = head + lists.ljust(size + 50, b"\xc1")

    def check(data: bytes) -> None:
        with pytest.raises(Exception, match="not msgpack"):
            MsgpackCodec().decode(data)

    Watch(check, tmp_path / "findings")(data)
    assert read_findings(tmp_path / "findings") == []
