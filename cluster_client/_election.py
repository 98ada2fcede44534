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
from cluster_client._backend import Transport
from cluster_client._clock import Deadline, header_timeout
from cluster_client._endpoints import Endpoint
from cluster_client.errors import PortOccupiedError
from cluster_protocol import (
    DEFAULT_LIMITS,
    Agreement,
    Failure,
    Frame,
    FrameDecoder,
    FrameLimits,
    Offer,
    ProtocolError,
    RegisterChannel,
    RegisterChannelResult,
    RegistrationPending,
    RemoteProtocolError,
    decode_message,
    decode_registration_outcome,
    encode_frame,
)
from cluster_protocol.codecs import Codec

_REGISTRATION_ID: Final = 0x0A
"""A line feed on the wire: it makes an HTTP server, say, take the header for a whole line and
answer at once, instead of waiting for more in silence."""


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
    """The leader is there, but its real client failed to start."""

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
    result: Joined | StartFailed | None = None
    try:
        result = await _register(
            transport,
            endpoint,
            channel,
            offer=offer,
            codecs=codecs,
            node_codec=node_codec,
            silence_limit=silence_limit,
            deadline=deadline,
            sighting=sighting,
            frames=frames,
        )
    finally:
        if not isinstance(result, Joined):
            await transport.aclose()
    return result


async def _register(
    transport: Transport,
    endpoint: Endpoint,
    channel: str,
    *,
    offer: Offer,
    codecs: Mapping[str, Codec],
    node_codec: Codec,
    silence_limit: float,
    deadline: Deadline,
    sighting: Sighting,
    frames: FrameLimits,
) -> Joined | StartFailed | None:
    message = RegisterChannel(channel, offer).encode()
    timeout_ms = header_timeout(silence_limit)
    if not await transport.send(encode_frame(Frame(False, _REGISTRATION_ID, timeout_ms, message))):
        sighting.reason = "the process there closed the connection"
        return None
    decoder = FrameDecoder(frames)
    patience = min(silence_limit, deadline.remaining)
    limit = Deadline.after(patience)
    with anyio.move_on_after(limit.remaining) as scope:
        while True:
            data = await transport.receive()
            if not data:
                sighting.reason = "the process there closed the connection without an answer"
                return None
            try:
                decoder.receive_data(data)
                frame = decoder.next_frame()
                while frame is not None:
                    answer = decode_message(frame.connection, is_response=frame.is_response)
                    if isinstance(answer, RegisterChannelResult):
                        codec = _codec(answer.agreement, codecs, node_codec)
                        return _result(transport, decoder, answer, frame, codec)
                    if isinstance(answer, RegistrationPending):
                        sighting.pid, sighting.channels = answer.pid, answer.channels
                        sighting.reason = (
                            "its leader is just starting, or handing over"
                            if answer.starting
                            else "the process there does not serve it"
                        )
                        scope.deadline = anyio.current_time() + deadline.remaining
                    frame = decoder.next_frame()
            except ProtocolError as exc:
                raise PortOccupiedError(endpoint, str(exc)) from exc
    if sighting.pid is None:
        sighting.cut_short = patience < silence_limit
        sighting.reason = f"the process there said nothing within {patience:.3g} s"
    return None


def _result(
    transport: Transport,
    decoder: FrameDecoder,
    answer: RegisterChannelResult,
    frame: Frame,
    codec: Codec,
) -> Joined | StartFailed:
    try:
        outcome = codec.decode(frame.application)
    except Exception as exc:  # a codec of the user's own
        raise RemoteProtocolError(f"codec {codec.name!r} cannot read the answer: {exc!r}") from exc
    failure = decode_registration_outcome(outcome)
    if failure is not None:
        return StartFailed(failure)
    return Joined(transport, decoder, answer.agreement)


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
