"""Several channels on one port: each gets a leader, and none is disturbed by another's end."""

from __future__ import annotations

import anyio
import pytest

from cluster_client import LeaderUnavailableError
from support.processes import Host, Worker, each
from support.times import scaled

CALLERS = 8


async def start(host: Host, *channels: str) -> Worker:
    """Start a process with a client for each channel."""
    worker = await host.spawn()
    for channel in channels:
        await host.open_ledger(worker, channel)
    return worker


async def assert_no_call_failed(worker: Worker, channel: str) -> None:
    report = await worker.end_load(channel)
    assert (report.failed, report.unknown) == ([], [])
    assert report.returned


async def test_one_process_leads_all_its_channels(host: Host) -> None:
    first = await start(host, "X", "Y")
    second = await start(host, "X", "Y")
    for channel in ("X", "Y"):
        assert await host.leader(channel) is first
        assert not await second.is_leader(channel)


async def test_when_it_is_killed_all_of_them_get_another_leader(host: Host) -> None:
    first = await start(host, "X", "Y")
    second = await start(host, "X", "Y")
    await first.kill()
    for channel in ("X", "Y"):
        assert await second.call("pid", channel=channel) == second.pid


async def test_a_channel_that_one_process_gives_up_gets_its_leader_in_another(host: Host) -> None:
    first = await start(host, "X", "Y")
    second = await start(host, "X", "Y")
    loads = [(first, "X"), (second, "X"), (second, "Y")]
    for worker, channel in loads:
        await worker.begin_load(CALLERS, channel)
        await worker.first_answer_of(first, channel)

    await first.close("Y")

    assert await host.leader("Y") is second
    assert await second.is_leader("Y")
    assert await host.leader("X") in (first, second)
    for worker, channel in loads:
        await assert_no_call_failed(worker, channel)


async def test_a_channel_that_nobody_else_wants_ends_quietly(host: Host) -> None:
    first = await start(host, "X", "Y")
    second = await start(host, "X")
    epoch = await second.epoch("X")
    await first.close("Y")
    assert await second.call("pid", channel="X") == first.pid
    assert await second.epoch("X") == epoch


async def test_a_channel_that_nobody_on_the_port_serves_is_named(host: Host) -> None:
    first = await start(host, "X", "Y")
    epoch = await first.epoch("X")
    second = await host.spawn()
    with pytest.raises(LeaderUnavailableError) as caught:
        await host.open_ledger(second, "Z", max_wait_time=scaled(1))
    assert caught.value.holder_pid == first.pid
    assert list(caught.value.holder_channels) == ["X", "Y"]
    assert f"process {first.pid} holds it and serves 'X', 'Y'" in str(caught.value)
    assert await first.epoch("X") == epoch


async def test_a_channel_that_comes_late_is_waited_for(host: Host) -> None:
    first = await start(host, "X", "Y")
    second = await host.spawn()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.open_ledger, second, "Z")
        await host.open_ledger(first, "Z")
    assert await second.call("pid", channel="Z") == first.pid


async def test_a_process_makes_way_for_one_that_serves_more(host: Host) -> None:
    first = await start(host, "X")
    await first.begin_load(CALLERS, "X")
    second = await start(host, "X")
    await second.begin_load(CALLERS, "X")

    await host.open_ledger(second, "Z")

    assert await second.is_leader("Z")
    assert await host.leader("X") is second
    for worker in (first, second):
        await assert_no_call_failed(worker, "X")


async def test_channels_end_one_after_the_other_without_a_failed_call(host: Host) -> None:
    workers = await each(range(3), lambda _: start(host, "X", "Y"))
    last = workers[-1]
    for channel in ("X", "Y"):
        await last.begin_load(CALLERS, channel)
    for worker in workers[:-1]:
        for channel in ("Y", "X"):
            await worker.close(channel)
    for channel in ("X", "Y"):
        assert await host.leader(channel) is last
        await assert_no_call_failed(last, channel)


async def test_closing_one_client_leaves_no_other_of_its_process_without_a_leader(
    host: Host,
) -> None:
    first = await start(host, "X", "Y")
    second = await host.spawn()
    await host.open_ledger(second, "Y", max_wait_time=scaled(1))
    await first.begin_load(CALLERS, "X")
    await first.close("Y")
    # Whoever of the two holds the port, the other one's channel has no leader.
    with pytest.raises(LeaderUnavailableError):
        await second.call("pid", channel="Y")
    assert await first.call("pid", channel="X") == first.pid
    await assert_no_call_failed(first, "X")
