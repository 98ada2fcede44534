"""The client: one surface over leader and follower, through every election."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio
import anyio.abc
import structlog
from anyio.lowlevel import checkpoint

from cluster_client import _clock, _fork
from cluster_client._calls import CallRequest
from cluster_client._campaign import Backoff, Campaign
from cluster_client._clock import Deadline
from cluster_client._delegates import (
    INVOKE_ONEWAY,
    PUBLISH,
    SUBSCRIBE,
    UNPUBLISH,
    DelegateTable,
    Method,
    delegate_function,
)
from cluster_client._election import Joined
from cluster_client._follower import Follower
from cluster_client._leader import Leader
from cluster_client._publications import DeclarationTable
from cluster_client._registrations import Reg, check_registration, publication_key
from cluster_client._server import contenders
from cluster_client._session import ClientSpec, Session, SessionEvents, StartError
from cluster_client._states import CLIENT_TRANSITIONS, ClientState, StateMachine
from cluster_client._subscriptions import Feed, Subscription, SubscriptionTable
from cluster_client.errors import (
    ClientClosedError,
    ConfigurationError,
    ElectionError,
    ForkedClientError,
    LeaderUnavailableError,
    LinkClosedError,
    OutcomeUnknownError,
)

__all__ = ["Client"]

_CLOSE_MARGIN: Final = 15.0
"""Seconds for a close beyond the drain: closing the real client, and dismissing followers."""

_STABLE_SESSION: Final = 1.0
"""Seconds of a leadership after which losing it is no sign of a leader that keeps failing."""

RealT = TypeVar("RealT")
_MISSING: Final[Any] = object()


class _Change:
    """A session, an error or the end, for those that wait for a session."""

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.error: Exception | None = None


class Client(anyio.AsyncContextManagerMixin, Generic[RealT]):
    """A real client shared by all processes of the host; made by `cluster`.

    To be used in ``async with``, once. The delegated methods of the real
    client are coroutine methods here, whatever they are there. Beyond the real
    client's own errors each of them raises:

    - `LeaderUnavailableError` if there is no leader within ``max_wait_time``;
    - `ResponseTimeoutError` if the answer takes longer than ``response_timeout``;
    - `OutcomeUnknownError` if the leader is lost while the call is in flight
      and the method is not declared idempotent;
    - `EncodeError` if an argument or the result cannot be sent;
    - `TypeError` if the arguments do not fit the real method's signature;
    - `ClientClosedError` outside ``async with``, and when the client is closed meanwhile.

    A cancelled call is cancelled in the leader, too.

    Attributes:
        resent_calls: How many calls were sent again after a leader was lost.
    """

    def __init__(self, spec: ClientSpec) -> None:
        self._spec = spec
        options = spec.options
        logger = options.logger or structlog.get_logger("cluster_client")
        self._log = logger.bind(client=options.name, port=options.port)
        self._codec = next(iter(spec.codecs.values()))
        self._machine = StateMachine(ClientState.NEW, CLIENT_TRANSITIONS, self._on_state)
        self._session: Session | None = None
        self._subscriptions = SubscriptionTable(broadcast=options.is_broadcast)
        self._declarations = DeclarationTable()
        self._generation = _fork.generation()
        self.resent_calls = 0

    @classmethod
    def from_spec(cls, spec: ClientSpec, overrides: Mapping[str, Any]) -> Client[RealT]:
        """Return a client with the delegates of its spec as methods; for `ClusterBuilder`."""
        return cls._with_delegates(spec.table, overrides)(spec)

    @classmethod
    def _with_delegates(
        cls, table: DelegateTable, overrides: Mapping[str, Any]
    ) -> type[Client[Any]]:
        """Return a subclass whose methods are a real client's delegates."""
        members: dict[str, Any] = {
            **{name: delegate_function(m, cls._call) for name, m in table.by_name.items()},
            **dict.fromkeys(table.close_names - {"aclose"}, cls.aclose),
            **overrides,
            "__doc__": table.cls.__doc__,
        }
        return type(f"{table.cls.__name__}Client", (cls,), members)

    # ---------------------------------------------------------------- state

    @property
    def state(self) -> ClientState:
        """Where the client is between opening and closing."""
        return self._machine.state

    @property
    def is_leader(self) -> bool:
        """Whether this process owns the real client at the moment."""
        return self._session is not None and self._session.is_leader

    @property
    def epoch(self) -> str | None:
        """Name of the current leadership; ``None`` while there is none."""
        return None if self._session is None else self._session.epoch

    def __repr__(self) -> str:
        options = self._spec.options
        return f"<{type(self).__name__} {options.name!r} port={options.port} {self.state.value}>"

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        self._log.info("state_changed", old=old.value, new=new.value)

    # ------------------------------------------------------------- lifetime

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Client[RealT]]:
        self._check_process()
        if self.state is not ClientState.NEW:
            raise ClientClosedError(f"{self!r} cannot be opened twice; create another client")
        self._machine.to(ClientState.ELECTING)
        self._opened = anyio.Event()
        self._ended = anyio.Event()
        self._change = _Change()
        self._publishing = anyio.Lock()
        self._stopping = False
        self._start_error: BaseException | None = None
        self._scope = anyio.CancelScope(shield=True)
        self._role: Leader | Follower | None = None
        body_error: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._run)
                try:
                    await self._opened.wait()
                    if self._start_error is not None:
                        raise self._start_error
                    self._check_open()
                    yield self
                except anyio.get_cancelled_exc_class():
                    raise
                except BaseException as exc:
                    body_error = exc
                finally:
                    await self._close()
                tasks.cancel_scope.cancel()
        finally:
            if body_error is not None:  # here, so that an outer cancellation can't swallow it
                raise body_error

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[Client[RealT]] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Open the client and keep it open until cancelled or closed.

        For frameworks that start and stop in different tasks:
        ``client = await task_group.start(client.run)``.
        """
        async with self:
            task_status.started(self)
            await self._ended.wait()

    async def aclose(self) -> None:
        """Close the client: a leader hands over first; calls in flight get up to ``drain_timeout``.

        Happens by itself at the end of ``async with``. May be repeated.

        Raises:
            ClientClosedError: If the client was never opened.
            ForkedClientError: In a forked child: it is the parent's to close.

        Cancellation:
            Shielded, and limited to ``drain_timeout`` and some seconds for the
            real client's own close.
        """
        self._check_process()
        if self.state is ClientState.NEW:
            raise ClientClosedError(f"{self!r} was never opened")
        await self._close()

    async def _close(self) -> None:
        self._stopping = True
        if self.state is ClientState.ELECTING:
            self._scope.cancel()  # also a real client that is just starting
        elif self._role is not None:
            self._role.stop()
        limit = self._spec.options.drain_timeout + _CLOSE_MARGIN
        with anyio.move_on_after(limit, shield=True):
            await self._ended.wait()
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    # ------------------------------------------------------------ elections

    async def _run(self) -> None:
        # Shielded: a cancelled body must not cut off the hand-over; `aclose` ends it.
        options = self._spec.options
        leads = options.is_leader is not False
        candidates = contenders(options.port)
        candidates[options.name] += leads
        try:
            with self._scope:
                await self._hold_elections()
        finally:
            candidates[options.name] -= leads
            candidates += type(candidates)()  # drops what has come down to 0
            self._session = None
            self._machine.to(ClientState.CLOSED)
            self._subscriptions.close(f"{self!r} is closed")
            self._announce_change()
            self._opened.set()
            self._ended.set()

    async def _hold_elections(self) -> None:
        campaign = Campaign(self._spec, self._log)
        backoff = Backoff()
        deadline = Deadline.after(self._spec.options.max_wait_time)
        while not self._stopping:
            first = not self._opened.is_set()
            try:
                place = await campaign.run(deadline if first else Deadline.never(), first=first)
                begin = _clock.now()
                await self._take_part(place)
                lasted = _clock.now() - begin
                if lasted > _STABLE_SESSION:
                    backoff.reset()
                elif not self._stopping:
                    await backoff.pause(less=lasted)
            except (ElectionError, StartError) as exc:
                error = exc.error if isinstance(exc, StartError) else exc
                if first:
                    self._start_error = error
                    return
                self._log.warning("election_failed", error=repr(error))
                self._announce_change(error)
                await backoff.pause()

    async def _take_part(self, place: Any) -> None:
        """Be leader or follower until that ends."""
        events = SessionEvents(
            ready=self._on_ready, ending=self._on_ending, value=self._subscriptions.deliver
        )
        if isinstance(place, Joined):
            log = self._log.bind(role="follower", epoch=place.agreement.epoch)
            self._role = Follower(place, self._spec, events, log)
        else:
            log = self._log.bind(role="leader", epoch=place.epoch)
            self._role = Leader(place, self._spec, events, log)
        limit = self._spec.options.max_wait_time
        try:
            with anyio.move_on_after(limit) as self._start_scope:
                await self._role.run()
            if self._start_scope.cancelled_caught:
                raise LeaderUnavailableError(
                    self._spec.options.name,
                    self._spec.options.port,
                    limit,
                    f"{self._spec.cls.__qualname__} is still starting, in this process",
                )
        finally:
            self._role = None
            self._session = None
            if self.state is not ClientState.ELECTING:
                self._machine.to(ClientState.ELECTING)

    def _on_ready(self) -> None:
        role = self._role
        assert role is not None  # noqa: S101 - it is who tells
        self._session = role
        self._start_scope.deadline = math.inf
        self._machine.to(ClientState.LEADING if role.is_leader else ClientState.FOLLOWING)
        self._announce_change()
        self._opened.set()
        if self._stopping:
            role.stop()
            return
        for subscription in self._subscriptions:
            self._establish_soon(subscription)
        self._tasks.start_soon(self._replay_declarations, role)

    def _on_ending(self) -> None:
        leading = self.state is ClientState.LEADING
        self._session = None
        self._machine.to(ClientState.HANDING_OVER if leading else ClientState.DRAINING)

    def _announce_change(self, error: Exception | None = None) -> None:
        """Wake the calls that wait for a session; with an error, let them fail with it."""
        change, self._change = self._change, _Change()
        change.error = error
        change.event.set()

    async def _wait_for_session(
        self, deadline: Deadline, *, other_than: Session | None = None
    ) -> Session:
        """Return the current session, waiting for one through an election.

        Args:
            deadline: When to give up.
            other_than: A session that is known to be over, though this may not
                have come round yet.

        Raises:
            LeaderUnavailableError: If there is none in time.
            ClientClosedError: If the client is closed meanwhile.
            Exception: What an election failed with meanwhile.
        """
        begin = _clock.now()
        while (session := self._session) is None or session is other_than:
            if self.state is ClientState.CLOSED:
                raise ClientClosedError(f"{self!r} is closed")
            change = self._change
            with anyio.move_on_after(deadline.remaining):
                await change.event.wait()
            if change.error is not None:
                raise change.error
            if not change.event.is_set():
                options = self._spec.options
                raise LeaderUnavailableError(
                    options.name,
                    options.port,
                    _clock.now() - begin,
                    f"the client is {self.state.value} and has found none",
                )
        return session

    def _check_process(self) -> None:
        if self._generation != _fork.generation():
            raise ForkedClientError(
                f"{self!r} was made before a fork and belongs to the parent process; create and "
                f"open a client after the fork"
            )

    def _check_open(self) -> None:
        self._check_process()
        if self.state is ClientState.NEW:
            raise ClientClosedError(f"{self!r} is not open; use it in 'async with'")
        if self.state is ClientState.CLOSED:
            raise ClientClosedError(f"{self!r} is closed")

    # ---------------------------------------------------------------- calls

    async def call(self, method: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a delegated method of the real client.

        Args:
            method: The real class's method, ``Registry.get_data``, or its name.
            args: Its positional arguments, without ``self``.
            kwargs: Its keyword arguments.

        Raises:
            ConfigurationError: If the method is not delegated.
            Exception: See the class.

        Cancellation:
            The call is cancelled in the leader, too.
        """
        name = method if isinstance(method, str) else getattr(method, "__name__", repr(method))
        delegated = self._spec.table.by_target.get(name)
        if delegated is None:
            raise ConfigurationError(
                f"{name!r} is not delegated by {self._spec.cls.__qualname__}; it delegates "
                f"{', '.join(sorted(self._spec.table.by_target)) or 'nothing'}"
            )
        return await self._call(delegated, args, kwargs)

    async def _call(
        self,
        method: Method,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        idempotent: bool | None = None,
    ) -> Any:
        """Make a call through as many elections as it takes (SPEC 8.3)."""
        self._check_open()
        options = self._spec.options
        timeout = method.response_timeout or options.response_timeout
        request = CallRequest(method, *method.bind(args, kwargs), timeout)
        request.encode(self._codec)  # an error here is the caller's, and not after an election
        repeatable = method.idempotent if idempotent is None else idempotent
        session: Session | None = None
        while True:
            deadline = Deadline.after(options.max_wait_time)
            session = await self._wait_for_session(deadline, other_than=session)
            try:
                if method.kind == INVOKE_ONEWAY:
                    return await session.call_oneway(request, deadline)
                return await session.call(request, deadline)
            except LinkClosedError as exc:
                if exc.sent and not repeatable:
                    raise OutcomeUnknownError(method.name, session.epoch) from exc
                self._check_open()
                self.resent_calls += exc.sent

    # -------------------------------------------------------- subscriptions

    async def subscribe(self, reg: Reg, listener: Callable[[Any], Any]) -> None:
        """Have *listener* called with each value of a registration, in order.

        It goes on through every change of leader. If the real client or
        another listener has brought a value already, the last one comes at
        once. A listener that is more than 1,000 values behind loses the oldest.

        Args:
            reg: Plain JSON with string keys.
            listener: Called in the event loop with a value of its own; may be a
                coroutine function. What it raises is logged.

        Raises:
            EncodeError: If *reg* is not plain JSON.
            ConfigurationError: If the real client has no subscribe method.
            Exception: What the real client's subscribe method raised, or as
                for a call. Then nothing is subscribed.

        Cancellation:
            Nothing is subscribed then.
        """
        if not callable(listener):
            raise ConfigurationError(f"listener={listener!r} must be callable")
        feed = Feed(listener)
        await self._subscribe(reg, feed)
        self._tasks.start_soon(self._consume, feed)

    async def unsubscribe(self, reg: Reg, listener: Callable[[Any], Any] | None = None) -> None:
        """End a listener's subscription, or all listeners' of the registration.

        The upstream subscription ends with the last subscriber of all
        processes. Unsubscribing what is not subscribed does nothing.

        Raises:
            EncodeError: If *reg* is not plain JSON.
        """
        self._check_open()
        registration = check_registration(reg, self._spec.options.format_key)
        subscription = self._subscriptions.get(registration)
        if subscription is not None:
            for feed in list(subscription.feeds):
                if listener is None or feed.listener == listener:
                    self._unsubscribe(subscription, feed)
        await checkpoint()

    @asynccontextmanager
    async def subscription(self, reg: Reg) -> AsyncGenerator[AsyncIterator[Any]]:
        """Subscribe for the time of an ``async with`` and iterate over the values.

        ::

            async with client.subscription({"path": "/k"}) as values:
                async for value in values: ...

        Raises:
            Exception: As `subscribe`. The iterator raises `ClientClosedError`
                when the client is closed.
        """
        feed = Feed()
        subscription = await self._subscribe(reg, feed)
        try:
            yield _Values(feed)
        finally:
            self._unsubscribe(subscription, feed)

    def last(self, reg: Reg, default: Any = _MISSING) -> Any:
        """Return the last value of a registration that this client subscribes to.

        Nothing is asked of the leader: it is what came last. Each call gives a
        new object.

        Args:
            reg: The registration.
            default: Returned if there is no value yet.

        Raises:
            LookupError: If there is no value, and no default.
            ConfigurationError: If the client is not ``is_broadcast``: then a
                value belongs to one listener.
        """
        self._check_open()
        if not self._spec.options.is_broadcast:
            raise ConfigurationError("there is no last value when is_broadcast=False")
        registration = check_registration(reg, self._spec.options.format_key)
        subscription = self._subscriptions.get(registration)
        if subscription is not None and subscription.last is not None:
            return subscription.last.decode()
        if default is not _MISSING:
            return default
        state = "has had no value yet" if subscription else "is not subscribed to"
        raise LookupError(f"{reg!r} {state}")

    async def _subscribe(self, reg: Reg, feed: Feed) -> Subscription:
        self._check_open()
        self._spec.table.part(SUBSCRIBE)
        registration = check_registration(reg, self._spec.options.format_key)
        subscription, is_first = self._subscriptions.add(registration, feed)
        if is_first:
            self._establish_soon(subscription)
        try:
            await subscription.settled.wait()
            if subscription.error is not None:
                raise subscription.error
        except BaseException:
            self._unsubscribe(subscription, feed)
            raise
        return subscription

    def _unsubscribe(self, subscription: Subscription, feed: Feed) -> None:
        was_last = self._subscriptions.remove(subscription, feed, "unsubscribed")
        if was_last and self._session is not None:
            self._session.unsubscribe(subscription.registration)

    def _establish_soon(self, subscription: Subscription) -> None:
        if not subscription.establishing:
            subscription.establishing = True
            self._tasks.start_soon(self._establish, subscription)

    async def _establish(self, subscription: Subscription) -> None:
        """Have the leader send a registration's values; tries until that works.

        Only the first attempt of all tells its subscribers about an error: they
        wait for it. Later, with another leader, nobody does, so it is tried again.
        """
        registration = subscription.registration
        backoff = Backoff(first=0.1, longest=30.0)
        session: Session | None = None
        error: Exception | None = None
        while self._subscriptions.get(registration) is subscription:
            try:
                deadline = Deadline.after(self._spec.options.max_wait_time)
                session = await self._wait_for_session(deadline, other_than=session)
                await session.subscribe(registration)
            except LinkClosedError:
                continue
            except Exception as exc:
                error = exc
            if error is None and session is self._session:
                break
            if error is None:
                continue
            if not subscription.settled.is_set() or isinstance(error, ClientClosedError):
                break
            self._log.warning("resubscribe_failed", key=registration.key, error=repr(error))
            await backoff.pause()
            error, session = None, None
        subscription.establishing = False
        subscription.error = error
        subscription.settled.set()
        if self._session is not None and self._subscriptions.get(registration) is None:
            self._session.unsubscribe(registration)  # everybody went while it was being made

    async def _consume(self, feed: Feed) -> None:
        """Call a listener with its values, one after the other."""
        assert feed.listener is not None  # noqa: S101 - feeds without one are iterated over
        while True:
            try:
                value = await feed.next()
            except ClientClosedError:
                return
            try:
                result = feed.listener(value.decode())
                if inspect.isawaitable(result):
                    await result
            except Exception:
                self._log.exception("listener_failed", dropped=feed.dropped)

    # --------------------------------------------------------- publications

    async def publish(self, reg: Reg, *, sticky: bool | None = None) -> None:
        """Publish through the real client, and wait until it has accepted.

        Args:
            reg: Plain JSON with string keys.
            sticky: Whether this is a standing declaration: made again to every
                new leader until `unpublish`, the latest per ``publish_key``.
                Default: the option ``sticky_publish``.

        Raises:
            EncodeError: If *reg* is not plain JSON.
            ConfigurationError: If the real client has no publish method, or
                there are more than 1,000 sticky publications.
            Exception: What the real client's publish method raised, or as for
                a call. A sticky publication then does not stand.
        """
        self._check_open()
        method = self._spec.table.part(PUBLISH)
        registration = check_registration(reg, self._spec.options.format_key)
        if not (self._spec.options.sticky_publish if sticky is None else sticky):
            await self._call(method, (registration.reg,), {})
            return
        key = publication_key(registration.reg, self._spec.options.publish_key)
        # One after the other, lest an earlier one overtakes a later one.
        async with self._publishing:
            declaration = self._declarations.declare(key, registration.reg)
            try:
                await self._call(method, (registration.reg,), {}, idempotent=True)
                declaration.accepted = True
            finally:
                if not declaration.accepted and self._declarations.is_current(key, declaration):
                    self._declarations.withdraw(key)

    async def unpublish(self, reg: Reg) -> None:
        """Withdraw a sticky publication: it is not made again.

        If the real client has an ``unpublish`` method, it is called. Withdrawing
        what does not stand does nothing.

        Raises:
            EncodeError: If *reg* is not plain JSON.
            Exception: What the real client's unpublish method raised, or as for a call.
        """
        self._check_open()
        registration = check_registration(reg, self._spec.options.format_key)
        key = publication_key(registration.reg, self._spec.options.publish_key)
        async with self._publishing:
            declaration = self._declarations.withdraw(key)
            if declaration is not None and self._spec.table.has_part(UNPUBLISH):
                method = self._spec.table.part(UNPUBLISH)
                await self._call(method, (declaration.reg,), {}, idempotent=True)

    async def _replay_declarations(self, session: Session) -> None:
        """Make the standing declarations to a new leader."""
        if not any(declaration.accepted for declaration in self._declarations):
            return
        method = self._spec.table.part(PUBLISH)
        timeout = method.response_timeout or self._spec.options.response_timeout
        async with self._publishing:
            for declaration in self._declarations:
                if not declaration.accepted:
                    continue
                request = CallRequest(method, (declaration.reg,), {}, timeout)
                try:
                    await session.call(request, Deadline.after(timeout))
                except LinkClosedError:
                    return  # the next leader will be told
                except Exception as exc:
                    self._log.error("republish_failed", error=repr(exc))

    if TYPE_CHECKING:
        # The delegates, which are made for each class of real clients.
        def __getattr__(self, name: str, /) -> Callable[..., Coroutine[Any, Any, Any]]: ...


class _Values:
    """Iterates over the values of a feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __aiter__(self) -> _Values:
        return self

    async def __anext__(self) -> Any:
        return (await self._feed.next()).decode()
