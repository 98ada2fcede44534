"""The client: one surface over leader and follower, through every election.

Longer than it looks: most of it is what users read, the docstrings of the public surface.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    NoReturn,
    ParamSpec,
    SupportsIndex,
    TypeVar,
    overload,
)

import anyio
import anyio.abc
import structlog
from anyio.lowlevel import checkpoint

from cluster_client import _fork
from cluster_client._calling import Calling
from cluster_client._delegate_options import STREAM
from cluster_client._delegates import DelegateTable, Method, delegate_function
from cluster_client._event_queue import Gap, lost_gap
from cluster_client._logs import Log
from cluster_client._loop_lag import LoopLag
from cluster_client._membership import Membership
from cluster_client._owned_tasks import OwnedTasks
from cluster_client._publishing import Publishing
from cluster_client._registrations import Reg
from cluster_client._session import ClientSpec, Session
from cluster_client._states import ClientState
from cluster_client._subscribing import Subscribing
from cluster_client._subscriptions import Feed, SubscriptionTable
from cluster_client.errors import (
    ClientClosedError,
    ConfigurationError,
    ForkedClientError,
)
from cluster_client.streams import Stream

__all__ = ["Client"]

RealT = TypeVar("RealT")
ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")
P = ParamSpec("P")
_MISSING: Final[Any] = object()


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
    - `ClientClosedError` outside ``async with``, and when the client is closed meanwhile;
    - `ForkedClientError` in a child that was forked since the client was made.

    A cancelled call is cancelled in the leader, too. Of a method that is streamed the
    `Stream` raises these.
    """

    def __init__(self, spec: ClientSpec) -> None:
        self._spec = spec
        options = spec.options
        logger = options.logger or structlog.get_logger("cluster_client")
        self._log = Log(logger).bind(client=options.name, **options.place)
        self._table = SubscriptionTable(broadcast=options.is_broadcast)
        self._membership = Membership(
            spec,
            self._log,
            on_session=self._on_session,
            on_value=self._table.deliver,
            on_missed=self._table.miss,
            on_closed=self._on_closed,
            on_real_client=self._on_real_client,
            on_state=self._on_state,
        )
        self._state_listeners: list[Callable[[ClientState, ClientState], object]] = []
        self._lag = LoopLag(options.lag_warning, self._log)
        self._calling = Calling(spec, self._membership, self._check_open)
        self._generation = _fork.generation()

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
            **{name: delegate_function(m, cls._dispatch) for name, m in table.by_name.items()},
            **{name: getattr(cls, own) for name, own in table.aliases.items()},
            **overrides,
            "__doc__": table.cls.__doc__,
        }
        return type(f"{table.cls.__name__}Client", (cls,), members)

    # ---------------------------------------------------------------- state

    @property
    def state(self) -> ClientState:
        """Where the client is between opening and closing."""
        self._check_process()
        return self._membership.state

    @property
    def is_leader(self) -> bool:
        """Whether this process owns the real client at the moment."""
        self._check_process()
        session = self._membership.session
        return session is not None and session.is_leader

    @property
    def epoch(self) -> str | None:
        """Name of the current leadership; ``None`` while there is none."""
        self._check_process()
        session = self._membership.session
        return None if session is None else session.epoch

    @property
    def resent_calls(self) -> int:
        """How many calls were sent again after a leader was lost."""
        return self._calling.resent

    @property
    def loop_lag(self) -> float:
        """How late this process's event loop has run at worst in the last minute, in seconds.

        What blocks it, a method of the real client above all, holds up all processes while this
        one leads. 0 outside of ``async with``, and where ``lag_warning`` is ``math.inf``.
        """
        return self._lag.worst

    def on_state_change(
        self, listener: Callable[[ClientState, ClientState], object]
    ) -> Callable[[], None]:
        """Have *listener* called with the old and the new `state` after each change.

        It is called in the event loop and must not block; a coroutine function will not do.
        What it raises is logged. It may be added before the client is opened.

        Returns:
            A function that takes the listener away again.

        Raises:
            ConfigurationError: If *listener* is not an ordinary function.
        """
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise ConfigurationError(f"listener={listener!r} must be an ordinary function")
        self._check_process()
        self._state_listeners.append(listener)

        def remove() -> None:
            if listener in self._state_listeners:
                self._state_listeners.remove(listener)

        return remove

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        self._log.info("state_changed", old=old.value, new=new.value)
        for listener in list(self._state_listeners):
            try:
                listener(old, new)
            except Exception:  # a listener's bug must not end the client
                self._log.exception("state_listener_failed")

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError(f"{self!r} cannot be sent to another process, or copied; create one there")

    def __repr__(self) -> str:
        options = self._spec.options
        (kind, where), *_ = options.place.items()
        state = "inherited" if self._is_inherited else self._membership.state.value
        return f"<{type(self).__name__} {options.name!r} {kind}={where} {state}>"

    # ------------------------------------------------------------- lifetime

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Client[RealT]]:
        self._check_process()
        if self.state is not ClientState.NEW:
            raise ClientClosedError(f"{self!r} cannot be opened twice; create another client")
        membership = self._membership
        body_error: BaseException | None = None
        cancelled = anyio.get_cancelled_exc_class()  # a forked child can't ask any more
        try:
            async with OwnedTasks() as tasks:
                self._tasks = tasks
                self._subscribing = Subscribing(
                    self._spec, membership, tasks, self._table, self._log
                )
                self._publishing = Publishing(self._spec, self._calling.call, self._log)
                membership.begin()  # state listeners may use the client from here on
                tasks.start_soon(membership.run)
                tasks.start_soon(self._lag.run)
                try:
                    await membership.wait_opened()
                    self._check_open()
                    yield self
                except cancelled:
                    raise
                except BaseException as exc:  # kept out of the group: users see it bare
                    body_error = exc
                finally:
                    await membership.close()
        finally:
            if body_error is not None:  # here, so that an outer cancellation can't swallow it
                raise body_error

    def _on_closed(self) -> None:
        self._table.close(f"{self!r} is closed")

    def _on_session(self, session: Session) -> None:
        self._subscribing.resume()
        self._replay(session)

    def _on_real_client(self, ready: bool, reason: str) -> None:
        session = self._membership.session
        if not ready:
            # Those to events are told in the order of their values, which may wait in the leader.
            events = session is not None and not session.tells_events
            self._table.mark(lost_gap(reason), events=events)
        elif session is not None:
            self._replay(session)

    def _replay(self, session: Session) -> None:
        if self._publishing.has_declarations:
            self._tasks.start_soon(self._publishing.replay, session)

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[Client[RealT]] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Open the client and keep it open until cancelled or closed.

        For frameworks that start and stop in different tasks:
        ``client = await task_group.start(client.run)``.
        """
        async with self:
            task_status.started(self)
            await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the client is closed, by `aclose` or the end of ``async with``.

        Raises:
            ClientClosedError: If it was never opened.
        """
        self._check_process()
        if self.state is ClientState.NEW:
            raise ClientClosedError(f"{self!r} was never opened")
        await self._membership.wait_ended()

    async def aclose(self) -> None:
        """Close the client: a leader hands over first; calls in flight get up to ``drain_timeout``.

        Happens by itself at the end of ``async with``. May be repeated. In a forked child it
        does nothing, as the client is the parent's to close.

        Raises:
            ClientClosedError: If the client was never opened.

        Cancellation:
            Shielded, and limited to ``drain_timeout`` and some seconds for the
            real client's own close.
        """
        if self._is_inherited:
            return
        if self.state is ClientState.NEW:
            raise ClientClosedError(f"{self!r} was never opened")
        await self._membership.close()

    @property
    def _is_inherited(self) -> bool:
        """Whether this is a child that was forked since the client was made."""
        return self._generation != _fork.generation()

    def _check_process(self) -> None:
        if self._is_inherited:
            raise ForkedClientError(
                f"{self!r} was made before a fork and belongs to the parent process; create and "
                f"open a client after the fork"
            )

    def _check_open(self) -> None:
        if self._generation != _fork.generation():
            self._check_process()
        state = self._membership.state
        if state is ClientState.NEW:
            raise ClientClosedError(f"{self!r} is not open; use it in 'async with'")
        if state is ClientState.CLOSED:
            raise ClientClosedError(f"{self!r} is closed")

    # ---------------------------------------------------------------- calls

    @overload
    def call(
        self,
        method: Callable[Concatenate[RealT, P], Awaitable[ResultT]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, ResultT]: ...

    # The plain methods' overload below would take these, too: the first that fits is taken.
    @overload
    def call(  # type: ignore[overload-overlap]
        self,
        method: Callable[Concatenate[RealT, P], AsyncIterator[ItemT] | Iterator[ItemT]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Stream[ItemT]: ...

    @overload
    def call(
        self,
        method: Callable[Concatenate[RealT, P], ResultT],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, ResultT]: ...

    @overload
    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...

    def call(self, method: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a delegated method of the real client: ``await`` it, or iterate over its stream.

        Args:
            method: The real class's method, ``Registry.get_data``, so that
                type checkers know arguments and result; or its name.
            args: Its positional arguments, without ``self``.
            kwargs: Its keyword arguments.

        Returns:
            A coroutine of the result; of a method that is streamed, a `Stream`.

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
        return self._dispatch(delegated, args, kwargs)

    def _dispatch(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if method.kind == STREAM:
            return self._calling.stream(method, args, kwargs)
        return self._calling.call(method, args, kwargs)

    # -------------------------------------------------------- subscriptions

    async def subscribe(
        self,
        reg: Reg,
        listener: Callable[[Any], Any],
        *,
        events: bool = False,
        on_gap: Callable[[Gap], Any] | None = None,
    ) -> None:
        """Have *listener* called with the values of a registration, in order.

        It goes on through every change of leader. If the real client or
        another listener has brought a value already, the last one comes at
        once. A listener that is more than 1,000 values or 4 MiB behind loses the oldest.

        Args:
            reg: Plain JSON with string keys.
            listener: Called in the event loop with a value of its own; may be a
                coroutine function. What it raises is logged.
            events: Whether each value counts. Without it, they are a state of which only the
                latest matters: a slow process is spared values in between. With it none is
                left out as long as there is room, 1,000 values or 4 MiB in the leader and again
                here; where some are missing a `Gap` tells how many. The last value from before
                is not given.
            on_gap: Called like *listener*, and between its values, where some may be
                missing: after a change of leader, when the real client was lost, and of events
                wherever some had no room. Without it, gaps among events are logged.

        Raises:
            EncodeError: If *reg* is not plain JSON.
            ConfigurationError: If the real client has no subscribe method.
            ResponseTimeoutError: If no value comes within the option ``subscribe_timeout``; it
                does not hold for events.
            Exception: What the real client's subscribe method raised, or as
                for a call. Then nothing is subscribed.

        Cancellation:
            Nothing is subscribed then.
        """
        if not callable(listener):
            raise ConfigurationError(f"listener={listener!r} must be callable")
        if on_gap is not None and not callable(on_gap):
            raise ConfigurationError(f"on_gap={on_gap!r} must be callable")
        self._check_open()
        await self._subscribing.add(reg, Feed(listener, on_gap=on_gap, events=events))

    async def unsubscribe(self, reg: Reg, listener: Callable[[Any], Any] | None = None) -> None:
        """End a listener's subscription, or all listeners' of the registration.

        The upstream subscription ends with the last subscriber of all
        processes. Unsubscribing what is not subscribed does nothing.

        Raises:
            EncodeError: If *reg* is not plain JSON.
        """
        self._check_open()
        self._subscribing.remove_listener(reg, listener)
        await checkpoint()

    @asynccontextmanager
    async def subscription(
        self, reg: Reg, *, events: bool = False, gaps: bool = False
    ) -> AsyncGenerator[AsyncIterator[Any]]:
        """Subscribe for the time of an ``async with`` and iterate over the values.

        ::

            async with client.subscription({"path": "/k"}) as values:
                async for value in values: ...

        Args:
            reg: Plain JSON with string keys.
            events: Whether each value counts, as for `subscribe`. Then gaps are always told.
            gaps: Whether a `Gap` is to stand among the values where some may be missing.

        Raises:
            Exception: As `subscribe`. The iterator raises `ClientClosedError`
                when the client is closed, and `ForkedClientError` in a forked child.
        """
        self._check_open()
        feed = Feed(gaps=gaps, events=events)
        subscription = await self._subscribing.add(reg, feed)
        try:
            yield _Values(feed, self._check_process)
        finally:
            if not self._is_inherited:
                self._subscribing.remove(subscription, feed)

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
        try:
            value = self._subscribing.last(reg)
            if value is None:
                raise LookupError(f"{reg!r} has had no value yet")
        except LookupError:
            if default is _MISSING:
                raise
            return default
        return value.decode()

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
        await self._publishing.publish(reg, sticky=sticky)

    async def unpublish(self, reg: Reg) -> None:
        """Withdraw a sticky publication: it is not made again.

        If the real client has an ``unpublish`` method, it is called. Withdrawing
        what does not stand does nothing.

        Raises:
            EncodeError: If *reg* is not plain JSON.
            Exception: What the real client's unpublish method raised, or as for a call.
        """
        self._check_open()
        await self._publishing.unpublish(reg)

    if TYPE_CHECKING:
        # The delegates, which are made for each class of real clients.
        def __getattr__(self, name: str, /) -> Callable[..., Any]: ...


class _Values:
    """Iterates over the values of a feed."""

    def __init__(self, feed: Feed, check_process: Callable[[], None]) -> None:
        self._feed = feed
        self._check_process = check_process

    def __aiter__(self) -> _Values:
        return self

    async def __anext__(self) -> Any:
        self._check_process()
        value = await self._feed.next()
        return value if isinstance(value, Gap) else value.decode()
