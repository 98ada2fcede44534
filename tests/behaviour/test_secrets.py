"""A shared secret: who does not know it is no peer, and learns nothing that it could use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from cluster_client import AuthenticationError, Client, PortOccupiedError
from cluster_protocol import (
    FEATURES,
    Agreement,
    Failure,
    Frame,
    FrameDecoder,
    Message,
    Offer,
    RegisterChannel,
    RegisterChannelResult,
    RegistrationChallenge,
    RegistrationPending,
    RegistrationProof,
    decode_message,
    decode_registration_outcome,
    encode_frame,
    encode_registration_outcome,
)
from cluster_protocol.codecs import MsgpackCodec, SerializeJsonCodec
from support.registry import Registry, Upstream, registry_client
from support.times import scaled

SECRET = "correct horse battery staple"
CODEC = MsgpackCodec()


def client(port: int, **options: Any) -> Client[Registry]:
    return registry_client(Upstream(), port, **options)


class Peer:
    """A process that says what the test wants it to say, and keeps what it hears."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._decoder = FrameDecoder()

    async def say(self, message: Message | bytes, body: bytes = b"", *, answer_to: int = 0) -> None:
        head = message if isinstance(message, bytes) else message.encode()
        frame = Frame(bool(answer_to), answer_to or 1, 3000, head, body)
        await self.stream.send(encode_frame(frame))

    async def hear(self) -> tuple[Frame, Message]:
        while (frame := self._decoder.next_frame()) is None:
            self._decoder.receive_data(await self.stream.receive())
        return frame, decode_message(frame.connection, is_response=frame.is_response)

    async def hears_nothing_more(self) -> None:
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await self.hear()

    async def failure(self, codec: Any = CODEC) -> Failure | None:
        frame, answer = await self.hear()
        assert isinstance(answer, RegisterChannelResult)
        assert answer.agreement is None or answer.agreement.proof is None
        return decode_registration_outcome(codec.decode(frame.application))


@asynccontextmanager
async def peer_on(port: int) -> AsyncIterator[Peer]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Peer(stream)


def offer(nonce: str | None) -> Offer:
    return Offer(("msgpack",), FEATURES, pid=1, nonce=nonce, channels=("Registry", "another"))


# -------------------------------------------------------------- both are ours


@pytest.mark.parametrize("secret", [SECRET, SECRET.encode(), "\N{SNOWMAN}" * 16])
async def test_who_knows_the_secret_follows(port: int, secret: str | bytes) -> None:
    async with client(port, secret=secret), client(port, secret=secret) as follower:
        assert await follower.echo(1) == 1
        assert not follower.is_leader


