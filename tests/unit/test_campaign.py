"""An election campaign: race and join in turn, with pauses, until one succeeds or time is up."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from cluster_client import _campaign
from cluster_client._access import Access
from cluster_client._backoff import Backoff
from cluster_client._campaign import Campaign
from cluster_client._clock import Deadline
from cluster_client._delegates import DelegateTable
from cluster_client._election import Joined, Sighting, StartFailed
from cluster_client._server import Seat, contenders
from cluster_client._session import ClientSpec, StartError
from cluster_client.errors import LeaderUnavailableError, PortOccupiedError
from cluster_client.options import ClientOptions
from cluster_protocol import (
    FEATURES,
    REGISTRATION_LIMITS,
    Failure,
    FrameDecoder,
    Offer,
    RegisterChannel,
)
from cluster_protocol.codecs import Codec, JsonCodec, MsgpackCodec
from support.links import AGREED
from support.logs import LogRecorder
from support.transports import connected_pair

PORT = 7777


class Real:
    """A real client that is never made."""


def spec(**options: Any) -> ClientSpec:
    checked = ClientOptions.build({"name": "registry", "port": PORT, **options})
    codecs: dict[str, Codec] = {"msgpack": MsgpackCodec(), "json": JsonCodec()}
    return ClientSpec(Real, (), {}, DelegateTable(Real, {}), checked, codecs)


class Port:
    """Stands in for race and join: what they bring is up to the test."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.seats: list[Any] = []
        self.joins: list[Callable[[Sighting], Any]] = []
        self.offers: list[Offer] = []

    def race(self, port: int, channel: str, access: Access) -> Seat | None:
        assert (port, channel, access.endpoint) == (PORT, "registry", PORT)
        self.events.append("race")
        return self.seats.pop(0) if self.seats else None

    async def join(
        self, port: int, channel: str, *, offer: Offer, sighting: Sighting, **_: Any
    ) -> Any:
        assert (port, channel) == (PORT, "registry")
        self.events.append("join")
        self.offers.append(offer)
        return self.joins.pop(0)(sighting) if self.joins else None


@pytest.fixture
def fake_port(monkeypatch: pytest.MonkeyPatch) -> Port:
    fake = Port()
    monkeypatch.setattr(_campaign, "race", fake.race)
    monkeypatch.setattr(_campaign, "join", fake.join)
    return fake


@pytest.fixture
def joined() -> Joined:
    return Joined(connected_pair()[0], FrameDecoder(), AGREED)


async def run(deadline: Deadline | None = None, *, first: bool = True, **options: Any) -> Any:
    until = Deadline.never() if deadline is None else deadline
    return await Campaign(spec(**options), LogRecorder()).run(until, first=first)


async def test_whoever_wins_the_race_does_not_join(fake_port: Port) -> None:
    seat = object()
    fake_port.seats = [seat]
    assert await run() is seat
    assert fake_port.events == ["race"]


async def test_whoever_loses_joins(fake_port: Port) -> None:
    place = object()
    fake_port.joins = [lambda _: place]
    assert await run() is place
    assert fake_port.events == ["race", "join"]


async def test_both_are_tried_again_until_one_succeeds(fake_port: Port) -> None:
    place = object()
    fake_port.joins = [lambda _: None, lambda _: None, lambda _: place]
    assert await run() is place
    assert fake_port.events == ["race", "join"] * 3


async def test_who_may_not_lead_only_joins(fake_port: Port) -> None:
    place = object()
    fake_port.joins = [lambda _: None, lambda _: place]
    assert await run(is_leader=False) is place
    assert fake_port.events == ["join", "join"]


async def test_who_must_lead_fails_at_once_when_it_is_opened(fake_port: Port) -> None:
    with pytest.raises(PortOccupiedError, match="'registry' has is_leader=True and another"):
        await run(is_leader=True)
    assert fake_port.events == ["race"]


async def test_who_must_lead_goes_on_racing_later(fake_port: Port) -> None:
    seat = object()
    fake_port.seats = [None, seat]
    assert await run(is_leader=True, first=False) is seat
    assert fake_port.events == ["race", "race"]


