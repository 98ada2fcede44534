"""The caps themselves: which values they may have, and what they are by default."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from cluster_client import ConfigurationError, Limits, cluster
from cluster_client.limits import DEFAULTS
from cluster_client.options import ClientOptions
from cluster_protocol import DEFAULT_LIMITS, UnencodableValueError
from cluster_protocol.codecs import JsonCodec, SerializeJsonCodec


class Store:
    async def get(self, *keys: str) -> None: ...


def test_the_defaults() -> None:
    assert Limits() == DEFAULTS == ClientOptions(name="x").limits
    assert DEFAULTS.frames == DEFAULT_LIMITS
    assert repr(DEFAULTS) == (
        "Limits(frame_size=67108864, depth=100, arguments=256, method_name=256, "
        "calls_per_follower=4096, calls=16384, subscriptions_per_follower=16384, "
        "connections=1024, registration_time=10.0)"
    )


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("frame_size", 1 << 20, 1 << 30),
        ("depth", 3, 500),
        ("arguments", 1, 1 << 20),
        ("method_name", 1, 1 << 16),
        ("calls_per_follower", 1, 1 << 24),
        ("calls", 1, 1 << 24),
        ("subscriptions_per_follower", 1, 1 << 24),
        ("connections", 1, 1 << 20),
    ],
)
def test_each_has_its_range(name: str, lowest: int, highest: int) -> None:
    for value in (lowest, highest):
        assert getattr(replace(DEFAULTS, **{name: value}), name) == value
    wrong: list[Any] = [lowest - 1, highest + 1, float(lowest), str(lowest), True, None, math.nan]
    for value in wrong:
        with pytest.raises(ConfigurationError) as caught:
            replace(DEFAULTS, **{name: value})
        assert str(caught.value) == (
            f"limit {name}={value!r} must be an integer from {lowest:,} to {highest:,}"
        )


@pytest.mark.parametrize("value", [0, -1, 3601, math.inf, math.nan, "10", False, None])
def test_the_time_to_register_is_a_positive_number(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a number of seconds above 0 to 3,600"):
        Limits(registration_time=value)
    assert Limits(registration_time=0.5).registration_time == 0.5


def test_they_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULTS.depth = 5  # type: ignore[misc]


@pytest.mark.parametrize("value", [None, {}, {"depth": 5}, 100, Limits])
def test_the_option_takes_nothing_else(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"option limits=.* must be Limits\(…\)"):
        cluster(Store, limits=value)


def test_every_codec_of_a_client_has_its_depth() -> None:
    spec = cluster(Store, limits=Limits(depth=7)).create()._spec
    own = [*spec.codecs.values(), spec.node_codec]
    assert [codec.name for codec in own] == ["msgpack", "json", "serialize-json"]
    for transcode in (JsonCodec(), SerializeJsonCodec()):
        spec = cluster(Store, limits=Limits(depth=7), transcode=transcode).create()._spec
        assert spec.node_codec is spec.codecs[transcode.name]
        own += [*spec.codecs.values(), spec.node_codec]
    for codec in own:
        codec.encode([[[[[[[1]]]]]]])
        with pytest.raises(UnencodableValueError, match="deeper than 7 levels"):
            codec.encode([[[[[[[[1]]]]]]]])


def test_a_users_own_codec_is_left_alone() -> None:
    class Own:
        name = "own"

        def encode(self, value: object, /) -> bytes:
            return b""

        def decode(self, data: bytes, /) -> object:
            return None

    own = Own()
    assert cluster(Store, transcode=own).create()._spec.node_codec is own


def test_a_method_has_a_name_of_bounded_length() -> None:
    long = type("Long", (), {"m" * 257: Store.get})
    with pytest.raises(ConfigurationError, match=r"has a name of 257 bytes, the limit is 256: re"):
        cluster(long).create()
    cluster(long, limits=Limits(method_name=257)).create()
    two_bytes_each = type("Long", (), {"é" * 129: Store.get})
    with pytest.raises(ConfigurationError, match=r"258 bytes"):
        cluster(two_bytes_each).create()
