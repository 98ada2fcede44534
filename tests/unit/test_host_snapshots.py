"""A host alone: what its real clients leave to their successors (SPEC 8.7)."""

from __future__ import annotations

import math
import threading
from typing import Any

import anyio
import anyio.abc
import pytest

from cluster_client import cluster
from cluster_client._snapshots import Snapshot
from support.hosts import FakeReal, Hooked, Hookless, Stage, fail, hang, hang_in_restore
from support.logs import LogRecorder
from support.waiting import until


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    stage.install(monkeypatch)
    return stage


def asked(stage: Stage) -> int:
    """Return how often a snapshot was asked for."""
    return sum(event.endswith("is asked") for event in stage.events)


async def settle(stage: Stage) -> None:
    """Let everything come that is on its way from `state_changed`."""
    for _ in range(5):
        await anyio.wait_all_tasks_blocked()


# -------------------------------------------------------------------------- start


async def test_it_is_taken_when_the_real_client_has_started(stage: Stage) -> None:
    stage.state = "a token"
    host = stage.host()
    async with host.open():
        assert stage.events == ["1 starts", "1 is asked"]
        assert stage.told == ["snapshot a token"]
        assert host.snapshot == Snapshot.of("a token")


async def test_a_class_without_the_hooks_is_not_asked(stage: Stage) -> None:
    host = stage.host("of another version", cls=Hookless)
    async with host.open():
        await host.hand_over()
        assert stage.events == ["1 starts"]
        assert host.snapshot is None


async def test_the_last_leaders_one_is_restored(stage: Stage) -> None:
    stage.state = "new"
    host = stage.host("old")
    assert host.snapshot == Snapshot.of("old")
    async with host.open():
        assert stage.events == ["1 starts with old", "1 is asked"]
        assert stage.told == ["snapshot new"]


async def test_if_that_fails_another_one_starts_without_it(stage: Stage) -> None:
    stage.starts = [fail]
    host = stage.host("old")
    async with host.open():
        assert stage.events == ["1 starts with old", "1 closes", "2 starts", "2 is asked"]
        assert stage.log.of("restore_failed") == [{"error": "ValueError('start 1')"}]
        assert stage.told == ["snapshot None"]


async def test_if_that_fails_too_the_next_leader_may_try_it_again(stage: Stage) -> None:
    """The service may have been down: that tells nothing of the snapshot."""
    stage.starts = [fail, fail]
    host = stage.host("old")
    with pytest.raises(ValueError, match="start 2"):
        async with host.open():
            pytest.fail("it must not open")
    assert stage.told == []
    assert host.snapshot == Snapshot.of("old")


async def test_one_whose_restore_hangs_is_not_tried_again(stage: Stage) -> None:
    """It would cost every election as much time."""
    stage.starts = [hang_in_restore, fail]
    host = stage.host("old")
    with pytest.raises(ValueError, match="start 2"):
        async with host.open():
            pytest.fail("it must not open")
    assert stage.told == ["snapshot None"]
    assert host.snapshot is None


async def test_one_that_was_not_restored_is_nobodys_if_the_new_one_has_none(stage: Stage) -> None:
    async def break_down(_: FakeReal) -> None:
        raise ValueError("no snapshot")

    stage.starts = [fail]
    stage.on_snapshot = break_down
    host = stage.host("old")
    async with host.open():
        assert host.snapshot is None
        await host.hand_over()
    assert "2 hands over" not in stage.events


async def test_hooks_of_the_start_get_to_know_when_it_should_be_over(stage: Stage) -> None:
    host = stage.host(max_wait_time=1000)
    async with host.open():
        stage.last.leadership.state_changed()
        await until(lambda: asked(stage) == 2)
        start, first, later = stage.dues
        assert 0 < start.remaining < 1000
        assert start == first
        assert later.remaining == math.inf


# ------------------------------------------------------------------------- changes


