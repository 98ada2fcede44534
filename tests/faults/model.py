"""What callers and subscribers may see, whatever is done to the processes.

It is told what was done, what each process saw and what happened upstream, and says what does not
fit. Nothing here asks the product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from faults.chaos_worker import RESPONSE_TIMEOUT
from faults.injection import Fault
from faults.service import Entry
from support.times import scaled

NOT_EXECUTED: Final = frozenset({"unavailable", "closed", "down"})
"""Outcomes that say that the call was not made."""

LOSSES: Final = frozenset({"kill", "cut", "freeze long", "settle"})
"""Faults after which nobody can know what became of a call in flight."""

DELAYS: Final = frozenset({"freeze", "freeze long", "lose", "fail start", "lag"})
"""Faults after which an answer may come too late."""

NOTICED_WITHIN: Final = scaled(2)
"""Seconds after a loss in which a call may still be sent to whom there is no more."""

NO_SERVICE: Final = scaled(8)
"""Longest time in which no call is executed, apart from those in which a process is frozen: a
leader that hands over waits ``response_timeout`` for a stranger's farewell, and then for its end.
"""


class Violation(NamedTuple):
    """Something that must not be.

    Attributes:
        text: What.
        at: When, on the host's monotonic clock; ``None`` if at no certain time.
        call: Whose, if it is about a call or a subscriber.
    """

    text: str
    at: float | None = None
    call: str = ""


@dataclass
class Call:
    """What a caller did and saw."""

    id: str
    worker: int
    method: str
    behaviour: str
    seconds: float
    begin: float
    end: float | None = None
    outcome: str = ""
    detail: str = ""

    @property
    def is_repeatable(self) -> bool:
        return self.method == "again"


class Model:
    """Checks a run.

    Args:
        faults: What was done, by the run.
        lines: Of all diaries, in order.
        entries: Of the book, in order.
        killed: Numbers of the workers that were killed.
    """

    def __init__(
        self,
        faults: list[Fault],
        lines: list[dict[str, Any]],
        entries: list[Entry],
        killed: Iterable[int],
    ) -> None:
        self.calls: dict[str, Call] = {}
        self._faults = faults
        self._lines = lines
        self._entries = entries
        self._killed = set(killed)
        self._runs: dict[str, list[Entry]] = defaultdict(list)
        self._closings: dict[int, list[float]] = defaultdict(list)
        for entry in entries:
            if entry.event == "run":
                self._runs[entry.words[0]].append(entry)
        for line in lines:
            self._read(line)

    def _read(self, line: dict[str, Any]) -> None:
        match line["event"]:
            case "call":
                self.calls[line["id"]] = Call(
                    line["id"],
                    line["worker"],
                    line["method"],
                    line["behaviour"],
                    line["seconds"],
                    line["at"],
                )
            case "end":
                call = self.calls[line["id"]]
                call.end, call.outcome, call.detail = line["at"], line["outcome"], line["detail"]
            case "closing":
                self._closings[line["worker"]].append(line["at"])

    def violations(self) -> Iterator[Violation]:
        for call in self.calls.values():
            for text in self._check_call(call):
                yield Violation(f"{text}: {call}", call.end or call.begin, call.id)
        yield from self._check_values()
        yield from self._check_sessions()
        yield from self._check_service()

    # ---------------------------------------------------------------- calls

    def _check_call(self, call: Call) -> Iterator[str]:
        runs = len(self._runs[call.id])
        if runs > 1 and not call.is_repeatable:
            yield f"executed {runs} times"
        if call.end is None:
            if call.worker not in self._killed:
                yield "never ended"
        elif call.outcome in NOT_EXECUTED:
            yield from self._check_not_executed(call, runs)
        else:
            yield from self._check_outcome(call, runs)

    def _check_outcome(self, call: Call, runs: int) -> Iterator[str]:
        match call.outcome:
            case "answered" if not runs and call.method != "oneway":
                yield "answered without having been executed"
            case "unknown" if call.is_repeatable:
                yield "an idempotent call was not repeated"
            case "unknown" if not self._leader_may_be_lost(call):
                yield "unknown without a reason"
            case "timed out" if not self._may_be_late(call):
                yield "timed out without a reason"
            case "answered" | "cancelled" | "unknown" | "timed out":
                return
            case outcome:
                yield f"an outcome that must not be: {outcome}"

    def _check_not_executed(self, call: Call, runs: int) -> Iterator[str]:
        # A stream that is closed amid its items was executed, and says so.
        if runs and not call.is_repeatable and call.method != "stream":
            yield "executed, and told otherwise"
        if call.outcome == "unavailable":
            yield "no leader in time"
        if call.outcome == "closed" and not self._is_closing(call):
            yield "closed, and it was not"

    def _leader_may_be_lost(self, call: Call) -> bool:
        assert call.end is not None
        lost = self._happened(LOSSES, call.begin - NOTICED_WITHIN, call.end)
        return lost or self._is_closing(call)

    def _is_closing(self, call: Call) -> bool:
        assert call.end is not None
        return any(
            call.begin - NOTICED_WITHIN <= at <= call.end for at in self._closings[call.worker]
        )

    def _may_be_late(self, call: Call) -> bool:
        assert call.end is not None
        waited = call.end - call.begin >= RESPONSE_TIMEOUT - 0.05
        return waited and self._happened(DELAYS, call.begin - RESPONSE_TIMEOUT, call.end)

    def _happened(self, kinds: frozenset[str], begin: float, end: float) -> bool:
        return any(
            fault.kind in kinds and fault.at <= end and fault.until >= begin
            for fault in self._faults
        )

    # --------------------------------------------------------------- values

    def _check_values(self) -> Iterator[Violation]:
        written = {(e.words[0], int(e.words[1])): e.at for e in self._entries if e.event == "value"}
        last: dict[str, int] = {}
        for line in self._lines:
            if line["event"] == "unsubscribed" and line["outcome"] == "undocumented":
                text = f"a subscription failed: {line['detail']}"
                yield Violation(text, line["at"], line["subscriber"])
            if line["event"] != "value":
                continue
            name, key, value = line["subscriber"], line["key"], line["value"]
            if not name.startswith(f"{key} "):
                yield Violation(f"{name!r} got a value of {key!r}", line["at"], name)
            if value < last.get(name, 0):
                text = f"{name!r} got {value} after {last[name]}"
                yield Violation(text, line["at"], name)
            if value and (key, value) not in written:
                yield Violation(f"{name!r} got {value}, which was never there", line["at"], name)
            last[name] = value

    # ------------------------------------------------------------- sessions

    def _check_sessions(self) -> Iterator[Violation]:
        """One real client at a time, and no call on any other."""
        opened: set[str] = set()
        killed: set[str] = set()
        for entry in self._entries:
            match entry.event:
                case "kill":
                    killed.add(entry.words[0])
                    opened = {name for name in opened if name.partition(".")[0] not in killed}
                case "open":
                    name = entry.words[0]
                    if opened:
                        yield Violation(f"{name} opened beside {', '.join(opened)}", entry.at)
                    opened.add(name)
                case "close":
                    opened.discard(entry.words[0])
                case "run":
                    call, name = entry.words
                    if name not in opened and name.partition(".")[0] not in killed:
                        text = f"call {call} was executed by {name}, which was closed"
                        yield Violation(text, entry.at, call)

    # -------------------------------------------------------------- service

    def pauses(self) -> Iterator[tuple[float, float]]:
        """Yield when no call was executed, and for how long, frozen processes apart."""
        executed = [entry.at for entry in self._entries if entry.event == "run"]
        for before, after in pairwise(executed):
            yield before, after - before - self._excused(before, after)

    def _excused(self, begin: float, end: float) -> float:
        """Return how much of a time some process was frozen, or the machine too busy."""
        return sum(
            max(0.0, min(fault.until, end) - max(fault.at, begin))
            for fault in self._faults
            if fault.kind in {"freeze", "freeze long", "lag"}
        )

    def _check_service(self) -> Iterator[Violation]:
        for begin, length in self.pauses():
            if length > NO_SERVICE:
                yield Violation(f"no call was executed for {length:.1f} s", begin)
