"""Every target, without a fuzzer: its seeds, and what the grammar makes of them."""

from __future__ import annotations

from contextvars import copy_context
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.running import BACKEND
from fuzz.targets import TARGETS, Target

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())

# A busy machine is no failure. What takes too long by itself is the fuzzer's to find.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)

_ROUNDS = 3
_LARGEST = 1 << 16


@each_target
def test_seeds_are_read_without_undocumented_errors(target: Target) -> None:
    seeds = target.seeds()
    assert seeds
    for seed in seeds:
        target.check(seed)


@pytest.mark.parametrize("name", ["knocking", "joining", "leader", "follower"])
def test_seeds_are_read_in_trio_too(name: str) -> None:
    def read() -> None:
        BACKEND.set("trio")
        for seed in TARGETS[name].seeds():
            TARGETS[name].check(seed)

    copy_context().run(read)


@each_target
@settings(_UNTIMED, max_examples=60)
@given(data=st.data())
def test_nearly_valid_input_is_read_without_undocumented_errors(
    target: Target, data: st.DataObject
) -> None:
    """The same changes as `make fuzz` makes, chosen and shrunk by hypothesis."""
    random = data.draw(st.randoms())
    changed = data.draw(st.sampled_from(target.seeds()))
    for _ in range(data.draw(st.integers(1, _ROUNDS))):
        changed = target.mutate(changed, random, lambda part: _noise(part, random))[:_LARGEST]
    target.check(changed)


@each_target
@settings(_UNTIMED, max_examples=40)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_without_undocumented_errors(target: Target, data: bytes) -> None:
    target.check(data)


def _noise(data: bytes, random: Random) -> bytes:
    """Change a byte, or insert or drop some."""
    changed = bytearray(data)
    place = random.randrange(len(changed) + 1)
    if random.randrange(2) and place < len(changed):
        changed[place] = random.randrange(256)
    elif random.randrange(2):
        changed[place:place] = bytes(random.randrange(256) for _ in range(random.randrange(1, 5)))
    else:
        del changed[place : place + random.randrange(1, 5)]
    return bytes(changed)
