"""Nothing that a Node peer does not know is ever sent to it: it records what it received."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from cluster_client import Leadership, RefusedError, cluster
from interop.known import FROM_A_FOLLOWER, FROM_A_LEADER, assert_known, types_of, until_received
from interop.registry import CHANNEL, Registry, registry_client
from support.node import MixedHost, NodeError, NodeWorker
from support.processes import each
from support.times import scaled
from support.waiting import until

REG = {"path": "/a"}


async def test_a_node_leader_receives_what_it_knows(host: MixedHost) -> None:
    """Of all that a Python follower can do, only the offer is new to it."""
    leader = await host.spawn_node()
    await leader.open(CHANNEL, real="registry", port=host.port)
    async with registry_client(host.port, heartbeat_interval=scaled(0.05)) as client:
        await client.echo(1)
        await client.note(1)
        with pytest.raises(RefusedError):
            async for _ in client.call(Registry.rows, 1):
                pass
        with anyio.move_on_after(scaled(0.05)):
            await client.slow(60_000)  # cancelled
        await client.subscribe(REG, print)
        await client.publish({**REG, "value": 1}, sticky=True)
        await client.unpublish({**REG, "value": 1})
        await until_received(leader, {pattern["type"] for pattern in FROM_A_FOLLOWER[:3]})
        await client.unsubscribe(REG)
        await until_received(leader, {pattern["type"] for pattern in FROM_A_FOLLOWER})
    frames = await leader.received()
    offers = [frame["connObj"].pop("offer", None) for frame in frames]
    assert [offer is not None for offer in offers] == [True, *[False] * (len(frames) - 1)]
    assert_known(frames, FROM_A_FOLLOWER)
    errors = await leader.errors(CHANNEL)
    assert errors == []


class Eventful(Registry):
    """A real client for whose sake a leader tells our followers all kinds of things."""

    def attach_leadership(self, leadership: Leadership) -> None:
        self.leadership = leadership

    def snapshot(self) -> dict[str, Any]:
        return {"session": 1}

    def restore(self, state: dict[str, Any]) -> None: ...

    async def lose(self) -> None:
        self.leadership.state_changed()
        self.leadership.lost("for the test")


async def test_a_node_follower_receives_what_it_knows(host: MixedHost) -> None:
    """Of all that a Python leader has to tell."""
    builder = cluster(
        Eventful, name=CHANNEL, port=host.port, camel_case=True, heartbeat_interval=scaled(0.05)
    )
    async with builder.create() as leader:
        nodes = await each(range(2), lambda _: follow(host))
        node = nodes[0]
        await node.subscribe_to(REG, CHANNEL)
        await leader.set_data("/a", 1)
        await node.values_until(1, CHANNEL)
        with pytest.raises(NodeError):
            await node.call("fail", "no luck", channel=CHANNEL)
        with pytest.raises(NodeError):
            await node.ask("invoke", channel=CHANNEL, method="rows", arguments=[1])
        await leader.lose()
        while await node.call("getData", "/a", channel=CHANNEL) is not None:
            pass  # by the lost one, still
        await leader.set_data("/a", 2)  # to its successor
        await node.values_until(2, CHANNEL)
        await until_received(node, types_of_known())
        frames = {worker: await worker.received() for worker in nodes}
    assert types_of(frames[node]) == types_of_known()
    await until_led(nodes)
    for worker in nodes:
        assert_known(frames[worker], FROM_A_LEADER)
        # What came at the hand-over, too, when one of them was about to lead the other.
        assert_known(await worker.received(), FROM_A_LEADER + FROM_A_FOLLOWER)


def types_of_known() -> set[str]:
    return {pattern["type"] for pattern in FROM_A_LEADER}


async def follow(host: MixedHost) -> NodeWorker:
    worker = await host.spawn_node()
    await worker.open(CHANNEL, real="registry", port=host.port, heartbeat_interval=scaled(0.05))
    return worker


async def until_led(nodes: list[NodeWorker]) -> None:
    """Wait until one of them leads: both have lived on."""
    states: set[str] = set()
    while states != {"leading", "following"}:
        states = {(await worker.ask("state", channel=CHANNEL))["state"] for worker in nodes}
    assert await nodes[0].call("echo", 1, channel=CHANNEL) == 1
    assert await nodes[1].call("echo", 2, channel=CHANNEL) == 2


async def test_in_a_waiting_room_it_receives_nothing(host: MixedHost) -> None:
    node = await host.spawn_node()
    async with registry_client(host.port, name="another"), anyio.create_task_group() as tasks:

        async def open_node() -> None:
            await node.open(CHANNEL, real="registry", port=host.port)

        tasks.start_soon(open_node)
        from cluster_client._server import _servers

        await until(lambda: _servers()[host.port].waiting[CHANNEL] > 0)
        assert await node.received() == []
        async with registry_client(host.port):
            await until_received(node, {"register_channel_res"})
            tasks.cancel_scope.cancel()
