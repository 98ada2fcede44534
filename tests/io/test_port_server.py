"""The election port: who sits there, who knocks, and when it is given up."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import _arrivals, _backend, _server
from cluster_client._access import Access
from cluster_client._arrivals import Arrival
from cluster_client._server import PortServer, Seat, contenders, race
from cluster_client.errors import ElectionError
from cluster_client.limits import DEFAULTS, Limits
from cluster_protocol import (
    FEATURES,
    Heartbeat,
    Message,
    Offer,
    RegisterChannel,
    RegistrationPending,
)
from support.logs import LogRecorder
from support.transports import FramePeer, MemoryTransport, connected_pair


class Network:
    """A port in memory: handles of one listener, and connections to it."""

    def __init__(self) -> None:
        self.handles = 0
        self.binds = 0
        self.failures: list[OSError] = []
        self._arrived: list[MemoryTransport] = []
        self._changed = anyio.Event()

    def bind(self, port: int) -> Handle:
        del port
        self.binds += 1
        return Handle(self)

    def connect(self) -> FramePeer:
        here, there = connected_pair()
        self._arrived.append(there)
        self.wake()
        return FramePeer(here)

    def register(self, channel: str, *channels: str, node: bool = False) -> FramePeer:
        """Connect and register for a channel, as a process that could lead *channels*."""
        offer = Offer(("msgpack",), FEATURES, pid=2, channels=channels)
        follower = self.connect()
        follower.request(10, RegisterChannel(channel, None if node else offer))
        return follower

    def wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def take(self, handle: Handle) -> MemoryTransport:
        while True:
            if handle.closed:
                raise anyio.ClosedResourceError
            if self.failures:
                raise self.failures.pop()
            if self._arrived:
                return self._arrived.pop(0)
            await self._changed.wait()


class Handle:
    """One handle of the listener."""

    def __init__(self, network: Network) -> None:
        self.closed = False
        self._network = network
        network.handles += 1

    async def accept(self, has_room: Callable[[], bool] = lambda: True) -> MemoryTransport:
        while True:
            transport = await self._network.take(self)
            if has_room():
                return transport
            await transport.aclose()

    def duplicate(self) -> Handle:
        return Handle(self._network)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._network.handles -= 1
            self._network.wake()


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(_backend, "bind_and_listen", network.bind)
    return network


def take_seat(port: int, channel: str) -> Seat:
    seat = race(port, channel)
    assert seat is not None
    return seat


@asynccontextmanager
async def accepting(seat: Seat, limits: Limits = DEFAULTS) -> AsyncGenerator[LogRecorder]:
    """Accept connections meanwhile."""
    log = LogRecorder()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(seat.accept, log, limits)
        yield log
        tasks.cancel_scope.cancel()


async def told(follower: FramePeer) -> Message:
    return (await follower.receive_message())[1]


def pending(starting: bool, *channels: str) -> RegistrationPending:
    return RegistrationPending(starting, os.getpid(), channels)


# -------------------------------------------------------------------- race


async def test_the_first_one_wins_and_the_port_is_free_after_the_last(
    network: Network, port: int
) -> None:
    first = take_seat(port, "a")
    assert race(port, "a") is None
    second = take_seat(port, "b")
    assert network.binds == 1
    assert first.epoch != second.epoch
    first.vacate()
    first.vacate()
    assert network.handles == 2  # the second seat's, and the server's own
    second.vacate()
    assert network.handles == 0
    take_seat(port, "a").vacate()
    assert network.binds == 2


async def test_a_port_in_use_is_a_lost_race(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(_backend, "bind_and_listen", lambda _: None)
    assert race(port, "a") is None


async def test_any_other_reason_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_backend, "bind_and_listen", refuse)
    with pytest.raises(
        ElectionError, match=r"port 80 of 127\.0\.0\.1 cannot be bound: .*Permission"
    ):
        race(80, "a")


async def test_a_port_that_cannot_be_used_after_all_is_freed(
    network: Network, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_descriptors(_: Handle) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Handle, "duplicate", out_of_descriptors)
    with pytest.raises(ElectionError, match="Too many open files"):
        race(port, "a")
    assert network.handles == 0
    monkeypatch.undo()
    monkeypatch.setattr(_backend, "bind_and_listen", network.bind)
    take_seat(port, "a").vacate()


async def test_contenders_are_counted_per_port(port: int) -> None:
    contenders(port)["a"] += 1
    assert contenders(port) == {"a": 1}
    assert contenders(port + 1) == {}
    contenders(port).clear()


# ------------------------------------------------------------ registrations


async def test_a_follower_is_handed_to_the_leader_of_its_channel(
    network: Network, port: int
) -> None:
    seat, other = take_seat(port, "a"), take_seat(port, "b")
    arrivals: list[Arrival] = []
    other.open(arrivals.append)
    async with accepting(seat):
        network.register("b", "b")
        await wait_all_tasks_blocked()
        (arrival,) = arrivals
        assert arrival.registration.request_id == 10
        assert arrival.offer == Offer(("msgpack",), FEATURES, pid=2, channels=("b",))
        assert not arrival.decoder.has_partial_frame
        assert isinstance(arrival.transport, MemoryTransport)
    assert not arrival.transport.closed
    seat.vacate()
    other.vacate()


async def test_a_follower_waits_until_the_real_client_has_started(
    network: Network, port: int
) -> None:
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    async with accepting(seat):
        follower = network.register("a", "a")
        assert await told(follower) == pending(True, "a")
        seat.open(arrivals.append)
        await wait_all_tasks_blocked()
        assert len(arrivals) == 1
    seat.vacate()


async def test_a_follower_is_told_each_time_that_the_situation_changes(
    network: Network, port: int
) -> None:
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    async with accepting(seat):
        follower = network.register("b", "b")
        assert await told(follower) == pending(False, "a")
        late = take_seat(port, "b")
        assert await told(follower) == pending(True, "a", "b")
        third = take_seat(port, "c")  # changes nothing for it
        await wait_all_tasks_blocked()
        assert follower.has_nothing_to_read()
        late.open(arrivals.append)
        await wait_all_tasks_blocked()
        assert len(arrivals) == 1
    for held in (seat, late, third):
        held.vacate()


async def test_a_node_follower_waits_in_silence(network: Network, port: int) -> None:
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    async with accepting(seat):
        follower = network.register("a", node=True)
        await wait_all_tasks_blocked()
        assert follower.has_nothing_to_read()
        seat.open(arrivals.append)
        await wait_all_tasks_blocked()
        assert arrivals[0].offer is None
    seat.vacate()


async def test_a_node_follower_that_registers_again_is_answered_under_its_new_id(
    network: Network, port: int
) -> None:
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    async with accepting(seat):
        follower = network.register("a", node=True)
        follower.request(11, RegisterChannel("a"))
        await wait_all_tasks_blocked()
        follower.request(12, RegisterChannel("a"))
        await wait_all_tasks_blocked()
        seat.open(arrivals.append)
        await wait_all_tasks_blocked()
        assert [arrival.registration.request_id for arrival in arrivals] == [12]
        assert not follower.transport.closed
    seat.vacate()


@pytest.mark.parametrize(
    "message", [RegisterChannel("b"), Heartbeat()], ids=["another channel", "another request"]
)
async def test_a_node_follower_that_does_anything_else_is_closed(
    network: Network, port: int, message: Message
) -> None:
    seat = take_seat(port, "a")
    async with accepting(seat):
        follower = network.register("a", node=True)
        await wait_all_tasks_blocked()
        follower.request(11, message)
        assert await follower.receive_to_the_end() == []
    seat.vacate()


async def test_what_a_follower_sends_too_early_is_kept(network: Network, port: int) -> None:
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    async with accepting(seat):
        follower = network.register("a", "a")
        await told(follower)
        follower.request(1, Heartbeat())
        await wait_all_tasks_blocked()
        seat.open(arrivals.append)
        await wait_all_tasks_blocked()
        frame = arrivals[0].decoder.next_frame()
        assert frame is not None
        assert frame.connection == Heartbeat().encode()
    seat.vacate()


async def test_a_follower_that_sends_far_too_much_is_dropped(network: Network, port: int) -> None:
    seat = take_seat(port, "a")
    async with accepting(seat):
        follower = network.register("a", "a")
        await told(follower)
        follower.transport.outgoing.put(b"\x01" * (_arrivals.MAX_EARLY_BYTES + 1))
        assert await follower.receive_to_the_end() == []
    seat.vacate()


async def test_a_follower_that_goes_away_is_forgotten(network: Network, port: int) -> None:
    seat = take_seat(port, "a")
    async with accepting(seat):
        follower = network.register("b", "b")
        await told(follower)
        assert seat._server.waiting == {"b": 1}
        await follower.transport.aclose()
        await wait_all_tasks_blocked()
        assert seat._server.waiting == {}
    seat.vacate()


async def test_a_connection_without_a_registration_is_closed_quietly(
    network: Network, port: int
) -> None:
    seat = take_seat(port, "a")
    async with accepting(seat) as log:
        stranger = network.connect()
        await stranger.transport.aclose()
        await wait_all_tasks_blocked()
        assert log.entries == []
    seat.vacate()


async def test_a_stranger_that_stays_silent_is_left(network: Network, port: int) -> None:
    seat = take_seat(port, "a")
    async with accepting(seat, Limits(registration_time=0.01)) as log:
        stranger = network.connect()
        assert await stranger.receive_to_the_end() == []
        assert log.of("registration_missing") == [{"limit": 0.01}]
    seat.vacate()


async def test_a_stranger_that_speaks_something_else_disturbs_nobody(
    network: Network, port: int
) -> None:
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    seat.open(arrivals.append)
    async with accepting(seat) as log:
        stranger = network.connect()
        stranger.transport.outgoing.put(b"GET / HTTP/1.1\r\n\r\n")
        assert await stranger.receive_to_the_end() == []
        (entry,) = log.of("stranger_refused")
        assert "GET / HTTP/1.1" in entry["error"]
        network.register("a", "a")
        await wait_all_tasks_blocked()
        assert len(arrivals) == 1
    seat.vacate()


async def test_doors_that_are_closed_keep_followers_waiting(network: Network, port: int) -> None:
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    seat.open(arrivals.append)
    seat.close_doors()
    async with accepting(seat):
        follower = network.register("a", "a")
        assert await told(follower) == pending(True, "a")
        await wait_all_tasks_blocked()
        assert arrivals == []
    seat.vacate()


async def test_a_client_of_the_process_itself_is_sent_to_race_for_a_free_channel(
    network: Network, port: int
) -> None:
    seat = take_seat(port, "a")
    contenders(port).update({"b": 1, "c": 0})
    async with accepting(seat):
        may_lead, only_follows = (network.connect() for _ in range(2))
        for follower, channel in ((may_lead, "b"), (only_follows, "c")):
            offer = Offer(("msgpack",), FEATURES, pid=os.getpid(), channels=("b",))
            follower.request(10, RegisterChannel(channel, offer))
            assert await told(follower) == pending(False, "a")
        assert await may_lead.receive_to_the_end() == []
        await wait_all_tasks_blocked()
        assert only_follows.has_nothing_to_read()
        assert not only_follows.transport.incoming.ended
    seat.vacate()
    contenders(port).clear()


# ---------------------------------------------------------------- accepting


async def test_accepting_ends_when_the_seat_is_vacated(network: Network, port: int) -> None:
    seat = take_seat(port, "a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(seat.accept, LogRecorder())
        await wait_all_tasks_blocked()
        seat.vacate()
    assert network.handles == 0


async def test_an_error_in_accepting_is_logged_and_accepting_goes_on(
    network: Network, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "ACCEPT_PAUSE", 0)
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    seat.open(arrivals.append)
    network.failures.append(OSError(24, "Too many open files"))
    async with accepting(seat) as log:
        network.register("a", "a")
        await wait_all_tasks_blocked()
        assert len(arrivals) == 1
        (entry,) = log.of("accept_failed")
        assert "Too many open files" in entry["error"]
    seat.vacate()


# ------------------------------------------------- everybody gets an answer


async def test_everybody_who_waits_for_the_channel_is_answered(network: Network, port: int) -> None:
    seat, other = take_seat(port, "a"), take_seat(port, "b")
    answered: list[Arrival] = []

    async def answer(arrival: Arrival) -> None:
        await anyio.lowlevel.checkpoint()
        answered.append(arrival)

    async with accepting(seat), anyio.create_task_group() as tasks:
        for _ in range(3):
            network.register("a", "a")
        network.register("b", "b")
        await wait_all_tasks_blocked()
        await seat.answer_everybody(tasks, answer)
        assert len(answered) == 3
        assert seat._server.waiting == {"b": 1}
    seat.vacate()
    other.vacate()


async def test_if_nobody_waits_nobody_is_answered(network: Network, port: int) -> None:
    seat = take_seat(port, "a")

    async def answer(_: Arrival) -> None:
        pytest.fail("there is nobody")

    async with anyio.create_task_group() as tasks:
        await seat.answer_everybody(tasks, answer)
    seat.vacate()


# ---------------------------------------------------------------- making way


@pytest.mark.parametrize(
    ("offered", "makes_way"),
    [
        (("a", "b", "c"), True),
        (("a", "b"), False),
        (("a", "c"), False),
        (("c",), False),
        (None, False),
    ],
)
async def test_the_port_is_given_up_for_a_process_that_leads_all_and_more(
    network: Network, port: int, offered: tuple[str, ...] | None, makes_way: bool
) -> None:
    server = PortServer(port, network.bind(port))
    for channel in ("a", "b"):
        server.take_seat(channel, Access(port))
    offer = None if offered is None else Offer((), frozenset(), 2, offered)
    assert server.should_make_way(offer) is makes_way


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make way without the usual grace."""
    monkeypatch.setattr(_server, "YIELD_GRACE", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_whoever_makes_way_asks_all_its_leaders_and_does_not_race_for_a_while(
    network: Network, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "YIELD_TIME", 1000.0)
    seat, other = take_seat(port, "a"), take_seat(port, "b")
    async with accepting(seat):
        network.register("c", "a", "b", "c")
        await seat.asked_to_leave.wait()
        await other.asked_to_leave.wait()
        assert race(port, "d") is None  # nobody sits down any more
    seat.vacate()
    other.vacate()
    assert network.handles == 0
    assert race(port, "a") is None  # the other process goes first
    _server._yields().clear()
    take_seat(port, "a").vacate()


@pytest.mark.usefixtures("at_once")
async def test_after_making_way_a_process_races_again(
    network: Network, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "YIELD_TIME", 0.0)
    seat = take_seat(port, "a")
    async with accepting(seat):
        network.register("b", "a", "b")
        await seat.asked_to_leave.wait()
    seat.vacate()
    take_seat(port, "a").vacate()


async def test_a_process_that_could_still_create_the_channel_is_given_the_time(
    network: Network, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "YIELD_GRACE", 1000.0)
    seat = take_seat(port, "a")
    arrivals: list[Arrival] = []
    async with accepting(seat):
        network.register("b", "a", "b")
        await wait_all_tasks_blocked()
        assert not seat.asked_to_leave.is_set()
        late = take_seat(port, "b")
        late.open(arrivals.append)
        await wait_all_tasks_blocked()
        assert len(arrivals) == 1
        assert not seat.asked_to_leave.is_set()
    seat.vacate()
    late.vacate()


async def test_a_channel_that_was_just_closed_here_is_not_waited_for(
    network: Network, port: int
) -> None:
    seat, closed = take_seat(port, "a"), take_seat(port, "b")
    closed.vacate(still_wanted=True)
    assert not seat.asked_to_leave.is_set()
    async with accepting(seat):
        network.register("b", "a", "b")
        await seat.asked_to_leave.wait()
    seat.vacate()
    _server._yields().clear()


async def test_a_channel_that_is_opened_again_is_waited_for_again(
    network: Network, port: int
) -> None:
    seat = take_seat(port, "a")
    server = seat._server
    for _ in range(2):
        assert server.grace("b") == _server.YIELD_GRACE
        take_seat(port, "b").vacate(still_wanted=True)
        assert server.grace("b") == 0
        take_seat(port, "b").vacate()
    seat.vacate()
