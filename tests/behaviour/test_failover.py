"""What becomes of calls and subscriptions when a leader goes, orderly or not."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from cluster_client import (
    Client,
    ClientClosedError,
    ClientState,
    LeaderUnavailableError,
    OutcomeUnknownError,
    cluster,
)
from support.listening import Recorder
from support.registry import Registry, RegistryError, Upstream, registry_client
from support.times import scaled

K = {"path": "/k"}


@asynccontextmanager
async def leader_and_follower(
    upstream: Upstream, port: int, *, drain_timeout: float = scaled(5)
) -> AsyncIterator[tuple[Client[Registry], Client[Registry]]]:
    async with (
        registry_client(upstream, port, drain_timeout=drain_timeout) as leader,
        registry_client(upstream, port) as follower,
    ):
        yield leader, follower


async def test_a_call_in_flight_at_an_orderly_close_still_gets_its_result(
    upstream: Upstream, port: int
) -> None:
    results: list[str] = []

    async def call(client: Client[Registry], name: str) -> None:
        results.append(await client.wait_at_gate(name))

    async with leader_and_follower(upstream, port) as (leader, follower):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, leader, "of the leader")
            tasks.start_soon(call, follower, "of the follower")
            while len(upstream.executed) < 2:
                await anyio.wait_all_tasks_blocked()
            tasks.start_soon(leader.aclose)
            while follower.state is not ClientState.DRAINING:
                await anyio.wait_all_tasks_blocked()
            assert leader.state == ClientState.HANDING_OVER
            assert upstream.open == 1
            upstream.gate.set()
        assert sorted(results) == ["of the follower", "of the leader"]
        assert await follower.echo("goes on") == "goes on"
        assert follower.is_leader
    assert upstream.executed == ["of the leader", "of the follower"]


async def test_a_call_made_during_a_hand_over_waits_for_the_next_leader(
    upstream: Upstream, port: int
) -> None:
    async with leader_and_follower(upstream, port) as (leader, follower):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follower.wait_at_gate, "holds up the hand-over")
            await upstream.entered.wait()
            tasks.start_soon(leader.aclose)
            while follower.state is not ClientState.DRAINING:
                await anyio.wait_all_tasks_blocked()
            tasks.start_soon(follower.set_data, "/k", 1)
            await anyio.wait_all_tasks_blocked()
            assert upstream.data == {}
            upstream.gate.set()
        assert upstream.data == {"/k": 1}
        assert upstream.executed.count("/k") == 1


async def test_the_next_real_client_starts_when_the_old_one_is_closed(
    upstream: Upstream, port: int
) -> None:
    async with leader_and_follower(upstream, port) as (leader, follower):
        await leader.aclose()
        await follower.echo(1)
    assert upstream.events == ["open", "close", "open", "close"]


class SlowToClose:
    """A real client that closes when the test says so."""

    def __init__(self, closing: anyio.Event, gate: anyio.Event) -> None:
        self.closing = closing
        self.gate = gate

    async def aclose(self) -> None:
        self.closing.set()
        await self.gate.wait()


async def test_the_port_is_free_only_when_the_real_client_is_closed(port: int) -> None:
    closing, gate = anyio.Event(), anyio.Event()

    def can_be_bound() -> bool:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True

    async with cluster(SlowToClose, port=port).create(closing, gate) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.aclose)
            await closing.wait()
            await anyio.wait_all_tasks_blocked()
            assert not can_be_bound()
            gate.set()
        assert can_be_bound()


async def test_a_call_that_outlasts_the_drain_has_an_unknown_outcome(
    upstream: Upstream, port: int
) -> None:
    async with leader_and_follower(upstream, port, drain_timeout=0) as (leader, follower):
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                with pytest.raises(OutcomeUnknownError, match="'wait_at_gate' was in flight") as e:
                    await follower.wait_at_gate("slow")
                assert e.value.method == "wait_at_gate"

            tasks.start_soon(call)
            await upstream.entered.wait()
            await leader.aclose()
        assert upstream.executed == ["slow"]
        assert upstream.cancelled.is_set()


async def test_an_idempotent_call_is_sent_again_to_the_next_leader(
    upstream: Upstream, port: int
) -> None:
    def client(drain_timeout: float) -> Client[Registry]:
        builder = cluster(Registry, port=port, drain_timeout=drain_timeout)
        return builder.delegate("wait_at_gate", idempotent=True).create(upstream)

    results: list[str] = []

    async def call(follower: Client[Registry]) -> None:
        results.append(await follower.wait_at_gate("again"))

    async with client(0) as leader, client(5) as follower:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, follower)
            await upstream.entered.wait()
            await leader.aclose()
            while len(upstream.executed) < 2:
                await anyio.wait_all_tasks_blocked()
            upstream.gate.set()
        assert results == ["again"]
        assert upstream.executed == ["again", "again"]
        assert follower.resent_calls == 1


async def test_oneway_calls_made_before_the_close_are_executed(
    upstream: Upstream, port: int
) -> None:
    def client() -> Client[Registry]:
        return cluster(Registry, port=port).delegate("set_data", "invoke_oneway").create(upstream)

    async with client() as leader, client() as follower:
        for number in range(50):
            await follower.set_data(f"/{number}", number)
            await leader.set_data(f"/own/{number}", number)
        await leader.aclose()
        assert len(upstream.data) == 100
        await follower.echo("through the new leader")
    assert len(upstream.executed) == 100


async def test_subscriptions_go_on_with_the_next_leader(upstream: Upstream, port: int) -> None:
    async with leader_and_follower(upstream, port) as (leader, follower):
        seen = Recorder()
        await follower.subscribe(K, seen)
        await follower.set_data("/k", 1)
        await seen.until(1)
        await leader.aclose()
        await follower.set_data("/k", 2)
        await seen.until_last(2)
        assert follower.last(K) == 2
        assert upstream.events.count("subscribe /k") == 2


async def test_what_was_unsubscribed_is_not_subscribed_with_the_next_leader(
    upstream: Upstream, port: int
) -> None:
    async with leader_and_follower(upstream, port) as (leader, follower):
        seen = Recorder()
        await follower.subscribe(K, seen)
        await follower.unsubscribe(K, seen)
        await leader.aclose()
        await follower.echo("through the new leader")
        await anyio.wait_all_tasks_blocked()
    assert upstream.events.count("subscribe /k") <= 1


async def test_waiting_calls_get_the_error_of_a_failing_start_and_later_ones_a_new_chance(
    upstream: Upstream, port: int
) -> None:
    async with leader_and_follower(upstream, port) as (leader, follower):
        upstream.fail_start = RegistryError("no session", code="E_SESSION", path="/")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follower.wait_at_gate, "holds up the hand-over")
            await upstream.entered.wait()
            tasks.start_soon(leader.aclose)
            while follower.state is not ClientState.DRAINING:
                await anyio.wait_all_tasks_blocked()

            async def call() -> None:
                with pytest.raises(RegistryError, match="no session"):
                    await follower.echo(1)

            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            upstream.gate.set()
        upstream.fail_start = None
        while True:
            try:
                assert await follower.echo(2) == 2
                break
            except RegistryError:
                continue
        assert follower.is_leader


async def test_a_call_waits_no_longer_than_max_wait_time_for_a_leader(
    upstream: Upstream, port: int
) -> None:
    async with registry_client(upstream, port) as leader:
        options = {"is_leader": False, "max_wait_time": scaled(0.1)}
        async with registry_client(upstream, port, **options) as follower:
            await leader.aclose()
            with pytest.raises(LeaderUnavailableError, match=f"port {port} .* after .* electing"):
                await follower.echo(1)


async def test_a_waiting_call_ends_when_its_client_is_closed(upstream: Upstream, port: int) -> None:
    async with registry_client(upstream, port) as leader:
        async with registry_client(upstream, port, is_leader=False) as follower:
            await leader.aclose()
            async with anyio.create_task_group() as tasks:

                async def call() -> None:
                    with pytest.raises(ClientClosedError):
                        await follower.echo(1)

                tasks.start_soon(call)
                while follower.state is not ClientState.ELECTING:
                    await anyio.wait_all_tasks_blocked()
                await follower.aclose()


async def test_closing_one_channel_leaves_the_others_of_its_process_alone(
    upstream: Upstream, port: int
) -> None:
    async with (
        registry_client(upstream, port, name="x") as x,
        registry_client(upstream, port, name="y") as y,
    ):
        assert x.is_leader
        assert y.is_leader
        epoch = y.epoch
        await x.aclose()
        assert await y.echo(1) == 1
        assert y.epoch == epoch
        async with registry_client(upstream, port, name="y") as follower:
            assert await follower.echo(2) == 2
            assert not follower.is_leader


async def test_a_new_leadership_of_a_channel_has_a_new_epoch(upstream: Upstream, port: int) -> None:
    async with registry_client(upstream, port, name="stays"):
        async with registry_client(upstream, port, name="x") as one:
            epoch = one.epoch
        async with registry_client(upstream, port, name="x") as other:
            assert other.epoch != epoch
