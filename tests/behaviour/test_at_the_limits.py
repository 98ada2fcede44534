"""What happens at each cap, in every role: who comes too late is told, and nobody else notices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from cluster_client import Client, EncodeError, Limits, RefusedError, cluster
from support.logs import LogRecorder
from support.registry import Registry, Role, Upstream, registry_client, registry_in_role
from support.times import scaled
from support.waiting import until

MIB = 1 << 20


@asynccontextmanager
async def limited(
    role: Role, upstream: Upstream, port: int, **limits: Any
) -> AsyncIterator[Client[Registry]]:
    options = {"limits": Limits(**limits), "logger": LogRecorder()}
    async with registry_in_role(role, upstream, port, **options) as client:
        yield client


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


async def test_arguments_and_results_have_a_size(role: Role, upstream: Upstream, port: int) -> None:
    async with limited(role, upstream, port, frame_size=MIB) as client:
        fits = "x" * (MIB - 100)
        assert await client.echo(fits) == fits
        with pytest.raises(EncodeError, match=r"arguments of 'echo': .* Limits.frame_size"):
            await client.echo("x" * MIB)
        upstream.data["/large"] = "x" * MIB
        with pytest.raises(EncodeError, match=r"result of 'get_data': .* Limits.frame_size"):
            await client.get_data("/large")
        assert await client.echo(1) == 1


async def test_an_error_is_cut_to_the_size_of_a_frame(
    role: Role, upstream: Upstream, port: int
) -> None:
    async with limited(role, upstream, port, frame_size=MIB) as client:
        # Each part alone would be small enough.
        upstream.fail_call = ValueError("too much", *("x" * 900_000 for _ in range(3)))
        with pytest.raises(ValueError, match="too much"):
            await client.get_data("/k")
        upstream.fail_call = None
        assert await client.echo(1) == 1


async def test_values_nest_as_deeply_as_they_may(role: Role, upstream: Upstream, port: int) -> None:
    async with limited(role, upstream, port, depth=10) as client:
        # The call's own two lists count.
        assert await client.echo(nested(8)) == nested(8)
        with pytest.raises(EncodeError, match=r"value\[0\]\[0\].*: nested deeper than 10 levels"):
            await client.echo(nested(9))
        upstream.data["/deep"] = {"k": nested(10)}
        with pytest.raises(
            EncodeError, match=r"result of 'get_data': value\['k'\].*deeper than 10"
        ):
            await client.get_data("/deep")
        with pytest.raises(EncodeError, match=r"plain JSON: value\['path'\].*deeper than 10"):
            await client.subscribe({"path": nested(10)}, print)
        with pytest.raises(EncodeError, match=r"plain JSON: value\['path'\].*deeper than 10"):
            await client.publish({"path": nested(10)})


async def test_a_call_has_so_many_arguments(role: Role, port: int) -> None:
    class Sum:
        async def sum(self, *numbers: int, **more: int) -> int:
            return sum(numbers) + sum(more.values())

    options: dict[str, Any] = {"port": port, "single_mode": role == "single"}
    async with cluster(Sum, limits=Limits(arguments=5), **options).create() as first:
        async with cluster(Sum, limits=Limits(arguments=5), **options).create() as second:
            client: Client[Any] = first if role == "leader" else second
            assert await client.sum(1, 2, 3, 4, a=5) == 15
            with pytest.raises(EncodeError, match=r"arguments of 'sum': 6 of them, the limit is 5"):
                await client.sum(1, 2, 3, 4, a=5, b=6)
            with pytest.raises(EncodeError, match=r"arguments of 'sum': 6 of them"):
                await client.sum(1, 2, 3, 4, 5, 6)


async def test_so_many_calls_of_a_client_run(role: Role, upstream: Upstream, port: int) -> None:
    async with limited(role, upstream, port, calls_per_follower=3) as client:
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(client.wait_at_gate, name)
            await until(lambda: len(upstream.executed) == 3)
            with pytest.raises(RefusedError) as caught:
                await client.wait_at_gate("d")
            assert str(caught.value) == (
                "'wait_at_gate' was refused: 3 calls of this client are running "
                "(Limits.calls_per_follower); make it again when some of them are done"
            )
            upstream.gate.set()
        assert sorted(upstream.executed) == ["a", "b", "c"]
        assert await client.echo(1) == 1  # the client is none the worse


async def test_oneway_calls_beyond_the_cap_are_not_run(
    role: Role, upstream: Upstream, port: int
) -> None:
    log = LogRecorder()
    options: dict[str, Any] = {
        "port": port,
        "single_mode": role == "single",
        "limits": Limits(calls_per_follower=2),
        "logger": log,
    }

    def make() -> Client[Registry]:
        builder = cluster(Registry, **options).delegate("set_data", "invoke_oneway")
        return builder.create(upstream)

    async with make() as first, make() as second:
        client = first if role == "leader" else second
        async with anyio.create_task_group() as tasks:
            for name in "ab":
                tasks.start_soon(client.wait_at_gate, name)
            await until(lambda: len(upstream.executed) == 2)
            await client.set_data("/k", 1)
            await until(lambda: bool(log.of("oneway_call_failed")))
            upstream.gate.set()
        await client.set_data("/k", 2)
        await until(lambda: upstream.data.get("/k") == 2)
        assert log.of("oneway_call_failed") == [{"method": "set_data"}]


async def test_so_many_calls_of_all_clients_run(upstream: Upstream, port: int) -> None:
    options: dict[str, Any] = {"limits": Limits(calls=4)}
    async with (
        registry_client(upstream, port, **options) as leader,
        registry_client(upstream, port, **options) as one,
        registry_client(upstream, port, **options) as other,
    ):
        async with anyio.create_task_group() as tasks:
            for index, client in enumerate((one, one, other, leader)):
                tasks.start_soon(client.wait_at_gate, str(index))
            await until(lambda: len(upstream.executed) == 4)
            for client in (one, other, leader):
                with pytest.raises(RefusedError, match=r"4 calls .* leader \(Limits\.calls\)"):
                    await client.wait_at_gate("too many")
            upstream.gate.set()
        assert sorted(upstream.executed) == ["0", "1", "2", "3"]
        for client in (one, other, leader):
            assert await client.echo(1) == 1


async def test_streams_are_calls_too(role: Role, port: int) -> None:
    class Numbers:
        async def count(self) -> AsyncIterator[int]:
            number = 0
            while True:
                yield number
                number += 1

    options: dict[str, Any] = {
        "port": port,
        "single_mode": role == "single",
        "limits": Limits(calls_per_follower=1),
    }
    async with cluster(Numbers, **options).create() as first:
        async with cluster(Numbers, **options).create() as second:
            client: Client[Any] = first if role == "leader" else second
            async with client.count() as numbers:
                assert await anext(numbers) == 0
                with pytest.raises(RefusedError, match=r"Limits\.calls_per_follower"):
                    async with client.count() as more:
                        await anext(more)
                assert await anext(numbers) == 1
            with anyio.fail_after(scaled(5)):
                while True:  # the leader closes the first one in its own time
                    try:
                        async with client.count() as numbers:
                            assert await anext(numbers) == 0
                        break
                    except RefusedError:
                        continue


async def test_so_many_registrations_of_a_client_are_subscribed_to(
    role: Role, upstream: Upstream, port: int
) -> None:
    got: list[Any] = []
    async with limited(role, upstream, port, subscriptions_per_follower=2) as client:
        await client.subscribe({"path": "/a"}, got.append)
        await client.subscribe({"path": "/b"}, got.append)
        with pytest.raises(RefusedError, match=r"to 2 registrations already \(Limits\.subscript"):
            await client.subscribe({"path": "/c"}, got.append)
        await client.subscribe({"path": "/a"}, got.append)  # it has that one
        await client.unsubscribe({"path": "/b"})
        with pytest.raises(KeyError):  # what the real client refuses takes no room
            await client.subscribe({"wrong": 1}, got.append)
        await client.subscribe({"path": "/c"}, got.append)
        await client.set_data("/c", 1)
        await until(lambda: got == [1])
    assert "subscribe /c" in upstream.events
    assert upstream.events.count("subscribe /c") == 1


async def test_another_client_has_subscriptions_of_its_own(upstream: Upstream, port: int) -> None:
    options: dict[str, Any] = {"limits": Limits(subscriptions_per_follower=1)}
    async with (
        registry_client(upstream, port, **options) as leader,
        registry_client(upstream, port, **options) as one,
        registry_client(upstream, port, **options) as other,
    ):
        for index, client in enumerate((leader, one, other)):
            await client.subscribe({"path": f"/{index}"}, print)
            with pytest.raises(RefusedError):
                await client.subscribe({"path": "/more"}, print)


async def test_so_many_connections_are_taken_and_others_cost_nothing(
    upstream: Upstream, port: int
) -> None:
    log = LogRecorder()
    limits = Limits(connections=3)
    async with (
        registry_client(upstream, port, limits=limits, logger=log) as leader,
        registry_client(upstream, port) as follower,
    ):
        async with (
            await anyio.connect_tcp("127.0.0.1", port),
            await anyio.connect_tcp("127.0.0.1", port),
        ):
            for _ in range(20):
                async with await anyio.connect_tcp("127.0.0.1", port) as refused:
                    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                        await refused.receive()
            assert log.of("connections_refused") == [{"limit": 3, "refused": 1}]
            assert await follower.echo(1) == await leader.echo(1) == 1
        # There is room again when somebody has gone.
        async with registry_client(upstream, port) as late:
            assert await late.echo(1) == 1
            async with registry_client(upstream, port) as last:
                assert await last.echo(2) == 2


async def test_a_follower_that_finds_no_room_comes_when_there_is_some(
    upstream: Upstream, port: int
) -> None:
    async with registry_client(upstream, port, limits=Limits(connections=1)):
        async with anyio.create_task_group() as tasks:

            async def follow() -> None:
                async with registry_client(upstream, port) as follower:
                    assert await follower.echo(1) == 1
                    tasks.cancel_scope.cancel()

            async with await anyio.connect_tcp("127.0.0.1", port) as first:
                tasks.start_soon(follow)
                with anyio.move_on_after(scaled(0.05)):
                    await first.receive()  # nothing comes
        assert tasks.cancel_scope.cancel_called
