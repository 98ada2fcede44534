"""Wall clocks that step, output that fails, methods that misbehave, very many subscriptions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster_client import OutcomeUnknownError, ResponseTimeoutError
from support.load import Account
from support.processes import Host, Worker, WorkerGoneError, each
from support.times import LIMIT, scaled

HOUR = 3600.0


@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR])
async def test_the_wall_clock_steps(host: Host, step: float) -> None:
    """Amid calls, heartbeats and an election; a limit that went by it would pass, or never."""
    settings = {"heartbeat_interval": scaled(0.05), "delegates": {"record": {"idempotent": True}}}
    workers = await host.start(4, **settings)
    await each(workers, lambda worker: worker.begin_load(8))
    leader = await host.leader()
    for stepping in (leader, *await host.followers()):
        await stepping.ask("step_clock", seconds=step)
        assert await each(workers, lambda worker: worker.call("pid")) == [leader.pid] * 4
    killed = await leader.kill()
    await each(host.workers, lambda worker: worker.first_answer_since(killed))
    seen = Account(await each(host.workers, Worker.end_load))
    assert seen.failed == seen.unknown == []
    for worker in host.workers:
        await worker.exit()


@pytest.mark.parametrize("how", ["closed", "broken"])
async def test_nothing_can_be_printed_or_logged(host: Host, how: str) -> None:
    workers = await host.start(3)
    for worker in workers:
        await worker.ask("lose_output", how=how)
    await each(workers, lambda worker: worker.begin_load(8))
    for _ in range(2):
        leader = await host.leader()
        await leader.end_load()
        await leader.exit()
    (last,) = host.workers
    assert await last.call("pid") == last.pid
    seen = Account([await last.end_load()])
    assert seen.failed == seen.unknown == []


async def test_a_method_hangs_in_its_thread_and_the_leader_is_closed(host: Host) -> None:
    settings = {"real": "breeder", "delegates": {"hang": {"response_timeout": scaled(0.2)}}}
    await host.start(2, drain_timeout=scaled(0.2), **settings)
    leader = await host.leader()
    (follower,) = await host.followers()
    with pytest.raises(ResponseTimeoutError):
        await follower.call("hang")
    await leader.exit()
    assert await follower.call("pid") == follower.pid


async def test_a_method_blocks_the_event_loop_for_a_while(host: Host) -> None:
    settings = {"real": "breeder", "response_timeout": LIMIT, "heartbeat_interval": scaled(0.05)}
    workers = await host.start(3, **settings)
    leader = await host.leader()
    await each(workers, lambda worker: worker.begin_load(8))
    epochs = await each(workers, Worker.epoch)
    await (await host.followers())[0].call("block", scaled(1.5))
    assert await each(workers, lambda worker: worker.call("pid")) == [leader.pid] * 3
    assert await each(workers, Worker.epoch) == epochs
    seen = Account(await each(workers, Worker.end_load))
    assert seen.failed == seen.unknown == []


async def test_a_keyboard_interrupt_ends_the_process_of_the_leader_as_ever(host: Host) -> None:
    await host.start(2, real="breeder")
    leader = await host.leader()
    (follower,) = await host.followers()
    with pytest.raises((OutcomeUnknownError, WorkerGoneError)):
        await follower.call("interrupt")
    await leader._end()
    assert "KeyboardInterrupt" in leader.output()
    assert await follower.call("pid") == follower.pid


async def test_thousands_of_subscriptions(
    host: Host, record_property: Callable[[str, object], None]
) -> None:
    """Of one follower: made, and made again at a failover, while it calls on without a timeout."""
    settings = {"real": "many", "delegates": {"record": {"idempotent": True}}}
    await host.start(2, **settings)
    leader = await host.leader()
    (follower,) = await host.followers()
    await follower.begin_load(4)
    few = await follower.ask("subscribe_many", channel="ledger", begin=0, end=1_000)
    many = await follower.ask("subscribe_many", channel="ledger", begin=1_000, end=4_000)
    (heir,) = await host.start(1, is_leader=None, **settings)
    killed = await leader.kill()
    answered = await follower.first_answer_since(killed)
    successor = await host.leader()
    await follower.ask("have_many", value=successor.pid)
    report = await follower.end_load()
    assert report.failed == []
    record_property("seconds", {"1,000": few, "3,000": many, "first answer": answered - killed})
    assert many / 3_000 < 8 * few / 1_000, "what one costs must not grow with their number"
    assert heir.is_running
