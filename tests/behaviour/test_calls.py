"""Calls: the same in every role."""

from __future__ import annotations

import datetime as dt
import inspect
from decimal import Decimal
from typing import Any
from uuid import UUID

import anyio
import pytest

from cluster_client import (
    Client,
    ConfigurationError,
    EncodeError,
    RemoteInvokeError,
    ResponseTimeoutError,
)
from support.registry import Registry, Role, Upstream, registry_in_role
from support.times import scaled


async def test_a_call_returns_the_result_of_the_real_method(
    client: Client[Registry], upstream: Upstream
) -> None:
    upstream.data["/k"] = {"hosts": ["a", "b"]}
    assert await client.get_data("/k") == {"hosts": ["a", "b"]}
    assert await client.call(Registry.get_data, "/k") == {"hosts": ["a", "b"]}
    assert await client.call("get_data", "/k") == {"hosts": ["a", "b"]}


async def test_arguments_follow_the_real_signature(client: Client[Registry]) -> None:
    assert await client.get_data("/none", "default") == "default"
    assert await client.get_data(default="default", path="/none") == "default"
    assert await client.get_data("/none", strict=False) is None
    with pytest.raises(TypeError, match=r"get_data\(\): missing a required argument: 'path'"):
        await client.get_data()
    with pytest.raises(TypeError, match="unexpected keyword argument 'retries'"):
        await client.get_data("/k", retries=3)


async def test_a_delegate_looks_like_the_real_method(client: Client[Registry]) -> None:
    method: Any = client.get_data
    assert method.__name__ == "get_data"
    assert method.__doc__ == "Return what is stored under a path."
    assert str(inspect.signature(client.get_data)) == (
        "(path: 'str', default: 'Any' = None, *, strict: 'bool' = False) -> 'Any'"
    )


async def test_a_synchronous_method_is_a_coroutine_method_on_the_client(
    client: Client[Registry], upstream: Upstream
) -> None:
    upstream.data.update(a=1, b=2)
    assert await client.size() == 2


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**70,
        -1.5,
        "text ☃",
        b"bytes",
        [1, [2]],
        {"a": {1: "int key", (1, 2): "tuple key"}},
        {1, 2},
        dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
        dt.date(2026, 1, 2),
        dt.timedelta(days=-1, microseconds=5),
        Decimal("1.10"),
        UUID(int=5),
    ],
    ids=repr,
)
async def test_values_arrive_as_they_were_sent(client: Client[Registry], value: Any) -> None:
    result = await client.echo(value)
    assert result == value
    assert type(result) is type(value)


async def test_nobody_gets_an_object_that_others_can_change(
    client: Client[Registry], upstream: Upstream
) -> None:
    value = [1]
    await client.set_data("/k", value)
    value.append(2)
    (await client.get_data("/k")).append(3)
    assert upstream.data["/k"] == [1]


async def test_an_argument_that_cannot_be_sent_is_named(
    client: Client[Registry], upstream: Upstream
) -> None:
    with pytest.raises(EncodeError, match=r"arguments of 'set_data': .*\['rows'\]\[1\].*object"):
        await client.set_data("/k", {"rows": [1, object()]})
    assert upstream.executed == []


async def test_a_result_that_cannot_be_sent_is_named(
    client: Client[Registry], upstream: Upstream
) -> None:
    upstream.data["/k"] = {"lock": object()}
    with pytest.raises(EncodeError, match=r"result of 'get_data': value\['lock'\].*object"):
        await client.get_data("/k")


async def test_a_builtin_exception_arrives_as_itself(client: Client[Registry]) -> None:
    with pytest.raises(KeyError) as caught:
        await client.get_data("/none", strict=True)
    assert caught.value.args == ("/none",)
    assert "in get_data" in caught.value.__notes__[0]


async def test_an_unknown_exception_arrives_with_all_its_fields(client: Client[Registry]) -> None:
    with pytest.raises(RemoteInvokeError) as caught:
        await client.fail("/k")
    error = caught.value
    assert error.remote_name == "RegistryError"
    assert error.message == "no /k"
    assert error.code == "E_PATH"
    assert error.fields["path"] == "/k"
    assert "raise RegistryError" in error.remote_stack
    assert str(error) == "RegistryError: no /k"


async def test_only_delegated_methods_can_be_called(client: Client[Registry]) -> None:
    with pytest.raises(ConfigurationError, match="'__init__' is not delegated by Registry"):
        await client.call("__init__")


async def test_a_call_that_takes_too_long_times_out_and_is_cancelled(
    role: Role, upstream: Upstream, port: int
) -> None:
    async with registry_in_role(role, upstream, port, response_timeout=scaled(0.2)) as client:
        with pytest.raises(ResponseTimeoutError) as caught:
            await client.wait_at_gate("slow")
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.method == "wait_at_gate"
        await upstream.cancelled.wait()
        assert await client.echo(1) == 1


async def test_a_cancelled_call_is_cancelled_in_the_leader(
    client: Client[Registry], upstream: Upstream
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.wait_at_gate, "slow")
        await upstream.entered.wait()
        tasks.cancel_scope.cancel()
    await upstream.cancelled.wait()
    assert await client.echo(1) == 1


async def test_calls_run_side_by_side(client: Client[Registry], upstream: Upstream) -> None:
    results: list[str] = []

    async def call(name: str) -> None:
        results.append(await client.wait_at_gate(name))

    async with anyio.create_task_group() as tasks:
        for index in range(100):
            tasks.start_soon(call, str(index))
        while len(upstream.executed) < 100:
            await anyio.wait_all_tasks_blocked()
        upstream.gate.set()
    assert sorted(results, key=int) == [str(index) for index in range(100)]