async def test_it_is_taken_again_when_it_has_changed(stage: Stage) -> None:
    host = stage.host()
    async with host.open():
        for state in ("a", "b"):
            stage.state = state
            stage.last.leadership.state_changed()
            await until(lambda: stage.told[-1:] == [f"snapshot {stage.state}"])
        assert stage.told == ["snapshot a", "snapshot b"]


async def test_an_equal_one_is_not_told_again(stage: Stage) -> None:
    stage.state = "same"
    host = stage.host()
    async with host.open():
        stage.last.leadership.state_changed()
        await until(lambda: asked(stage) == 2)
        await settle(stage)
        assert stage.told == ["snapshot same"]


async def test_any_thread_may_say_so(stage: Stage) -> None:
    host = stage.host()
    async with host.open():
        stage.state = "new"
        thread = threading.Thread(target=stage.last.leadership.state_changed)
        thread.start()
        await until(lambda: stage.told == ["snapshot new"])
        await anyio.to_thread.run_sync(thread.join)


async def test_if_it_fails_the_last_one_stands(stage: Stage) -> None:
    async def break_down(_: FakeReal) -> None:
        raise TimeoutError("it took too long")

    stage.state = "first"
    host = stage.host()
    async with host.open():
        stage.on_snapshot = break_down
        stage.last.leadership.state_changed()
        await until(lambda: bool(stage.log.of("snapshot_failed")))
        assert host.snapshot == Snapshot.of("first")
        assert host.current is stage.last


async def test_one_that_fails_at_the_start_does_not_end_it(stage: Stage) -> None:
    async def break_down(_: FakeReal) -> None:
        raise TimeoutError("it took too long")

    stage.on_snapshot = break_down
    host = stage.host()
    async with host.open():
        assert host.current is stage.last
        assert host.snapshot is None
    assert len(stage.log.of("snapshot_failed")) == 1


async def test_changes_while_it_is_taken_lead_to_exactly_one_more(stage: Stage) -> None:
    gate = anyio.Event()

    async def wait(_: FakeReal) -> None:
        await gate.wait()

    host = stage.host()
    async with host.open():
        stage.on_snapshot = wait
        stage.last.leadership.state_changed()
        await until(lambda: asked(stage) == 2)
        for _ in range(10):
            stage.last.leadership.state_changed()
        await settle(stage)
        assert asked(stage) == 2
        stage.state = "the last one"
        gate.set()
        await until(lambda: asked(stage) == 3)
        await settle(stage)
        assert asked(stage) == 3
        assert stage.told == ["snapshot the last one"]


async def say_it_oneself(real: FakeReal) -> None:
    real.leadership.state_changed()


async def say_it_in_a_thread(real: FakeReal) -> None:
    await anyio.to_thread.run_sync(real.leadership.state_changed)


@pytest.mark.parametrize("say", [say_it_oneself, say_it_in_a_thread])
async def test_what_a_snapshot_says_itself_counts_for_nothing(stage: Stage, say: Any) -> None:
    stage.on_snapshot = say
    host = stage.host()
    async with host.open():
        await settle(stage)
        assert asked(stage) == 1
        stage.last.leadership.state_changed()  # others still count
        await until(lambda: asked(stage) == 2)
        await settle(stage)
        assert asked(stage) == 2


async def test_a_change_by_others_counts_beside_what_a_snapshot_says(stage: Stage) -> None:
    gate = anyio.Event()

    async def say_and_wait(real: FakeReal) -> None:
        real.leadership.state_changed()
        await gate.wait()

    host = stage.host()
    async with host.open():
        stage.on_snapshot = say_and_wait
        stage.last.leadership.state_changed()
        await until(lambda: asked(stage) == 2)
        stage.last.leadership.state_changed()
        await settle(stage)
        gate.set()
        await until(lambda: asked(stage) == 3)
        await settle(stage)
        assert asked(stage) == 3