async def test_when_time_is_up_the_error_tells_what_was_seen(fake_port: Port) -> None:
    def see(sighting: Sighting) -> None:
        sighting.reason = "the process there does not serve it"
        sighting.pid, sighting.channels = 42, ("other",)

    fake_port.joins = [see]
    with pytest.raises(LeaderUnavailableError) as caught:
        await run(Deadline.after(0))
    error = caught.value
    assert (error.channel, error.port) == ("registry", PORT)
    assert error.reason == "the process there does not serve it"
    assert (error.holder_pid, error.holder_channels) == (42, ("other",))


async def test_who_races_alone_is_told_that_another_process_holds_the_port(fake_port: Port) -> None:
    with pytest.raises(LeaderUnavailableError, match="another process holds it"):
        await run(Deadline.after(0), is_leader=True, first=False)


async def test_a_leader_that_failed_to_start_is_an_error(fake_port: Port) -> None:
    fake_port.joins = [
        lambda _: StartFailed(Failure("ValueError", "no such host", module="builtins"))
    ]
    with pytest.raises(StartError) as caught:
        await run()
    assert isinstance(caught.value.error, ValueError)
    assert str(caught.value.error) == "no such host"


async def test_the_offer_tells_what_this_process_can_do(fake_port: Port, joined: Joined) -> None:
    contenders(PORT).update({"registry": 1, "config": 2, "only followed": 0})
    fake_port.joins = [lambda _: joined]
    assert await run() is joined
    assert fake_port.offers == [
        Offer(
            *(("msgpack", "json"), FEATURES, os.getpid(), ("config", "registry")),
            class_name="Real",
        )
    ]


async def test_the_offer_has_an_identity_and_a_nonce_where_they_are_wanted(
    fake_port: Port, joined: Joined
) -> None:
    fake_port.joins = [lambda _: joined] * 2
    for _ in range(2):
        await run(identity="zk:2181", secret="0123456789abcdef")
    first, second = fake_port.offers
    assert first.identity == second.identity
    assert first.identity is not None
    assert "zk" not in first.identity
    assert len({first.nonce, second.nonce}) == 2
    assert len(first.nonce or "") == 32


async def test_an_offer_of_very_many_channels_fits_a_registration(
    fake_port: Port, joined: Joined
) -> None:
    contenders(PORT).clear()
    contenders(PORT).update({f"channel {number:04}": 1 for number in range(1000)})
    fake_port.joins = [lambda _: joined]
    await run()
    (offer,) = fake_port.offers
    assert 0 < len(offer.channels) < 1000
    assert len(RegisterChannel("registry", offer).encode()) <= REGISTRATION_LIMITS.connection
    contenders(PORT).clear()


async def test_the_reason_for_waiting_is_logged_when_it_changes(fake_port: Port) -> None:
    def see(reason: str) -> Callable[[Sighting], None]:
        def look(sighting: Sighting) -> None:
            sighting.reason = reason

        return look

    place = object()
    fake_port.joins = [see("a"), see("a"), see("b"), see("a"), lambda _: place]
    log = LogRecorder()
    await Campaign(spec(), log).run(Deadline.never(), first=True)
    assert [entry["reason"] for entry in log.of("no_leader_yet")] == ["a", "b", "a"]


# ----------------------------------------------------------------- backoff


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, with the longest jitter."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    return pauses


async def test_pauses_double_up_to_the_longest(slept: list[float]) -> None:
    backoff = Backoff(first=0.1, longest=0.5)
    for _ in range(5):
        await backoff.pause()
    assert slept == [0.1, 0.2, 0.4, 0.5, 0.5]
    backoff.reset()
    await backoff.pause()
    assert slept[-1] == 0.1


async def test_time_that_has_passed_counts_as_slept(slept: list[float]) -> None:
    backoff = Backoff(first=0.25, longest=1)
    await backoff.pause(less=0.125)
    await backoff.pause(less=0.5)
    await backoff.pause()
    assert slept == [0.125, 0.5]


async def test_pauses_are_jittered(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return 0.0

    monkeypatch.setattr("random.uniform", uniform)
    await Backoff().pause()
    assert ranges == [(0.5, 1.0)]
