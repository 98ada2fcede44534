"""What a client needs of its role, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster_client._clock import Deadline
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import CallRequest
from cluster_client._event_queue import Gap
from cluster_client._identity import Identity
from cluster_client._registrations import Reg, Registration, check_registration
from cluster_client._snapshots import Snapshot
from cluster_client._streams import ItemSource
from cluster_client._subscriptions import EncodedValue
from cluster_client.options import ClientOptions
from cluster_protocol.codecs import Codec, SerializeJsonCodec


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """What a client was made of.

    Attributes:
        cls: The real client's class.
        args: Positional arguments of its constructor.
        kwargs: Keyword arguments of its constructor.
        table: Its delegated methods.
        options: The client's options.
        codecs: What it can encode with towards our peers, by name, the preferred codec first.
        node_codec: What it encodes with towards Node peers.
    """

    cls: type[Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    table: DelegateTable
    options: ClientOptions
    codecs: Mapping[str, Codec]
    node_codec: Codec = field(default_factory=SerializeJsonCodec)

    def check_registration(self, reg: Reg) -> Registration:
        """See `check_registration` of the module of that."""
        options = self.options
        return check_registration(reg, options.format_key, options.limits.depth)

    @property
    def identity(self) -> Identity:
        """What the clients of one channel must have in common."""
        return Identity.of(self.cls, self.options.identity)


@dataclass(frozen=True, slots=True)
class SessionEvents:
    """What a session tells its client. None of them may fail or block.

    Attributes:
        ready: Calls can be made.
        ending: No more calls can be made, but those in flight may still end well.
        value: A value of a registration came, under its key.
        missed: Values of a registration are missing here; under its key. For events only.
        real_client: The real client was lost, and why; or another one is ready.
        snapshot: What the next leader is to start from has changed.
    """

    ready: Callable[[], None]
    ending: Callable[[], None]
    value: Callable[[str, EncodedValue], None]
    missed: Callable[[str, Gap], None]
    real_client: Callable[[bool, str], None]
    snapshot: Callable[[Snapshot | None], None]


class StartError(Exception):
    """The real client did not start, here or in the leader; never seen by users.

    Attributes:
        error: What it raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Session(Protocol):
    """One leadership as one process sees it: as its leader or as a follower."""

    @property
    def is_leader(self) -> bool: ...

    @property
    def epoch(self) -> str:
        """Names the leadership."""
        ...

    @property
    def tells_events(self) -> bool:
        """Whether subscriptions to events are told of their gaps, by `SessionEvents.missed`."""
        ...

    async def call(self, request: CallRequest, unsent_until: Deadline) -> Any:
        """Call a method and return its result.

        Raises:
            LinkClosedError: If the session ends before the answer; tells
                whether the call may have been executed.
            ResponseTimeoutError: If no answer comes in time.
            Exception: What the real client raised.
        """
        ...

    async def call_oneway(self, request: CallRequest, unsent_until: Deadline) -> None:
        """Have a method called, without its result.

        Raises:
            LinkClosedError: If the session has ended; the call was not sent.
        """
        ...

    async def open_stream(self, request: CallRequest, unsent_until: Deadline) -> ItemSource:
        """Call a method whose result is streamed, and return where its items come from.

        Raises:
            LinkClosedError: If the session has ended; the call was not sent.
        """
        ...

    async def subscribe(self, registration: Registration) -> None:
        """Have the values of a registration sent, from now on.

        Raises:
            LinkClosedError: If the session ends before the answer.
            ResponseTimeoutError: If the real client does not accept in time.
            Exception: What the real client raised.
        """
        ...

    def unsubscribe(self, registration: Registration) -> None:
        """Have no more values of a registration sent. Never fails."""
        ...
