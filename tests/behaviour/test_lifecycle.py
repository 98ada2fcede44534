"""Opening, closing, and what happens in between."""

from __future__ import annotations

import os
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from cluster_client import (
    APIClientBase,
    Client,
    ClientClosedError,
    ClientState,
    LeaderUnavailableError,
    PortOccupiedError,
    RemoteInvokeError,
    cluster,
    delegated,
)
from support.registry import (
    Registry,
    RegistryError,
    Role,
    Upstream,
    registry_client,
    registry_in_role,
)
from support.times import scaled


async def test_the_state_tells_the_role(role: Role, upstream: Upstream, port: int) -> None:
    async with registry_in_role(role, upstream, port) as client:
        leads = role != "follower"
        state = ClientState.LEADING if leads else ClientState.FOLLOWING
        assert client.is_leader is leads
        assert client.state == state
        assert client.epoch is not None
        assert repr(client) == (
            f"<RegistryClient 'Registry' port={port} {'leading' if leads else 'following'}>"
        )
    assert client.state == ClientState.CLOSED
    assert not client.is_leader


async def test_a_client_works_only_inside_async_with(upstream: Upstream, port: int) -> None:
    client = registry_client(upstream, port)
    with pytest.raises(ClientClosedError, match="is not open; use it in 'async with'"):
        await client.echo(1)
    with pytest.raises(ClientClosedError, match="was never opened"):
        await client.aclose()
    async with client:
        assert await client.echo(1) == 1
    with pytest.raises(ClientClosedError, match="is closed"):
        await client.echo(1)
    with pytest.raises(ClientClosedError, match="cannot be opened twice"):
        async with client:
            pass


async def test_one_real_client_for_all(upstream: Upstream, port: int) -> None:
    async with (
        registry_client(upstream, port),
        registry_client(upstream, port),
        registry_client(upstream, port),
    ):
        assert upstream.open == 1
    assert upstream.events == ["open", "close"] * upstream.started
    assert upstream.open == 0


async def test_an_exception_of_the_body_leaves_bare(
    role: Role, upstream: Upstream, port: int
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with registry_in_role(role, upstream, port):
            raise ZeroDivisionError


async def test_a_cancelled_body_still_closes_the_real_client(
    role: Role, upstream: Upstream, port: int
) -> None:
    with anyio.CancelScope() as scope:
        async with registry_in_role(role, upstream, port):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert upstream.open == 0
    async with registry_client(upstream, port) as client:  # and the port is free
        assert client.is_leader


async def test_aclose_ends_calls_in_flight(role: Role, upstream: Upstream, port: int) -> None:
    errors: list[Exception] = []

    async def call(client: Client[Registry]) -> None:
        try:
            await client.wait_at_gate("hangs")
        except Exception as exc:
            errors.append(exc)

    async with registry_in_role(role, upstream, port, drain_timeout=0) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, client)
            await upstream.entered.wait()
            await client.aclose()
            await client.aclose()
        with pytest.raises(ClientClosedError):
            await client.echo(1)
    (error,) = errors
    assert type(error).__name__ in ("OutcomeUnknownError", "ClientClosedError")


async def test_run_keeps_a_client_open_for_frameworks(upstream: Upstream, port: int) -> None:
    client = registry_client(upstream, port)
    async with anyio.create_task_group() as tasks:
        opened = await tasks.start(client.run)
        assert opened is client
        assert await client.echo(1) == 1
        tasks.cancel_scope.cancel()
    assert client.state is ClientState.CLOSED
    assert upstream.open == 0


async def test_run_ends_when_the_client_is_closed(upstream: Upstream, port: int) -> None:
    client = registry_client(upstream, port)
    async with anyio.create_task_group() as tasks:
        await tasks.start(client.run)
        await client.aclose()


async def test_the_error_of_a_failing_start_is_raised_bare_and_frees_the_port(
    upstream: Upstream, port: int
) -> None:
    upstream.fail_start = RegistryError("no session", code="E_SESSION", path="/")
    with pytest.raises(RegistryError, match="no session"):
        async with registry_client(upstream, port):
            raise AssertionError("opened")
    upstream.fail_start = None
    async with registry_client(upstream, port) as client:
        assert client.is_leader


class SlowToFail:
    """A real client that fails to start when the test says so."""

    def __init__(self, starting: anyio.Event, gate: anyio.Event) -> None:
        self.starting = starting
        self.gate = gate

    async def start(self) -> None:
        self.starting.set()
        await self.gate.wait()
        raise RegistryError("no session", code="E_SESSION", path="/")

    async def echo(self, value: Any) -> Any:
        return value


