"""Node processes only: the harness tells the truth about the original."""

from __future__ import annotations

from typing import Any

import pytest

from interop.known import FROM_A_FOLLOWER, FROM_A_LEADER, assert_known, until_received
from support.load import Account
from support.node import MixedHost, NodeError, NodeWorker, node_version
from support.processes import each

CHANNEL = "registry"
REG = {"path": "/a"}


async def open_registry(host: MixedHost, real: str = "registry", **settings: Any) -> NodeWorker:
    worker = await host.spawn_node()
    await worker.open(CHANNEL, real=real, **{"port": host.port, **settings})
    return worker


async def open_two(host: MixedHost, **settings: Any) -> tuple[NodeWorker, NodeWorker]:
    """Return the leader and a follower."""
    return await open_registry(host, **settings), await open_registry(host, **settings)


async def test_one_leads_and_the_other_follows(host: MixedHost) -> None:
    workers = await host.start_node(2)
    leader = await host.leader()
    (follower,) = await host.followers()
    assert [worker.language for worker in workers] == ["node", "node"]
    assert await leader.is_leader()
    assert not await follower.is_leader()
    assert await follower.call("record", "1") == leader.pid
    assert host.book.executions() == {"1": 1}
    assert host.book.sessions() == [f"open {leader.pid}"]
    assert node_version() >= (18,)


@pytest.mark.parametrize("real", ["registry", "facade"])
async def test_answers_and_errors_are_the_same_in_both_roles(host: MixedHost, real: str) -> None:
    for worker in await open_two(host, real=real):
        assert await worker.call("echo", {"list": [1, "a", None]}, channel=CHANNEL) == {
            "list": [1, "a", None]
        }
        assert await worker.call("nothing", channel=CHANNEL) == {"$undef": 1}
        with pytest.raises(NodeError, match="BoomError: no luck") as caught:
            await worker.call("fail", "no luck", "E_LUCK", channel=CHANNEL)
        assert (caught.value.name, caught.value.message) == ("BoomError", "no luck")
        assert caught.value.code == "E_LUCK"
        assert "registry.js" in caught.value.stack


async def test_values_cross_the_wire_as_the_codec_has_them(host: MixedHost) -> None:
    leader, follower = await open_two(host)
    real = await leader.call("values", channel=CHANNEL)
    crossed = await follower.call("values", channel=CHANNEL)
    assert {key for key in real if real[key] != crossed[key]} == {"minusZero", "integers", "error"}
    assert (real["minusZero"], crossed["minusZero"]) == ({"$num": "-0"}, 0)
    # Integers are written in base 36, and read again with an error where they are no exact ones.
    assert (real["integers"][-1], crossed["integers"][-1]) == (1e21, 1.0000000000000001e21)
    assert real["integers"][:-1] == crossed["integers"][:-1]
    assert crossed["buffer"] == {"$buf": "00017f80ff"}
    assert crossed["date"] == {"$date": 1700000000123}
    assert crossed["undefined"] == {"inside": {"$undef": 1}, "list": [{"$undef": 1}, None]}
    assert crossed["error"]["$error"]["message"] == "as a value"


async def test_a_subscriber_gets_the_value_that_is_there_and_later_ones(host: MixedHost) -> None:
    leader, follower = await open_two(host)
    await leader.call("setData", "/a", 1, channel=CHANNEL)
    for worker in (leader, follower):
        await worker.subscribe_to(REG, CHANNEL)
        assert await worker.values_until(1, CHANNEL) == [1]
    await follower.publish_to({**REG, "value": 2}, CHANNEL)
    assert await leader.values_until(2, CHANNEL) == [1, 2]
    assert await follower.values_until(2, CHANNEL) == [1, 2]

    await follower.unsubscribe(REG, CHANNEL)
    await leader.call("setData", "/a", 3, channel=CHANNEL)
    assert await leader.values_until(3, CHANNEL) == [1, 2, 3]
    assert await follower.call("getData", "/a", channel=CHANNEL) == 3  # and no value before it
    assert await follower.values(CHANNEL) == [1, 2]
    calls = await follower.call("calls", channel=CHANNEL)
    assert calls == {"subscribe": 1, "unSubscribe": 0, "publish": 1}  # Node never unsubscribes


async def test_a_oneway_call_is_executed(host: MixedHost) -> None:
    _, follower = await open_two(host, delegates={"note": {"kind": "invoke_oneway"}})
    await follower.oneway("note", 1, channel=CHANNEL)
    assert await follower.call("note", 2, channel=CHANNEL) == {"$undef": 1}
    assert await follower.call("notes", channel=CHANNEL) == [1, 2]


async def test_a_killed_leader_is_succeeded(host: MixedHost) -> None:
    workers = await host.start_node(3)
    leader = await host.leader()
    followers = [worker for worker in workers if worker is not leader]
    for worker in followers:
        await worker.subscribe()
        await worker.begin_load(4)
        await worker.first_answer_of(leader)
    await followers[0].publish(1)
    await each(followers, lambda worker: worker.values_until(1))

    killed = await leader.kill()

    seen = Account()
    for worker in followers:
        assert await worker.first_answer_since(killed) > killed
        seen.reports.append(await worker.end_load())
        # Who published does so again to the new leader.
        assert set(await worker.values_until(1)) == {1}
    seen.executions = host.book.executions()
    assert await host.leader() in followers
    assert seen.failed == []
    assert seen.executed_more_than_once == []
    assert seen.returned_but_not_executed_once == []


async def test_what_fails_to_start_fails_to_open_in_both_roles(host: MixedHost) -> None:
    for worker in (await host.spawn_node(), await host.spawn_node()):
        with pytest.raises(NodeError) as caught:
            await worker.open(
                CHANNEL, real="registry", keywords={"failStart": "no start"}, port=host.port
            )
        assert (caught.value.name, caught.value.message) == ("BoomError", "no start")
        assert caught.value.code == "E_START"


@pytest.mark.parametrize("end", [NodeWorker.exit, NodeWorker.terminate])
async def test_an_orderly_end_closes_the_real_client(host: MixedHost, end: Any) -> None:
    (worker,) = await host.start_node(1)
    await end(worker)
    assert host.book.sessions() == [f"open {worker.pid}", f"close {worker.pid}"]


async def test_every_frame_is_recorded_and_known(host: MixedHost) -> None:
    leader, follower = await open_two(host, heartbeat_interval=0.05)
    await follower.subscribe_to(REG, CHANNEL)
    await follower.publish_to({**REG, "value": 1}, CHANNEL)
    await follower.values_until(1, CHANNEL)
    await follower.unsubscribe(REG, CHANNEL)
    with pytest.raises(NodeError):
        await follower.call("fail", "no luck", channel=CHANNEL)
    for worker, patterns in ((leader, FROM_A_FOLLOWER), (follower, FROM_A_LEADER)):
        await until_received(worker, {pattern["type"] for pattern in patterns})
        frames = await worker.received()
        assert await worker.received_count() >= len(frames)
        assert_known(frames, patterns)
    (registration,) = [
        frame
        for frame in await leader.received()
        if frame["connObj"] == {"type": "register_channel", "channelName": CHANNEL}
    ]
    assert (registration["timeout"], registration["appHex"]) == (3000, "")
