"""A client's membership in its cluster: through elections, leading or following (SPEC 7.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import anyio

from cluster_client import _backend, _clock, _fork
from cluster_client._backoff import Backoff
from cluster_client._campaign import Campaign
from cluster_client._changes import Changes
from cluster_client._clock import Deadline
from cluster_client._election import Joined
from cluster_client._event_queue import Gap
from cluster_client._follower import Follower
from cluster_client._leader import Leader
from cluster_client._logs import describe
from cluster_client._server import Seat, contenders
from cluster_client._session import ClientSpec, Session, SessionEvents, StartError
from cluster_client._single import Shared, Single, acquire
from cluster_client._snapshots import Snapshot
from cluster_client._states import CLIENT_TRANSITIONS, ClientState, StateMachine
from cluster_client._subscriptions import EncodedValue
from cluster_client.errors import (
    ClientClosedError,
    ConfigurationError,
    ElectionError,
    LeaderUnavailableError,
)

_CLOSE_MARGIN: Final = 30.0
"""Seconds for a close beyond the drain: closing the real client, and dismissing followers."""

_STABLE_SESSION: Final = 1.0
"""Seconds of a leadership after which losing it is no sign of a leader that keeps failing."""


class Membership:
    """Holds elections and takes part in what comes of them, while `run` runs.

    Args:
        spec: What the client was made of.
        log: Logger, already bound to the client.
        on_session: Called with each new session.
        on_value: Called with each value, and the key of its registration.
        on_missed: Called where values are missing, with the key of their registration.
        on_closed: Called when it is over.
        on_real_client: Called when the leader's real client was lost, or made anew.
        on_state: Called with the old and the new state after each change.

    Attributes:
        session: The current one; ``None`` while calls have to wait.
    """

    def __init__(
        self,
        spec: ClientSpec,
        log: Any,
        *,
        on_session: Callable[[Session], None],
        on_value: Callable[[str, EncodedValue], None],
        on_missed: Callable[[str, Gap], None],
        on_closed: Callable[[], None],
        on_real_client: Callable[[bool, str], None],
        on_state: Callable[[ClientState, ClientState], None],
    ) -> None:
        self.session: Session | None = None
        self._spec = spec
        self._log = log
        self._on_session = on_session
        self._on_closed = on_closed
        self._events = SessionEvents(
            ready=self._on_ready,
            ending=self._on_ending,
            value=on_value,
            missed=on_missed,
            real_client=on_real_client,
            snapshot=self._on_snapshot,
        )
        self._machine = StateMachine(ClientState.NEW, CLIENT_TRANSITIONS, on_state)
        self._role: Leader | Follower | Single | None = None
        self._snapshot: Snapshot | None = None
        self._stopping = False
        self._start_error: Exception | None = None
        self._crashed = False
        self._generation = _fork.generation()

    # ------------------------------------------------------------- lifetime

    @property
    def state(self) -> ClientState:
        return self._machine.state

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called; the state may take its time to say so."""
        return self._stopping

    def begin(self) -> None:
        """Get ready for `run`; here, and not when the client is made, there is an event loop."""
        self._opened = anyio.Event()
        self._ended = anyio.Event()
        self._changes = Changes()
        # Shielded: a cancelled body must not cut off the hand-over; `close` ends it.
        self._scope = anyio.CancelScope(shield=True)
        self._machine.to(ClientState.ELECTING)

    async def run(self) -> None:
        """Hold elections and take part, until `close`. What goes wrong is told by `wait_opened`."""
        options = self._spec.options
        leads = options.is_leader is not False and not options.single_mode
        candidates = contenders(options.endpoint)
        candidates[options.name] += leads
        try:
            with _fork.isolated(_backend.poller()), self._scope:
                await self._hold_elections()
        except BaseException:
            self._crashed = True
            raise
        finally:
            candidates[options.name] -= leads
            candidates += type(candidates)()  # drops what has come down to 0
            self.session = None
            self._machine.to(ClientState.CLOSED)
            self._on_closed()
            self._changes.announce()
            self._opened.set()
            self._ended.set()

    async def wait_opened(self) -> None:
        """Wait for the first session.

        Raises:
            Exception: What the first election failed with: an `ElectionError`,
                or what the real client raised when it started.
        """
        await self._opened.wait()
        if self._crashed:
            await anyio.sleep_forever()  # `run` raises the cause, and so ends everything
        if self._start_error is not None:
            raise self._start_error

    async def wait_ended(self) -> None:
        """Wait until the client is closed."""
        await self._ended.wait()

    async def close(self) -> None:
        """End `run`: a leader hands over first. May be repeated.

        In a forked child nothing is ended but the copy of `run`.

        Cancellation:
            Shielded, and limited to ``drain_timeout`` and some seconds.
        """
        if self._generation != _fork.generation():
            if _backend.is_running():
                self._scope.cancel()
            return
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

    async def _hold_elections(self) -> None:
        campaign = Campaign(self._spec, self._log)
        backoff = Backoff()
        deadline = Deadline.after(self._spec.options.max_wait_time)
        while not self._stopping:
            first = not self._opened.is_set()
            try:
                place = await self._find_place(campaign, deadline, first=first)
                begin = _clock.now()
                await self._take_part(place)
                lasted = _clock.now() - begin
                if lasted > _STABLE_SESSION:
                    backoff.reset()
                elif not self._stopping:
                    await backoff.pause(less=lasted)
            except (ElectionError, StartError, ConfigurationError) as exc:
                error = exc.error if isinstance(exc, StartError) else exc
                if first:
                    self._start_error = error
                    return
                self._log.warning("election_failed", error=describe(error))
                self._changes.announce(error)
                await backoff.pause()

    async def _find_place(
        self, campaign: Campaign, deadline: Deadline, *, first: bool
    ) -> Seat | Joined | Shared:
        if self._spec.options.single_mode:
            return await acquire(self._spec, self._log)
        return await campaign.run(deadline if first else Deadline.never(), first=first)

    def _role_at(self, place: Seat | Joined | Shared) -> Leader | Follower | Single:
        match place:
            case Joined():
                log = self._log.bind(role="follower", epoch=place.epoch)
                return Follower(place, self._spec, self._events, log)
            case Shared():
                log = self._log.bind(role="single", epoch=place.epoch)
                return Single(place, self._spec, self._events, log)
            case Seat():
                log = self._log.bind(role="leader", epoch=place.epoch)
                return Leader(place, self._spec, self._events, self._snapshot, log)

    async def _take_part(self, place: Seat | Joined | Shared) -> None:
        """Be leader or follower until that ends."""
        self._role = self._role_at(place)
        limit = self._spec.options.max_wait_time
        try:
            with anyio.move_on_after(limit) as self._start_scope:
                await self._role.run()
            if self._start_scope.cancelled_caught:
                raise LeaderUnavailableError(
                    self._spec.options.name,
                    self._spec.options.endpoint,
                    limit,
                    f"{self._spec.cls.__qualname__} is still starting, in this process",
                )
        finally:
            self._role = None
            self.session = None
            if self.state is not ClientState.ELECTING and not self._stopping:
                self._machine.to(ClientState.ELECTING)

    def _on_ready(self) -> None:
        role = self._role
        assert role is not None  # noqa: S101 - it is who tells
        self.session = role
        self._start_scope.deadline = math.inf
        self._machine.to(ClientState.LEADING if role.is_leader else ClientState.FOLLOWING)
        self._changes.announce()
        self._opened.set()
        if self._stopping:
            role.stop()
            return
        self._on_session(role)

    def _on_ending(self) -> None:
        leading = self.state is ClientState.LEADING
        self.session = None
        self._machine.to(ClientState.HANDING_OVER if leading else ClientState.DRAINING)

    def _on_snapshot(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot

    async def wait_for_session(
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
        while (session := self.session) is None or session is other_than:
            if self.state is ClientState.CLOSED:
                raise ClientClosedError(f"client {self._spec.options.name!r} is closed")
            change = self._changes.next
            with anyio.move_on_after(deadline.remaining):
                await change.wait()
            if not change.event.is_set():
                options = self._spec.options
                raise LeaderUnavailableError(
                    options.name,
                    options.endpoint,
                    options.max_wait_time,
                    f"the client is {self.state.value} and has found none",
                )
        return session
