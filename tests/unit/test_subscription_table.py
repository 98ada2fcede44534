"""A client's own subscriptions: who gets which value, and when it ends."""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import ClientClosedError
from cluster_client._event_queue import MAX_WAITING_BYTES, MAX_WAITING_VALUES, Gap
from cluster_client._registrations import check_registration
from cluster_client._subscriptions import EncodedValue, Feed, SubscriptionTable
from cluster_protocol import RemoteProtocolError
from cluster_protocol.codecs import MsgpackCodec

CODEC = MsgpackCodec()
REG = check_registration({"path": "/k", "zone": 1})
SAME = check_registration({"zone": 1, "path": "/k"})
OTHER = check_registration({"path": "/other"})


def value(content: Any) -> EncodedValue:
    return EncodedValue(CODEC, CODEC.encode(content))


def content(item: EncodedValue | Gap) -> Any:
    assert isinstance(item, EncodedValue)
    return item.decode()


async def taken(feed: Feed) -> list[Any]:
    """Take all values that wait."""
    values = []
    with anyio.move_on_after(0):
        while True:
            values.append(content(await feed.next()))
    return values


def test_everybody_gets_a_value_of_their_own() -> None:
    arrived = value([1])
    first, second = arrived.decode(), arrived.decode()
    assert first == second == [1]
    assert first is not second
    with pytest.raises(RemoteProtocolError):
        EncodedValue(CODEC, b"\xc1").decode()


# ------------------------------------------------------------------- feeds


async def test_a_feed_gives_its_values_in_order() -> None:
    feed = Feed()
    for number in range(3):
        feed.put(value(number))
    assert await taken(feed) == [0, 1, 2]


