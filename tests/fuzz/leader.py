"""Target: a leader, and a registered follower that sends anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from cluster_client._calls import CallExecutor
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import NodeDialect, PeerDialect
from cluster_client._hub import SubscriptionHub
from cluster_client._link import Link
from cluster_client._peer import Peer
from cluster_client._workers import Workers
from cluster_client.options import ClientOptions
from cluster_protocol import (
    NO_DEADLINE,
    VALUES_TAKEN,
    Agreement,
    Frame,
    FrameDecoder,
    Invoke,
    InvokeResult,
    Subscribe,
    SubscribeAck,
    SubscribeResult,
    UnknownMessage,
    decode_message,
    pack_call,
)
from fuzz.running import run
from fuzz.store import Store
from fuzz.values import MSGPACK
from fuzz.wire import chunks_of
from support.links import AGREED
from support.logs import LogRecorder
from support.real_clients import Provided, real_client
from support.transports import FramePeer, connected_pair

_TURNS: Final = 500
"""So often others get their turn before what is still to come is taken for lost."""

_AGREEMENTS: Final = (AGREED, None, replace(AGREED, features=AGREED.features - {VALUES_TAKEN}))
_TABLE: Final = DelegateTable(Store, {})
_OPTIONS: Final = ClientOptions.build({"name": "store"})


def check_leader(data: bytes) -> None:
    """A leader survives anything, and a bystander does not notice.

    Of the options the first byte chooses the agreement, the second how the bytes are cut.
    """
    options, stream = data[:2].ljust(2, b"\0"), data[2:]
    run(_serve, _AGREEMENTS[options[0] % len(_AGREEMENTS)], chunks_of(stream, options[1]))


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let others have their turns until something is so."""
    for _ in range(_TURNS):
        if condition():
            return
        await checkpoint()
    raise AssertionError("what was to happen has not")


class _Leadership:
    """A leader without a port."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.log = LogRecorder()
        self.tasks = tasks
        self.real = real_client(Store, log=self.log)
        self.calls = CallExecutor(Provided(self.real), _TABLE, self.log)
        self.hub = SubscriptionHub(
            self.real, _TABLE, codec=MSGPACK, tasks=tasks, broadcast=True, log=self.log
        )
        self._workers = Workers(tasks, self.log)

    def follower(self, agreement: Agreement | None) -> tuple[Peer, FramePeer]:
        """Return a follower's side in the leader, and the follower itself."""
        here, there = connected_pair()
        link = Link(here, FrameDecoder(), agreement=agreement, log=self.log, wait_for_reader=True)
        peer = Peer(
            link,
            NodeDialect(MSGPACK) if agreement is None else PeerDialect(MSGPACK),
            calls=self.calls,
            hub=self.hub,
            tasks=self.tasks,
            workers=self._workers,
            options=_OPTIONS,
            may_lead=True,
            log=self.log,
        )
        return peer, FramePeer(there)


async def _serve(agreement: Agreement | None, chunks: list[bytes]) -> None:
    async with anyio.create_task_group() as tasks:
        leadership = _Leadership(tasks)
        async with leadership.real.open():
            tasks.start_soon(leadership.calls.watch_deadlines)
            await _be_hostile(leadership, agreement, chunks)
        tasks.cancel_scope.cancel()


async def _be_hostile(
    leadership: _Leadership, agreement: Agreement | None, chunks: list[bytes]
) -> None:
    bystander = await _Bystander.joining(leadership)
    peer, hostile = leadership.follower(agreement)
    ended = anyio.Event()

    async def serve() -> None:
        await peer.run()
        ended.set()

    leadership.tasks.start_soon(serve)
    for chunk in chunks:
        hostile.transport.outgoing.put(chunk)
        await checkpoint()
    for _ in range(5):  # what it asked for is under way when it goes
        await checkpoint()
    hostile.transport.outgoing.end()
    await ended.wait()
    _check_answers(chunks, await hostile.receive_to_the_end())
    # Nothing of it is left but the bystander's.
    await turns_until(lambda: leadership.calls.running == 0)
    assert len(leadership.log.of("link_protocol_error")) <= 1
    await bystander.check()


def _check_answers(chunks: list[bytes], answers: list[Frame]) -> None:
    """Each frame says something, and nothing is answered that was not asked for."""
    decoder = FrameDecoder()
    asked = Counter(
        frame.request_id
        for frame in decoder.receive_frames(b"".join(chunks))
        if not frame.is_response
    )
    for answer in answers:
        message = decode_message(answer.connection, is_response=answer.is_response)
        assert not isinstance(message, UnknownMessage), message
        if answer.is_response:
            asked[answer.request_id] -= 1
            assert asked[answer.request_id] >= 0, answer


class _Bystander:
    """Another follower, that behaves."""

    def __init__(self, peer: FramePeer) -> None:
        self._peer = peer

    @classmethod
    async def joining(cls, leadership: _Leadership) -> _Bystander:
        serving, peer = leadership.follower(AGREED)
        leadership.tasks.start_soon(serving.run)
        peer.request(1, Subscribe('$$inner$$__{"path":"/k"}', {"path": "/k"}))
        _, message = await peer.receive_message()
        assert message == SubscribeAck(success=True)
        return cls(peer)

    async def check(self) -> None:
        """Call a method; values may have come meanwhile, as others may change them."""
        arguments = MSGPACK.encode([["still there"], {}])
        self._peer.request(2, Invoke("echo", 1, packed=True), pack_call(NO_DEADLINE, arguments))
        while True:
            frame, message = await self._peer.receive_message()
            if not isinstance(message, SubscribeResult):
                break
        assert (frame.request_id, message) == (2, InvokeResult(success=True))
        assert MSGPACK.decode(frame.application) == "still there"
