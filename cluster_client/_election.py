"""Joining the leader that holds the port: connect and register (SPEC sections 3.1, 5 and 8).

The other half of the race, taking the port, is `_backend.bind_and_listen`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from cluster_client import _backend
from cluster_client._access import Access
from cluster_client._backend import Transport
from cluster_client._clock import Deadline, header_timeout
from cluster_client._endpoints import Endpoint
from cluster_client.errors import AuthenticationError, PortOccupiedError
from cluster_protocol import (
    DEFAULT_LIMITS,
    Agreement,
    Failure,
    Frame,
    FrameDecoder,
    FrameLimits,
    Handshake,
    Offer,
    ProtocolError,
    RegisterChannel,
    RegisterChannelResult,
    RegistrationChallenge,
    RegistrationPending,
    RegistrationProof,
    RemoteProtocolError,
    decode_message,
    decode_registration_outcome,
    encode_frame,
)
from cluster_protocol.codecs import Codec

_REGISTRATION_ID: Final = 0x0A
"""A line feed on the wire: it makes an HTTP server, say, take the header for a whole line and
answer at once, instead of waiting for more in silence."""


_MAX_UNPROVEN: Final = 4096
_UNPROVEN_LIMITS: Final = FrameLimits(connection=4096, application=1 << 20)
"""Until a leader has shown that it knows the secret; why it failed to start can be a long text."""


@dataclass(slots=True)
class Joined:
    """The leader accepted us.

    Attributes:
        transport: Connected to the leader.
        decoder: Holds what it sent behind its answer.
        agreement: What holds on the link; ``None`` if a Node process leads.
        epoch: Names the leadership. Node has no names for them, so this link gets one.
    """

    transport: Transport
    decoder: FrameDecoder
    agreement: Agreement | None
    epoch: str = field(init=False)

    def __post_init__(self) -> None:
        agreement = self.agreement
        self.epoch = f"node-{uuid.uuid4().hex}" if agreement is None else agreement.epoch


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The leader is there, but its real client failed to start, or it does not take us."""

    failure: Failure


@dataclass(slots=True)
class Sighting:
    """What an attempt to join has seen of whoever holds the port.

    Attributes:
        reason: How the attempt ended, in words.
        pid: Process that holds the port, if it told.
        channels: What it serves, if it told.
        cut_short: Whether there was no time to see anything for sure.
    """

    reason: str = "nothing listens there"
    pid: int | None = None
    channels: tuple[str, ...] = field(default=())
    cut_short: bool = False


async def join(
    endpoint: Endpoint,
    channel: str,
    *,
    offer: Offer,
    codecs: Mapping[str, Codec],
    node_codec: Codec,
    access: Access,
    connect_timeout: float,
    silence_limit: float,
    deadline: Deadline,
    sighting: Sighting,
    frames: FrameLimits = DEFAULT_LIMITS,
) -> Joined | StartFailed | None:
    """Try once to become a follower.

    Args:
        endpoint: A port, or the path of a socket.
        channel: The client's name.
        offer: What we can do.
        codecs: Our codecs by name.
        node_codec: What is spoken with a Node leader.
        access: Who may lead us.
        connect_timeout: For the TCP connect, in seconds.
        silence_limit: How long a process that has said nothing at all may go on so.
            One of ours that must keep us waiting says so at once; a Node
            process without the channel stays silent.
        deadline: When to give up in any case.
        sighting: Is told what was seen.
        frames: Limits of the leader's.

    Returns:
        ``None`` if there is nobody to follow yet; *sighting* says why.

    Raises:
        PortOccupiedError: If what listens there speaks another protocol.
        AuthenticationError: If it may not lead us, or wants a secret that we do not know.

    Cancellation:
        Safe at any point; no socket stays open.

    Source:
        SPEC section 3.1; cluster-client 3.7.0, ``lib/follower.js``.
    """
    transport = None
    limit = min(connect_timeout, deadline.remaining)
    try:
        with anyio.move_on_after(limit) as scope:
            transport = await _backend.connect(endpoint)
    except OSError as exc:  # out of descriptors, most likely: others may give theirs back
        sighting.reason = f"no connection can be opened: {exc}"
        return None
    if transport is None:
        if not scope.cancelled_caught:
            sighting.reason = "nothing listens there"
        elif limit < connect_timeout:
            sighting.cut_short = True
        else:
            sighting.reason = f"the process there accepted no connection within {limit:g} s"
        return None
    registration = _Registration(
        transport,
        channel,
        offer=offer,
        codecs=codecs,
        node_codec=node_codec,
        access=access,
        silence_limit=silence_limit,
        deadline=deadline,
        sighting=sighting,
        frames=frames,
    )
    result: Joined | StartFailed | None = None
    try:
        result = await registration.run()
    except ProtocolError as exc:
        raise PortOccupiedError(endpoint, str(exc)) from exc
    finally:
        if not isinstance(result, Joined):
            await transport.aclose()
    return result