async def test_a_feed_waits_for_a_value() -> None:
    feed = Feed()
    got: list[Any] = []

    async def take() -> None:
        got.append(content(await feed.next()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await wait_all_tasks_blocked()
        assert got == []
        feed.put(value(5))
    assert got == [5]


async def test_a_feed_that_is_too_far_behind_loses_the_oldest_and_counts_them() -> None:
    feed = Feed()
    for number in range(MAX_WAITING_VALUES + 3):
        feed.put(value(number))
    assert feed.dropped == 3
    assert await taken(feed) == list(range(3, MAX_WAITING_VALUES + 3))


async def test_large_values_are_bounded_by_their_weight() -> None:
    feed = Feed()
    for number in range(10):
        feed.put(value([number, bytes(MAX_WAITING_BYTES // 3)]))
    assert [number for number, _ in await taken(feed)] == [8, 9]
    assert feed.dropped == 8


async def everything(feed: Feed) -> list[Any]:
    """Take all values and gaps that wait."""
    entries = []
    while (entry := feed.take()) is not None:
        entries.append(entry if isinstance(entry, Gap) else entry.decode())
    return entries


async def test_events_that_were_dropped_are_told_in_their_place() -> None:
    feed = Feed(events=True)
    for number in range(MAX_WAITING_VALUES + 3):
        feed.put(value(number))
    gap = Gap("the listener did not keep up", 3)
    assert await everything(feed) == [gap, *range(3, MAX_WAITING_VALUES + 3)]
    assert (feed.gaps_taken, feed.missed) == (1, 3)


async def test_whoever_listens_to_a_state_is_told_only_of_what_nobody_could_see() -> None:
    feed = Feed(gaps=True)
    feed.mark(Gap("another leader"))
    for number in range(MAX_WAITING_VALUES):
        feed.put(value(number))
    unknown = Gap("the listener did not keep up", None)
    assert await everything(feed) == [unknown, *range(MAX_WAITING_VALUES)]
    feed = Feed(gaps=True)
    for number in range(MAX_WAITING_VALUES + 1):
        feed.put(value(number))
    assert await everything(feed) == list(range(1, MAX_WAITING_VALUES + 1))


async def test_whoever_waits_for_a_value_gets_a_gap() -> None:
    feed = Feed(events=True)
    got: list[Any] = []

    async def take() -> None:
        got.append(await feed.next())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await wait_all_tasks_blocked()
        feed.mark(Gap("why", 1))
    assert got == [Gap("why", 1)]


async def test_a_closed_feed_raises_and_drops_what_it_had() -> None:
    feed = Feed()
    feed.put(value(1))
    feed.close("unsubscribed")
    assert feed.closed
    with pytest.raises(ClientClosedError, match=r"^unsubscribed$"):
        await feed.next()


async def test_whoever_waits_for_a_value_learns_that_the_feed_is_closed() -> None:
    feed = Feed()
    ended = anyio.Event()

    async def take() -> None:
        with pytest.raises(ClientClosedError):
            await feed.next()
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await wait_all_tasks_blocked()
        feed.close("closed")
        await ended.wait()


# ------------------------------------------------------------------- table


async def test_the_first_listener_of_a_registration_is_told_apart() -> None:
    table = SubscriptionTable(broadcast=True)
    first, is_first = table.add(REG, Feed())
    assert is_first
    second, is_first = table.add(SAME, Feed())
    assert not is_first
    assert second is first
    assert table.get(SAME) is first
    other, is_first = table.add(OTHER, Feed())
    assert is_first
    assert list(table) == [first, other]


async def test_every_listener_gets_each_value() -> None:
    table = SubscriptionTable(broadcast=True)
    one, two, other = Feed(), Feed(), Feed()
    table.add(REG, one)
    table.add(SAME, two)
    table.add(OTHER, other)
    for number in range(3):
        table.deliver(REG.key, value(number))
    assert await taken(one) == await taken(two) == [0, 1, 2]
    assert await taken(other) == []


async def test_a_later_listener_gets_the_last_value_at_once() -> None:
    table = SubscriptionTable(broadcast=True)
    subscription, _ = table.add(REG, Feed())
    assert subscription.last is None
    table.deliver(REG.key, value(1))
    table.deliver(REG.key, value(2))
    late = Feed()
    table.add(REG, late)
    assert not late.closed
    assert await taken(late) == [2]


async def test_without_broadcast_listeners_take_turns() -> None:
    table = SubscriptionTable(broadcast=False)
    feeds = [Feed(), Feed(), Feed()]
    for feed in feeds:
        subscription, _ = table.add(REG, feed)
    for number in range(6):
        table.deliver(REG.key, value(number))
    shares = [await taken(feed) for feed in feeds]
    assert [len(share) for share in shares] == [2, 2, 2]
    assert sorted(itertools.chain(*shares)) == list(range(6))
    assert subscription.last is None
    late = Feed()
    table.add(REG, late)
    assert await taken(late) == []


async def test_without_broadcast_a_value_for_nobody_is_dropped() -> None:
    table = SubscriptionTable(broadcast=False)
    feed = Feed()
    subscription, _ = table.add(REG, feed)
    subscription.feeds.clear()
    table.deliver(REG.key, value(1))
    assert await taken(feed) == []


async def test_a_value_that_nobody_waits_for_is_dropped() -> None:
    SubscriptionTable(broadcast=True).deliver(REG.key, value(1))


async def test_a_subscription_ends_with_its_last_listener() -> None:
    table = SubscriptionTable(broadcast=True)
    one, two = Feed(), Feed()
    subscription, _ = table.add(REG, one)
    table.add(REG, two)
    assert not table.remove(subscription, one, "unsubscribed")
    assert one.closed
    assert not table.remove(subscription, one, "again")
    assert table.remove(subscription, two, "unsubscribed")
    assert table.get(REG) is None
    assert not table.remove(subscription, two, "again")


async def test_an_old_subscription_does_not_end_its_successor() -> None:
    table = SubscriptionTable(broadcast=True)
    feed = Feed()
    old, _ = table.add(REG, feed)
    table.remove(old, feed, "unsubscribed")
    new, is_first = table.add(REG, Feed())
    assert is_first
    assert new is not old
    assert not table.remove(old, feed, "late")
    assert table.get(REG) is new


async def test_closing_the_table_ends_every_feed() -> None:
    table = SubscriptionTable(broadcast=True)
    one, other = Feed(), Feed()
    table.add(REG, one)
    table.add(OTHER, other)
    table.close("the client is closed")
    assert one.closed
    assert other.closed
    assert list(table) == []
    table.deliver(REG.key, value(1))


async def test_closing_the_table_tells_whoever_waits_for_a_leaders_word() -> None:
    table = SubscriptionTable(broadcast=True)
    waiting, _ = table.add(REG, Feed())
    settled, _ = table.add(OTHER, Feed())
    settled.settled.set()
    table.close("the client is closed")
    assert waiting.settled.is_set()
    assert isinstance(waiting.error, ClientClosedError)
    assert settled.error is None


# ------------------------------------------------------------------- events


async def test_states_and_events_of_a_registration_are_two_subscriptions() -> None:
    table = SubscriptionTable(broadcast=True)
    state, events = Feed(), Feed(events=True)
    of_states, is_first = table.add(REG, state)
    assert is_first
    of_events, is_first = table.add(REG.for_events, events)
    assert is_first
    assert of_states is not of_events
    table.deliver(REG.key, value("state"))
    table.deliver(REG.for_events.key, value("event"))
    table.miss(REG.for_events.key, Gap("why", 2))
    table.miss(OTHER.for_events.key, Gap("why", 2))
    assert await everything(state) == ["state"]
    assert await everything(events) == ["event", Gap("why", 2)]
    assert table.remove(of_events, events, "unsubscribed")
    assert list(table) == [of_states]


async def test_a_later_listener_to_events_gets_no_old_value() -> None:
    table = SubscriptionTable(broadcast=True)
    table.add(REG.for_events, Feed(events=True))
    table.deliver(REG.for_events.key, value(1))
    late = Feed(events=True)
    table.add(REG.for_events, late)
    assert await everything(late) == []


async def test_a_gap_may_be_for_states_only() -> None:
    table = SubscriptionTable(broadcast=True)
    state, events = Feed(gaps=True), Feed(events=True)
    table.add(REG, state)
    table.add(REG.for_events, events)
    table.mark(Gap("lost"), events=False)
    table.mark(Gap("another leader"), events=True)
    assert await everything(state) == [Gap("lost"), Gap("another leader")]
    assert await everything(events) == [Gap("another leader")]


def test_a_registration_has_a_key_of_its_own_for_events() -> None:
    events = REG.for_events
    assert (events.reg, events.identity) == (REG.reg, REG.identity)
    assert events.key == '$$events$$__{"path":"/k","zone":1}'
    assert events.for_events == events
    assert events.for_state == REG.for_state == REG
