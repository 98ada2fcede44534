"""The hooks of a real client: what they may take, and what comes of one that takes longer."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any, Self

import anyio
import pytest

from cluster_client import _real_client as module
from cluster_client._clock import Deadline
from cluster_client._snapshots import Snapshot
from support.logs import LogRecorder
from support.real_clients import real_client
from support.times import LIMIT
from support.waiting import until

STATE = Snapshot(Snapshot.of("state").data)  # type: ignore[union-attr]


BEFORE = {"attach_leadership": "made", "restore": "attach_leadership"}
"""Where the limit is lowered: only what hangs is to reach it, however slow the machine is."""


def lower_limit() -> None:
    module._HOOK_LIMIT = 0.01  # type: ignore[misc]


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test has lowered is as ever for the next one."""
    monkeypatch.setattr(module, "_HOOK_LIMIT", module._HOOK_LIMIT)


class Hanging:
    """Hangs in one of its methods; in the event loop."""

    def __init__(self, where: str, events: list[str]) -> None:
        self.where = where
        self.events = events
        self._note_only("made")

    def _note_only(self, name: str) -> None:
        self.events.append(name)
        if name == BEFORE.get(self.where):
            lower_limit()

    async def _note(self, name: str) -> None:
        self._note_only(name)
        if name == self.where:
            await anyio.sleep_forever()

    async def attach_leadership(self, leadership: Any) -> None:
        await self._note("attach_leadership")

    async def restore(self, state: str) -> None:
        assert state == "state"
        await self._note("restore")

    async def start(self) -> None:
        await self._note("start")

    async def snapshot(self) -> str:
        await self._note("snapshot")
        return "state"

    async def hand_over(self) -> None:
        await self._note("hand_over")

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()  # it may take its time
        self.events.append("aclose")


class HangingManager(Hanging):
    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class HangingInItsClose:
    async def aclose(self) -> None:
        await anyio.sleep_forever()


class Blocking:
    """Blocks its thread in one of its methods, until the test lets it go on."""

    def __init__(self, where: str, events: list[str]) -> None:
        self.where = where
        self.events = events
        self.released = threading.Event()
        self.closed = threading.Event()
        blocking.append(self)
        self._note("made")

    def _note(self, name: str) -> None:
        self.events.append(name)
        if name == BEFORE.get(self.where):
            lower_limit()
        if name == self.where:
            self.released.wait(LIMIT)

    def attach_leadership(self, leadership: Any) -> None:
        self._note("attach_leadership")

    def restore(self, state: str) -> None:
        self._note("restore")

    def snapshot(self) -> str:
        self._note("snapshot")
        return "state"

    def close(self) -> None:
        self.events.append("close")
        self.closed.set()


blocking: list[Blocking] = []


