"""Single mode: one real client per name, process and event loop (SPEC 8.8)."""

from __future__ import annotations

import socket
import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from cluster_client import Client, ClientState, ConfigurationError, cluster
from support.sessions import Service, Sessions
from support.times import scaled


class Other:
    async def get(self) -> str:
        return "other"


def single(service: Service, **options: Any) -> Client[Sessions]:
    return cluster(Sessions, single_mode=True, **options).create(service)


@pytest.fixture
def service() -> Service:
    return Service()


async def test_all_share_one_and_the_last_one_closes_it(service: Service) -> None:
    async with single(service) as first:
        async with single(service) as second:
            assert await first.get() == await second.get() == "token 1"
        assert await first.get() == "token 1"
        assert service.events == ["1 starts"]
    assert service.events == ["1 starts", "1 closes"]
    async with single(service) as third:
        assert await third.get() == "token 2"


async def test_the_first_one_may_go_before_the_others(service: Service) -> None:
    first = single(service)
    async with anyio.create_task_group() as tasks:
        await tasks.start(first.run)
        async with single(service) as second:
            await first.aclose()
            assert await second.get() == "token 1"
    assert service.events == ["1 starts", "1 closes"]


async def test_many_may_come_and_go_at_once(service: Service) -> None:
    async def use() -> None:
        async with single(service) as client:
            await client.get()

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(use)
    starts = [event for event in service.events if "starts" in event]
    closes = [event for event in service.events if "closes" in event]
    assert len(starts) == len(closes) == len(service.instances)


async def test_a_failed_start_reaches_all_and_is_tried_again_by_the_next(service: Service) -> None:
    service.fail_starts = 1
    failures: list[Exception] = []

    async def use() -> None:
        try:
            async with single(service):
                pass
        except ConnectionRefusedError as exc:
            failures.append(exc)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(use)
    assert len(failures) == 3
    async with single(service) as client:
        assert await client.get() == "token 1"


async def test_a_start_that_hangs_is_given_up(service: Service) -> None:
    service.hang_start = True
    with anyio.move_on_after(scaled(0.2)) as scope:
        async with single(service):
            pass
    assert scope.cancelled_caught
    service.hang_start = False
    async with single(service) as client:
        assert await client.get() == "token 1"


async def test_a_name_belongs_to_one_class(service: Service) -> None:
    async with single(service, name="shared"):
        with pytest.raises(ConfigurationError, match="'shared' is Sessions in this process alr"):
            async with cluster(Other, name="shared", single_mode=True).create():
                pass


async def test_no_port_is_taken(service: Service, port: int) -> None:
    async with single(service, port=port) as client:
        assert client.is_leader
        assert client.state is ClientState.LEADING
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            sock.listen()


async def test_the_environment_turns_it_on(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CLIENT_SINGLE_MODE", "1")
    async with cluster(Sessions, port=port, is_leader=False).create(service) as client:
        assert await client.get() == "token 1"
    monkeypatch.setenv("CLUSTER_CLIENT_SINGLE_MODE", "perhaps")
    with pytest.raises(ConfigurationError, match="SINGLE_MODE='perhaps' is not 1 or 0"):
        cluster(Sessions, port=port)


async def test_each_event_loop_has_its_own(service: Service, anyio_backend_name: str) -> None:
    tokens: list[str] = []

    async def use() -> None:
        async with single(service) as client:
            tokens.append(await client.get())

    async with single(service) as client:
        thread = threading.Thread(
            target=anyio.run, args=(use,), kwargs={"backend": anyio_backend_name}
        )
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        assert [await client.get(), *tokens] == ["token 1", "token 2"]
