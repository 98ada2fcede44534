"""Target: a follower with calls, a stream and a subscription, and a leader that sends anything."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from cluster_client import _exceptions
from cluster_client._clock import Deadline
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import CallRequest
from cluster_client._election import Joined
from cluster_client._event_queue import Gap
from cluster_client._follower import Follower
from cluster_client._registrations import check_registration
from cluster_client._session import ClientSpec, SessionEvents
from cluster_client._snapshots import Snapshot
from cluster_client._streams import ItemSource
from cluster_client._subscriptions import EncodedValue
from cluster_client.errors import ClusterClientError
from cluster_client.options import ClientOptions
from cluster_protocol import (
    VALUES_TAKEN,
    Agreement,
    Failure,
    FrameDecoder,
    ProtocolError,
    RemoteProtocolError,
    UnknownMessage,
    decode_message,
)
from fuzz.running import run
from fuzz.store import Store
from fuzz.values import MSGPACK
from fuzz.wire import chunks_of
from support.links import AGREED
from support.logs import LogRecorder
from support.transports import FramePeer, connected_pair

_AGREEMENTS: Final = (AGREED, None, replace(AGREED, features=AGREED.features - {VALUES_TAKEN}))
_TABLE: Final = DelegateTable(Store, {})
_SPEC: Final = ClientSpec(
    Store,
    (),
    {},
    _TABLE,
    ClientOptions.build({"name": "store"}),
    {"msgpack": MSGPACK},
    MSGPACK,
)
_REG: Final = check_registration({"path": "/k"})
_LONG: Final = 3600.0


def check_follower(data: bytes) -> None:
    """Whatever a leader sends, a caller gets a result or an error that is documented.

    Options as of `check_leader`.
    """
    options, stream = data[:2].ljust(2, b"\0"), data[2:]
    agreement = _AGREEMENTS[options[0] % len(_AGREEMENTS)]
    run(_Session(agreement).run, chunks_of(stream, options[1]))


class _Session:
    """A follower, and what it was told."""

    def __init__(self, agreement: Agreement | None) -> None:
        self._agreement = agreement
        self._open = 0
        self._all_ended = anyio.Event()
        self._raised: list[Exception] = []

    async def run(self, chunks: list[bytes]) -> None:
        here, there = connected_pair()
        follower = Follower(
            Joined(here, FrameDecoder(), self._agreement),
            _SPEC,
            SessionEvents(
                ready=lambda: None,
                ending=lambda: None,
                value=self._on_value,
                missed=self._on_missed,
                real_client=self._on_real_client,
                snapshot=self._on_snapshot,
            ),
            LogRecorder(),
        )
        leader = FramePeer(there)
        with _remembering(self._raised):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._ask, tasks, follower)
                tasks.start_soon(follower.run)
                for _ in range(3):
                    await checkpoint()
                for chunk in chunks:
                    leader.transport.outgoing.put(chunk)
                    await checkpoint()
                leader.transport.outgoing.end()
                # No call outlives its link, whatever came over it.
                await self._all_ended.wait()
            for frame in await leader.receive_to_the_end():
                message = decode_message(frame.connection, is_response=frame.is_response)
                assert not isinstance(message, UnknownMessage), message

    async def _ask(self, tasks: anyio.abc.TaskGroup, follower: Follower) -> None:
        """Make requests, whose ids are 1, 2 and so on."""
        later = Deadline.never()
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: follower.call(_request("get", "/k"), later),
            lambda: follower.call(_request("echo", [1]), later),
            lambda: self._read(follower.open_stream(_request("rows", 100), later)),
            lambda: follower.subscribe(_REG),
            lambda: follower.call_oneway(_request("put", "/k", 1), later),
        ]
        self._open = len(attempts)
        for attempt in attempts:
            tasks.start_soon(self._attempt, attempt)
            await checkpoint()

    async def _attempt(self, attempt: Callable[[], Awaitable[Any]]) -> None:
        try:
            await attempt()
        except (ProtocolError, ClusterClientError):
            pass
        except Exception as exc:
            # What the leader says that the real client raised; nothing else.
            if not any(exc is raised for raised in self._raised):
                raise
        self._open -= 1
        if not self._open:
            self._all_ended.set()

    async def _read(self, opening: Awaitable[ItemSource]) -> None:
        source = await opening
        try:
            while (item := await source.next()) is not None:
                _decode(item.decode)
        finally:
            source.close()

    def _on_value(self, key: str, value: EncodedValue) -> None:
        assert isinstance(key, str)
        _decode(value.decode)

    def _on_missed(self, key: str, gap: Gap) -> None:
        assert isinstance(key, str)
        assert isinstance(gap.reason, str)

    def _on_real_client(self, ready: bool, reason: str) -> None:
        assert isinstance(ready, bool)
        assert isinstance(reason, str)

    def _on_snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            _decode(snapshot.reveal)


def _request(name: str, *args: Any) -> CallRequest:
    method = _TABLE.by_target[name]
    return CallRequest(method, *method.bind(args, {}), math.inf)


def _decode(decode: Callable[[], Any]) -> None:
    try:
        decode()
    except RemoteProtocolError as exc:
        assert str(exc)


@contextmanager
def _remembering(made: list[Exception]) -> Generator[None]:
    """Keep what `from_failure` makes: a leader chooses among many classes of exceptions."""
    original = _exceptions.from_failure

    def from_failure(failure: Failure) -> Exception:
        exc = original(failure)
        made.append(exc)
        return exc

    _exceptions.from_failure = from_failure
    try:
        yield
    finally:
        _exceptions.from_failure = original
