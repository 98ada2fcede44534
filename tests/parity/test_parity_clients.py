"""What the original's suite does with two clients, in cluster mode and in single mode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.abc
import pytest

from cluster_client import (
    APIClientBase,
    Client,
    ClientClosedError,
    ClientState,
    ClusterFactory,
    Delegate,
    RemoteInvokeError,
)
from support.listening import Recorder
from support.logs import LogRecorder
from support.times import scaled

FOO: Final = {"key": "foo"}
Listener = Callable[[Any], None]


@dataclass
class Account:
    """How many real clients were made and closed."""

    made: int = 0
    closed: int = 0


class EmptyRegError(Exception):
    """What the board says to a publication without a value."""


class Board:
    """Keeps a list under each key, and tells the whole of it to whoever listens."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lists: dict[str, list[Any]] = {}
        self._listeners: dict[str, list[Listener]] = {}
        account.made += 1

    async def number(self) -> int:
        """Return how many boards had been made when this one was."""
        return self._account.made

    async def echo(self, value: Any) -> Any:
        return value

    async def fail(self) -> None:
        raise ValueError("mock error")

    def subscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self._listeners.setdefault(reg["key"], []).append(listener)
        listener(self._lists.setdefault(reg["key"], []))

    def unsubscribe(self, reg: dict[str, Any], listener: Listener) -> None:
        self._listeners[reg["key"]].remove(listener)

    async def publish(self, reg: dict[str, Any]) -> None:
        if "value" not in reg:
            raise EmptyRegError(reg["key"])
        self._lists.setdefault(reg["key"], []).append(reg["value"])
        self._tell(reg["key"])

    async def withdraw(self, reg: dict[str, Any]) -> None:
        self._lists[reg["key"]].remove(reg["value"])
        self._tell(reg["key"])

    async def aclose(self) -> None:
        self._account.closed += 1

    def _tell(self, key: str) -> None:
        for listener in self._listeners.get(key, []):
            listener(self._lists[key])


def value(text: str) -> dict[str, str]:
    return {**FOO, "value": text}


@asynccontextmanager
async def two_clients(
    factory: ClusterFactory, account: Account | None = None, **options: Any
) -> AsyncIterator[tuple[Client[Board], Client[Board]]]:
    shared = account or Account()

    def client() -> Client[Board]:
        builder = factory(Board, **options).delegate("withdraw", "invoke_oneway")
        return builder.create(shared)

    async with client() as one, client() as two:
        yield one, two


# ------------------------------------------------------------ subscriptions


async def test_a_subscription_from_its_beginning_to_its_end(factory: ClusterFactory) -> None:
    async with two_clients(factory) as (one, two):
        stays, goes, stays_too, goes_too, late = everybody = [Recorder() for _ in range(5)]
        for client, listener in ((one, stays), (one, goes), (two, stays_too), (two, goes_too)):
            await client.subscribe(FOO, listener)
            await listener.until([])
        await two.subscribe(FOO, late)
        await late.until([])

        await two.publish(value("bar"))
        for listener in everybody:
            await listener.until([], ["bar"])
        await two.withdraw(value("bar"))
        for listener in everybody:
            await listener.until([], ["bar"], [])

        await one.unsubscribe(FOO, goes)
        await two.unsubscribe(FOO, goes_too)
        await two.publish(value("bar 1"))
        for listener in (stays, stays_too, late):
            await listener.until([], ["bar"], [], ["bar 1"])

        await one.unsubscribe(FOO)
        await two.unsubscribe(FOO)
        await two.publish(value("bar 2"))
        for client in (one, two):  # whoever comes now gets it, and so would the others have
            last = Recorder()
            await client.subscribe(FOO, last)
            await last.until_last(["bar 1", "bar 2"])
        for listener in (goes, goes_too):
            assert listener.values == [[], ["bar"], []]
        for listener in (stays, stays_too, late):
            assert listener.values == [[], ["bar"], [], ["bar 1"]]


async def test_what_was_published_before_reaches_the_first_listener_and_the_second(
    factory: ClusterFactory,
) -> None:
    async with two_clients(factory) as clients:
        await clients[0].publish(value("bar"))
        for client in clients:
            first, second = Recorder(), Recorder()
            await client.subscribe(FOO, first)
            await first.until(["bar"])
            await client.subscribe(FOO, second)
            await second.until(["bar"])


