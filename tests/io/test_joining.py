"""Joining a leader: what the follower says, and what it makes of each answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked

from cluster_client import _backend
from cluster_client._access import Access
from cluster_client._clock import Deadline
from cluster_client._election import Joined, Sighting, StartFailed, join, receive_registration
from cluster_client.errors import PortOccupiedError
from cluster_protocol import (
    FEATURES,
    REGISTRATION_LIMITS,
    Agreement,
    Failure,
    Frame,
    FrameDecoder,
    FrameTooLargeError,
    Heartbeat,
    Message,
    Offer,
    RegisterChannel,
    RegisterChannelResult,
    RegistrationPending,
    RemoteProtocolError,
    encode_frame,
    encode_registration_outcome,
)
from cluster_protocol.codecs import Codec, JsonCodec, MsgpackCodec
from support.links import AGREED, LONG
from support.times import scaled
from support.transports import FramePeer, MemoryTransport, connected_pair

PORT = 7777
CODEC = MsgpackCodec()
CODECS: dict[str, Codec] = {"msgpack": CODEC, "json": JsonCodec()}
OFFER = Offer(("msgpack", "json"), FEATURES, pid=2, channels=("registry",))
ACCEPTED = CODEC.encode(encode_registration_outcome(None))


@dataclass
class Attempt:
    """An attempt to join in a task of its own; the test plays the process on the port."""

    transport: MemoryTransport
    holder: FramePeer
    sighting: Sighting = field(default_factory=Sighting)
    ended: anyio.Event = field(default_factory=anyio.Event)
    result: Joined | StartFailed | None = None
    error: Exception | None = None

    async def run(self, **limits: Any) -> None:
        given = {
            "connect_timeout": LONG,
            "silence_limit": LONG,
            "deadline": Deadline.never(),
            "access": Access(PORT),
            **limits,
        }
        try:
            self.result = await join(
                PORT,
                "registry",
                offer=OFFER,
                codecs=CODECS,
                node_codec=JsonCodec(),
                sighting=self.sighting,
                **given,
            )
        except Exception as exc:
            self.error = exc
        self.ended.set()

    async def answer(self, message: Message, application: bytes = b"") -> None:
        frame = await self.holder.receive()
        self.holder.answer(frame, message, application)
        await self.ended.wait()


@pytest.fixture
async def attempt(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    here, there = connected_pair()

    async def connect(port: int) -> MemoryTransport:
        assert port == PORT
        return here

    monkeypatch.setattr(_backend, "connect", connect)
    return Attempt(here, FramePeer(there))


@pytest.fixture
async def tasks() -> Any:
    async with anyio.create_task_group() as group:
        yield group
        group.cancel_scope.cancel()


# ---------------------------------------------------------------- accepted


async def test_a_registration_tells_the_channel_and_what_we_can_do(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    frame, message = await attempt.holder.receive_message()
    assert message == RegisterChannel("registry", OFFER)
    assert (frame.is_response, frame.request_id) == (False, 10)
    assert frame.timeout_ms == LONG * 1000


async def test_the_longest_silence_is_told_as_far_as_the_header_carries_it(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(partial_run(attempt, silence_limit=math.inf))
    frame = await attempt.holder.receive()
    assert frame.timeout_ms == 2**31 - 1


def partial_run(attempt: Attempt, **limits: Any) -> Callable[[], Any]:
    async def run() -> None:
        await attempt.run(**limits)

    return run


async def test_a_leader_that_accepts_is_joined(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    await attempt.answer(RegisterChannelResult(AGREED), ACCEPTED)
    assert isinstance(attempt.result, Joined)
    assert attempt.result.agreement == AGREED
    assert attempt.result.transport is attempt.transport
    assert not attempt.transport.closed


async def test_what_the_leader_sends_behind_its_answer_is_kept(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    attempt.transport.incoming.hold()
    frame = await attempt.holder.receive()
    attempt.holder.answer(frame, RegisterChannelResult(AGREED), ACCEPTED)
    attempt.holder.request(1, Heartbeat())
    attempt.transport.incoming.release()
    await attempt.ended.wait()
    assert isinstance(attempt.result, Joined)
    behind = attempt.result.decoder.next_frame()
    assert behind is not None
    assert behind.connection == Heartbeat().encode()


async def test_the_outcome_is_in_the_codec_that_was_agreed(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    agreement = Agreement("json", FEATURES, epoch="e", pid=1)
    await attempt.answer(RegisterChannelResult(agreement), b'{"success":true}')
    assert isinstance(attempt.result, Joined)
    assert attempt.result.agreement == agreement


async def test_without_an_agreement_it_is_a_node_leader(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    await attempt.answer(RegisterChannelResult(None), b'{"success":true}')
    assert isinstance(attempt.result, Joined)
    assert attempt.result.agreement is None
    assert attempt.result.epoch.startswith("node-")


async def test_a_node_leaders_real_client_can_fail_to_start(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    outcome = b'{"success":false,"error":{"message":"no host","name":"Error","code":"E_HOST"}}'
    await attempt.answer(RegisterChannelResult(None), outcome)
    assert attempt.result == StartFailed(Failure("Error", "no host", code="E_HOST"))


# ----------------------------------------------------------------- not yet


async def test_without_a_listener_there_is_nobody_to_follow(
    monkeypatch: pytest.MonkeyPatch, attempt: Attempt
) -> None:
    async def nobody(_: int) -> None:
        return None

    monkeypatch.setattr(_backend, "connect", nobody)
    await attempt.run()
    assert (attempt.result, attempt.error) == (None, None)
    assert attempt.sighting == Sighting("nothing listens there")


async def test_a_connect_that_takes_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch, attempt: Attempt
) -> None:
    async def hang(_: int) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(_backend, "connect", hang)
    await attempt.run(connect_timeout=0.01)
    await attempt.run(deadline=Deadline.after(0))
    assert (attempt.result, attempt.error) == (None, None)


async def test_a_holder_that_closes_at_once_is_nobody_to_follow(attempt: Attempt) -> None:
    attempt.transport.outgoing.cut()
    await attempt.run()
    assert (attempt.result, attempt.error) == (None, None)
    assert attempt.sighting.reason == "the process there closed the connection"
    assert attempt.transport.closed


async def test_a_holder_that_closes_without_an_answer_is_nobody_to_follow(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    await attempt.holder.receive()
    await attempt.holder.transport.aclose()
    await attempt.ended.wait()
    assert (attempt.result, attempt.error) == (None, None)
    assert attempt.sighting.reason == ("the process there closed the connection without an answer")
    assert attempt.transport.closed


async def test_a_silent_holder_is_left_after_a_while(attempt: Attempt) -> None:
    await attempt.run(silence_limit=0.01)
    assert (attempt.result, attempt.error) == (None, None)
    assert attempt.sighting.reason == "the process there said nothing within 0.01 s"
    assert attempt.transport.closed


@pytest.mark.parametrize(
    ("starting", "reason"),
    [
        (True, "its leader is just starting, or handing over"),
        (False, "the process there does not serve it"),
    ],
)
async def test_a_holder_that_asks_for_patience_gets_it(
    attempt: Attempt, tasks: anyio.abc.TaskGroup, starting: bool, reason: str
) -> None:
    tasks.start_soon(partial_run(attempt, silence_limit=scaled(0.1)))
    attempt.holder.request(1, RegistrationPending(starting, 42, ("other",)))
    frame = await attempt.holder.receive()
    with anyio.move_on_after(scaled(0.15)):
        await attempt.ended.wait()
    assert not attempt.ended.is_set()
    assert attempt.sighting == Sighting(reason, 42, ("other",))
    attempt.holder.answer(frame, RegisterChannelResult(AGREED), ACCEPTED)
    await attempt.ended.wait()
    assert isinstance(attempt.result, Joined)


async def test_patience_has_its_limit(attempt: Attempt) -> None:
    attempt.holder.request(1, RegistrationPending(True, 42))
    await attempt.run(deadline=Deadline.after(0.01))
    assert (attempt.result, attempt.error) == (None, None)
    assert attempt.sighting.pid == 42
    assert attempt.transport.closed


async def test_other_messages_before_the_answer_are_ignored(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    attempt.holder.request(1, Heartbeat())
    await attempt.answer(RegisterChannelResult(AGREED), ACCEPTED)
    assert isinstance(attempt.result, Joined)


async def test_a_cancelled_attempt_leaves_nothing_open(attempt: Attempt) -> None:
    async with anyio.create_task_group() as attempts:
        attempts.start_soon(attempt.run)
        await wait_all_tasks_blocked()
        attempts.cancel_scope.cancel()
    assert attempt.transport.closed


# ------------------------------------------------------------------ refused


async def test_a_leader_whose_real_client_failed_to_start_tells_why(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    failure = Failure("ValueError", "no such host")
    outcome = CODEC.encode(encode_registration_outcome(failure))
    await attempt.answer(RegisterChannelResult(AGREED), outcome)
    assert attempt.result == StartFailed(failure)
    assert attempt.transport.closed


@pytest.mark.parametrize(
    ("message", "application", "reason"),
    [
        (RegisterChannelResult(None), b"success^^^^$0|-1]", "not JSON"),
        (
            RegisterChannelResult(Agreement("secret", FEATURES, "e", 1)),
            ACCEPTED,
            "the leader chose codec 'secret', not offered",
        ),
        (RegisterChannelResult(AGREED), b"\xc1", "msgpack"),
        (RegisterChannelResult(AGREED), CODEC.encode(5), "needs a boolean 'success'"),
    ],
    ids=["Node", "codec", "not of the codec", "no outcome"],
)
async def test_an_answer_that_cannot_be_used_means_another_program(
    attempt: Attempt,
    tasks: anyio.abc.TaskGroup,
    message: Message,
    application: bytes,
    reason: str,
) -> None:
    tasks.start_soon(attempt.run)
    await attempt.answer(message, application)
    assert isinstance(attempt.error, PortOccupiedError)
    assert reason in str(attempt.error)
    assert attempt.transport.closed


async def test_a_holder_that_speaks_something_else_is_another_program(
    attempt: Attempt, tasks: anyio.abc.TaskGroup
) -> None:
    tasks.start_soon(attempt.run)
    await attempt.holder.receive()
    attempt.holder.transport.outgoing.put(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await attempt.ended.wait()
    assert isinstance(attempt.error, PortOccupiedError)
    assert attempt.error.port == PORT
    assert "HTTP/1.1 400" in attempt.error.reason
    assert attempt.transport.closed


# --------------------------------------------------- the other side of the door

REGISTRATION = RegisterChannel("registry", OFFER)


async def test_a_registration_is_received_in_pieces() -> None:
    here, there = connected_pair()
    FramePeer(there).request(10, REGISTRATION)
    here.incoming.chunk = 5
    registration = await receive_registration(here, FrameDecoder(REGISTRATION_LIMITS))
    assert registration is not None
    frame, message = registration
    assert (frame.request_id, message) == (10, REGISTRATION)


async def test_a_stranger_that_goes_away_is_no_error() -> None:
    here, there = connected_pair()
    there.outgoing.put(encode_frame(Frame(False, 1, 0, REGISTRATION.encode()))[:20])
    await there.aclose()
    assert await receive_registration(here, FrameDecoder(REGISTRATION_LIMITS)) is None


async def test_a_first_frame_that_is_no_registration_is_refused() -> None:
    here, there = connected_pair()
    FramePeer(there).request(1, Heartbeat())
    with pytest.raises(RemoteProtocolError, match="first frame must be a registration"):
        await receive_registration(here, FrameDecoder(REGISTRATION_LIMITS))


async def test_a_strangers_frame_must_be_small() -> None:
    here, there = connected_pair()
    FramePeer(there).request(1, RegisterChannel("x" * 5000))
    with pytest.raises(FrameTooLargeError):
        await receive_registration(here, FrameDecoder(REGISTRATION_LIMITS))
