"""The watchdog: what it counts, and what it does not."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from cluster_client import _watchdog
from cluster_client._watchdog import Watchdog
from support.logs import LogRecorder
from support.times import LIMIT, scaled

SHORT = scaled(0.2)


class Ended:
    """Stands in for the end of the process."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.calls: list[tuple[float, Any]] = []

    def __call__(self, limit: float, log: Any) -> None:
        self.calls.append((limit, log))
        self.event.set()


def watchdogs() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "cluster_client watchdog"]


async def test_a_loop_that_hangs_is_ended_once() -> None:
    ended, log = Ended(), LogRecorder()
    with Watchdog(SHORT, log, ended):
        begin = time.monotonic()
        assert ended.event.wait(LIMIT / 2)  # this blocks the event loop
        assert time.monotonic() - begin >= SHORT
        await anyio.lowlevel.checkpoint()
    assert ended.calls == [(SHORT, log)]


async def test_a_loop_that_turns_now_and_then_is_left_alone() -> None:
    ended, limit = Ended(), 5 * SHORT
    with Watchdog(limit, LogRecorder(), ended):
        for _ in range(8):
            assert not ended.event.wait(limit / 5)
            await anyio.sleep(limit / 20)
    assert ended.calls == []


async def test_it_ends_with_the_leadership() -> None:
    with Watchdog(LIMIT, LogRecorder()):
        (thread,) = watchdogs()
        assert thread.daemon
    thread.join(LIMIT / 2)
    assert not thread.is_alive()


async def test_without_a_limit_there_is_none() -> None:
    with Watchdog(None, LogRecorder()):
        assert watchdogs() == []


class Pauses:
    """Stands in for the event that ends the watch: each pause is over at once, however long the
    process was stopped in it.
    """

    def __init__(self, count: int, at: Callable[[int], None] = lambda _: None) -> None:
        self.left = count
        self.at = at

    def wait(self, seconds: float) -> bool:
        assert seconds == 0.5
        self.at(self.left)
        self.left -= 1
        return self.left < 0

    def set(self) -> None:
        """Nothing: the test says when it is over."""


def watched(pauses: Pauses, ended: Ended) -> Watchdog:
    watchdog = Watchdog(10.0, LogRecorder(), ended)
    watchdog._over = pauses  # type: ignore[assignment]
    watchdog._wake = lambda _: None
    watchdog._loop_thread = threading.get_ident()
    return watchdog


def test_only_its_own_pauses_count() -> None:
    for pauses, calls in ((20, 0), (21, 1)):  # the first one only asks for a sign of life
        ended = Ended()
        watched(Pauses(pauses), ended)._watch(10.0)
        assert len(ended.calls) == calls


def test_a_sign_of_life_begins_the_count_anew() -> None:
    ended = Ended()

    def turn(left: int) -> None:
        if left % 15 == 0:
            watchdog._turn()

    watchdog = watched(Pauses(200, turn), ended)
    watchdog._watch(10.0)
    assert ended.calls == []


@pytest.mark.parametrize(("module", "calls"), [("pdb", 0), ("_pydevd_bundle.pydevd", 0), ("my", 1)])
def test_whoever_sits_at_a_debugger_is_not_thrown_out(module: str, calls: int) -> None:
    ended = Ended()
    watchdog = watched(Pauses(100), ended)
    scope: dict[str, Any] = {"__name__": module, "watch": watchdog._watch}
    exec("def interact():\n    watch(10.0)", scope)
    scope["interact"]()
    assert len(ended.calls) == calls


def test_a_thread_that_is_gone_is_not_debugged() -> None:
    watchdog = watched(Pauses(0), Ended())
    watchdog._loop_thread = -1
    assert not watchdog._is_debugged()


@pytest.mark.parametrize("stderr", [None, object()])
def test_standard_error_may_be_missing(stderr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    assert _watchdog._standard_error() == 2