async def test_what_both_publish_reaches_both_and_a_listener_that_comes_later(
    factory: ClusterFactory,
) -> None:
    async with two_clients(factory) as (one, two):
        early = [Recorder(), Recorder()]
        await one.subscribe(FOO, early[0])
        await two.subscribe(FOO, early[1])
        await one.publish(value("30.20.78.299:20880"))
        await two.publish(value("30.20.78.300:20880"))
        late = Recorder()
        await two.subscribe(FOO, late)
        for listener in (*early, late):
            await listener.until_last(["30.20.78.299:20880", "30.20.78.300:20880"])


async def test_two_keys_and_two_listeners_of_one_are_told_apart(factory: ClusterFactory) -> None:
    async with two_clients(factory) as clients:
        for number, client in enumerate(clients):
            foo, bar = f"foo {number}", f"bar {number}"
            one, two, other = Recorder(), Recorder(), Recorder()
            await client.subscribe({"key": foo}, one)
            await client.subscribe({"key": foo}, two)
            await client.subscribe({"key": bar}, other)
            await client.publish({"key": foo, "value": "xxx"})
            await one.until([], ["xxx"])
            await two.until([], ["xxx"])
            await client.publish({"key": bar, "value": "yyy"})
            await other.until([], ["yyy"])
            assert one.values == two.values == [[], ["xxx"]]


async def test_many_listeners_of_one_registration_are_nothing_special(
    factory: ClusterFactory,
) -> None:
    log = LogRecorder()
    async with two_clients(factory, logger=log) as clients:
        for client in clients:
            listeners = [Recorder() for _ in range(30)]
            for listener in listeners:
                await client.subscribe(FOO, listener)
            for listener in listeners:
                await listener.until([])
    assert [entry for entry in log.entries if entry.level != "info"] == []


async def test_what_a_listener_does_to_its_value_no_other_client_sees(
    factory: ClusterFactory,
) -> None:
    async with two_clients(factory) as (one, two):
        await one.publish(value("bar"))
        changed, seen = Recorder(), Recorder()

        def change(values: list[Any]) -> None:
            values.append("changed")
            changed(values)

        await one.subscribe(FOO, change)
        await changed.until(["bar", "changed"])
        await two.subscribe(FOO, seen)
        await seen.until(["bar"])
        assert one.last(FOO) == two.last(FOO) == ["bar"]


async def test_a_listener_that_raises_is_logged_once_and_disturbs_no_other_client(
    factory: ClusterFactory,
) -> None:
    logs = [LogRecorder(), LogRecorder()]
    account = Account()

    def client(log: LogRecorder) -> Client[Board]:
        return factory(Board, logger=log).create(account)

    async with client(logs[0]) as one, client(logs[1]) as two:
        calm, upset = Recorder(), Recorder()

        def stumble(values: list[Any]) -> None:
            upset(values)
            raise ValueError("mock error")

        await one.subscribe(FOO, calm)
        await two.subscribe(FOO, stumble)
        await upset.until([])
        await one.unsubscribe(FOO)
        await two.unsubscribe(FOO)
        assert await two.echo("goes on") == "goes on"
        await calm.until([])
    assert logs[0].of("listener_failed") == []
    assert len(logs[1].of("listener_failed")) == 1


async def test_an_error_of_publishing_is_its_publishers(factory: ClusterFactory) -> None:
    async with two_clients(factory) as clients:
        for client in (*clients, *clients):
            with pytest.raises(RemoteInvokeError, match="foo") as caught:
                await client.publish(FOO)
            assert caught.value.remote_name == "EmptyRegError"


async def test_subscribe_and_publish_are_there_named_or_not(factory: ClusterFactory) -> None:
    account = Account()
    named = factory(Board).delegate("subscribe", "subscribe").delegate("publish", "publish")
    named.override("foo", "bar")
    async with named.create(account) as one, factory(Board).create(account) as two:
        overridden: Any = one.foo
        assert overridden == "bar"
        assert not hasattr(two, "foo")
        for client in (one, two):
            seen = Recorder()
            await client.subscribe(FOO, seen)
            await client.publish(value("bar"))
            await seen.until_last(await client.echo(client.last(FOO)))