async def test_the_secret_may_come_from_the_environment(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CLIENT_SECRET", SECRET)
    async with client(port), client(port, secret=SECRET) as follower:
        assert await follower.echo(1) == 1


async def test_all_channels_of_a_port_may_have_one_secret(port: int) -> None:
    async with client(port, secret=SECRET), client(port, secret=SECRET, name="another") as other:
        assert other.is_leader  # a process leads all its channels


@pytest.mark.parametrize(
    ("leaders", "followers", "reason"),
    [
        (SECRET, "another secret of ours", "leader and follower have different secrets"),
        (SECRET, None, r"a secret is wanted \(the option secret, or CLUSTER_CLIENT_SECRET\)"),
        (None, SECRET, "the leader has not shown that it knows the secret: it has none"),
    ],
    ids=["different", "none at the follower", "none at the leader"],
)
async def test_who_does_not_know_it_cannot_follow(
    port: int, leaders: str | None, followers: str | None, reason: str
) -> None:
    async with client(port, secret=leaders) as leader:
        with pytest.raises(AuthenticationError, match=f"port {port} of 127.0.0.1: {reason}"):
            async with client(port, secret=followers):
                pass
        assert await leader.echo(1) == 1


async def test_who_met_the_conditions_of_another_channel_has_to_meet_those_of_its_own(
    port: int,
) -> None:
    async with client(port, name="open"), anyio.create_task_group() as tasks:
        stranger = await tasks.start(wait_for_a_channel, port)
        async with client(port, secret=SECRET):
            await stranger.hears_nothing_more()
        tasks.cancel_scope.cancel()


async def wait_for_a_channel(
    port: int, *, task_status: anyio.abc.TaskStatus[Peer] = anyio.TASK_STATUS_IGNORED
) -> None:
    async with peer_on(port) as stranger:
        await stranger.say(RegisterChannel("Registry", offer(None)))
        _, pending = await stranger.hear()
        assert pending == RegistrationPending(starting=False, pid=os.getpid(), channels=("open",))
        task_status.started(stranger)
        await anyio.sleep_forever()


async def test_a_secret_is_shown_nowhere(port: int) -> None:
    async with client(port, secret=SECRET) as leader:
        options = leader._spec.options
        assert SECRET not in f"{options!r} {leader!r}"


# --------------------------------------------------------- against a stranger


async def test_a_node_process_is_refused(port: int) -> None:
    async with client(port, secret=SECRET), peer_on(port) as node:
        await node.say(RegisterChannel("Registry"))
        failure = await node.failure(SerializeJsonCodec())
        assert failure is not None
        assert failure.message.endswith("CLUSTER_CLIENT_SECRET)")
        await node.hears_nothing_more()


async def test_a_recorded_registration_is_good_for_nothing(port: int) -> None:
    recorded: list[bytes] = []
    async with client(port, secret=SECRET):
        async with recording_proxy(port, recorded) as proxy_port:
            with pytest.raises(AuthenticationError, match="different secrets"):
                # The proofs are bound to the port, so that nobody can stand between.
                async with client(proxy_port, secret=SECRET, is_leader=False):
                    pass
        async with peer_on(port) as thief:
            await thief.stream.send(b"".join(recorded))
            _, challenge = await thief.hear()
            assert isinstance(challenge, RegistrationChallenge)
            failure = await thief.failure()
            assert failure is not None
            assert "leader and follower have different secrets" in failure.message
            await thief.hears_nothing_more()


@asynccontextmanager
async def recording_proxy(port: int, recorded: list[bytes]) -> AsyncIterator[int]:
    """Stand between a follower and the leader on *port*; keep what the follower says."""

    async def serve(follower: anyio.abc.SocketStream) -> None:
        async with follower, await anyio.connect_tcp("127.0.0.1", port) as leader:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pump, leader, follower, [])
                await pump(follower, leader, recorded)
                tasks.cancel_scope.cancel()

    async def pump(
        source: anyio.abc.SocketStream, target: anyio.abc.SocketStream, kept: list[bytes]
    ) -> None:
        try:
            async for data in source:
                kept.append(data)
                await target.send(data)
        except anyio.BrokenResourceError:
            return

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "second",
    [
        RegistrationProof("00" * 32).encode(),
        RegistrationProof("\N{SNOWMAN}").encode(),
        RegistrationProof("").encode(),
        b'{"type":"registration_proof","proof":3}',
        b'{"type":"registration_proof"}',
        b'{"type":"invoke","method":"echo","argLength":0}',
        RegisterChannel("Registry").encode(),
        RegistrationProof("0" * 5000).encode(),
    ],
    ids=lambda second: second[:60].decode(errors="replace"),
)
async def test_who_cannot_prove_that_it_knows_it_is_dropped(port: int, second: bytes) -> None:
    async with client(port, secret=SECRET) as leader:
        async with peer_on(port) as stranger:
            await stranger.say(RegisterChannel("Registry", offer("00" * 16)))
            _, challenge = await stranger.hear()
            assert isinstance(challenge, RegistrationChallenge)
            await stranger.say(second)
            await stranger.stream.send_eof()
            with anyio.fail_after(scaled(5)):
                try:
                    while True:
                        assert await stranger.failure() is not None
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    pass
        assert await leader.echo(1) == 1


