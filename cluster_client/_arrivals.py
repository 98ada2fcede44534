"""Followers that have knocked and wait to be let in (SPEC section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import anyio

from cluster_client._access import Access
from cluster_client._backend import Transport
from cluster_client._clock import Deadline
from cluster_client._connections import Place
from cluster_client._election import read_registration
from cluster_protocol import Frame, FrameDecoder, Offer, ProtocolError, RemoteProtocolError

__all__ = ["MAX_EARLY_BYTES", "Arrival", "wait_or_lose"]

MAX_EARLY_BYTES: Final = 65536
"""Bytes that a follower may send before it is answered; a proper one sends none."""


@dataclass(slots=True)
class Arrival:
    """A follower that has registered, and waits for an answer.

    Attributes:
        transport: Its connection.
        decoder: Holds what it sent behind its registration.
        registration: The frame that is to be answered. A Node follower that got no answer in
            time registers again, and knows the first one no more.
        channel: What it registered for.
        offer: What it can do beyond Node's protocol.
        place: Its place among the connections of the port; whoever closes it frees that.
        admitted_by: Whose conditions it has met.
        proof: That we know the secret, once it has proven that it does.
    """

    transport: Transport
    decoder: FrameDecoder
    registration: Frame
    channel: str
    offer: Offer | None
    place: Place
    admitted_by: Access | None = None
    proof: str | None = None
    _early: int = 0

    async def close(self) -> None:
        """Close its connection."""
        self.place.free()
        await self.transport.aclose()

    def receive_data(self, data: bytes) -> None:
        """Take what it sends while it waits.

        Raises:
            RemoteProtocolError: If it does anything but wait, or as a Node follower register again.
        """
        self.decoder.receive_data(data)
        if self.offer is not None:
            self._early += len(data)
            if self._early > MAX_EARLY_BYTES:
                raise RemoteProtocolError(
                    f"{self._early} bytes before its registration is answered"
                )
            return
        while (frame := self.decoder.next_frame()) is not None:
            if read_registration(frame).channel != self.channel:
                raise RemoteProtocolError("the follower registers for another channel")
            self.registration = frame


async def wait_or_lose(arrival: Arrival, change: anyio.Event, limit: Deadline) -> bool:
    """Wait for a change on the port; False if the follower has gone meanwhile.

    Raises:
        ProtocolError: If it sends what it must not.
    """
    lost = False
    error: ProtocolError | None = None

    async def watch() -> None:
        nonlocal lost, error
        try:
            while data := await arrival.transport.receive():
                arrival.receive_data(data)
        except ProtocolError as exc:
            error = exc
        lost = True
        tasks.cancel_scope.cancel()

    with anyio.move_on_after(limit.remaining):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await change.wait()
            tasks.cancel_scope.cancel()
    if error is not None:
        raise error
    return not lost
