"""An endpoint as this process holds it: who may sit there, and who knocks (SPEC section 8).

One `PortServer` per endpoint and event loop. Each leader of the process has a
`Seat` on it, and each seat accepts connections through its own handle of the
listening socket. So any leader may go while the others stay, and the kernel
frees the port with the last handle.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import anyio
import anyio.abc
from anyio.lowlevel import RunVar

from cluster_client import _backend
from cluster_client._access import Access
from cluster_client._admission import admit
from cluster_client._arrivals import Arrival, wait_or_lose
from cluster_client._backend import Listener, Transport
from cluster_client._clock import Deadline
from cluster_client._connections import Connections, Place
from cluster_client._election import receive_registration
from cluster_client._endpoints import Endpoint, describe_endpoint
from cluster_client._logs import describe
from cluster_client.errors import AuthenticationError, ElectionError
from cluster_client.limits import DEFAULTS, Limits
from cluster_protocol import (
    REGISTRATION_LIMITS,
    Frame,
    FrameDecoder,
    Offer,
    ProtocolError,
    RegistrationPending,
    encode_frame,
)

ACCEPT_PAUSE: Final = 0.1
"""Seconds between two attempts to accept while that fails."""

YIELD_GRACE: Final = 1.0
"""Seconds before a holder that lacks a channel makes way for a process that has it: it may
be about to create that channel itself."""

YIELD_TIME: Final = 2.0
"""Seconds in which a process that made way does not race again."""


class PortServer:
    """One endpoint, held by this process.

    Attributes:
        endpoint: A port, as a rule, and called one from here on.
    """

    def __init__(self, endpoint: Endpoint, listener: Listener) -> None:
        self.endpoint = endpoint
        self._listener = listener
        self._seats: dict[str, Seat] = {}
        self._changed = anyio.Event()
        self._leaving = False
        self._given_up: set[str] = set()
        self.connections = Connections()
        self.waiting: Counter[str] = Counter()
        """Followers that wait for a channel's leader, by channel."""

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(sorted(self._seats))

    def take_seat(self, channel: str, access: Access) -> Seat | None:
        """Return a seat for the channel; ``None`` if it is taken or the port is given up."""
        if self._leaving or channel in self._seats:
            return None
        self._given_up.discard(channel)
        seat = self._seats[channel] = Seat(self, channel, self._listener.duplicate(), access)
        self.announce_change()
        return seat

    def seat_of(self, channel: str) -> Seat | None:
        return self._seats.get(channel)

    def doorkeeper(self, channel: str) -> Seat | None:
        """Return the seat that says who may come for a channel, also one that is not led here.

        Then it is one that is stricter than the others, as who is let in may have us make way.
        """
        seats = self._seats.values()
        found = self._seats.get(channel) or next((s for s in seats if s.access.secret), None)
        return found or next(iter(seats), None)

    def vacate(self, seat: Seat, *, still_wanted: bool) -> None:
        """Take a leader off the port; the last one frees it.

        If followers still want the channel, and this process leads others, it
        makes way without delay for one that could lead them all.
        """
        if self._seats.get(seat.channel) is not seat:
            return
        del self._seats[seat.channel]
        self.announce_change()
        if not self._seats:
            _servers().pop(self.endpoint, None)
            self._listener.close()
        elif still_wanted:
            self._given_up.add(seat.channel)

    def leave(self) -> None:
        """Ask every leader to hand over, and let others race first."""
        self._leaving = True
        _yields()[self.endpoint] = Deadline.after(YIELD_TIME)
        for seat in list(self._seats.values()):
            seat.asked_to_leave.set()

    def could_be_led_here(self, channel: str, offer: Offer | None) -> bool:
        """Tell whether the follower is a client of this process, and may lead here."""
        own = offer is not None and offer.pid == os.getpid()
        return own and not self._leaving and contenders(self.endpoint)[channel] > 0

    def grace(self, channel: str) -> float:
        """Return for how long this process may still create the channel itself."""
        return 0.0 if channel in self._given_up else YIELD_GRACE

    def announce_change(self) -> None:
        """Wake those that wait for a channel."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    @property
    def change(self) -> anyio.Event:
        """Set at the next change of seats. To be taken before looking, lest one is missed."""
        return self._changed

    @contextmanager
    def count_waiting(self, channel: str) -> Generator[None]:
        """Count a follower in `waiting` meanwhile."""
        self.waiting[channel] += 1
        try:
            yield
        finally:
            self.waiting[channel] -= 1
            if not self.waiting[channel]:
                del self.waiting[channel]  # or strangers could fill it with names
            self.announce_change()

    def should_make_way(self, offer: Offer | None) -> bool:
        """Tell whether the follower's process could lead all that we lead, and more."""
        return offer is not None and set(offer.channels) > set(self._seats)


