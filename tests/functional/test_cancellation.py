"""A call ends in the leader's process when its caller has gone, over a real socket."""

from __future__ import annotations

import signal

import anyio
import pytest

from cluster_client import Client, ResponseTimeoutError, cluster
from support.processes import Host, Worker
from support.times import LIMIT, scaled
from support.works import Works

CHANNEL = "works"
SHORT = scaled(0.3)


def follower(host: Host, *, response_timeout: float = LIMIT) -> Client[Works]:
    """Return a client in the process of the test, which another process leads."""
    return (
        cluster(Works, name=CHANNEL, port=host.port, is_leader=False)
        .delegate("wait", response_timeout=response_timeout)
        .delegate("event", idempotent=True, response_timeout=LIMIT)
        .create()
    )


async def leading(host: Host) -> Worker:
    worker = await host.spawn()
    await worker.open(CHANNEL, real="works", port=host.port, is_leader=True)
    return worker


async def test_a_cancelled_call_is_cancelled_in_the_leader(host: Host) -> None:
    await leading(host)
    async with follower(host) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.wait, "call")
            await client.event("call begins")
            tasks.cancel_scope.cancel()
        await client.event("call is cancelled")


async def test_a_call_whose_deadline_passes_is_cancelled_in_the_leader(host: Host) -> None:
    await leading(host)
    async with follower(host, response_timeout=SHORT) as client:
        with pytest.raises(ResponseTimeoutError):
            await client.wait("call")
        await client.event("call is cancelled")


async def test_a_stream_that_is_broken_off_is_closed_in_the_leader(host: Host) -> None:
    await leading(host)
    async with follower(host) as client:
        async for _ in client.call(Works.wait_with_rows, "stream"):
            break
        await client.event("stream is cancelled")


async def test_what_a_killed_follower_asked_for_is_cancelled_in_the_leader(host: Host) -> None:
    await leading(host)
    worker = await host.spawn()
    await worker.open(CHANNEL, real="works", port=host.port, is_leader=False)
    async with follower(host) as client, anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(Exception, match="ended before it answered"):
                await worker.call("wait", "call", channel=CHANNEL)

        tasks.start_soon(call)
        await client.event("call begins")
        await worker.kill()
        await client.event("call is cancelled")


async def test_a_frozen_leader_does_not_run_what_was_given_up_meanwhile(host: Host) -> None:
    leader = await leading(host)
    async with follower(host, response_timeout=SHORT) as client:
        leader.process.send_signal(signal.SIGSTOP)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.note, "patient")

                async def give_up() -> None:
                    with pytest.raises(ResponseTimeoutError):
                        await client.wait("impatient")

                tasks.start_soon(give_up)
                async with anyio.create_task_group() as cancelled:
                    cancelled.start_soon(client.wait, "cancelled")
                    await anyio.wait_all_tasks_blocked()
                    cancelled.cancel_scope.cancel()
                await give_up()
                leader.process.send_signal(signal.SIGCONT)
        finally:
            leader.process.send_signal(signal.SIGCONT)
        await client.event("patient")
        assert await client.events() == ["patient"]
