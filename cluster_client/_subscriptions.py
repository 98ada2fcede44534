"""A client's own subscriptions: who listens to what, and what came last.

Pure bookkeeping; the client's role sends and receives, the client runs the
consumers. Values are kept encoded and decoded once per listener, so that no
listener can change what another one sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anyio

from cluster_client._event_queue import EventQueue, Gap
from cluster_client._registrations import Registration
from cluster_client.errors import ClientClosedError
from cluster_protocol.codecs import Codec

Listener = Callable[[Any], Any]


class EncodedValue:
    """A value as it arrived."""

    __slots__ = ("_codec", "_data")

    def __init__(self, codec: Codec, data: bytes) -> None:
        self._codec = codec
        self._data = data

    @property
    def size(self) -> int:
        """Bytes that it weighs."""
        return len(self._data)

    def decode(self) -> Any:
        """Return a new object.

        Raises:
            RemoteProtocolError: If the peer sent what is not the codec's.
        """
        return self._codec.decode(self._data)


class Feed:
    """One listener's values, in order, first in first out.

    Args:
        listener: Who gets them, unless they are iterated over.
        on_gap: Who is told of gaps, besides.
        gaps: Whether gaps are wanted among the values.
        events: Whether each value counts: then gaps are always among them, and those that were
            dropped because the listener was too slow are one.

    Attributes:
        gaps_taken: How many gaps the listener came to.
        missed: How many values were missing there, as far as that is known.
    """

    def __init__(
        self,
        listener: Listener | None = None,
        *,
        on_gap: Callable[[Gap], Any] | None = None,
        gaps: bool = False,
        events: bool = False,
    ) -> None:
        self.listener = listener
        self.on_gap = on_gap
        self.events = events
        self.wants_gaps = gaps or events or on_gap is not None
        self.gaps_taken = 0
        self.missed = 0
        self._values: EventQueue[EncodedValue] = EventQueue("the listener did not keep up")
        self._arrival = anyio.Event()
        self._awaited = False
        self._closed: str | None = None

    @property
    def closed(self) -> bool:
        return self._closed is not None

    @property
    def dropped(self) -> int:
        """How many values were dropped because the listener was too slow."""
        return self._values.dropped

    def put(self, value: EncodedValue) -> None:
        """Append a value; the oldest ones are dropped if the listener is too far behind."""
        self._values.put(value, value.size)
        self._wake()

    def mark(self, gap: Gap) -> None:
        """Append a mark where values may be missing."""
        self._values.mark(gap)
        self._wake()

    def _wake(self) -> None:
        if self._awaited:
            self._awaited = False
            self._arrival.set()

    def close(self, reason: str) -> None:
        """Let `next` fail from now on. Values that were not taken yet are gone."""
        self._closed = reason
        self._values.clear()
        self._arrival.set()

    async def next(self) -> EncodedValue | Gap:
        """Return the next value or gap, waiting for it.

        Raises:
            ClientClosedError: If the feed is closed.

        Cancellation:
            Safe: no value is lost.
        """
        while (value := self.take()) is None:
            if self._closed is not None:
                raise ClientClosedError(self._closed)
            if self._arrival.is_set():  # else another consumer waits for it already
                self._arrival = anyio.Event()
            self._awaited = True
            await self._arrival.wait()
        return value

    def take(self) -> EncodedValue | Gap | None:
        """Return the next value or gap if one is there."""
        while isinstance(value := self._values.take(), Gap):
            # Of a state only the latest value counts, so nobody is told of those before it.
            if self.events or (self.wants_gaps and value.missed is None):
                self.gaps_taken += 1
                self.missed += value.missed or 0
                break
        return value


class Subscription:
    """All listeners of one registration, to its state or to its events.

    Attributes:
        registration: What is subscribed to.
        feeds: Its listeners.
        last: The last value that came, if one did.
        establishing: Whether the leader is being asked for its values.
        settled: Set when the first leader has accepted or refused.
        arrived: Set when the first value has come.
        error: Why it refused.
    """

    def __init__(self, registration: Registration) -> None:
        self.registration = registration
        self.feeds: list[Feed] = []
        self.last: EncodedValue | None = None
        self.establishing = False
        self.settled = anyio.Event()
        self.arrived = anyio.Event()
        self.error: Exception | None = None
        self._turn = 0

    def deliver(self, value: EncodedValue, *, broadcast: bool) -> None:
        """Give the value to every feed, or to the next one in turn."""
        if self.last is None:
            self.arrived.set()
        if broadcast:
            self.last = value
            for feed in self.feeds:
                feed.put(value)
        elif self.feeds:
            self._turn = (self._turn + 1) % len(self.feeds)
            self.feeds[self._turn].put(value)

    def mark(self, gap: Gap) -> None:
        """Tell whoever wants to know that values may be missing."""
        for feed in self.feeds:
            if feed.wants_gaps:
                feed.mark(gap)


class SubscriptionTable:
    """The subscriptions of one client."""

    def __init__(self, *, broadcast: bool) -> None:
        self._by_identity: dict[tuple[str, bool], Subscription] = {}
        self._by_key: dict[str, Subscription] = {}
        self._broadcast = broadcast

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._by_identity.values()))

    def get(self, registration: Registration) -> Subscription | None:
        return self._by_identity.get((registration.identity, registration.events))

    def add(self, registration: Registration, feed: Feed) -> tuple[Subscription, bool]:
        """Add a listener; tells whether it is the registration's first one.

        A later listener gets the last value at once, but not to events.
        """
        subscription = self.get(registration)
        is_first = subscription is None
        if subscription is None:
            subscription = Subscription(registration)
            self._by_identity[registration.identity, registration.events] = subscription
            self._by_key[registration.key] = subscription
        subscription.feeds.append(feed)
        if subscription.last is not None and self._broadcast and not registration.events:
            feed.put(subscription.last)
        return subscription, is_first

    def remove(self, subscription: Subscription, feed: Feed, reason: str) -> bool:
        """Remove a listener; tells whether it was the registration's last one."""
        feed.close(reason)
        if feed in subscription.feeds:
            subscription.feeds.remove(feed)
        registration = subscription.registration
        if subscription.feeds or self.get(registration) is not subscription:
            return False
        del self._by_identity[registration.identity, registration.events]
        del self._by_key[registration.key]
        return True

    def deliver(self, key: str, value: EncodedValue) -> None:
        """Hand a value on; one that nobody waits for any more is dropped."""
        subscription = self._by_key.get(key)
        if subscription is not None:
            subscription.deliver(value, broadcast=self._broadcast)

    def miss(self, key: str, gap: Gap) -> None:
        """Tell the listeners of a registration that values are missing here."""
        subscription = self._by_key.get(key)
        if subscription is not None:
            subscription.mark(gap)

    def mark(self, gap: Gap, *, events: bool) -> None:
        """Tell every subscription that values may be missing, those to events only if *events*."""
        for subscription in self:
            if events or not subscription.registration.events:
                subscription.mark(gap)

    def close(self, reason: str) -> None:
        """Let every consumer end."""
        for subscription in self:
            for feed in subscription.feeds:
                feed.close(reason)
            if not subscription.settled.is_set():
                subscription.error = ClientClosedError(reason)
                subscription.settled.set()
            subscription.arrived.set()
        self._by_identity.clear()
        self._by_key.clear()
