"""Targets: a stranger that knocks at a port, and whatever answers one that wants to join."""

from __future__ import annotations

from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from cluster_client._access import Access
from cluster_client._arrivals import Arrival, wait_or_lose
from cluster_client._clock import Deadline
from cluster_client._connections import Connections
from cluster_client._election import (
    Joined,
    Sighting,
    StartFailed,
    _Registration,
    receive_registration,
)
from cluster_client._exceptions import from_failure
from cluster_client.errors import AuthenticationError
from cluster_protocol import (
    DEFAULT_LIMITS,
    FEATURES,
    REGISTRATION_LIMITS,
    FrameDecoder,
    Offer,
    ProtocolError,
    negotiate,
)
from fuzz.running import run
from fuzz.values import JSON, MSGPACK, SERIALIZE_JSON
from fuzz.wire import chunks_of
from support.transports import MemoryTransport, connected_pair

_OFFER: Final = Offer(("msgpack", "json"), FEATURES, pid=2, channels=("Store",))
_FAR: Final = 3600.0


def check_joining(data: bytes) -> None:
    """Whatever answers a registration, it is a leader, or the port is somebody else's."""
    run(_join, chunks_of(data[2:], data[1] if len(data) > 1 else 0))


def check_knocking(data: bytes) -> None:
    """Whatever knocks, it is a follower that waits, or it is refused."""
    run(_knock, chunks_of(data[2:], data[1] if len(data) > 1 else 0))


async def _feed(transport: MemoryTransport, chunks: list[bytes]) -> None:
    for chunk in chunks:
        transport.outgoing.put(chunk)
        await checkpoint()
    transport.outgoing.end()


async def _join(chunks: list[bytes]) -> None:
    here, there = connected_pair()
    sighting = Sighting()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_feed, there, chunks)
        try:
            result = await _Registration(
                here,
                "Store",
                offer=_OFFER,
                codecs={"msgpack": MSGPACK, "json": JSON},
                node_codec=SERIALIZE_JSON,
                access=Access(7777),
                silence_limit=_FAR,
                deadline=Deadline.after(_FAR),
                sighting=sighting,
                frames=DEFAULT_LIMITS,
            ).run()
        except (AuthenticationError, ProtocolError) as exc:
            assert str(exc)
            return
    if isinstance(result, StartFailed):
        assert str(from_failure(result.failure)) is not None
    elif result is None:
        assert sighting.reason
    else:
        assert isinstance(result, Joined)
        assert result.epoch


async def _knock(chunks: list[bytes]) -> None:
    here, there = connected_pair()
    decoder = FrameDecoder(REGISTRATION_LIMITS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_feed, there, chunks)
        try:
            registration = await receive_registration(here, decoder)
            if registration is None:
                return
            frame, message = registration
            place = Connections().enter()
            arrival = Arrival(here, decoder, frame, message.channel, message.offer, place)
            arrival.receive_data(b"")
            if message.offer is not None:
                negotiate(message.offer, codecs=["msgpack"], epoch="e", pid=1)
            assert not await wait_or_lose(arrival, anyio.Event(), Deadline.after(_FAR))
        except ProtocolError as exc:
            assert str(exc)
