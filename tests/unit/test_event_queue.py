"""Values that count, in a bounded queue: in order, and what is missing is told in its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_client._event_queue import (
    MAX_WAITING_BYTES,
    MAX_WAITING_VALUES,
    EventQueue,
    Gap,
)

SLOW = "too slow"


def drained(queue: EventQueue[Any]) -> list[Any]:
    entries = []
    while (entry := queue.take()) is not None:
        entries.append(entry)
    assert not queue
    return entries


def filled(count: int, size: int = 1, **limits: int) -> EventQueue[int]:
    queue: EventQueue[int] = EventQueue(SLOW, **limits)
    for number in range(count):
        queue.put(number, size)
    return queue


def test_values_come_out_in_order() -> None:
    queue = filled(3)
    assert queue
    assert drained(queue) == [0, 1, 2]


def test_an_empty_queue_gives_nothing() -> None:
    queue = filled(0)
    assert (bool(queue), queue.take(), queue.next_size) == (False, None, 0)


def test_beyond_so_many_values_the_oldest_make_room_and_are_told_first() -> None:
    queue = filled(MAX_WAITING_VALUES + 5)
    assert queue.dropped == 5
    assert drained(queue) == [Gap(SLOW, 5), *range(5, MAX_WAITING_VALUES + 5)]


def test_beyond_so_many_bytes_likewise() -> None:
    queue = filled(10, size=MAX_WAITING_BYTES // 4)
    assert drained(queue) == [Gap(SLOW, 6), 6, 7, 8, 9]


def test_one_value_of_any_size_may_wait() -> None:
    queue = filled(2, size=10 * MAX_WAITING_BYTES)
    assert queue.next_size == 0  # the gap
    assert queue.take() == Gap(SLOW, 1)
    assert queue.next_size == 10 * MAX_WAITING_BYTES
    assert drained(queue) == [1]


def test_each_time_of_trouble_has_a_gap_of_its_own() -> None:
    queue = filled(5, most=3)
    assert [queue.take(), queue.take()] == [Gap(SLOW, 2), 2]
    queue.put(5, 1)
    queue.put(6, 1)
    assert drained(queue) == [Gap(SLOW, 1), 4, 5, 6]


def test_a_mark_stands_where_it_was_made() -> None:
    queue = filled(2)
    queue.mark(Gap("lost"))
    queue.put(2, 1)
    assert drained(queue) == [0, 1, Gap("lost"), 2]


@pytest.mark.parametrize(("missed", "sum_"), [(7, 9), (None, None), (0, 2)])
def test_marks_that_make_room_are_part_of_the_gap(missed: int | None, sum_: int | None) -> None:
    queue = filled(1, most=2)
    queue.mark(Gap("lost", missed))
    for number in range(1, 4):
        queue.put(number, 1)
    assert drained(queue) == [Gap(SLOW, sum_), 2, 3]


def test_a_mark_needs_room_too() -> None:
    queue = filled(0, most=2)
    for number in range(5):
        queue.mark(Gap("again", number))
    assert drained(queue) == [Gap(SLOW, 3), Gap("again", 3), Gap("again", 4)]


def test_clearing_leaves_nothing() -> None:
    queue = filled(5, most=3)
    queue.clear()
    assert drained(queue) == []
    for number in range(3):
        queue.put(number, 1)
    assert drained(queue) == [0, 1, 2]


@given(
    st.lists(st.one_of(st.integers(0, 60), st.just("take"), st.just("mark"), st.just("drain"))),
    st.integers(1, 6),
    st.integers(1, 100),
)
def test_what_came_and_what_is_missing_is_what_was_put(
    steps: list[Any], most: int, most_bytes: int
) -> None:
    queue: EventQueue[int] = EventQueue(SLOW, most=most, most_bytes=most_bytes)
    got: list[Any] = []
    sent = marks = 0
    for step in [*steps, "drain"]:
        if step == "take":
            got += [entry for entry in [queue.take()] if entry is not None]
        elif step == "drain":
            got += drained(queue)
        elif step == "mark":
            queue.mark(Gap("three are missing", 3))
            marks += 1
        else:
            queue.put(sent, step)
            sent += 1
        assert len(queue._entries) <= most
        sizes = [entry[1] for entry in queue._entries if not isinstance(entry, Gap)]
        assert queue._bytes == sum(sizes)
        assert queue._bytes <= most_bytes or queue._bytes == sizes[-1]
    values = [entry for entry in got if not isinstance(entry, Gap)]
    missed = sum(entry.missed or 0 for entry in got if isinstance(entry, Gap))
    assert values == sorted(set(values))
    assert len(values) + missed == sent + 3 * marks
    if not marks:  # then each gap is as long as the hole in the numbers where it stands
        position = 0
        for entry in got:
            if isinstance(entry, Gap):
                position += entry.missed or 0
            else:
                assert entry == position
                position += 1
