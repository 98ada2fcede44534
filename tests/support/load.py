"""Callers that call without a pause, and an account of what came of it."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio

from cluster_client import Client, OutcomeUnknownError


@dataclass
class LoadReport:
    """What came of the calls of one process.

    Attributes:
        returned: Ids of the calls that returned.
        unknown: Ids of those that raised `OutcomeUnknownError`.
        failed: What the others raised.
        in_flight: Calls that have not ended yet.
        resent: How many were sent again after a leader was lost.
        longest: Seconds that the slowest call took.
    """

    returned: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    in_flight: int = 0
    resent: int = 0
    longest: float = 0.0


@dataclass
class Account:
    """What came of all calls of a test, as their callers saw it and as it was upstream.

    Attributes:
        reports: Of each process; of a killed one the last before.
        executions: How often each call was executed.
    """

    reports: list[LoadReport] = field(default_factory=list)
    executions: Counter[str] = field(default_factory=Counter)

    @property
    def returned(self) -> list[str]:
        return [call for report in self.reports for call in report.returned]

    @property
    def unknown(self) -> list[str]:
        return [call for report in self.reports for call in report.unknown]

    @property
    def failed(self) -> list[str]:
        return [failure for report in self.reports for failure in report.failed]

    @property
    def executed_more_than_once(self) -> list[str]:
        return [call for call, times in self.executions.items() if times > 1]

    @property
    def returned_but_not_executed_once(self) -> list[str]:
        return [call for call in self.returned if self.executions[call] != 1]


class Load:
    """Calls ``record`` of a ledger, with ids that no other call has.

    Args:
        client: A client of a ledger.
        prefix: Of the ids.
    """

    def __init__(self, client: Client[Any], prefix: str) -> None:
        self._client = client
        self._ids = (f"{prefix}.{number}" for number in itertools.count())
        self._report = LoadReport()
        self._stopping = False
        self._ended = anyio.Event()
        self._news = anyio.Event()
        self.first_answers: dict[int, float] = {}
        """When the first answer of each leader came, by its pid, on the monotonic clock."""

    async def run(self, callers: int) -> None:
        """Call until `end`, with so many calls in flight at any time."""
        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(self._call_on_and_on)
        self._ended.set()

    async def end(self) -> LoadReport:
        """Let each caller finish its call, and return what came of them all."""
        self._stopping = True
        await self._ended.wait()
        return self.report()

    def report(self) -> LoadReport:
        """Return what came of the calls so far."""
        self._report.resent = self._client.resent_calls
        return self._report

    async def first_answer_of(self, leader: int) -> float:
        """Wait until the process *leader* has answered a call; returns when that was."""
        while leader not in self.first_answers:
            await self._wait_for_news()
        return self.first_answers[leader]

    async def first_answer_since(self, moment: float) -> tuple[int, float]:
        """Wait until a new leader has answered; returns its pid, and when that was.

        Args:
            moment: A leader is new if its first answer came later.
        """
        while True:
            for leader, answered in self.first_answers.items():
                if answered > moment:
                    return leader, answered
            await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        self._news = anyio.Event()
        await self._news.wait()

    async def _call_on_and_on(self) -> None:
        """A caller ends with its first error that the test does not count on."""
        report = self._report
        while not self._stopping and not report.failed:
            call_id = next(self._ids)
            begin = time.monotonic()
            report.in_flight += 1
            try:
                leader = await self._client.record(call_id)
            except OutcomeUnknownError:
                report.unknown.append(call_id)
            except Exception as exc:
                report.failed.append(f"{call_id}: {exc!r}")
            else:
                report.returned.append(call_id)
                if leader not in self.first_answers:
                    self.first_answers[leader] = time.monotonic()
                    self._news.set()
            finally:
                report.in_flight -= 1
            report.longest = max(report.longest, time.monotonic() - begin)