class Seat:
    """A leader's place on a port, from winning the race to freeing the port.

    Attributes:
        channel: Its name.
        access: Who may follow.
        epoch: Names this leadership.
        asked_to_leave: Set when the process gives the port up.
    """

    def __init__(
        self, server: PortServer, channel: str, listener: Listener, access: Access
    ) -> None:
        self.channel = channel
        self.access = access
        self.epoch = uuid.uuid4().hex  # minted after listen: names this leadership only
        self.asked_to_leave = anyio.Event()
        self._server = server
        self._listener = listener
        self.adopt: Callable[[Arrival], None] | None = None
        """Takes a follower; ``None`` while followers have to wait."""
        self.refuse: Callable[[Arrival, Exception], Awaitable[None]] | None = None
        """Tells a follower why it may not follow."""

    def open(self, adopt: Callable[[Arrival], None]) -> None:
        """Hand every follower of the channel to *adopt*, those that wait first."""
        self.adopt = adopt
        self._server.announce_change()

    async def answer_everybody(
        self,
        tasks: anyio.abc.TaskGroup,
        answer: Callable[[Arrival], Awaitable[None]],
    ) -> None:
        """Have every follower answered that waits for the channel; returns when none is left."""
        answering = 0
        done = anyio.Event()

        async def one(arrival: Arrival) -> None:
            nonlocal answering
            await answer(arrival)
            answering -= 1
            done.set()

        def adopt(arrival: Arrival) -> None:
            nonlocal answering
            answering += 1
            tasks.start_soon(one, arrival)

        self.open(adopt)
        while self._server.waiting[self.channel]:
            await self._server.change.wait()
        while answering:
            done = anyio.Event()
            await done.wait()

    def close_doors(self) -> None:
        """Keep new followers waiting from now on: the leadership ends."""
        self.adopt = None

    def leave_port(self) -> None:
        """Have all leaders of the process hand over, so that another process can lead."""
        self._server.leave()

    def vacate(self, *, still_wanted: bool = False) -> None:
        """Leave the port; may be repeated."""
        self._listener.close()
        self._server.vacate(self, still_wanted=still_wanted)

    async def accept(self, log: Any, limits: Limits = DEFAULTS) -> None:
        """Accept connections for any channel of the process, until cancelled."""
        failures = 0
        connections = self._server.connections
        async with anyio.create_task_group() as tasks:
            while True:
                try:
                    transport = await self._listener.accept(
                        lambda: connections.has_room(limits.connections, log)
                    )
                except anyio.ClosedResourceError:
                    return  # the seat is vacated
                except OSError as exc:
                    # Out of descriptors, most likely. The connection stays in the queue.
                    if not failures:  # it may last
                        log.warning("accept_failed", error=describe(exc))
                    failures += 1
                    await anyio.sleep(ACCEPT_PAUSE)
                    continue
                if failures:
                    log.info("accepting_again", failures=failures)
                    failures = 0
                tasks.start_soon(self._receive, transport, connections.enter(), log, limits)

    async def _receive(self, transport: Transport, place: Place, log: Any, limits: Limits) -> None:
        """Bring a new connection to the leader it asks for."""
        adopted = False
        try:
            arrival = None
            with anyio.move_on_after(limits.registration_time) as scope:
                arrival = await self._let_in(transport, place, log)
            if scope.cancelled_caught:
                log.info("registration_missing", limit=limits.registration_time)
            if arrival is not None:
                arrival.receive_data(b"")  # what came together with the first frame
                with self._server.count_waiting(arrival.channel):
                    adopted = await self._bring_to_seat(arrival)
        except ProtocolError as exc:
            log.warning("stranger_refused", error=str(exc))
        finally:
            if not adopted:
                place.free()
                await transport.aclose()

    async def _let_in(self, transport: Transport, place: Place, log: Any) -> Arrival | None:
        """Receive a registration from somebody who may follow; ``None`` if nobody has come."""
        decoder = FrameDecoder(REGISTRATION_LIMITS)
        registration = await receive_registration(transport, decoder)
        if registration is None:
            return None
        frame, message = registration
        arrival = Arrival(transport, decoder, frame, message.channel, message.offer, place)
        doorkeeper = self._server.doorkeeper(message.channel)
        if doorkeeper is None:
            return None  # the port is just being freed
        try:
            await admit(arrival, doorkeeper.access)
        except ConnectionError:
            return None
        except AuthenticationError as exc:
            log.warning("follower_refused", error=str(exc))
            if doorkeeper.refuse is not None:
                await doorkeeper.refuse(arrival, exc)
            return None
        return arrival

    async def _bring_to_seat(self, arrival: Arrival) -> bool:
        """Wait for the channel's leader; False if the follower goes away before."""
        channel = arrival.channel
        told: bool | None = None
        making_way: Deadline | None = None
        while True:
            change = self._server.change
            seat = self._server.seat_of(channel)
            if seat is not None and seat.access != arrival.admitted_by:
                return False  # it came before this seat was taken, and is to come again
            if seat is not None and seat.adopt is not None:
                seat.adopt(arrival)
                return True
            if arrival.offer is not None and told is not (seat is not None):
                told = seat is not None
                await self._tell_pending(arrival, starting=told)
            if seat is None and self._server.could_be_led_here(channel, arrival.offer):
                return False  # by the follower's own client, which is to race again
            limit = Deadline.never()
            if seat is None and self._server.should_make_way(arrival.offer):
                making_way = making_way or Deadline.after(self._server.grace(channel))
                if not making_way.passed:
                    limit = making_way
                else:
                    self._server.leave()
            if not await wait_or_lose(arrival, change, limit):
                return False

    async def _tell_pending(self, arrival: Arrival, *, starting: bool) -> None:
        message = RegistrationPending(starting, os.getpid(), self._server.channels)
        await arrival.transport.send(encode_frame(Frame(False, 1, 0, message.encode())))