@pytest.fixture
async def blocked() -> AsyncIterator[list[Blocking]]:
    """What blocks in a test goes on at its end."""
    blocking.clear()
    yield blocking
    for one in blocking:
        one.released.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for a thread that is blocked."""
    monkeypatch.setattr(module, "_CLOSE_LIMIT", 0.01)
    monkeypatch.setattr("cluster_client._threads._JOIN_LIMIT", 0.01)


@pytest.mark.parametrize("hook", ["attach_leadership", "restore"])
@pytest.mark.parametrize(("cls", "closes"), [(Hanging, True), (HangingManager, False)])
async def test_a_hook_that_hangs_ends_the_start(
    cls: type[Hanging], hook: str, *, closes: bool
) -> None:
    """What has been entered is left; one that was only made has its close called."""
    events: list[str] = []
    real = real_client(cls, hook, events)
    with pytest.raises(TimeoutError, match=rf"{cls.__name__}\.{hook}\(\) took longer than 0.01 s"):
        async with real.open(STATE):
            pytest.fail("it must not open")
    assert real.hung == hook
    reached = ["made", "attach_leadership", "restore"]
    assert events == reached[: reached.index(hook) + 1] + ["aclose"] * closes


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("hook", ["attach_leadership", "restore"])
async def test_a_hook_that_blocks_its_thread_ends_the_start(
    hook: str, blocked: list[Blocking]
) -> None:
    """Its close comes when the thread is free again, in that thread."""
    log = LogRecorder()
    real = real_client(Blocking, hook, [], log=log)
    with pytest.raises(TimeoutError, match=rf"Blocking\.{hook}\(\) took longer"):
        async with real.open(STATE):
            pytest.fail("it must not open")
    assert log.of("real_client_close_timed_out") == [{"limit": 0.01}]
    assert blocked[0].events[-1] == hook
    blocked[0].released.set()
    await anyio.to_thread.run_sync(blocked[0].closed.wait, LIMIT)
    assert blocked[0].events[-2:] == [hook, "close"]


@pytest.mark.usefixtures("impatient")
async def test_another_attempt_does_not_wait_for_the_thread_of_the_last_one(
    blocked: list[Blocking],
) -> None:
    with pytest.raises(TimeoutError):
        async with real_client(Blocking, "restore", []).open(STATE):
            pytest.fail("it must not open")
    module._HOOK_LIMIT = LIMIT  # type: ignore[misc]
    async with real_client(Blocking, "nowhere", []).open():
        assert not blocked[0].closed.is_set()


async def test_hooks_in_time_leave_no_limit_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOOK_LIMIT", 1000)
    events: list[str] = []
    real = real_client(Hanging, "nowhere", events)
    async with real.open(STATE, Deadline.after(LIMIT)):
        assert real.hung is None
        assert real._hook_scope.deadline == float("inf")
    assert events == ["made", "attach_leadership", "restore", "start", "aclose"]


async def test_a_hook_leaves_time_for_a_start_without_it() -> None:
    """It may take half of what there is: here nothing."""

    class OnlyRestore(Hanging):
        attach_leadership = None  # type: ignore[assignment]

    real = real_client(OnlyRestore, "restore", [])
    with pytest.raises(TimeoutError, match=r"OnlyRestore\.restore\(\) took longer than 0 s"):
        async with real.open(STATE, Deadline.after(0)):
            pytest.fail("it must not open")


class HangingInRestore(Hanging):
    async def restore(self, state: str) -> None:
        await super().restore(state)
        await anyio.sleep_forever()


async def test_a_cancellation_during_a_hook_is_no_hook_that_hangs() -> None:
    events: list[str] = []
    real = real_client(HangingInRestore, "nowhere", events)

    async def open_it() -> None:
        async with real.open(STATE):
            pytest.fail("it must not open")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_it)
        await until(lambda: events[-1:] == ["restore"])
        tasks.cancel_scope.cancel()
    assert real.hung is None
    assert events == ["made", "attach_leadership", "restore", "aclose"]


@pytest.mark.parametrize("where", ["attach_leadership", "restore"])
async def test_a_hook_that_fails_ends_the_start_with_its_error(where: str) -> None:
    class Failing(Hanging):
        async def _note(self, name: str) -> None:
            self.events.append(name)
            if name == self.where:
                raise ValueError(name)

    events: list[str] = []
    real = real_client(Failing, where, events)
    with pytest.raises(ValueError, match=where):
        async with real.open(STATE):
            pytest.fail("it must not open")
    assert real.hung is None
    assert events[-2:] == [where, "aclose"]


@pytest.mark.parametrize("outside", [False, True])
async def test_an_error_of_the_start_outlives_a_close_that_hangs(
    monkeypatch: pytest.MonkeyPatch, *, outside: bool
) -> None:
    monkeypatch.setattr(module, "_CLOSE_LIMIT", 0.01)

    class Hopeless(HangingInItsClose):
        async def start(self) -> None:
            if outside:
                scope.cancel()
                await anyio.sleep_forever()
            raise ValueError("start")

    errors: list[str] = []
    with anyio.CancelScope() as scope:
        try:
            async with real_client(Hopeless).open():
                pytest.fail("it must not open")
        except ValueError as exc:
            errors.append(str(exc))
    assert scope.cancelled_caught is outside
    assert errors == ["start"] * (not outside)


async def test_an_error_of_its_user_outlives_a_close_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_CLOSE_LIMIT", 0.01)
    error = KeyError("its user's")
    real = real_client(HangingInItsClose)

    async def use() -> None:
        async with real.open():
            raise error

    with pytest.raises(KeyError, match="its user's"):
        await use()


# --------------------------------------------------------------- while it is used


async def test_a_snapshot_that_hangs_is_given_up() -> None:
    async with real_client(Hanging, "snapshot", []).open() as real:
        lower_limit()
        with pytest.raises(TimeoutError, match=r"Hanging\.snapshot\(\) took longer than 0.01 s"):
            await real.take_snapshot()


async def test_a_snapshot_leaves_time_for_the_rest_of_the_start() -> None:
    async with real_client(Hanging, "snapshot", []).open() as real:
        with pytest.raises(TimeoutError, match="took longer than 0 s"):
            await real.take_snapshot(Deadline.after(0))


@pytest.mark.usefixtures("impatient")
async def test_the_late_result_of_a_snapshot_in_a_thread_is_dropped(
    blocked: list[Blocking],
) -> None:
    async with real_client(Blocking, "snapshot", []).open() as real:
        lower_limit()
        with pytest.raises(TimeoutError):
            await real.take_snapshot()
        blocked[0].released.set()
    await anyio.to_thread.run_sync(blocked[0].closed.wait, LIMIT)
    assert blocked[0].events == ["made", "attach_leadership", "snapshot", "close"]


async def test_a_hand_over_that_hangs_is_given_up() -> None:
    log = LogRecorder()
    async with real_client(Hanging, "hand_over", [], log=log).open() as real:
        lower_limit()
        await real.hand_over()
    assert log.of("hand_over_failed") == [{"error": "TimeoutError()"}]


# ---------------------------------------------------------------------------- exits


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit("over")])
@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("where", ["__init__", "attach_leadership", "restore", "start"])
async def test_an_exit_ends_the_start_and_nothing_else(
    error: BaseException, where: str, *, asynchronous: bool
) -> None:
    cls = exiting(where, error, asynchronous=asynchronous)
    with pytest.raises(RuntimeError, match="Exiting raised ") as caught:
        async with real_client(cls).open(STATE):
            pytest.fail("it must not open")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit("over")])
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_an_exit_of_the_other_hooks_is_an_error_of_theirs(
    error: BaseException, *, asynchronous: bool
) -> None:
    log = LogRecorder()
    names = ("snapshot", "hand_over", "subscribe", "close")
    cls = exiting(names, error, asynchronous=asynchronous)
    async with real_client(cls, log=log).open(STATE) as real:
        with pytest.raises(RuntimeError, match="Exiting raised "):
            await real.take_snapshot()
        with pytest.raises(RuntimeError, match="Exiting raised "):
            await real.invoke_part("subscribe")
        await real.hand_over()
    assert len(log.of("hand_over_failed")) == 1
    assert len(log.of("real_client_close_failed")) == 1


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit("over")])
async def test_an_exit_of_one_that_is_left_as_it_is_cancelled_is_an_error(
    error: BaseException,
) -> None:
    class Manager:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *_: object) -> None:
            raise error

    async def use(scope: anyio.CancelScope) -> None:
        async with real_client(Manager).open():
            scope.cancel()
            await anyio.sleep_forever()

    with anyio.CancelScope() as scope, pytest.raises(RuntimeError, match="Manager raised "):
        await use(scope)


def exiting(where: str | tuple[str, ...], error: BaseException, *, asynchronous: bool) -> type[Any]:
    """Return a class of which some methods raise *error*."""

    def method(name: str) -> Any:
        def leave(self: object, *_: object) -> None:
            if name in where:
                raise error

        async def leave_later(self: object, *_: object) -> None:
            leave(self)

        return leave_later if asynchronous and name != "__init__" else leave

    names = ("__init__", "attach_leadership", "restore", "start", "snapshot", "hand_over")
    return type("Exiting", (), {name: method(name) for name in (*names, "subscribe", "close")})