# -------------------------------------------------------- one for all of them


async def test_the_first_one_leads_and_in_single_mode_each_does(
    factory: ClusterFactory, scene: str
) -> None:
    async with two_clients(factory) as (one, two):
        assert one.is_leader
        assert two.is_leader is (scene == "single")


async def test_both_share_a_real_client_until_both_are_closed(factory: ClusterFactory) -> None:
    account = Account()
    for generation in (1, 2):
        async with two_clients(factory, account) as clients:
            for client in clients:
                assert await client.number() == generation
                assert await client.echo("hello") == "hello"
                with pytest.raises(ValueError, match="mock error"):
                    await client.fail()
            assert account.made == generation
            assert account.closed == generation - 1
    assert account == Account(made=2, closed=2)


# -------------------------------------------------------------------- starts


class SlowToStart:
    """A real client whose start takes longer than an answer may."""

    async def start(self) -> None:
        await anyio.sleep(scaled(0.15))

    async def echo(self, text: str) -> str:
        return text


class EchoAPI(APIClientBase[SlowToStart]):
    data_client = SlowToStart
    cluster_options = {"name": "echo", "response_timeout": scaled(0.05)}
    delegates = {"echo": Delegate(response_timeout=scaled(5))}

    async def echo(self, text: str) -> str:
        return str(await self._client.echo(text))


async def test_a_start_may_take_longer_than_an_answer(factory: ClusterFactory) -> None:
    clients = [EchoAPI(cluster=factory), EchoAPI(cluster=factory)]
    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as opening:
            for client in clients:
                opening.start_soon(tasks.start, client.run)
        for client in clients:
            assert await client.echo("hello") == "hello"
        for client in clients:
            await client.aclose()


class StartError(Exception):
    """An error with a code, as Node's have."""

    code = "ERROR_CODE"


class Failing:
    """A real client that fails to start as soon as the test lets it."""

    sent: list[Any]

    def __init__(self, gate: anyio.Event, starting: anyio.Event, sent: list[Any]) -> None:
        self._gate = gate
        self._starting = starting
        self._sent = sent

    async def ready(self) -> None:
        self._starting.set()
        await self._gate.wait()
        raise StartError("mock error")

    async def get_data(self) -> str:
        return "123"

    async def send(self, data: Any) -> None:
        self._sent.append(data)


class FailingAPI(APIClientBase[Failing]):
    data_client = Failing
    delegates = {"send": "invoke_oneway"}


@dataclass
class Opening:
    """Clients whose real client fails to start."""

    factory: ClusterFactory
    gate: anyio.Event
    starting: anyio.Event
    sent: list[Any]

    def new_client(self) -> FailingAPI:
        return FailingAPI(self.gate, self.starting, self.sent, cluster=self.factory)

    async def fails(self, client: FailingAPI) -> None:
        with pytest.raises((StartError, RemoteInvokeError), match="mock error") as caught:
            async with client:
                raise AssertionError("opened")
        error: Any = caught.value
        assert error.code == "ERROR_CODE"
        assert client.state is ClientState.CLOSED


@pytest.fixture
async def opening(factory: ClusterFactory) -> Opening:
    return Opening(factory, anyio.Event(), anyio.Event(), [])


async def test_a_start_that_fails_fails_every_opening(opening: Opening) -> None:
    opening.gate.set()
    for _ in range(2):
        client = opening.new_client()
        await opening.fails(client)
        with pytest.raises(ClientClosedError):
            await client.get_data()
        await client.aclose()
        await client.aclose()


async def test_whoever_waits_for_a_start_that_fails_gets_its_error(opening: Opening) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opening.fails, opening.new_client())
        await opening.starting.wait()
        tasks.start_soon(opening.fails, opening.new_client())
        await anyio.wait_all_tasks_blocked()
        opening.gate.set()


async def test_a_oneway_call_without_a_real_client_raises_and_goes_nowhere(
    opening: Opening,
) -> None:
    opening.gate.set()
    for _ in range(2):
        client = opening.new_client()
        with pytest.raises(ClientClosedError):
            await client.send(123)
        await opening.fails(client)
        with pytest.raises(ClientClosedError):
            await client.send(321)
        await client.aclose()
    assert opening.sent == []
