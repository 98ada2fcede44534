"""Deadlines: one clock for every process of the host, and its form on the wire."""

from __future__ import annotations

import math
import sys

import pytest

from cluster_client import _clock
from cluster_client._clock import Deadline, from_microseconds, header_timeout, to_microseconds
from cluster_protocol import NO_DEADLINE, pack_call, unpack_call


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clock, "now", lambda: 1000.0)


def test_a_deadline_counts_down_to_zero() -> None:
    assert Deadline.after(5) == Deadline(1005.0)
    assert Deadline.after(5).remaining == 5.0
    assert not Deadline.after(5).passed
    assert Deadline.after(0).remaining == 0.0
    assert Deadline.after(0).passed
    assert Deadline.after(-5).remaining == 0.0
    assert Deadline.after(-5).passed


def test_never_does_not_come() -> None:
    assert Deadline.never().remaining == math.inf
    assert not Deadline.never().passed
    assert Deadline.after(math.inf) == Deadline.never()


@pytest.mark.parametrize(
    ("at", "microseconds"),
    [
        (1005.000001, 1_005_000_001),
        (math.inf, NO_DEADLINE),
        (0.0, 1),  # 0 would be never
        (-5.0, 1),
        (1000.0 + sys.maxsize, NO_DEADLINE),
    ],
)
def test_a_deadline_travels_in_microseconds(at: float, microseconds: int) -> None:
    assert to_microseconds(at) == microseconds
    assert unpack_call(pack_call(microseconds, b""))[0] == microseconds


@pytest.mark.parametrize("at", [1005.5, 0.25, math.inf])
def test_a_deadline_arrives_as_it_was_sent(at: float) -> None:
    assert from_microseconds(to_microseconds(at)) == at


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0, 0), (1.5, 1500), (math.inf, 2**31 - 1), (sys.maxsize, 2**31 - 1)],
)
def test_a_timeout_fits_the_header(seconds: float, milliseconds: int) -> None:
    assert header_timeout(seconds) == milliseconds


def test_the_clock_is_the_one_that_all_processes_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("time.monotonic", lambda: 42.0)
    assert _clock.now() == 42.0
