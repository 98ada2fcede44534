"""A port that another program holds, that nobody holds, or that must not be bound."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from cluster_client import ElectionError, LeaderUnavailableError, PortOccupiedError
from support.processes import Host, each
from support.times import scaled

PRIVILEGED = 80
WAIT = scaled(1)


@asynccontextmanager
async def http_server(address: str, port: int) -> AsyncIterator[None]:
    """Run Python's HTTP server in a process."""
    command = [sys.executable, "-u", "-m", "http.server", str(port), "--bind", address]
    async with await anyio.open_process(command, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        await process.stdout.receive()  # it says that it listens
        try:
            yield
        finally:
            process.kill()


def needs_privilege(port: int) -> bool:
    """Tell whether only root may bind a port; in containers this can be otherwise."""
    first_free = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return not first_free.exists() or port < int(first_free.read_text())


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
async def test_an_http_server_is_named_at_once(host: Host, address: str) -> None:
    worker = await host.spawn()
    async with http_server(address, host.port):
        with pytest.raises(PortOccupiedError) as caught:
            await host.open_ledger(worker)
    assert caught.value.port == host.port
    assert str(caught.value).startswith(
        f"port {host.port} of 127.0.0.1 is occupied: the peer does not speak the cluster protocol: "
        f"it sent b'<!DOCTYPE HTML>"
    )


async def test_a_silent_program_is_waited_for_and_then_named(host: Host) -> None:
    worker = await host.spawn()
    with socket.create_server(("127.0.0.1", host.port)):
        with pytest.raises(
            LeaderUnavailableError, match="the process there said nothing"
        ) as caught:
            await host.open_ledger(worker, max_wait_time=WAIT)
    assert caught.value.waited > 0.9 * WAIT
    assert caught.value.port == host.port


async def test_a_port_that_becomes_free_is_taken(host: Host) -> None:
    worker = await host.spawn()
    with socket.create_server(("127.0.0.1", host.port)) as silent:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.open_ledger, worker)
            await anyio.wait_readable(silent)  # it has come and asked
            silent.close()
    assert await worker.is_leader()


async def test_a_client_that_must_lead_does_not_follow(host: Host) -> None:
    await host.start(1)
    worker = await host.spawn()
    with pytest.raises(PortOccupiedError, match="'ledger' has is_leader=True and another process"):
        await host.open_ledger(worker, is_leader=True)


async def test_a_client_that_must_not_lead_says_that_nobody_does(host: Host) -> None:
    worker = await host.spawn()
    with pytest.raises(LeaderUnavailableError) as caught:
        await host.open_ledger(worker, is_leader=False, max_wait_time=WAIT)
    assert caught.value.waited > 0.9 * WAIT
    assert caught.value.reason == "nothing listens there"
    assert str(caught.value).startswith(f"no leader of 'ledger' on port {host.port} of ")


async def test_a_client_that_must_not_lead_waits_for_one_that_does(host: Host) -> None:
    first, second = await each(range(2), lambda _: host.spawn())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: host.open_ledger(first, is_leader=False))
        await host.open_ledger(second)
    assert await first.call("pid") == second.pid


async def test_it_does_not_lead_either_when_its_leader_was_killed(host: Host) -> None:
    (leader,) = await host.start(1)
    (follower,) = await host.start(1, is_leader=False, max_wait_time=WAIT)
    await leader.kill()
    with pytest.raises(LeaderUnavailableError) as caught:
        await follower.call("pid")
    assert caught.value.waited > 0.9 * WAIT


async def test_a_port_that_needs_privileges_is_no_lost_race(host: Host) -> None:
    if not needs_privilege(PRIVILEGED):
        pytest.skip("every user may bind every port here")
    worker = await host.spawn()
    await worker.ask("become_nobody")
    with pytest.raises(ElectionError, match=r"port 80 of \S+ cannot be bound: .*[Pp]ermission"):
        await worker.open("ledger", str(host.directory), port=PRIVILEGED)
