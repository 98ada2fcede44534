"""Running calls on the real client: who may call what, until when, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import EncodeError, LinkClosedError, RefusedError, RemoteInvokeError
from cluster_client._calls import CallExecutor, Outcome
from cluster_client._clock import Deadline
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import PeerDialect
from cluster_protocol.codecs import MsgpackCodec
from support.links import LONG
from support.logs import LogRecorder
from support.real_clients import Provided, real_client

CODEC = MsgpackCodec()
DIALECT = PeerDialect(CODEC)
NEVER = Deadline.never()


class Real:
    """A real client that does what its caller asks for."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.entered: list[str] = []

    async def echo(self, value: Any, *, times: int = 1) -> Any:
        return [value] * times

    async def wait(self, name: str) -> str:
        self.entered.append(name)
        await self.gate.wait()
        return name

    async def insist(self, name: str) -> str:
        """Take its time even when it is cancelled."""
        self.entered.append(name)
        with anyio.CancelScope(shield=True):
            await self.gate.wait()
        return name

    async def leave(self) -> None:
        raise SystemExit(3)

    async def interrupt(self) -> None:
        raise KeyboardInterrupt

    async def lock(self) -> object:
        return object()

    async def hidden(self) -> None: ...


TABLE = DelegateTable(Real, {})
del TABLE.by_wire_name["hidden"]


@asynccontextmanager
async def executor() -> AsyncGenerator[tuple[CallExecutor, Real, anyio.abc.TaskGroup]]:
    real = real_client(Real)
    async with real.open(), anyio.create_task_group() as tasks:
        yield CallExecutor(Provided(real), TABLE, LogRecorder()), real._instance, tasks
        tasks.cancel_scope.cancel()


async def execute(
    calls: CallExecutor, target: str, *args: Any, deadline: Deadline = NEVER, **kwargs: Any
) -> Outcome | None:
    return await calls.execute(
        target, (args, kwargs), dialect=DIALECT, deadline=deadline, admission=calls.admit()
    )


# ----------------------------------------------------------------- outcomes


async def test_a_result_comes_back_encoded() -> None:
    async with executor() as (calls, _, _):
        outcome = await execute(calls, "echo", 1, times=2)
        assert outcome == Outcome(True, CODEC.encode([1, 1]))
        assert outcome.unwrap(CODEC) == [1, 1]
        assert calls.running == 0


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        ("leave", RemoteInvokeError, "SystemExit: 3"),
        ("lock", EncodeError, "result of 'lock': value cannot be encoded"),
        ("hidden", RefusedError, "Real does not delegate it; it delegates echo, insist, "),
    ],
)
async def test_what_goes_wrong_is_the_callers_affair(
    target: str, error: type[Exception], text: str
) -> None:
    async with executor() as (calls, _, _):
        outcome = await execute(calls, target)
        assert outcome is not None
        assert (outcome.success, outcome.refused) == (False, False)
        with pytest.raises(error, match=text):
            outcome.unwrap(CODEC)
        assert calls.running == 0


async def test_an_interrupt_is_everybodys_affair() -> None:
    async with executor() as (calls, _, _):
        with pytest.raises(KeyboardInterrupt):
            await execute(calls, "interrupt")
        assert calls.running == 0


async def test_when_leadership_ends_calls_are_refused() -> None:
    async with executor() as (calls, real, _):
        calls.refusing = True
        outcome = await execute(calls, "wait", "a")
        assert outcome is not None
        assert (outcome.success, outcome.refused) == (False, True)
        with pytest.raises(LinkClosedError, match="leadership ends") as caught:
            outcome.unwrap(CODEC)
        assert not caught.value.sent
        assert real.entered == []


async def test_a_call_that_comes_too_late_is_not_run() -> None:
    async with executor() as (calls, real, _):
        assert await execute(calls, "wait", "a", deadline=Deadline.after(0)) is None
        assert real.entered == []
        assert calls.running == 0


async def test_a_call_ends_at_its_deadline() -> None:
    async with executor() as (calls, _, _):
        with anyio.fail_after(LONG):
            assert await execute(calls, "wait", "a", deadline=Deadline.after(0.05)) is None
        assert calls.running == 0


async def test_a_cancelled_call_has_no_outcome() -> None:
    async with executor() as (calls, _, _):
        scope = calls.admit()
        scope.cancel()
        outcome = await calls.execute(
            "wait", (("a",), {}), dialect=DIALECT, deadline=NEVER, admission=scope
        )
        assert outcome is None
        assert calls.running == 0


# -------------------------------------------------------------------- drain


async def test_draining_waits_for_the_calls_that_have_arrived() -> None:
    async with executor() as (calls, real, tasks):
        assert await calls.drain(0)
        scope = calls.admit()  # arrived, and its task has not had its turn
        tasks.start_soon(execute, calls, "wait", "a")
        await wait_all_tasks_blocked()
        assert calls.running == 2
        assert not await calls.drain(0.01)
        calls.dismiss(scope)
        calls.dismiss(scope)
        tasks.start_soon(open_later, real)
        assert await calls.drain(math.inf)
        assert calls.running == 0


async def open_later(real: Real) -> None:
    await wait_all_tasks_blocked()
    real.gate.set()


async def test_what_does_not_end_in_time_is_cancelled() -> None:
    async with executor() as (calls, real, tasks):
        for name in ("a", "b"):
            tasks.start_soon(execute, calls, "wait", name)
        tasks.start_soon(execute, calls, "insist", "c")
        await wait_all_tasks_blocked()
        assert sorted(real.entered) == ["a", "b", "c"]
        calls.abort()
        await wait_all_tasks_blocked()
        assert calls.running == 1
        real.gate.set()
        assert await calls.drain(math.inf)