async def test_followers_that_wait_for_a_start_get_its_error(port: int) -> None:
    starting, gate = anyio.Event(), anyio.Event()
    errors: list[Exception] = []

    async def open_client() -> None:
        try:
            async with cluster(SlowToFail, port=port).create(starting, gate):
                raise AssertionError("opened")
        except Exception as exc:
            errors.append(exc)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_client)
        await starting.wait()
        tasks.start_soon(open_client)
        tasks.start_soon(open_client)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    kinds = sorted(type(error).__name__ for error in errors)
    assert kinds.count("RegistryError") >= 1
    assert set(kinds) <= {"RegistryError", "RemoteInvokeError"}
    for error in errors:
        if isinstance(error, RemoteInvokeError):
            assert (error.remote_name, error.code) == ("RegistryError", "E_SESSION")


async def test_opening_can_be_cancelled_while_the_real_client_starts(port: int) -> None:
    starting, gate = anyio.Event(), anyio.Event()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def open_client() -> None:
                async with cluster(SlowToFail, port=port).create(starting, gate):
                    raise AssertionError("opened")

            tasks.start_soon(open_client)
            await starting.wait()
            scope.cancel()
    async with cluster(Registry, port=port).create(Upstream()) as client:
        assert client.is_leader


async def test_a_real_client_that_hangs_while_starting_is_given_up(port: int) -> None:
    starting = anyio.Event()
    builder = cluster(SlowToFail, port=port, max_wait_time=scaled(0.1))
    with pytest.raises(
        LeaderUnavailableError, match="SlowToFail is still starting, in this process"
    ):
        async with builder.create(starting, anyio.Event()):
            raise AssertionError("opened")
    assert starting.is_set()
    async with cluster(Registry, port=port).create(Upstream()) as client:  # the port is free
        assert client.is_leader


async def test_is_leader_true_must_win(upstream: Upstream, port: int) -> None:
    async with registry_client(upstream, port, is_leader=True) as leader:
        assert leader.is_leader
        with pytest.raises(PortOccupiedError, match=f"port {port} .*is_leader=True"):
            async with registry_client(upstream, port, is_leader=True):
                raise AssertionError("opened")


async def test_is_leader_false_waits_for_a_leader(upstream: Upstream, port: int) -> None:
    with pytest.raises(LeaderUnavailableError, match="nothing listens there") as caught:
        async with registry_client(upstream, port, is_leader=False, max_wait_time=scaled(0.1)):
            raise AssertionError("opened")
    assert caught.value.port == port
    assert caught.value.channel == "Registry"
    follower = registry_client(upstream, port, is_leader=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run)
        async with registry_client(upstream, port):
            while follower.state is not ClientState.FOLLOWING:
                await anyio.lowlevel.checkpoint()
            await follower.aclose()


async def test_a_missing_channel_is_explained(upstream: Upstream, port: int) -> None:
    async with registry_client(upstream, port, name="present"):
        with pytest.raises(LeaderUnavailableError) as caught:
            async with registry_client(
                upstream, port, name="absent", is_leader=False, max_wait_time=scaled(0.1)
            ):
                raise AssertionError("opened")
    assert caught.value.holder_pid == os.getpid()
    assert caught.value.holder_channels == ("present",)
    assert f"process {os.getpid()} holds it and serves 'present'" in str(caught.value)


class RegistryAPI(APIClientBase[Registry]):
    """A facade with logic of its own."""

    data_client = Registry
    delegates = {"size": "invoke"}
    repeat = delegated(Registry.echo, idempotent=True)

    async def get_data(self, path: str) -> Any:
        return ("facade", await self._client.get_data(path))


async def test_a_facade_generates_what_it_does_not_define(
    role: Role, upstream: Upstream, port: int
) -> None:
    def on_port(cls: type[Any], /, **options: Any) -> Any:
        return cluster(cls, **options, port=port, single_mode=role == "single")

    async with registry_in_role(role, upstream, port):
        async with RegistryAPI(upstream, cluster=on_port) as api:
            await api.set_data("/k", 1)
            assert await api.get_data("/k") == ("facade", 1)
            assert await api.size() == 1
            assert await api.repeat("typed") == "typed"
            expected = ClientState.LEADING if role == "single" else ClientState.FOLLOWING
            assert api.state is expected
            await api.publish({"path": "/k", "value": 2})
            async with api.subscription({"path": "/k"}) as values:
                assert await anext(values) == 2
            assert api.is_leader is (role == "single")