def race(endpoint: Endpoint, channel: str, access: Access | None = None) -> Seat | None:
    """Try to become leader of a channel: a seat, or ``None`` if the race is lost.

    Args:
        endpoint: A port, or the path of a socket.
        channel: The client's name.
        access: Who may follow; by default processes of the own user.

    Raises:
        ElectionError: If it cannot be bound for another reason than
            being in use, such as a missing privilege.

    Source:
        SPEC section 8.1; cluster-client 3.7.0, ``lib/server.js``, ``ClusterServer.create``.
    """
    try:
        return _take_endpoint(endpoint, channel, access or Access(endpoint))
    except OSError as exc:
        raise ElectionError(f"{describe_endpoint(endpoint)} cannot be bound: {exc}") from exc


def _take_endpoint(endpoint: Endpoint, channel: str, access: Access) -> Seat | None:
    server = _servers().get(endpoint)
    if server is not None:
        return server.take_seat(channel, access)
    yielding = _yields().get(endpoint)
    if yielding is not None and not yielding.passed:
        return None
    listener = _backend.bind_and_listen(endpoint)
    if listener is None:
        return None
    server = PortServer(endpoint, listener)
    try:
        seat = server.take_seat(channel, access)
    except OSError:
        listener.close()  # or the port would be ours, and led by nobody
        raise
    _servers()[endpoint] = server
    return seat


def contenders(endpoint: Endpoint) -> Counter[str]:
    """Return how many open clients of this process and event loop could lead each channel."""
    return _contenders().setdefault(endpoint, Counter())


# Per event loop: the sockets of one loop are of no use to another.
_servers_of_run: Final[RunVar[dict[Endpoint, PortServer]]] = RunVar("cluster_client_servers")
_yields_of_run: Final[RunVar[dict[Endpoint, Deadline]]] = RunVar("cluster_client_yields")
_contenders_of_run: Final[RunVar[dict[Endpoint, Counter[str]]]] = RunVar(
    "cluster_client_contenders"
)


def _servers() -> dict[Endpoint, PortServer]:
    return _of_run(_servers_of_run)


def _yields() -> dict[Endpoint, Deadline]:
    return _of_run(_yields_of_run)


def _contenders() -> dict[Endpoint, Counter[str]]:
    return _of_run(_contenders_of_run)


def _of_run(variable: RunVar[dict[Endpoint, Any]]) -> dict[Endpoint, Any]:
    try:
        return variable.get()
    except LookupError:
        found: dict[Endpoint, Any] = {}
        variable.set(found)
        return found
