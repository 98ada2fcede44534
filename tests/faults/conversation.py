"""A short conversation between a follower and two leaders in turn, with a proxy in between.

It goes through everything that a follower says: it registers, calls, reads a stream, subscribes,
gets values, cancels, is told goodbye. Whatever happens to the connection, each step must end in one
of the documented ways, and the follower must go on with the next connection.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import anyio

from cluster_client import Client, OutcomeUnknownError, cluster
from cluster_protocol import FrameDecoder, Invoke, decode_message
from faults.proxy import Action, Connection, Fault, Pace, open_proxy
from support.listening import Recorder
from support.times import scaled
from support.waiting import until

ONCE: Final = ("add", "publish", "wait", "numbers")
"""Methods that must not be executed twice."""

ITEMS: Final = 3


class Upstream:
    """What stands behind the real clients of one conversation."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.value = 0
        self.listeners: list[Callable[[Any], None]] = []
        self.waiting = 0

    def tell(self, value: int) -> None:
        self.value = value
        for listener in self.listeners:
            listener(value)


class Real:
    """A real client that notes what is executed."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def aclose(self) -> None:
        self._upstream.listeners.clear()  # as a session's are upstream, at its end

    async def add(self, number: int) -> int:
        self._upstream.executed.append("add")
        return number + 1

    async def echo(self, text: str) -> str:
        self._upstream.executed.append("echo")
        return text

    async def numbers(self, count: int) -> AsyncIterator[int]:
        self._upstream.executed.append("numbers")
        for number in range(count):
            yield number

    async def wait(self) -> None:
        """Never return by itself."""
        self._upstream.executed.append("wait")
        self._upstream.waiting += 1
        try:
            await anyio.sleep_forever()
        finally:
            self._upstream.waiting -= 1

    def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        del reg
        self._upstream.listeners.append(listener)
        listener(self._upstream.value)

    def unsubscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        del reg
        self._upstream.listeners.remove(listener)

    async def publish(self, reg: dict[str, int]) -> None:
        self._upstream.executed.append("publish")
        self._upstream.tell(reg["value"])


def open_client(upstream: Upstream, port: int, **options: Any) -> Client[Real]:
    """Return a client to be opened, with times that suit the tests."""
    times = {"response_timeout": scaled(5), "max_wait_time": scaled(8), "drain_timeout": scaled(1)}
    builder = cluster(Real, port=port, **{**times, **options})
    return builder.delegate("echo", idempotent=True).create(upstream)


class Conversation:
    """One conversation.

    Args:
        port: Of the leaders.
        faults: What happens to the connections.
        pace: How bytes are delivered.
        patience: The follower's ``response_timeout``.

    Attributes:
        outcomes: What came of each step: ``answered`` or ``unknown``.
        connections: Those that the follower has had, in order.
    """

    def __init__(
        self, port: int, *faults: Fault, pace: Pace | None = None, patience: float | None = None
    ) -> None:
        self.outcomes: dict[str, str] = {}
        self.connections: list[Connection] = []
        self._port = port
        self._faults = faults
        self._pace = pace
        # What is sent to a socket that was closed in order nobody sees, but its kernel takes it.
        closes = any(fault.action is Action.CLOSE for fault in faults)
        self._may_be_sent = {0, 1} if closes else {1}
        self._options = {} if patience is None else {"response_timeout": scaled(patience)}
        self._upstream = Upstream()
        self._values = Recorder()
        self._last = 0

    async def run(self) -> None:
        """Converse; fails where something happens that must not."""
        tasks, descriptors = count_tasks(), count_descriptors()
        upstream = self._upstream
        first = open_client(upstream, self._port, is_leader=True)
        async with (
            first,
            open_proxy(self._port, *self._faults, pace=self._pace) as proxy,
            open_client(upstream, proxy.port, is_leader=False, **self._options) as client,
        ):
            self.connections = proxy.connections
            await self._use(client)
            await check_nothing_is_left(first, client)
            await first.aclose()
            async with open_client(upstream, self._port, is_leader=True) as second:
                await self._note("after", self._echo, client)
                await self._tell()
                await check_nothing_is_left(second, client)
            assert upstream.waiting == 0, "a call goes on that nobody waits for"
        await until(lambda: count_tasks() <= tasks)
        assert count_descriptors() <= descriptors, "a descriptor was left behind"
        self._check()

    # ---------------------------------------------------------------- steps

    async def _use(self, client: Client[Real]) -> None:
        await self._note("add", self._add, client)
        await self._note("echo", self._echo, client)
        await client.subscribe({"key": "k"}, self._values)
        await self._values.until_last(0)
        await self._note("publish", self._publish, client)
        await self._tell()
        await self._note("numbers", self._read, client)
        await self._note("wait", self._cancel, client)
        await self._note("last", self._echo, client)

    async def _note(
        self, name: str, step: Callable[[Client[Real]], Awaitable[None]], client: Client[Real]
    ) -> None:
        try:
            await step(client)
        except OutcomeUnknownError:
            self.outcomes[name] = "unknown"
        else:
            self.outcomes[name] = "answered"

    async def _add(self, client: Client[Real]) -> None:
        assert await client.add(41) == 42

    async def _echo(self, client: Client[Real]) -> None:
        assert await client.echo("hello") == "hello"

    async def _publish(self, client: Client[Real]) -> None:
        await client.publish({"key": 1, "value": 1})

    async def _read(self, client: Client[Real]) -> None:
        assert [item async for item in client.numbers(ITEMS)] == list(range(ITEMS))

    async def _tell(self) -> None:
        """Let the real client have a value, which the subscriber gets through whatever happens."""
        self._last += 10
        self._upstream.tell(self._last)
        await self._values.until_last(self._last)

    async def _cancel(self, client: Client[Real]) -> None:
        """Make a call and give it up when it is executed, or when that is not known."""
        unknown: list[OutcomeUnknownError] = []

        async def call() -> None:
            try:
                await client.wait()
            except OutcomeUnknownError as exc:
                unknown.append(exc)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: self._upstream.waiting == 1 or unknown != [])
            tasks.cancel_scope.cancel()
        await until(lambda: self._upstream.waiting == 0)
        if unknown:
            raise unknown[0]

    # --------------------------------------------------------------- checks

    def _check(self) -> None:
        sent_requests = [m for c in self.connections for m in _requests(c.to_leader.sent)]
        received = [m for c in self.connections for m in _requests(c.to_leader.delivered)]
        for method in ONCE:
            sent = sent_requests.count(method)
            executed = self._upstream.executed.count(method)
            assert executed <= 1, f"{method!r} was executed {executed} times"
            assert executed <= received.count(method), f"a part of {method!r} was executed"
            if self.outcomes[method] == "answered":
                assert executed == 1, f"{method!r} was answered, and not executed"
            else:
                assert sent in self._may_be_sent, f"{method!r} is unknown, and was sent {sent} x"
        for step in ("echo", "last", "after"):
            assert self.outcomes[step] == "answered", "an idempotent call was lost"
        values = self._values.values
        assert values == sorted(values), "a value went back"


def _requests(stream: bytearray) -> list[str]:
    """Return the methods that are called in a stream by frames that are whole."""
    decoder = FrameDecoder()
    decoder.receive_data(bytes(stream))
    methods = []
    while (frame := decoder.next_frame()) is not None:
        message = decode_message(frame.connection, is_response=frame.is_response)
        if isinstance(message, Invoke):
            methods.append(message.method)
    return methods


async def check_nothing_is_left(leader: Client[Real], follower: Client[Real]) -> None:
    """Wait until nobody waits for anything, as it must be between two steps."""
    await until(lambda: leftovers(leader, follower) == [])


def leftovers(leader: Client[Real], follower: Client[Real]) -> list[object]:
    """Return the tables of the two in which something still waits."""
    leading: Any = leader._membership._role
    following: Any = follower._membership._role
    tables: list[Any] = [leading._calls.admitted]
    for peer in leading._peers:
        tables += [peer._running, peer._windows, peer.link._pending]
    if following is not None:
        link = following._link
        tables += [link._pending, link._callbacks, following._streams]
    return [table for table in tables if table]


def count_tasks() -> int:
    """Return how many tasks the event loop has."""
    return len(anyio.get_running_tasks())


def count_descriptors() -> int:
    """Return how many descriptors the process has."""
    return len(os.listdir("/dev/fd"))
