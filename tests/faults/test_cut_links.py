"""A connection is cut at every byte of a conversation, in both directions and in every way."""

from __future__ import annotations

import pytest

from cluster_client import ResponseTimeoutError
from cluster_client._follower import Follower
from faults.conversation import Conversation, Upstream, open_client
from faults.proxy import Action, Direction, Fault, Pace, open_proxy
from support.times import scaled

PARTS = 24
"""Of all offsets, so that they run side by side."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, without asyncio's debug mode, which takes three times as long."""
    backend: str = request.param
    return backend


async def length(port: int, direction: Direction) -> int:
    """Return how many bytes go in a direction when nothing happens."""
    undisturbed = Conversation(port)
    await undisturbed.run()
    assert set(undisturbed.outcomes.values()) == {"answered"}
    (first, _) = undisturbed.connections
    return len(first.way(direction).delivered)


async def length_of_registration(port: int, direction: Direction) -> int:
    """Return how many bytes go in a direction until the follower is accepted."""
    upstream = Upstream()
    async with (
        open_client(upstream, port, is_leader=True),
        open_proxy(port) as proxy,
        open_client(upstream, proxy.port, is_leader=False),
    ):
        (connection,) = proxy.connections
        return len(connection.way(direction).delivered)


async def cut(port: int, direction: Direction, offset: int, action: Action) -> bool:
    """Have a conversation that is cut there; tells whether an outcome is unknown then."""
    conversation = Conversation(port, Fault(direction, offset, action))
    try:
        await conversation.run()
    except BaseException as exc:
        exc.add_note(f"{action} {direction.value} after {offset} bytes: {conversation.outcomes}")
        raise
    first = conversation.connections[0]
    # What tells how many values were taken may be one frame or two, so some are shorter.
    assert first.hit.is_set() or len(first.way(direction).delivered) < offset, "nothing was cut"
    return "unknown" in conversation.outcomes.values()


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("direction", Direction)
async def test_every_caller_sees_what_is_documented_wherever_the_connection_is_cut(
    direction: Direction, part: int, port: int, anyio_backend: str
) -> None:
    """At each byte one of the event loops has it closed and the other one has it reset."""
    actions = [Action.CLOSE, Action.RESET]
    if anyio_backend == "trio":
        actions.reverse()
    offsets = range(part, await length(port, direction), PARTS)
    assert len(offsets) > 30
    unknown = [await cut(port, direction, offset, actions[offset % 2]) for offset in offsets]
    assert 0 < sum(unknown) < len(unknown) / 2


@pytest.mark.parametrize("direction", Direction)
async def test_so_it_is_if_only_one_direction_ends(direction: Direction, port: int) -> None:
    for offset in range(0, await length(port, direction), 13):
        await cut(port, direction, offset, Action.TRUNCATE)


@pytest.mark.parametrize(
    "pace", [Pace(piece=1), Pace(piece=7), Pace(delay=scaled(0.01))], ids=["1 byte", "7", "late"]
)
async def test_bytes_may_come_one_by_one_and_late(pace: Pace, port: int) -> None:
    conversation = Conversation(port, pace=pace)
    await conversation.run()
    assert set(conversation.outcomes.values()) == {"answered"}
    assert len(conversation.connections) == 2


@pytest.mark.parametrize("offset", [0, 1, 30, 200])
async def test_a_registration_that_stalls_is_made_again(offset: int, port: int) -> None:
    conversation = Conversation(port, Fault(Direction.TO_LEADER, offset, Action.STALL), patience=1)
    await conversation.run()
    assert set(conversation.outcomes.values()) == {"answered"}
    assert len(conversation.connections) >= 3


@pytest.mark.parametrize("direction", Direction)
async def test_a_call_on_a_stalled_connection_times_out_and_the_next_connection_works(
    direction: Direction, port: int
) -> None:
    upstream = Upstream()
    stall = Fault(direction, await length_of_registration(port, direction) + 10, Action.STALL)
    async with (
        open_client(upstream, port, is_leader=True),
        open_proxy(port, stall) as proxy,
        open_client(upstream, proxy.port, is_leader=False, response_timeout=scaled(1)) as client,
    ):
        with pytest.raises(ResponseTimeoutError):
            await client.add(1)
        assert proxy.connections[0].hit.is_set()
        assert upstream.executed == ["add"] * (direction is Direction.TO_FOLLOWER)
        following = client._membership._role
        assert isinstance(following, Follower)
        assert following._link._pending == {}
        proxy.connections[0].end(reset=True)
        assert await client.echo("hello") == "hello"
        assert await client.add(1) == 2
