"""Subscriptions on the leader: one upstream per registration (SPEC section 9).

The upstream subscription is made for the first subscriber and ended with the
last one. Values come from any thread and go to every subscriber, encoded once
per codec.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Final, Protocol

import anyio
import anyio.abc

from cluster_client import _backend
from cluster_client._backoff import Backoff
from cluster_client._delegate_options import SUBSCRIBE, UNSUBSCRIBE
from cluster_client._delegates import DelegateTable
from cluster_client._encoding import encode
from cluster_client._event_queue import Gap, lost_gap
from cluster_client._inbox import Inbox
from cluster_client._logs import describe
from cluster_client._real_client import RealClient
from cluster_client._registrations import Registration, check_registration
from cluster_client.errors import ConfigurationError, EncodeError, LinkClosedError, RefusedError
from cluster_client.limits import DEFAULTS, Limits
from cluster_protocol import Json, ProtocolError
from cluster_protocol.codecs import Codec

__all__ = ["Subscriber", "SubscriptionHub", "Upstream"]

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0


class Subscriber(Protocol):
    """A follower's link, or the leader's own client; each is one for states and one for events."""

    @property
    def codec(self) -> Codec: ...

    @property
    def events(self) -> bool:
        """Whether each value counts: then no old one is wanted, and gaps are told."""
        ...

    def deliver(self, key: str, data: bytes) -> None:
        """Take a value; never blocks and never fails."""
        ...

    def miss(self, key: str, gap: Gap) -> None:
        """Take note that values are missing here; never blocks and never fails."""
        ...


class Upstream:
    """One registration: its subscribers and its last value.

    Attributes:
        active: Whether the real client sends its values.
        accepted: Whether one has ever accepted it: then it is tried again after failures.
        busy: Whether a task brings the real client in line.
        attempt: Cancels what that task is waiting for.
    """

    def __init__(self, registration: Registration) -> None:
        self.registration = registration
        self.subscribers: dict[Subscriber, str] = {}
        self.active = False
        self.accepted = False
        self.busy = False
        self.attempt = anyio.CancelScope()
        self.settled = anyio.Event()
        self.error: Exception | None = None
        self.last: dict[str, bytes] = {}
        self.turn = 0
        self.listener: Callable[[Any], None] | None = None


class SubscriptionHub:
    """All upstream subscriptions of one leadership.

    Args:
        real: The open real client.
        table: Tells which of its methods subscribe and unsubscribe.
        codec: In which values are kept.
        tasks: Runs the real client's methods.
        broadcast: Whether each value goes to all subscribers, or to one in turn.
        log: Logger, already bound to the client.
        limits: How much a subscriber may have, and a value may be.
    """

    def __init__(
        self,
        real: RealClient,
        table: DelegateTable,
        *,
        codec: Codec,
        tasks: anyio.abc.TaskGroup,
        broadcast: bool,
        log: Any,
        limits: Limits = DEFAULTS,
    ) -> None:
        self._limits = limits
        self._counts: Counter[Subscriber] = Counter()
        self._real = real
        self._table = table
        self._codec = codec
        self._tasks = tasks
        self._broadcast = broadcast
        self._log = log
        self._upstreams: dict[str, Upstream] = {}
        self._inbox = Inbox[Upstream](
            self._take, name=lambda upstream: upstream.registration.key, log=log
        )
        self._loop_thread = threading.get_ident()
        self._closed = False
        self._suspended = False

    def add(self, registration: Registration, key: str, subscriber: Subscriber) -> Upstream:
        """Send the values of a registration to *subscriber* from now on, under *key*.

        The last value, if there is one, is sent at once, except where each counts. Pass what is
        returned to `settle` to learn whether the real client accepted.

        Raises:
            RefusedError: If it has too many.
        """
        upstream = self._upstreams.get(registration.identity)
        if upstream is None or subscriber not in upstream.subscribers:
            self._check_room(subscriber)
            self._counts[subscriber] += 1
        if upstream is None:
            upstream = self._upstreams[registration.identity] = Upstream(registration)
        upstream.subscribers[subscriber] = key
        if upstream.last and self._broadcast and not subscriber.events:
            self._send_last(upstream, subscriber, key)
        self._reconcile_soon(upstream)
        return upstream

    def remove(self, registration: Registration, subscriber: Subscriber) -> None:
        """Send no more values of a registration to *subscriber*."""
        upstream = self._upstreams.get(registration.identity)
        if upstream is not None and upstream.subscribers.pop(subscriber, None) is not None:
            self._forget_one_of(subscriber)
            self._reconcile_soon(upstream)

    def _check_room(self, subscriber: Subscriber) -> None:
        count, most = self._counts[subscriber], self._limits.subscriptions_per_follower
        if count >= most:
            raise RefusedError(
                "subscribe",
                f"this client is subscribed to {count} registrations already "
                f"(Limits.subscriptions_per_follower)",
            )

    def _forget_one_of(self, subscriber: Subscriber) -> None:
        self._counts[subscriber] -= 1
        if not self._counts[subscriber]:
            del self._counts[subscriber]

    def remove_everywhere(self, subscriber: Subscriber) -> None:
        """Forget a subscriber that is gone."""
        for upstream in list(self._upstreams.values()):
            if upstream.subscribers.pop(subscriber, None) is not None:
                self._reconcile_soon(upstream)
        del self._counts[subscriber]

    async def settle(self, upstream: Upstream) -> None:
        """Wait until the real client has accepted the subscription.

        Raises:
            Exception: What the real client's subscribe method raised.
        """
        await upstream.settled.wait()
        if upstream.error is not None:
            raise upstream.error

    def close(self) -> None:
        """Drop what the real client says from now on; it is about to be closed."""
        self._closed = True
        for upstream in self._upstreams.values():
            if not upstream.settled.is_set():
                upstream.error = LinkClosedError("leadership ends", sent=False)
                upstream.settled.set()

    def suspend(self, reason: str) -> None:
        """Ask nothing of the real client any more, as it is lost; `resume` goes on with another."""
        self._suspended = True
        self._inbox.empty()  # what came before the loss
        for upstream in self._upstreams.values():
            self._miss(upstream, lost_gap(reason))
            upstream.active = False
            upstream.listener = None
            upstream.attempt.cancel()  # the lost one may never answer

    def resume(self, real: RealClient) -> None:
        """Subscribe to everything anew."""
        self._real = real
        self._suspended = False
        for upstream in list(self._upstreams.values()):
            self._reconcile_soon(upstream)

    # ------------------------------------------------------------- upstream

    def _to_be_done(self, upstream: Upstream) -> bool:
        wanted = bool(upstream.subscribers)
        return not self._closed and not self._suspended and wanted != upstream.active

    def _reconcile_soon(self, upstream: Upstream) -> None:
        if self._closed or upstream.busy or bool(upstream.subscribers) == upstream.active:
            return
        if upstream.settled.is_set():
            upstream.settled = anyio.Event()
        if not self._suspended:
            upstream.busy = True
            self._tasks.start_soon(self._reconcile, upstream)
        elif not upstream.subscribers:
            self._forget(upstream)

    async def _reconcile(self, upstream: Upstream) -> None:
        """Bring the real client in line with whether there are subscribers.

        One task per registration at a time: a quick subscribe, unsubscribe,
        subscribe must not reach the real client in another order.
        """
        backoff = Backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        while self._to_be_done(upstream):
            with anyio.CancelScope() as upstream.attempt:
                if upstream.active:
                    await self._unsubscribe(upstream)
                elif not await self._subscribe(upstream) and upstream.subscribers:
                    await backoff.pause()
        upstream.busy = False
        if self._suspended and not self._closed:
            if not upstream.subscribers:
                self._forget(upstream)
            return
        upstream.settled.set()
        if not upstream.subscribers:
            self._forget(upstream)

    def _forget(self, upstream: Upstream) -> None:
        upstream.settled.set()
        if self._upstreams.get(upstream.registration.identity) is upstream:
            del self._upstreams[upstream.registration.identity]

    async def _subscribe(self, upstream: Upstream) -> bool:
        """Ask the real client for the values; tells whether it sends them now."""
        upstream.error = None
        listener = upstream.listener = self._listener(upstream)
        try:
            # A copy: a real client that changes its argument must not change our key.
            registration = check_registration(
                upstream.registration.reg, max_depth=self._limits.depth
            )
            method = self._table.part(SUBSCRIBE)
            await self._ask(method.target, registration.reg, listener)
        except Exception as exc:
            self._log.warning(
                "subscribe_failed", key=upstream.registration.key, error=describe(exc)
            )
            if not upstream.accepted:
                upstream.error = exc
                for subscriber in upstream.subscribers:
                    self._forget_one_of(subscriber)
                upstream.subscribers.clear()
            return False
        if upstream.listener is not listener:
            return False  # the real client was lost in this very moment
        upstream.active = upstream.accepted = True
        return True

    async def _unsubscribe(self, upstream: Upstream) -> None:
        try:
            method = self._table.part(UNSUBSCRIBE)
            registration = check_registration(
                upstream.registration.reg, max_depth=self._limits.depth
            )
            await self._ask(method.target, registration.reg, upstream.listener)
        except ConfigurationError:
            # Nothing can be ended upstream. Its values are dropped from now on.
            self._log.info("no_unsubscribe_method", key=upstream.registration.key)
        except Exception as exc:
            self._log.warning(
                "unsubscribe_failed", key=upstream.registration.key, error=describe(exc)
            )
        upstream.listener = None
        upstream.active = False
        upstream.last = {}

    async def _ask(self, target: str, reg: Json, listener: Callable[[Any], None] | None) -> None:
        try:
            await self._real.invoke_part(target, reg, listener)
        except anyio.get_cancelled_exc_class() as exc:
            if _backend.is_cancelled():
                raise
            # It has cancelled its own task, as only asyncio allows: else all others would end, too.
            raise CancelledError("the task in which it ran has been cancelled") from exc

    # --------------------------------------------------------------- values

    def _listener(self, upstream: Upstream) -> Callable[[Any], None]:
        """Make the function that the real client calls with each value, from any thread."""

        def listener(value: Any) -> None:
            entry: bytes | Gap
            try:
                # At once, in the caller's thread: the object may change right after.
                entry = encode(self._codec, value, "value", self._limits)
            except EncodeError as exc:
                self._log.error(
                    "value_not_encodable", key=upstream.registration.key, error=str(exc)
                )
                entry = Gap("a value could not be encoded", 1)
            if upstream.listener is not listener:
                return  # ended upstream in the meantime
            if threading.get_ident() == self._loop_thread and not self._inbox:
                self._take(upstream, entry)
            else:
                self._inbox.put(upstream, entry)

        return listener

    def _take(self, upstream: Upstream, entry: bytes | Gap) -> None:
        if isinstance(entry, Gap):
            self._miss(upstream, entry)
        else:
            self._deliver(upstream, entry)

    def _deliver(self, upstream: Upstream, data: bytes) -> None:
        if self._closed or upstream.listener is None:
            return
        upstream.last = {self._codec.name: data}
        for subscriber, key in self._receivers(upstream):
            self._send_last(upstream, subscriber, key)

    def _miss(self, upstream: Upstream, gap: Gap) -> None:
        """Tell those who want each value that some are missing."""
        if not self._closed:
            for subscriber, key in list(upstream.subscribers.items()):
                if subscriber.events:
                    subscriber.miss(key, gap)

    def _receivers(self, upstream: Upstream) -> list[tuple[Subscriber, str]]:
        everybody = list(upstream.subscribers.items())
        if self._broadcast or not everybody:
            return everybody
        upstream.turn = (upstream.turn + 1) % len(everybody)
        return [everybody[upstream.turn]]

    def _send_last(self, upstream: Upstream, subscriber: Subscriber, key: str) -> None:
        """Send the last value in the subscriber's codec, encoded once per codec."""
        codec = subscriber.codec
        data = upstream.last.get(codec.name)
        if data is None:
            try:
                value = self._codec.decode(upstream.last[self._codec.name])
                data = encode(codec, value, "value", self._limits)
            # In a poorer codec than ours, or a registered type that cannot be made again.
            except (EncodeError, ProtocolError) as exc:
                self._log.error("value_not_encodable", key=key, error=str(exc))
                if subscriber.events:
                    subscriber.miss(key, Gap("a value could not be encoded for this process", 1))
                return
            upstream.last[codec.name] = data
        subscriber.deliver(key, data)
