"""A host alone: one real client after the other, and whoever waits for one (SPEC 8.6)."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable

import anyio
import pytest

from cluster_client._host import Host
from cluster_client.errors import LinkClosedError
from support.hosts import Hookless, Stage, fail, hang
from support.times import scaled
from support.waiting import until


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Without hooks' snapshots, which have tests of their own."""
    stage = Stage()
    stage.install(monkeypatch)
    return stage


def host_of(stage: Stage, **options: float) -> Host:
    return stage.host(cls=Hookless, **options)


async def wait_until_lost(stage: Stage, reason: str = "expired") -> None:
    stage.last.leadership.lost(reason)
    await until(lambda: f"lost: {reason}" in stage.told)


# -------------------------------------------------------------------------- start


async def test_it_has_a_real_client_while_it_is_open(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        assert host.current is stage.last
        assert await host.wait() is stage.last
    assert host.current is None
    assert stage.events == ["1 starts", "1 closes"]
    assert stage.told == []


async def test_it_raises_what_the_start_raised(stage: Stage) -> None:
    stage.starts = [fail]
    with pytest.raises(ValueError, match="start 1"):
        async with host_of(stage).open():
            pytest.fail("it must not open")
    assert stage.events == ["1 starts", "1 closes"]


async def test_a_start_may_take_as_long_as_whoever_waits_for_it_wants(stage: Stage) -> None:
    """It gets to know the limit, for its hooks; but to cut it off is not the host's affair."""
    stage.starts = [hang]
    with anyio.move_on_after(scaled(0.05)) as scope:
        async with host_of(stage, max_wait_time=0.001).open():
            pytest.fail("it must not open")
    assert scope.cancelled_caught
    assert stage.events == ["1 starts", "1 closes"]
    assert stage.dues[0].passed


async def test_what_is_waited_for_without_a_limit_has_none(stage: Stage) -> None:
    async with host_of(stage, max_wait_time=math.inf).open():
        await wait_until_lost(stage)
        await until(lambda: "ready" in stage.told)
    assert [due.remaining for due in stage.dues] == [math.inf] * 2


async def test_it_raises_what_its_user_raises(stage: Stage) -> None:
    async def use() -> None:
        async with host_of(stage).open():
            raise KeyError("the user's")

    with pytest.raises(BaseExceptionGroup) as caught:
        await use()
    assert caught.group_contains(KeyError)
    assert stage.events == ["1 starts", "1 closes"]


# --------------------------------------------------------------------------- loss


async def test_a_lost_one_is_closed_before_another_one_starts(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        first = host.current
        await wait_until_lost(stage)
        assert await host.wait() is stage.last is not first
        assert stage.told == ["lost: expired", "ready"]
    assert stage.events == ["1 starts", "1 closes", "2 starts", "2 closes"]


async def test_a_lost_one_is_not_used_while_it_is_closed(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        stage.may_close = anyio.Event()
        await wait_until_lost(stage)
        assert host.current is None
        stage.may_close.set()
        await host.wait()


async def test_the_first_reason_counts(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        first = stage.last.leadership
        for reason in ("expired", "broken"):
            first.lost(reason)
        await until(lambda: "ready" in stage.told)
        assert stage.told == ["lost: expired", "ready"]


async def test_one_that_was_replaced_has_nothing_to_say(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        first = stage.last.leadership
        await wait_until_lost(stage)
        await host.wait()
        first.lost("again")
        first.step_down("again")
        stage.last.leadership.step_down("no disk")
        await until(lambda: "step down: no disk" in stage.told)
    assert stage.told == ["lost: expired", "ready", "step down: no disk"]
    assert len(stage.reals) == 2


async def test_one_whose_start_was_given_up_has_nothing_to_say(stage: Stage) -> None:
    """Its thread may go on for long."""
    host = host_of(stage)
    async with host.open():
        stage.starts = [fail]
        await wait_until_lost(stage)
        await until(lambda: "ready" in stage.told)
        stage.reals[1].leadership.step_down("late")
        stage.reals[1].leadership.lost("late")
        stage.last.leadership.step_down("no disk")
        await until(lambda: "step down: no disk" in stage.told)
    assert stage.told == ["lost: expired", "ready", "step down: no disk"]
    assert len(stage.reals) == 3


async def test_one_that_ends_by_itself_is_lost(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        stage.last.crash.set()
        await until(lambda: "ready" in stage.told)
    assert re.match(r"lost: ExceptionGroup\(.*a bug of the real client's", stage.told[0])
    assert stage.events == ["1 starts", "1 closes", "2 starts", "2 closes"]


async def test_whoever_leads_may_take_it_for_lost(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        host.renew("nobody else could lead")
        await until(lambda: "ready" in stage.told)
    assert stage.told == ["lost: nobody else could lead", "ready"]


async def test_one_that_is_lost_while_it_starts_is_replaced(stage: Stage) -> None:
    async def be_lost(real: object) -> None:
        stage.last.leadership.lost("at once")
        await anyio.wait_all_tasks_blocked()

    host = host_of(stage)
    stage.starts = [be_lost]
    async with host.open():
        await until(lambda: len(stage.reals) == 2)
        await host.wait()
    assert stage.told == ["lost: at once", "ready"]


# ------------------------------------------------------------- attempts to renew it


async def test_attempts_are_repeated_after_pauses(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        stage.starts = [fail, fail]
        await wait_until_lost(stage)
        await until(lambda: "ready" in stage.told)
        assert stage.pauses == 2
        errors = stage.log.of("real_client_start_failed")
        assert errors == [{"error": f"ValueError('start {n}')"} for n in (2, 3)]
    assert stage.events[2:] == [
        *("2 starts", "2 closes"),
        *("3 starts", "3 closes"),
        *("4 starts", "4 closes"),
    ]


async def test_an_attempt_that_hangs_counts_as_failed(stage: Stage) -> None:
    limit = scaled(0.05)
    host = host_of(stage, max_wait_time=limit)
    async with host.open():
        stage.starts = [hang]
        await wait_until_lost(stage)
        await until(lambda: "ready" in stage.told)
        error = stage.log.of("real_client_start_failed")[0]
        assert error == {"error": f"TimeoutError('Hookless did not start within {limit:g} s')"}
        await until(lambda: stage.dues[-1].passed)  # a start that is over has no limit any more
        await anyio.wait_all_tasks_blocked()
        assert host.current is stage.last
    assert stage.events[2:5] == ["2 starts", "2 closes", "3 starts"]


async def test_there_is_none_when_leadership_ends(stage: Stage) -> None:
    host = host_of(stage)
    async with host.open():
        stage.may_close = anyio.Event()
        await wait_until_lost(stage)
        host.stop_renewing()
        stage.may_close.set()
        await anyio.wait_all_tasks_blocked()
        assert host.current is None
    assert stage.events == ["1 starts", "1 closes"]


# ------------------------------------------------------------------------ waiting


async def waiting(host: Host, outcomes: list[object]) -> None:
    try:
        outcomes.append(await host.wait())
    except Exception as exc:
        outcomes.append(exc)


async def test_whoever_waits_gets_the_next_one(stage: Stage) -> None:
    host = host_of(stage)
    outcomes: list[object] = []
    async with host.open(), anyio.create_task_group() as tasks:
        stage.may_close = anyio.Event()
        await wait_until_lost(stage)
        for _ in range(3):
            tasks.start_soon(waiting, host, outcomes)
        await anyio.wait_all_tasks_blocked()
        assert outcomes == []
        stage.may_close.set()
        await until(lambda: len(outcomes) == 3)
        assert outcomes == [stage.last] * 3


async def test_whoever_waits_gets_the_error_of_an_attempt(stage: Stage) -> None:
    host = host_of(stage)
    outcomes: list[object] = []
    async with host.open(), anyio.create_task_group() as tasks:
        stage.starts = [fail]
        stage.may_close = anyio.Event()
        await wait_until_lost(stage)
        tasks.start_soon(waiting, host, outcomes)
        await anyio.wait_all_tasks_blocked()
        stage.may_close.set()
        await until(lambda: len(outcomes) == 1)
        assert isinstance(outcomes[0], ValueError)
        assert await host.wait() is stage.last


async def end_leadership(host: Host) -> None:
    host.stop_renewing()


async def stay(host: Host) -> None:
    """Only leave the host."""


@pytest.mark.parametrize("end", [end_leadership, stay])
async def test_whoever_waits_is_told_that_there_will_be_none(
    stage: Stage, end: Callable[[Host], Awaitable[None]]
) -> None:
    host = host_of(stage)
    outcomes: list[object] = []
    async with anyio.create_task_group() as tasks:
        async with host.open():
            stage.starts = [fail]
            stage.may_go_on = anyio.Event()
            await wait_until_lost(stage)
            await until(lambda: stage.pauses == 1)
            tasks.start_soon(waiting, host, outcomes)
            await anyio.wait_all_tasks_blocked()
            await end(host)
        await until(lambda: len(outcomes) == 1)
    (error,) = outcomes
    assert isinstance(error, LinkClosedError)
    assert not error.sent
    with pytest.raises(LinkClosedError):
        await host.wait()


# ------------------------------------------------------------------------- closing


async def test_a_close_does_not_wait_for_a_start(stage: Stage) -> None:
    stage.starts = [hang]
    async with anyio.create_task_group() as tasks:

        async def open_it() -> None:
            async with host_of(stage).open():
                pytest.fail("it must not open")

        tasks.start_soon(open_it)
        await until(lambda: stage.events == ["1 starts"])
        tasks.cancel_scope.cancel()
    assert stage.events == ["1 starts", "1 closes"]


async def test_a_close_does_not_wait_for_an_attempt(stage: Stage) -> None:
    async with host_of(stage).open():
        stage.starts = [hang]
        await wait_until_lost(stage)
        await until(lambda: stage.events[-1] == "2 starts")
    assert stage.events[-1] == "2 closes"


async def test_a_close_does_not_wait_for_a_pause(stage: Stage) -> None:
    async with host_of(stage).open():
        stage.starts = [fail]
        stage.may_go_on = anyio.Event()
        await wait_until_lost(stage)
        await until(lambda: stage.pauses == 1)
    assert stage.events == ["1 starts", "1 closes", "2 starts", "2 closes"]


@pytest.mark.parametrize("lost", [False, True])
async def test_a_close_waits_for_the_real_clients_close(stage: Stage, *, lost: bool) -> None:
    leaving, closed = anyio.Event(), anyio.Event()

    async def use() -> None:
        async with host_of(stage).open():
            stage.may_close = anyio.Event()
            if lost:
                await wait_until_lost(stage)
            leaving.set()
        closed.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        await leaving.wait()
        await anyio.wait_all_tasks_blocked()
        assert not closed.is_set()
        assert stage.events == ["1 starts"]
        stage.may_close.set()
    assert stage.events == ["1 starts", "1 closes"]


async def test_one_that_is_lost_while_the_host_closes_is_not_told_of(stage: Stage) -> None:
    async with host_of(stage).open():
        leadership = stage.last.leadership
    leadership.lost("too late")
    leadership.step_down("too late")
    await anyio.wait_all_tasks_blocked()
    assert stage.told == []