class _Registration:
    """Registers over a connection, and waits as long as whoever is there keeps us waiting."""

    def __init__(
        self,
        transport: Transport,
        channel: str,
        *,
        offer: Offer,
        codecs: Mapping[str, Codec],
        node_codec: Codec,
        access: Access,
        silence_limit: float,
        deadline: Deadline,
        sighting: Sighting,
        frames: FrameLimits,
    ) -> None:
        self._transport = transport
        self._channel = channel
        self._offer = offer
        self._codecs = codecs
        self._node_codec = node_codec
        self._access = access
        self._silence_limit = silence_limit
        self._deadline = deadline
        self._sighting = sighting
        self._decoder = FrameDecoder(frames if access.secret is None else _UNPROVEN_LIMITS)
        self._handshake: Handshake | None = None
        self._flaw: AuthenticationError | None = None
        """What is wrong with the other process's user."""
        self._gone = False
        """Whether that process has gone; what it said before may be worth reading."""

    async def run(self) -> Joined | StartFailed | None:
        message = RegisterChannel(self._channel, self._offer).encode()
        timeout_ms = header_timeout(self._silence_limit)
        if not await self._send(_REGISTRATION_ID, timeout_ms, message):
            self._sighting.reason = "the process there closed the connection"
            return None
        patience = min(self._silence_limit, self._deadline.remaining)
        with anyio.move_on_after(patience) as self._patience:
            return await self._wait_for_answer()
        if self._sighting.pid is None:
            self._sighting.cut_short = patience < self._silence_limit
            self._sighting.reason = f"the process there said nothing within {patience:.3g} s"
        return None

    async def _send(self, request_id: int, timeout_ms: int, message: bytes) -> bool:
        return await self._transport.send(
            encode_frame(Frame(False, request_id, timeout_ms, message))
        )

    async def _wait_for_answer(self) -> Joined | StartFailed | None:
        while True:
            data = await self._transport.receive()
            if not data:
                self._sighting.reason = "the process there closed the connection without an answer"
                return None
            self._check_user()
            self._decoder.receive_data(data)
            while (frame := self._decoder.next_frame()) is not None:
                answer = decode_message(frame.connection, is_response=frame.is_response)
                if self._gone and not isinstance(answer, RegisterChannelResult):
                    continue
                match answer:
                    case RegisterChannelResult():
                        return self._result(answer, frame)
                    case RegistrationPending():
                        self._wait_on(answer)
                    case RegistrationChallenge(nonce):
                        await self._prove(nonce)

    def _check_user(self) -> None:
        """Look now, while the connection stands; raised when it comes to trusting anybody."""
        try:
            self._access.check_user(self._transport)
        except AuthenticationError as exc:
            self._flaw = exc
        except ConnectionError:
            self._gone = True

    def _wait_on(self, pending: RegistrationPending) -> None:
        if self._flaw is not None:
            raise self._flaw
        self._sighting.pid, self._sighting.channels = pending.pid, pending.channels
        self._sighting.reason = (
            "its leader is just starting, or handing over"
            if pending.starting
            else "the process there does not serve it"
        )
        self._patience.deadline = anyio.current_time() + self._deadline.remaining

    async def _prove(self, leader_nonce: str) -> None:
        if self._flaw is not None:
            raise self._flaw
        nonce = self._offer.nonce
        if nonce is None or self._handshake is not None:
            raise RemoteProtocolError("a challenge that nobody asked for")
        self._handshake = self._access.handshake(nonce, leader_nonce, self._channel)
        proof = self._access.prove(self._handshake)
        await self._send(0, 0, RegistrationProof(proof).encode())

    def _result(self, answer: RegisterChannelResult, frame: Frame) -> Joined | StartFailed | None:
        agreement = answer.agreement
        proof = None if agreement is None else agreement.proof
        flaw: AuthenticationError | None = self._flaw
        try:
            self._access.check_leader(self._handshake, proof)
        except AuthenticationError as exc:
            flaw = flaw or exc
        if flaw is not None and len(frame.application) > _MAX_UNPROVEN:
            raise flaw
        codec = _codec(agreement, self._codecs, self._node_codec)
        try:
            outcome = codec.decode(frame.application)
        except Exception as exc:  # a codec of the user's own
            raise RemoteProtocolError(
                f"codec {codec.name!r} cannot read the answer: {exc!r}"
            ) from exc
        failure = decode_registration_outcome(outcome)
        if failure is not None:
            return StartFailed(failure)  # whoever it is, it says why it does not take us
        if self._gone:
            self._sighting.reason = "the process there closed the connection"
            return None
        if flaw is not None:
            raise flaw
        return Joined(self._transport, self._decoder, agreement)


def _codec(agreement: Agreement | None, codecs: Mapping[str, Codec], node_codec: Codec) -> Codec:
    if agreement is None:
        return node_codec
    codec = codecs.get(agreement.codec)
    if codec is None:
        raise RemoteProtocolError(f"the leader chose codec {agreement.codec!r}, not offered")
    return codec


async def receive_registration(
    transport: Transport, decoder: FrameDecoder
) -> tuple[Frame, RegisterChannel] | None:
    """Read the first frame of a stranger; ``None`` if it went away without one.

    Raises:
        RemoteProtocolError: If the frame is anything but a registration.

    Cancellation:
        Safe; what was read stays in *decoder*.
    """
    frame = decoder.next_frame()
    while frame is None:
        data = await transport.receive()
        if not data:
            return None
        decoder.receive_data(data)
        frame = decoder.next_frame()
    return frame, read_registration(frame)


def read_registration(frame: Frame) -> RegisterChannel:
    """Return what a stranger's frame says.

    Raises:
        RemoteProtocolError: If it is anything but a registration.
    """
    message: Any = decode_message(frame.connection, is_response=frame.is_response)
    if not isinstance(message, RegisterChannel):
        raise RemoteProtocolError(
            f"the first frame must be a registration, got {frame.connection[:80]!r}"
        )
    return message