async def test_a_task_that_a_snapshot_has_started_counts_when_that_is_over(stage: Stage) -> None:
    """It has inherited the context of the snapshot, and may live for long."""
    later = anyio.Event()

    async with anyio.create_task_group() as tasks:

        async def watch(real: FakeReal) -> None:
            await later.wait()
            real.leadership.state_changed()

        async def start_task(real: FakeReal) -> None:
            if asked(stage) == 1:
                tasks.start_soon(watch, real)

        stage.on_snapshot = start_task
        host = stage.host()
        async with host.open():
            await settle(stage)
            assert asked(stage) == 1
            later.set()
            await until(lambda: asked(stage) == 2)


async def test_a_synchronous_snapshot_that_says_so_is_taken_once() -> None:
    """With a real client, as its thread has a context of its own."""

    class Talkative:
        def __init__(self) -> None:
            self.asked = 0
            talkative.append(self)

        def attach_leadership(self, leadership: Any) -> None:
            self.leadership = leadership

        def snapshot(self) -> int:
            self.leadership.state_changed()
            self.asked += 1
            return self.asked

        def restore(self, state: int) -> None: ...

        def get(self) -> int:
            return self.asked

    talkative: list[Talkative] = []
    builder = cluster(Talkative, single_mode=True, logger=LogRecorder()).delegate("get")
    async with builder.create() as client:
        for _ in range(5):
            assert await client.get() == 1
        talkative[0].leadership.state_changed()
        await until(lambda: talkative[0].asked == 2)
        for _ in range(5):
            assert await client.get() == 2


# --------------------------------------------------------------- loss and hand-over


async def test_a_lost_one_leaves_nothing(stage: Stage) -> None:
    stage.state = "first"
    host = stage.host()
    async with host.open():
        stage.state = None
        stage.last.leadership.lost("expired")
        await until(lambda: "ready" in stage.told)
        assert stage.events == ["1 starts", "1 is asked", "1 closes", "2 starts", "2 is asked"]
        assert stage.told == ["snapshot first", "snapshot None", "lost: expired", "ready"]
        await host.hand_over()
    assert "2 hands over" not in stage.events


async def test_one_that_leaves_a_snapshot_hands_over(stage: Stage) -> None:
    stage.state = "a token"
    host = stage.host()
    async with host.open():
        await host.hand_over()
    assert stage.events == ["1 starts", "1 is asked", "1 hands over", "1 closes"]


async def test_one_without_that_hook_is_only_closed(stage: Stage) -> None:
    class WithoutHandOver(Hooked):
        hand_over = None  # type: ignore[assignment]

    stage.state = "a token"
    host = stage.host(cls=WithoutHandOver)
    async with host.open():
        await host.hand_over()
    assert stage.events == ["1 starts", "1 is asked", "1 closes"]


async def test_nobody_hands_over_while_there_is_none(stage: Stage) -> None:
    stage.state = "a token"
    host = stage.host()
    async with host.open():
        stage.starts = [hang]
        stage.last.leadership.lost("expired")
        await until(lambda: stage.events[-1] == "2 starts")
        await host.hand_over()
    assert not any(event.endswith("hands over") for event in stage.events)


# ------------------------------------------------------------------------- closing


async def test_a_close_does_not_wait_for_the_first_snapshot(stage: Stage) -> None:
    stage.on_snapshot = hang

    async def use() -> None:
        async with stage.host().open():
            pytest.fail("it must not open")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        await until(lambda: asked(stage) == 1)
        tasks.cancel_scope.cancel()
    assert stage.events == ["1 starts", "1 is asked", "1 closes"]


async def test_a_close_does_not_wait_for_a_later_one(stage: Stage) -> None:
    async with stage.host().open():
        stage.on_snapshot = hang
        stage.last.leadership.state_changed()
        await until(lambda: asked(stage) == 2)
    assert stage.events[-1] == "1 closes"


async def test_a_close_does_not_wait_for_the_first_one_after_a_loss(stage: Stage) -> None:
    async with stage.host().open():
        stage.on_snapshot = hang
        stage.last.leadership.lost("expired")
        await until(lambda: asked(stage) == 2)
    assert stage.events[-1] == "2 closes"