async def test_no_two_challenges_are_alike(port: int) -> None:
    seen = set()
    async with client(port, secret=SECRET):
        for _ in range(3):
            async with peer_on(port) as stranger:
                await stranger.say(RegisterChannel("Registry", offer("00" * 16)))
                _, challenge = await stranger.hear()
                assert isinstance(challenge, RegistrationChallenge)
                seen.add(challenge.nonce)
    assert len(seen) == 3


async def test_a_stranger_cannot_have_the_leader_make_way(port: int) -> None:
    async with client(port, secret=SECRET) as leader, peer_on(port) as stranger:
        epoch = leader.epoch
        # Of another channel, and it says that it could lead all that is led here, and more.
        await stranger.say(RegisterChannel("another", offer("00" * 16)))
        _, challenge = await stranger.hear()
        assert isinstance(challenge, RegistrationChallenge)
        await stranger.say(RegistrationProof("00" * 32))
        assert await stranger.failure() is not None
        await stranger.hears_nothing_more()
        assert leader.epoch == epoch


# ----------------------------------------------- against whoever has the port


@asynccontextmanager
async def fake_leader(behaviour: Any) -> AsyncIterator[int]:
    """Listen on a port, as a process that has seized it."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            peer = Peer(stream)
            frame, message = await peer.hear()
            assert isinstance(message, RegisterChannel)
            await behaviour(peer, frame, message)
            # Whose process it is can only be told while the connection stands.
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


def accepted(proof: str | None) -> tuple[Message, bytes]:
    agreement = Agreement("msgpack", FEATURES, "epoch", 1, proof)
    return RegisterChannelResult(agreement), CODEC.encode(encode_registration_outcome(None))


async def test_a_leader_that_reflects_the_proof_is_refused() -> None:
    async def reflect(peer: Peer, frame: Frame, message: RegisterChannel) -> None:
        assert message.offer is not None
        await peer.say(RegistrationChallenge(message.offer.nonce or ""))
        _, proof = await peer.hear()
        assert isinstance(proof, RegistrationProof)
        await peer.say(*accepted(proof.proof), answer_to=frame.request_id)

    async with fake_leader(reflect) as port:
        with pytest.raises(AuthenticationError, match="different secrets"):
            async with client(port, secret=SECRET, is_leader=False):
                pass


@pytest.mark.parametrize("proof", [None, "", "00" * 32, "\N{SNOWMAN}"])
async def test_a_leader_that_does_not_challenge_is_refused(proof: str | None) -> None:
    async def accept(peer: Peer, frame: Frame, _: RegisterChannel) -> None:
        await peer.say(*accepted(proof), answer_to=frame.request_id)

    async with fake_leader(accept) as port:
        with pytest.raises(AuthenticationError, match="it knows the secret: it has none"):
            async with client(port, secret=SECRET, is_leader=False):
                pass


async def test_what_a_stranger_says_before_is_not_read_at_length() -> None:
    async def flood(peer: Peer, frame: Frame, _: RegisterChannel) -> None:
        await peer.say(accepted(None)[0], bytes(2 << 20), answer_to=frame.request_id)

    async with fake_leader(flood) as port:
        with pytest.raises(PortOccupiedError, match="2097152 bytes"):
            async with client(port, secret=SECRET, is_leader=False):
                pass


async def test_a_challenge_that_was_not_asked_for_is_no_protocol_of_ours() -> None:
    async def challenge(peer: Peer, _: Frame, __: RegisterChannel) -> None:
        await peer.say(RegistrationChallenge("00" * 16))
        await peer.hears_nothing_more()

    async with fake_leader(challenge) as port:
        with pytest.raises(PortOccupiedError, match="a challenge that nobody asked for"):
            async with client(port, is_leader=False):
                pass


async def test_to_be_kept_waiting_says_nothing_about_the_secret() -> None:
    async def keep_waiting(peer: Peer, frame: Frame, _: RegisterChannel) -> None:
        await peer.say(RegistrationPending(starting=True, pid=1))
        await peer.say(*accepted(None), answer_to=frame.request_id)

    async with fake_leader(keep_waiting) as port:
        with pytest.raises(AuthenticationError):
            async with client(port, secret=SECRET, is_leader=False):
                pass
