"""Any interleaving of values, gaps and acknowledgements on the way to a follower (SPEC 9.2)."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_client import _outgoing as outgoing
from cluster_client._event_queue import MAX_WAITING_VALUES, Gap
from cluster_client._link import Link
from cluster_client._outgoing import MAX_UNACKNOWLEDGED, OutgoingValues
from cluster_protocol import (
    EVENTS,
    FEATURES,
    FrameDecoder,
    SubscribeResult,
    ValuesMissed,
    decode_message,
)
from cluster_protocol.codecs import MsgpackCodec

CODEC = MsgpackCodec()
SLOW = "this process did not keep up"


class Wire:
    """Stands in for a link; has what was sent, by key, and how much is not acknowledged."""

    def __init__(self, features: frozenset[str] = FEATURES) -> None:
        self.features = features
        self.got: dict[str, list[Any]] = {"a": [], "b": [], "s": []}
        self.frames: list[int] = []
        self.acknowledged = 0

    def has(self, feature: str) -> bool:
        return feature in self.features

    def post_encoded(self, data: bytes) -> None:
        (frame,) = FrameDecoder().receive_frames(data)
        assert frame.request_id == 0
        self.frames.append(len(frame.application))
        match decode_message(frame.connection, is_response=False):
            case SubscribeResult(key):
                value: Any = CODEC.decode(frame.application)
                self.got[key].append(value[0])
            case ValuesMissed(key, count, reason):
                self.got[key].append(Gap(reason, count))
            case message:
                pytest.fail(f"{message} was not to be sent")

    def take(self, count: int) -> int:
        """Acknowledge as many as there are to be, at most *count*; returns how many that were."""
        count = min(count, len(self.frames) - self.acknowledged)
        self.acknowledged += count
        return count

    @property
    def unacknowledged(self) -> list[int]:
        return self.frames[self.acknowledged :]


def outgoing_values(wire: Wire) -> OutgoingValues:
    return OutgoingValues(cast("Link", wire), CODEC, response_timeout=3.0)


def encoded(number: int, size: int = 0) -> bytes:
    return CODEC.encode([number, bytes(size)])


def take_everything(values: OutgoingValues, wire: Wire) -> None:
    while wire.unacknowledged:
        values.on_taken(wire.take(MAX_UNACKNOWLEDGED))


def test_events_wait_in_order_while_the_window_is_full() -> None:
    wire = Wire()
    values = outgoing_values(wire)
    for number in range(500):
        values.deliver_event("a", encoded(number))
    assert wire.got["a"] == list(range(MAX_UNACKNOWLEDGED))
    take_everything(values, wire)
    assert wire.got["a"] == list(range(500))


def test_of_events_beyond_the_bound_the_number_is_told_in_their_place() -> None:
    wire = Wire()
    values = outgoing_values(wire)
    sent = MAX_UNACKNOWLEDGED + MAX_WAITING_VALUES + 17
    for number in range(sent):
        values.deliver_event("a", encoded(number))
    take_everything(values, wire)
    rest = range(MAX_UNACKNOWLEDGED + 17, sent)
    assert wire.got["a"] == [*range(MAX_UNACKNOWLEDGED), Gap(SLOW, 17), *rest]


def test_registrations_that_wait_take_turns() -> None:
    wire = Wire()
    values = outgoing_values(wire)
    for number in range(MAX_UNACKNOWLEDGED):
        values.deliver("s", encoded(number))
    for number in range(10):
        values.deliver_event("a", encoded(number))
        values.deliver_event("b", encoded(number))
        values.deliver("s", encoded(100 + number))
    assert values.waiting_bytes == 20 * len(encoded(0)) + len(encoded(109))
    values.on_taken(wire.take(5))
    assert (wire.got["a"], wire.got["b"], wire.got["s"][-1]) == ([0, 1], [0, 1], 109)


def test_gaps_that_nobody_takes_are_bounded_too() -> None:
    wire = Wire()
    values = outgoing_values(wire)
    for _ in range(5000):
        values.miss("a", Gap("not encodable", 1))
    assert len(wire.frames) == MAX_UNACKNOWLEDGED
    take_everything(values, wire)
    assert sum(gap.missed for gap in wire.got["a"]) == 5000


def test_what_is_unsubscribed_from_waits_no_longer() -> None:
    wire = Wire()
    values = outgoing_values(wire)
    for number in range(MAX_UNACKNOWLEDGED + 5):
        values.deliver_event("a", encoded(number))
    values.forget("a", True)
    values.forget("b", True)
    take_everything(values, wire)
    assert wire.got["a"] == list(range(MAX_UNACKNOWLEDGED))


def test_after_the_close_nothing_is_sent() -> None:
    wire = Wire()
    values = outgoing_values(wire)
    for number in range(MAX_UNACKNOWLEDGED + 5):
        values.deliver_event("a", encoded(number))
    values.close()
    values.deliver_event("a", encoded(1))
    values.miss("a", Gap("why", 1))
    values.on_taken(5)
    assert len(wire.frames) == MAX_UNACKNOWLEDGED
    assert (values.unacknowledged, values.unacknowledged_bytes) == (0, 0)


def test_there_are_no_events_for_a_follower_that_knows_none() -> None:
    assert outgoing_values(Wire(FEATURES - {EVENTS})).events is None
    assert outgoing_values(Wire()).events is not None


values_of_keys = st.tuples(st.sampled_from("abs"), st.sampled_from([0, 0, 0, 300, 900, 2500]))
acknowledgements = st.integers(1, 12)
marks = st.sampled_from(["a", "b"])


@given(st.lists(st.one_of(values_of_keys, acknowledgements, marks), max_size=120))
def test_values_come_in_order_and_with_those_missing_they_are_all(steps: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outgoing, "MAX_UNACKNOWLEDGED", 8)
        patch.setattr(outgoing, "MAX_UNACKNOWLEDGED_BYTES", 2000)
        patch.setattr(outgoing, "MAX_WAITING_VALUES", 5)
        patch.setattr(outgoing, "MAX_WAITING_BYTES", 3000)
        wire = Wire()
        values = outgoing_values(wire)
        sent = dict.fromkeys("abs", 0)
        marked = dict.fromkeys("abs", 0)
        for step in steps:
            if isinstance(step, int):
                values.on_taken(wire.take(step))
            elif isinstance(step, str):
                values.miss(step, Gap("two are missing", 2))
                marked[step] += 2
            else:
                key, size = step
                deliver = values.deliver if key == "s" else values.deliver_event
                deliver(key, encoded(sent[key], size))
                sent[key] += 1
            on_their_way = wire.unacknowledged
            assert values.unacknowledged == len(on_their_way) <= 8
            assert values.unacknowledged_bytes == sum(on_their_way)
            assert sum(on_their_way) <= 2000 or len(on_their_way) == 1
        take_everything(values, wire)
        assert values.unacknowledged_bytes == 0
        assert not values._waiting

        for key in "ab":
            got = wire.got[key]
            numbers = [entry for entry in got if not isinstance(entry, Gap)]
            assert numbers == sorted(set(numbers))
            missed = sum(entry.missed or 0 for entry in got if isinstance(entry, Gap))
            assert len(numbers) + missed == sent[key] + marked[key]
        states = wire.got["s"]
        assert all(earlier < later for earlier, later in itertools.pairwise(states))
        assert not sent["s"] or states[-1] == sent["s"] - 1
