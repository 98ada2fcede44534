"""A link with a peer that the test plays."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.abc

from cluster_client._clock import Deadline
from cluster_client._link import Link
from cluster_protocol import FEATURES, Agreement, Frame, FrameDecoder, Invoke, Message
from support.logs import LogRecorder
from support.transports import FramePeer, MemoryTransport, connected_pair

AGREED: Final = Agreement("msgpack", FEATURES, epoch="epoch", pid=1)
CALL: Final = Invoke("echo", 1, packed=True)
LONG: Final = 3600.0
"""A limit that no test reaches."""


@dataclass
class RunningLink:
    """What a test has in hand of a link.

    Attributes:
        link: The link itself.
        transport: Its end of the connection.
        peer: The other end.
        log: What it logged.
        requests: The peer's requests, as they came.
        ended: Set when `Link.run` has returned.
        tasks: For the test's own tasks.
    """

    link: Link
    transport: MemoryTransport
    peer: FramePeer
    log: LogRecorder
    tasks: anyio.abc.TaskGroup
    requests: list[tuple[Frame, Message]] = field(default_factory=list)
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        await self.link.run(self.on_request)
        self.ended.set()

    def on_request(self, frame: Frame, message: Message) -> None:
        self.requests.append((frame, message))

    def start_call(self, application: bytes = b"", **limits: float) -> Call:
        call = Call(self.link, application, **limits)
        self.tasks.start_soon(call.run)
        return call


class Call:
    """A request in a task of its own.

    Attributes:
        scope: Cancels it.
        ended: Set when it has an outcome.
        answer: What `Link.request` returned.
        error: What it raised.
    """

    def __init__(
        self,
        link: Link,
        application: bytes,
        *,
        response_timeout: float = LONG,
        unsent_for: float = LONG,
    ) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.answer: Frame | None = None
        self.error: Exception | None = None
        self._link = link
        self._application = application
        self._response_timeout = response_timeout
        self._unsent_for = unsent_for

    async def run(self) -> None:
        with self.scope:
            try:
                self.answer = await self._link.request(
                    CALL.encode(),
                    self._application,
                    response_timeout=self._response_timeout,
                    unsent_until=Deadline.after(self._unsent_for),
                )
            except Exception as exc:
                self.error = exc
            self.ended.set()


@asynccontextmanager
async def open_link(
    agreement: Agreement | None = AGREED,
    *,
    decoder: FrameDecoder | None = None,
    wait_for_reader: bool = False,
) -> AsyncGenerator[RunningLink]:
    """Run a link until the end of the ``async with``."""
    here, there = connected_pair()
    log = LogRecorder()
    link = Link(
        here,
        decoder or FrameDecoder(),
        agreement=agreement,
        log=log,
        wait_for_reader=wait_for_reader,
    )
    async with anyio.create_task_group() as tasks:
        running = RunningLink(link, here, FramePeer(there), log, tasks)
        tasks.start_soon(running.run)
        yield running
        tasks.cancel_scope.cancel()
