"""Encoding what users give: the error names what it was, and where the culprit sits."""

from __future__ import annotations

import pytest

from cluster_client import EncodeError, Limits
from cluster_client._encoding import encode
from cluster_protocol import DEFAULT_LIMITS
from cluster_protocol.codecs import MsgpackCodec

CODEC = MsgpackCodec()


class OwnCodec:
    """A codec of a user's own, which does not keep to the rule."""

    name = "own"

    def encode(self, value: object, /) -> bytes:
        raise ZeroDivisionError("division by zero")

    def decode(self, data: bytes, /) -> object:
        raise NotImplementedError


def test_a_value_is_encoded() -> None:
    assert encode(CODEC, [1, "a"], "value") == CODEC.encode([1, "a"])


def test_what_cannot_be_encoded_is_named() -> None:
    with pytest.raises(EncodeError) as caught:
        encode(CODEC, {"rows": [1, object()]}, "result of 'get'")
    assert str(caught.value).startswith(
        "result of 'get': value['rows'][1] cannot be encoded with codec 'msgpack': "
    )


def test_a_codec_that_fails_in_its_own_way_is_named() -> None:
    with pytest.raises(EncodeError, match=r"value: codec 'own' failed: ZeroDivisionError\('divis"):
        encode(OwnCodec(), 1, "value")


def test_what_would_not_fit_a_frame_is_refused_here() -> None:
    limits = Limits(frame_size=1 << 20)
    most = limits.encoded_size
    with pytest.raises(EncodeError, match=rf"value: {most + 1} bytes .* the limit is {most}: send"):
        encode(CODEC, b"x" * (most - 4), "value", limits)
    assert len(encode(CODEC, b"x" * (most - 5), "value", limits)) == most


def test_the_limit_leaves_room_for_a_calls_deadline() -> None:
    limits = Limits()
    assert limits.frames.application >= limits.encoded_size + 8
    assert limits.frames == DEFAULT_LIMITS
