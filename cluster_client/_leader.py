"""The process that owns the real client (SPEC sections 7.1 and 8)."""

from __future__ import annotations

import os
from typing import Any, Final

import anyio
import anyio.abc

from cluster_client._arrivals import Arrival
from cluster_client._clock import Deadline
from cluster_client._dialects import Dialect, NodeDialect, PeerDialect
from cluster_client._host import Host, HostEvents
from cluster_client._identity import Identity
from cluster_client._link import Link
from cluster_client._local_session import LocalSession
from cluster_client._logs import describe
from cluster_client._peer import Peer
from cluster_client._server import Seat
from cluster_client._session import ClientSpec, SessionEvents, StartError
from cluster_client._snapshots import Snapshot
from cluster_client._stalls import drop_stalled
from cluster_client._watchdog import Watchdog
from cluster_client._workers import Workers
from cluster_client.errors import IdentityError
from cluster_protocol import (
    GOODBYE,
    Agreement,
    Frame,
    Offer,
    RegisterChannelResult,
    RemoteProtocolError,
    encode_frame,
    negotiate,
)

_FAREWELL: Final = 1.0
"""Seconds for followers to take a last answer before their connection is closed."""


class Leader(LocalSession):
    """A session of the process that owns the real client; lives while `run` runs.

    Args:
        seat: Its place on the port.
        spec: What the client was made of.
        events: Where the client wants to be told.
        snapshot: What the last leader left.
        log: Logger, already bound to the client.
    """

    def __init__(
        self,
        seat: Seat,
        spec: ClientSpec,
        events: SessionEvents,
        snapshot: Snapshot | None,
        log: Any,
    ) -> None:
        super().__init__(Host(spec, snapshot, log), spec, events, log)
        self._host.watchers.append(
            HostEvents(
                real_client=self._on_real_client,
                snapshot=self._on_snapshot,
                step_down=lambda _: seat.leave_port(),
            )
        )
        self._seat = seat
        seat.refuse = self._refuse
        self._peers: set[Peer] = set()
        self._started = False
        self._start = anyio.CancelScope()

    @property
    def epoch(self) -> str:
        return self._seat.epoch

    # ------------------------------------------------------------- lifetime

    async def run(self) -> None:
        """Start the real client, serve until asked to stop, hand over, free the port.

        The order at the end is what makes a rolling restart lossless: no new
        calls, running ones finish, the real client is closed, the port is
        freed, and only then do the followers see their connections end.

        Raises:
            StartError: If the real client's constructor or start raised. The
                followers that waited have been told, and the port is free.

        Cancellation:
            The real client is closed and the port freed; calls are cut off.
        """
        error: Exception | None = None
        try:
            with Watchdog(self._spec.options.watchdog, self._log):
                async with anyio.create_task_group() as connections:
                    self._tasks = connections
                    self._workers = Workers(connections, self._log)
                    connections.start_soon(self._calls.watch_deadlines)
                    connections.start_soon(self._seat.accept, self._log, self._spec.options.limits)
                    connections.start_soon(self._give_up_start)
                    limit = self._spec.options.stalled_timeout
                    connections.start_soon(drop_stalled, self._peers, limit, self._log)
                    with self._start:
                        error = await self._start_and_serve()
                    if error is not None:
                        await self._refuse_followers(error)
                    self._seat.vacate(still_wanted=bool(self._peers))
                    await self._dismiss_followers()
                    connections.cancel_scope.cancel()
        finally:
            self._ending = True
            self._seat.vacate()
        if error is not None:
            raise StartError(error)

    def stop(self) -> None:
        """Make `run` hand over and end."""
        self._seat.asked_to_leave.set()

    async def _give_up_start(self) -> None:
        """Don't let the other leaders of the process, who have left already, wait for a start."""
        await self._seat.asked_to_leave.wait()
        if not self._started:
            self._start.cancel()

    async def _start_and_serve(self) -> Exception | None:
        """Serve while the real client is open; returns the error if it did not open."""
        try:
            async with self._host.open():
                self._started = True
                await self._serve()
        except Exception as exc:
            if self._started:
                raise  # a bug of ours
            return exc
        return None

    async def _serve(self) -> None:
        self._seat.open(self._adopt)
        self._events.ready()
        await self._seat.asked_to_leave.wait()
        await self._hand_over(self._spec.options.drain_timeout)
        if any(peer.is_heir for peer in self._peers):
            await self._host.hand_over()

    async def _hand_over(self, limit: float) -> None:
        """Let the followers stop, then let running calls finish (SPEC 8.4)."""
        self._seat.close_doors()
        self._ending = True
        self._events.ending()
        self._host.stop_renewing()
        deadline = Deadline.after(limit)
        # A follower that does not acknowledge is frozen; the others should not wait long for it.
        acknowledgement_limit = min(limit, self._spec.options.response_timeout)
        async with anyio.create_task_group() as goodbyes:
            for peer in self._peers:
                if peer.link.has(GOODBYE):
                    goodbyes.start_soon(peer.say_goodbye, acknowledgement_limit)
        for peer in self._peers:
            peer.refuse_calls()  # those that cannot be asked to stop could keep us here for ever
        finished = await self._calls.drain(deadline.remaining)
        self._calls.refusing = True
        if not finished:
            self._log.warning("drain_timed_out", limit=limit, calls=self._calls.running)
            self._calls.abort()
            await self._calls.drain(_FAREWELL)

    # ------------------------------------------------------------ followers

    def _adopt(self, arrival: Arrival) -> None:
        self._tasks.start_soon(self._serve_follower, arrival)

    async def _serve_follower(self, arrival: Arrival) -> None:
        if self._ending:
            # Adopted just before the doors were closed: it would miss the goodbye. So it has to
            # try again.
            await arrival.close()
            return
        mismatch = self._mismatch(arrival.offer)
        if mismatch is not None:
            self._log.error("follower_refused", error=str(mismatch))
            await self._refuse(arrival, mismatch)
            return
        try:
            agreement, dialect = self._agree(arrival)
        except RemoteProtocolError as exc:
            self._log.warning("follower_refused", error=str(exc))
            await arrival.close()
            return
        link = Link(
            arrival.transport,
            arrival.decoder,
            agreement=agreement,
            limits=self._spec.options.limits.frames,
            log=self._log,
            wait_for_reader=True,
        )
        pid = arrival.offer.pid if arrival.offer is not None else None
        peer = Peer(
            link,
            dialect,
            calls=self._calls,
            hub=self._host.hub,
            tasks=self._tasks,
            workers=self._workers,
            options=self._spec.options,
            may_lead=arrival.offer is not None
            and self._spec.options.name in arrival.offer.channels,
            pid=pid,
            log=self._log,
        )
        self._peers.add(peer)
        self._log.info("follower_joined", follower_pid=pid, followers=len(self._peers))
        try:
            peer.accept(arrival.registration)
            if self._spec.table.hands_over_state:
                peer.hand_over(self._host.snapshot)
            await peer.run()
        finally:
            self._peers.discard(peer)
            arrival.place.free()
            self._log.info("follower_left", follower_pid=pid, reason=link.reason)

    def _agree(self, arrival: Arrival) -> tuple[Agreement | None, Dialect]:
        """Choose what holds on a follower's link.

        Raises:
            RemoteProtocolError: If there is no common codec.
        """
        if arrival.offer is None:
            return None, NodeDialect(self._spec.node_codec, self._spec.options.limits)
        codecs = self._spec.codecs
        agreement = negotiate(
            arrival.offer,
            codecs=tuple(codecs),
            epoch=self.epoch,
            pid=os.getpid(),
            proof=arrival.proof,
        )
        return agreement, PeerDialect(codecs[agreement.codec], self._spec.options.limits)

    def _mismatch(self, offer: Offer | None) -> IdentityError | None:
        """Return the error for a follower that wants another real client than ours."""
        if offer is None:
            return None  # a Node process has none to compare
        ours, theirs = self._spec.identity, Identity.of_offer(offer)
        if theirs is None or theirs == ours:
            return None
        return IdentityError(
            self._spec.options.name, ours.describe(os.getpid()), theirs.describe(offer.pid)
        )

    async def _refuse_followers(self, error: Exception) -> None:
        """Tell all followers that wait why there is nothing to follow (SPEC 3.1)."""

        async def refuse(arrival: Arrival) -> None:
            await self._refuse(arrival, error)

        with anyio.move_on_after(_FAREWELL):
            await self._seat.answer_everybody(self._tasks, refuse)

    async def _refuse(self, arrival: Arrival, error: Exception) -> None:
        """Answer a registration with an error, and close the connection."""
        try:
            agreement, dialect = self._agree(arrival)
            message = RegisterChannelResult(agreement).encode()
            outcome = dialect.registration_outcome(error)
            frame = Frame(True, arrival.registration.request_id, 0, message, outcome)
            await arrival.transport.send(encode_frame(frame))
        except Exception as exc:  # no common codec, or one of the user's that fails
            self._log.warning("follower_refused", error=describe(exc))
        finally:
            await arrival.close()

    async def _dismiss_followers(self) -> None:
        """Write what is left to every follower, and wait until it has gone."""
        with anyio.move_on_after(_FAREWELL):
            async with anyio.create_task_group() as farewells:
                for peer in self._peers:
                    farewells.start_soon(peer.dismiss)

    # ------------------------------------------------------ the real client

    def _on_real_client(self, ready: bool, reason: str) -> None:
        for peer in self._peers:
            peer.tell_real_client(ready=ready, reason=reason)
        self._events.real_client(ready, reason)

    def _on_snapshot(self, snapshot: Snapshot | None) -> None:
        for peer in self._peers:
            peer.hand_over(snapshot)
        self._events.snapshot(snapshot)
