"""Credit, and what has arrived of a stream (SPEC 6.6)."""

from __future__ import annotations

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st

from cluster_client._streams import FIRST_CREDIT, StreamReader, Window, cost_of
from cluster_client._subscriptions import EncodedValue
from cluster_protocol.codecs import MsgpackCodec

CODEC = MsgpackCodec()
KIB = 1024


def item(value: object) -> EncodedValue:
    return EncodedValue(CODEC, CODEC.encode(value))


def reader() -> tuple[StreamReader, list[int], list[str]]:
    grants: list[int] = []
    cancels: list[str] = []
    return StreamReader(grants.append, lambda: cancels.append("cancelled")), grants, cancels


@pytest.mark.parametrize(
    ("size", "cost"), [(0, 1), (16 * KIB - 1, 1), (16 * KIB, 2), (1024 * KIB, 65)]
)
def test_an_item_costs_one_and_one_more_per_16_kib(size: int, cost: int) -> None:
    assert cost_of(size) == cost


async def test_an_item_may_overdraw_and_the_next_one_waits() -> None:
    window = Window(1)
    await window.take(65)
    taken: list[str] = []

    async def take() -> None:
        await window.take(1)
        taken.append("taken")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        window.grant(64)
        await wait_all_tasks_blocked()
        assert taken == []
        window.grant(1)
    assert taken == ["taken"]


async def test_credit_is_given_back_when_half_of_it_is_used() -> None:
    stream, grants, _ = reader()
    for number in range(FIRST_CREDIT):
        stream.put(item(number), 1)
    for _ in range(FIRST_CREDIT // 2 - 1):
        await stream.next()
    assert grants == []
    await stream.next()
    assert grants == [FIRST_CREDIT // 2]


async def test_what_has_arrived_comes_before_the_end() -> None:
    stream, grants, cancels = reader()
    stream.put(item("a"), 1)
    stream.finish(KeyError("b"))
    stream.put(item("too late"), 1)
    value = await stream.next()
    assert value is not None
    assert value.decode() == "a"
    for _ in range(2):
        with pytest.raises(KeyError, match="b"):
            await stream.next()
    stream.close()
    assert (grants, cancels) == ([], [])


async def test_a_close_is_told_once_and_ends_it() -> None:
    stream, _, cancels = reader()
    stream.put(item("a"), 1)
    stream.close()
    stream.close()
    assert cancels == ["cancelled"]
    assert await stream.next() is None


@given(sizes=st.lists(st.integers(0, 200 * KIB), max_size=300))
def test_no_mix_of_sizes_leaves_both_sides_waiting(sizes: list[int]) -> None:
    async def exchange() -> int:
        window = Window(FIRST_CREDIT)
        stream = StreamReader(window.grant, lambda: None)
        received = 0

        async def send() -> None:
            for size in sizes:
                await window.take(cost_of(size))
                stream.put(item(size), size)
            stream.finish(None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            with anyio.fail_after(10):
                while (value := await stream.next()) is not None:
                    assert value.decode() == sizes[received]
                    received += 1
        return received

    assert anyio.run(exchange) == len(sizes)
