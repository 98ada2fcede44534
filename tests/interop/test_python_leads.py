"""A Python process leads; Node processes follow, with the original of the library."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from cluster_client import Client, cluster
from cluster_protocol.codecs import MsgpackCodec, SerializeJsonCodec
from interop.registry import CHANNEL, BoomError, Registry, registry_client
from support.node import MixedHost, NodeError, NodeWorker
from support.processes import Worker, each
from support.times import scaled
from support.waiting import until

REG = {"path": "/a"}


async def follow(host: MixedHost, **settings: Any) -> NodeWorker:
    """Have a Node process follow."""
    worker = await host.spawn_node()
    await worker.open(CHANNEL, real="registry", port=host.port, **settings)
    assert not await worker.is_leader(CHANNEL)
    return worker


async def start_python(host: MixedHost) -> Worker:
    """Start another Python process."""
    worker = await host.spawn()
    await worker.open(CHANNEL, real="registry", port=host.port, camel_case=True)
    return worker


@pytest.fixture
async def leader(host: MixedHost) -> AsyncIterator[Client[Registry]]:
    async with registry_client(host.port) as client:
        assert client.is_leader
        yield client


@pytest.fixture
async def node(leader: Client[Registry], host: MixedHost) -> NodeWorker:
    return await follow(host)


def types_of(frames: list[dict[str, Any]]) -> Counter[str]:
    return Counter(frame["connObj"]["type"] for frame in frames)


# ------------------------------------------------------------------- calls


async def test_a_method_is_called_by_its_name_in_javascript(
    leader: Client[Registry], node: NodeWorker
) -> None:
    await node.call("setData", "/a", {"list": [1, "b", None, True, 2.5]}, channel=CHANNEL)
    assert await leader.get_data("/a") == {"list": [1, "b", None, True, 2.5]}
    assert await node.call("getData", "/a", channel=CHANNEL) == {"list": [1, "b", None, True, 2.5]}
    assert await node.call("pid", channel=CHANNEL) == await leader.pid()


async def test_a_oneway_call_is_executed(leader: Client[Registry], node: NodeWorker) -> None:
    await node.oneway("note", "first", channel=CHANNEL)
    assert await node.call("notes", channel=CHANNEL) == ["first"]


async def test_an_error_comes_with_name_message_and_code(node: NodeWorker) -> None:
    with pytest.raises(NodeError) as caught:
        await node.call("fail", "no luck", "E_LUCK", channel=CHANNEL)
    error = caught.value
    assert (error.name, error.message, error.code) == ("BoomError", "no luck", "E_LUCK")
    assert "registry.py" in error.stack  # Python's traceback
    assert set(error.fields) <= {"name"}  # nothing that Node does not know


async def test_what_no_method_is_called_is_answered_with_an_error(
    leader: Client[Registry], node: NodeWorker
) -> None:
    for name in ("start", "rows", "subscribe", "unSubscribe"):
        with pytest.raises(NodeError) as caught:
            await node.ask("invoke", channel=CHANNEL, method=name, arguments=[3])
        assert caught.value.name == "RefusedError"
    assert await node.call("echo", 1, channel=CHANNEL) == 1
    assert await leader.echo(1) == 1


async def test_nothing_is_null(node: NodeWorker) -> None:
    assert await node.call("nothing", channel=CHANNEL) is None
    assert await node.call("getData", "/never set", channel=CHANNEL) is None


async def test_values_of_all_kinds_come_as_javascripts(node: NodeWorker) -> None:
    values = await node.call("values", channel=CHANNEL)
    assert values["integers"].pop() == 1.0000000000000001e21  # as Node's own reader has it
    assert values == {
        "buffer": {"$buf": "00017f80ff"},
        "date": {"$date": 1700000000123},
        "true": True,
        "null": None,
        "empty": {"string": "", "list": [], "object": {}},
        "text": "a b+c|d^e%fü😀\n",
        "integers": [0, 1, -1, 35, 36, 2**31, -(2**31), 2**53],
        "floats": [0.1 + 0.2, 1.5, -2.25, 1e-7, 5e-324],
    }


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ({"$buf": "0001ff"}, {"$buf": "0001ff"}),
        ({"$date": 1700000000123}, {"$date": 1700000000123}),
        ({"a": {"$undef": 1}, "b": [{"$undef": 1}]}, {"a": None, "b": [None]}),
        ({"$num": "NaN"}, {"$num": "NaN"}),
        ({"$num": "-0"}, 0),
        ({"2": 1, "1": 2}, {"1": 2, "2": 1}),
        ("x" * 100_000, "x" * 100_000),
    ],
    ids=["Buffer", "Date", "undefined", "NaN", "-0", "integer-like keys", "text"],
)
async def test_an_argument_comes_back_as_it_went(
    node: NodeWorker, value: Any, arrives: Any
) -> None:
    assert await node.call("echo", value, channel=CHANNEL) == arrives


async def test_an_error_as_a_value_comes_back_as_it_went(node: NodeWorker) -> None:
    error = {"message": "m", "stack": "Error: m\n    at x", "fields": {"code": "E", "n": 1}}
    returned = await node.call("echo", {"$error": error}, channel=CHANNEL)
    assert returned == {"$error": error}


async def test_a_result_that_javascript_has_not_is_an_error(
    leader: Client[Registry], node: NodeWorker
) -> None:
    await leader.set_data("/a", {1, 2})
    assert await leader.get_data("/a") == {1, 2}
    with pytest.raises(NodeError, match=r"result of 'getData'.*set") as caught:
        await node.call("getData", "/a", channel=CHANNEL)
    assert caught.value.name == "EncodeError"


async def test_a_call_whose_caller_has_given_up_is_cancelled(
    leader: Client[Registry], host: MixedHost
) -> None:
    impatient = await follow(host, response_timeout=scaled(0.2))
    with pytest.raises(NodeError) as caught:
        await impatient.call("slow", 60_000, channel=CHANNEL)
    assert caught.value.name == "ResponseTimeoutError"
    assert await impatient.call("echo", 1, channel=CHANNEL) == 1


# ------------------------------------------------------------ subscriptions


async def test_a_subscriber_gets_the_value_that_is_there_and_later_ones(
    leader: Client[Registry], node: NodeWorker
) -> None:
    await leader.set_data("/a", 1)
    await node.subscribe_to(REG, CHANNEL)
    assert await node.values_until(1, CHANNEL) == [1]
    await leader.set_data("/a", {"$": 2})
    assert await node.values_until({"$": 2}, CHANNEL) == [1, {"$": 2}]
    await node.unsubscribe(REG, CHANNEL)
    await leader.set_data("/a", 3)
    assert await node.call("getData", "/a", channel=CHANNEL) == 3
    assert await node.values(CHANNEL) == [1, {"$": 2}]
    assert await leader.calls() == {"subscribe": 1, "unSubscribe": 1}


@pytest.mark.parametrize(
    "reg",
    [
        {"path": "/k", "b": 1, "1": 2},
        {"10": 1, "9": 2, "path": "/k", "a": {"2": 0, "-1": 1, "01": 2, "1": 3}},
        {"path": "/k", "n": [-0.5, 1e21, 1e-7, 2**53], "text": "ü \u2028"},
    ],
    ids=["integer-like", "reordered", "numbers and text"],
)
async def test_a_registration_is_one_whatever_the_order_of_its_keys(
    leader: Client[Registry], node: NodeWorker, reg: dict[str, Any]
) -> None:
    values: list[Any] = []
    await leader.subscribe(dict(reversed(reg.items())), values.append)
    await node.subscribe_to(reg, CHANNEL)
    await node.call("setData", "/k", 5, channel=CHANNEL)
    assert await node.values_until(5, CHANNEL) == [5]
    await until(lambda: values == [5])
    assert (await leader.calls())["subscribe"] == 1


async def test_two_of_each_language_share_a_registration_and_each_value_is_encoded_once_per_codec(
    host: MixedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: Counter[str] = Counter()
    marked = {"value": "to be seen"}

    def count(cls: Any) -> None:
        encode = cls.encode

        def counted(self: Any, value: object, /) -> bytes:
            encoded[self.name] += value == marked
            return bytes(encode(self, value))

        monkeypatch.setattr(cls, "encode", counted)

    count(MsgpackCodec)
    count(SerializeJsonCodec)
    async with registry_client(host.port) as leader:
        nodes = await each(range(2), lambda _: follow(host))
        pythons = await each(range(2), lambda _: start_python(host))
        values: list[Any] = []
        await leader.subscribe(REG, values.append)
        for worker in [*nodes, *pythons]:
            await worker.ask("subscribe", channel=CHANNEL, reg=REG)
        await leader.set_data("/b", None)
        for worker in [*nodes, *pythons]:  # so their subscriptions have arrived
            await worker.ask("call", channel=CHANNEL, method="count", arguments=[])
        encoded.clear()
        await nodes[0].publish_to({**REG, "value": marked}, CHANNEL)
        for worker in [*nodes, *pythons]:
            await worker.ask("values_until", channel=CHANNEL, value=marked)
        await until(lambda: values == [marked])
        assert encoded == {"msgpack": 1, "serialize-json": 1}
        assert (await leader.calls())["subscribe"] == 1


async def test_publications_of_both_languages_reach_all(
    leader: Client[Registry], node: NodeWorker
) -> None:
    values: list[Any] = []
    await leader.subscribe(REG, values.append)
    await node.subscribe_to(REG, CHANNEL)
    await node.publish_to({**REG, "value": 1}, CHANNEL)
    assert await node.values_until(1, CHANNEL) == [1]
    await leader.publish({**REG, "value": 2})
    assert await node.values_until(2, CHANNEL) == [1, 2]
    assert values == [1, 2]


async def test_a_slow_node_follower_misses_values_but_never_the_last(
    leader: Client[Registry], node: NodeWorker
) -> None:
    await node.subscribe_to(REG, CHANNEL)
    assert await node.call("count", channel=CHANNEL) == 0
    for number in range(1000):
        await leader.set_data("/a", number)
    values = await node.values_until(999, CHANNEL)
    assert values == sorted(values)


# -------------------------------------------------------------- its lifetime


async def test_heartbeats_keep_the_link_open(host: MixedHost) -> None:
    interval = scaled(0.25)
    async with registry_client(host.port, heartbeat_interval=interval):
        node = await follow(host, heartbeat_interval=interval)

        async def heartbeats() -> int:
            return types_of(await node.received())["heartbeat_res"]

        while await heartbeats() < 5:  # a follower is dropped that is silent for three intervals
            pass
        assert types_of(await node.received())["register_channel_res"] == 1
        assert await node.errors(CHANNEL) == []


async def test_a_long_call_is_no_silence(host: MixedHost) -> None:
    """Node sends no heartbeats while it waits for an answer; its own leader drops it then."""
    interval = scaled(0.05)
    async with registry_client(host.port, heartbeat_interval=interval):
        node = await follow(host, heartbeat_interval=interval)
        assert await node.call("slow", 10 * 1000 * interval, "done", channel=CHANNEL) == "done"
        assert await node.call("echo", 1, channel=CHANNEL) == 1
        assert types_of(await node.received())["register_channel_res"] == 1


async def test_a_follower_that_came_before_any_leader(host: MixedHost) -> None:
    node = await host.spawn_node()
    async with anyio.create_task_group() as tasks:
        opened = anyio.Event()

        async def open_node() -> None:
            await node.open(CHANNEL, real="registry", port=host.port, is_leader=False)
            opened.set()

        tasks.start_soon(open_node)
        async with registry_client(host.port):
            await opened.wait()  # it looks every 3 s
            assert await node.call("echo", 1, channel=CHANNEL) == 1


@pytest.mark.parametrize("patient", [True, False], ids=["at once", "after it has registered again"])
async def test_a_follower_that_came_before_the_channel(host: MixedHost, patient: bool) -> None:
    limit = scaled(10 if patient else 0.1)
    async with registry_client(host.port, name="another"):
        node = await host.spawn_node()
        async with anyio.create_task_group() as tasks:
            opened = anyio.Event()

            async def open_node() -> None:
                await node.open(CHANNEL, real="registry", port=host.port, response_timeout=limit)
                opened.set()

            tasks.start_soon(open_node)
            async with anyio.create_task_group() as knocking:
                knocking.start_soon(wait_for_registration, host.port, CHANNEL, knocking)
            if not patient:
                await anyio.sleep(2 * limit)  # its first registration has timed out
            async with registry_client(host.port):
                await opened.wait()
                assert await node.call("echo", 1, channel=CHANNEL) == 1


async def wait_for_registration(port: int, channel: str, tasks: anyio.abc.TaskGroup) -> None:
    from cluster_client._server import _servers

    await until(lambda: _servers()[port].waiting[channel] > 0)
    tasks.cancel_scope.cancel()


async def test_it_waits_while_the_real_client_starts(host: MixedHost) -> None:
    node = await host.spawn_node()
    async with anyio.create_task_group() as tasks:

        async def open_node() -> None:
            await node.open(CHANNEL, real="registry", port=host.port, is_leader=False)
            assert await node.call("echo", 1, channel=CHANNEL) == 1
            tasks.cancel_scope.cancel()

        async def lead() -> None:
            async with registry_client(host.port, {"startDelay": 500 * scaled(1)}):
                await anyio.sleep_forever()

        tasks.start_soon(lead)
        tasks.start_soon(open_node)


async def test_a_real_client_that_does_not_start_is_told(host: MixedHost) -> None:
    node = await host.spawn_node()
    async with anyio.create_task_group() as tasks:

        async def open_node() -> None:
            with pytest.raises(NodeError) as caught:
                await node.open(CHANNEL, real="registry", port=host.port, is_leader=False)
            error = caught.value
            assert (error.name, error.message, error.code) == ("BoomError", "no start", "E_START")
            tasks.cancel_scope.cancel()

        tasks.start_soon(open_node)
        client = cluster(
            FailsWhenAwaited, name=CHANNEL, port=host.port, max_wait_time=scaled(10)
        ).create(host.port)
        with pytest.raises(BoomError, match="no start"):
            await client.__aenter__()


class FailsWhenAwaited:
    """Does not start, once Node has knocked: earlier, it would see a cut connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def start(self) -> None:
        async with anyio.create_task_group() as knocking:
            knocking.start_soon(wait_for_registration, self._port, CHANNEL, knocking)
        raise BoomError("no start", "E_START")


@pytest.mark.parametrize("orderly", [True, False], ids=["closed", "killed"])
async def test_when_it_ends_a_node_follower_leads(host: MixedHost, orderly: bool) -> None:
    leader = await start_python(host)
    node = await follow(host)
    await node.subscribe_to(REG, CHANNEL)
    assert await node.call("echo", 1, channel=CHANNEL) == 1
    await (leader.exit() if orderly else leader.kill())
    # Not just `is_leader`: until it is ready Node rejects calls with errors of earlier elections.
    while (await node.ask("state", channel=CHANNEL))["state"] != "leading":
        pass
    await node.call("setData", "/a", 1, channel=CHANNEL)
    assert await node.values_until(1, CHANNEL) == [1]


async def test_a_call_that_runs_when_the_leader_closes_is_answered(host: MixedHost) -> None:
    async with anyio.create_task_group() as tasks:
        answers: list[Any] = []
        async with registry_client(host.port) as leader:
            node = await follow(host)

            async def call() -> None:
                answers.append(await node.call("slow", 300, "done", channel=CHANNEL))

            tasks.start_soon(call)
            role: Any = leader._membership._role
            await until(lambda: role._calls.running == 1)
    assert answers == ["done"]
