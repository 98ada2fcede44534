"""Keeping a client's subscriptions alive through every leadership (SPEC section 9.4)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.abc

from cluster_client import _backend
from cluster_client._backoff import Backoff
from cluster_client._clock import Deadline
from cluster_client._delegate_options import SUBSCRIBE
from cluster_client._event_queue import Gap
from cluster_client._logs import describe
from cluster_client._membership import Membership
from cluster_client._registrations import Reg, Registration
from cluster_client._session import ClientSpec, Session
from cluster_client._subscriptions import EncodedValue, Feed, Subscription, SubscriptionTable
from cluster_client.errors import (
    ClientClosedError,
    ConfigurationError,
    LinkClosedError,
    ResponseTimeoutError,
)

_MOST_AT_ONCE: Final = 256
"""Registrations that a leader is asked for at a time: the answers to thousands would be late."""


class Subscribing:
    """Has every session send the values of what is subscribed to, and hands them on.

    Args:
        spec: What the client was made of.
        membership: Gives the sessions.
        tasks: Runs what the subscriptions need, as long as the client is open.
        table: The subscriptions; may be filled already.
        log: Logger, already bound to the client.
    """

    def __init__(
        self,
        spec: ClientSpec,
        membership: Membership,
        tasks: anyio.abc.TaskGroup,
        table: SubscriptionTable,
        log: Any,
    ) -> None:
        self._spec = spec
        self._membership = membership
        self._tasks = tasks
        self._table = table
        self._log = log
        self._room = anyio.Semaphore(_MOST_AT_ONCE, fast_acquire=True)

    def resume(self) -> None:
        """Ask a new session for everything that is subscribed to."""
        for subscription in self._table:
            if subscription.settled.is_set():
                subscription.mark(Gap("another leader"))
            self._establish_soon(subscription)

    async def add(self, reg: Reg, feed: Feed) -> Subscription:
        """Give the values of a registration to *feed* from now on.

        Raises:
            EncodeError: If *reg* is not plain JSON.
            ConfigurationError: If the real client has no subscribe method.
            ResponseTimeoutError: If no value comes within ``subscribe_timeout``.
            Exception: What the real client raised, or as for a call. Then
                nothing is subscribed.

        Cancellation:
            Nothing is subscribed then.
        """
        self._spec.table.part(SUBSCRIBE)
        registration = self._registration(reg)
        subscription, is_first = self._table.add(
            registration.for_events if feed.events else registration, feed
        )
        if is_first:
            self._establish_soon(subscription)
        try:
            await subscription.settled.wait()
            if subscription.error is not None:
                raise subscription.error
            await self._wait_for_value(subscription, feed)
        except BaseException:
            self.remove(subscription, feed)
            raise
        if feed.listener is not None:
            key = subscription.registration.key
            self._tasks.start_soon(self._consume, key, feed, feed.listener)
        return subscription

    async def _wait_for_value(self, subscription: Subscription, feed: Feed) -> None:
        limit = self._spec.options.subscribe_timeout
        if limit is not None and not feed.events:
            with anyio.move_on_after(limit):
                await subscription.arrived.wait()
            if not subscription.arrived.is_set():
                raise ResponseTimeoutError("subscribe", limit)
            if feed.closed:
                raise ClientClosedError("the client was closed before a value came")

    def remove(self, subscription: Subscription, feed: Feed) -> None:
        """Give *feed* no more values; the session is told when that was the last one."""
        was_last = self._table.remove(subscription, feed, "unsubscribed")
        if was_last and self._membership.session is not None:
            self._membership.session.unsubscribe(subscription.registration)

    def remove_listener(self, reg: Reg, listener: Callable[[Any], Any] | None) -> None:
        """Remove a listener of a registration, or with ``None`` all of them.

        Raises:
            EncodeError: If *reg* is not plain JSON.
        """
        for subscription in self._subscriptions(reg):
            for feed in list(subscription.feeds):
                if listener is None or feed.listener == listener:
                    self.remove(subscription, feed)

    def last(self, reg: Reg) -> EncodedValue | None:
        """Return the last value of a registration, if one has come.

        Raises:
            LookupError: If it is not subscribed to.
            EncodeError: If *reg* is not plain JSON.
            ConfigurationError: If nothing is broadcast.
        """
        if not self._spec.options.is_broadcast:
            raise ConfigurationError("there is no last value when is_broadcast=False")
        subscriptions = self._subscriptions(reg)
        if not subscriptions:
            raise LookupError(f"{reg!r} is not subscribed to")
        return next((s.last for s in subscriptions if s.last is not None), None)

    def _subscriptions(self, reg: Reg) -> list[Subscription]:
        """Return those to the state of a registration, and to its events, if there are any."""
        registration = self._registration(reg)
        found = (self._table.get(registration), self._table.get(registration.for_events))
        return [subscription for subscription in found if subscription is not None]

    def _registration(self, reg: Reg) -> Registration:
        return self._spec.check_registration(reg)

    def _establish_soon(self, subscription: Subscription) -> None:
        if not subscription.establishing:
            subscription.establishing = True
            self._tasks.start_soon(self._establish, subscription)

    async def _establish(self, subscription: Subscription) -> None:
        """Have the session send the values; with the first leader once, later until that works.

        Those that subscribe wait for the first leader's answer and are told of
        an error. With another leader nobody waits, so it is tried again.
        """
        registration = subscription.registration
        backoff = Backoff(first=0.1, longest=30.0)
        session: Session | None = None
        # Until it is settled, or given up because the client is closed.
        while self._table.get(registration) is subscription:
            try:
                deadline = Deadline.after(self._spec.options.max_wait_time)
                session = await self._membership.wait_for_session(deadline, other_than=session)
                async with self._room:
                    await session.subscribe(registration)
                if session is self._membership.session:
                    break  # else the next one has to be asked, too
            except LinkClosedError:
                continue
            except Exception as exc:  # the real client's, or what a call can raise
                if isinstance(exc, ClientClosedError) or not subscription.settled.is_set():
                    subscription.error = exc
                    break
                self._log.warning("resubscribe_failed", key=registration.key, error=describe(exc))
                await backoff.pause()
                session = None
        subscription.establishing = False
        subscription.settled.set()
        current = self._membership.session
        if current is not None and self._table.get(registration) is None:
            current.unsubscribe(registration)  # everybody went while it was being made

    async def _consume(self, key: str, feed: Feed, listener: Callable[[Any], Any]) -> None:
        """Call a listener with its values, one after the other."""
        while True:
            value = feed.take()
            if value is None:
                try:
                    value = await feed.next()
                except ClientClosedError:
                    return
            try:
                result = self._hand_on(key, feed, listener, value)
                if result is not None and inspect.isawaitable(result):
                    with _backend.stray_cancellations_as_errors():
                        await result
            except Exception:  # a listener's bug must not end the client
                self._log.exception("listener_failed", dropped=feed.dropped)

    def _hand_on(
        self, key: str, feed: Feed, listener: Callable[[Any], Any], value: EncodedValue | Gap
    ) -> Any:
        if not isinstance(value, Gap):
            return listener(value.decode())
        if feed.on_gap is not None:
            return feed.on_gap(value)
        self._log.warning(
            "events_missed",
            key=key,
            reason=value.reason,
            missed=value.missed,
            gaps_so_far=feed.gaps_taken,
            missed_so_far=feed.missed,
        )
        return None
