"""Logging that cannot fail, whatever is logged and whatever logs it."""

from __future__ import annotations

import logging

import pytest

from cluster_client._logs import Log, describe
from support.logs import Entry, LogRecorder


def test_a_line_goes_to_the_logger_with_its_values() -> None:
    recorder = LogRecorder()
    log = Log(recorder).bind(client="registry")
    log.info("a", x=1)
    log.warning("b", x=2)
    log.error("c", x=3)
    log.exception("d", x=4)
    assert recorder.entries == [
        Entry("info", "a", {"x": 1}),
        Entry("warning", "b", {"x": 2}),
        Entry("error", "c", {"x": 3}),
        Entry("exception", "d", {"x": 4}),
    ]


def test_a_logger_that_fails_is_not_the_callers_problem(caplog: pytest.LogCaptureFixture) -> None:
    class Printing(LogRecorder):
        def warning(self, event: str, **values: object) -> None:
            str(values["error"]).encode()

    Log(Printing()).warning("stranger_refused", error="\ud800")
    assert caplog.record_tuples == [
        (
            "cluster_client",
            logging.WARNING,
            "stranger_refused could not be logged: UnicodeEncodeError",
        )
    ]


def test_an_exception_is_described_whatever_its_repr_does() -> None:
    class BrokenError(Exception):
        def __repr__(self) -> str:
            raise ZeroDivisionError

    assert describe(ValueError("bad", 3)) == "ValueError('bad', 3)"
    assert describe(BrokenError()) == "BrokenError(…)"
    long = describe(ValueError("x" * 10_000))
    assert len(long) == 501
    assert long.endswith("x…")
