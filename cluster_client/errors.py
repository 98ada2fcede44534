"""Everything that the toolkit raises on its own account.

::

    ClusterClientError
    ├── ConfigurationError (ValueError)      an option, delegate or class cannot work
    ├── ElectionError                        no leadership came about
    │   ├── LeaderUnavailableError           … in the time allowed
    │   ├── PortOccupiedError                … because somebody else has the port
    │   ├── AuthenticationError              … as one side may not be the other's peer
    │   └── IdentityError                    … as the two sides mean different real clients
    ├── LinkError                            the connection to the leader
    │   ├── LinkClosedError                  … is gone
    │   └── ResponseTimeoutError (TimeoutError)  … brought no answer in time
    ├── CallError                            one call
    │   ├── RemoteInvokeError                … raised something that has no class here
    │   ├── OutcomeUnknownError              … may or may not have been executed
    │   │   └── StreamInterruptedError       … a stream whose leader was lost amid its items
    │   ├── RefusedError                     … was not executed
    │   ├── EncodeError (ValueError)         … carries a value that the codec cannot
    │   └── ForkedClientError                … came from a forked child
    └── ClientClosedError                    the client is not open

The real client's own exceptions arrive as the same class where that class is
registered (`register_exception`) or a builtin on the allow-list, else as
`RemoteInvokeError`. Errors of the wire are `cluster_protocol.ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cluster_client._endpoints import Endpoint, describe_endpoint

__all__ = [
    "AuthenticationError",
    "CallError",
    "ClientClosedError",
    "ClusterClientError",
    "ConfigurationError",
    "ElectionError",
    "EncodeError",
    "ForkedClientError",
    "IdentityError",
    "LeaderUnavailableError",
    "LinkClosedError",
    "LinkError",
    "OutcomeUnknownError",
    "PortOccupiedError",
    "RefusedError",
    "RemoteInvokeError",
    "ResponseTimeoutError",
    "StreamInterruptedError",
]


class ClusterClientError(Exception):
    """Base of all errors of the toolkit."""


class ConfigurationError(ClusterClientError, ValueError):
    """An option, a delegate or the real client's class cannot work as given."""


# ------------------------------------------------------------------ election


class ElectionError(ClusterClientError):
    """No leadership came about: the port could not be bound, or nobody leads."""


class LeaderUnavailableError(ElectionError):
    """No leader of the channel was found in the time allowed.

    Attributes:
        channel: Name of the client.
        endpoint: The election port, or the path of the socket.
        waited: How long, in seconds.
        reason: What the last attempt met.
        holder_pid: Process that holds it, if it told.
        holder_channels: The channels that it serves, if it told.
    """

    def __init__(
        self,
        channel: str,
        endpoint: Endpoint,
        waited: float,
        reason: str,
        *,
        holder_pid: int | None = None,
        holder_channels: Sequence[str] = (),
    ) -> None:
        super().__init__(channel, endpoint, waited, reason)
        self.channel = channel
        self.endpoint = endpoint
        self.waited = waited
        self.reason = reason
        self.holder_pid = holder_pid
        self.holder_channels = tuple(holder_channels)

    @property
    def port(self) -> int | None:
        """The election port; ``None`` where there is a socket instead."""
        return self.endpoint if isinstance(self.endpoint, int) else None

    def __str__(self) -> str:
        text = (
            f"no leader of {self.channel!r} on {describe_endpoint(self.endpoint)} after "
            f"{self.waited:.1f} s: {self.reason}"
        )
        if self.holder_pid is not None:
            channels = ", ".join(map(repr, self.holder_channels)) or "nothing"
            text += (
                f"; process {self.holder_pid} holds it and serves {channels}: create "
                f"{self.channel!r} there, too, or give this client another port"
            )
        return text


class PortOccupiedError(ElectionError):
    """The election port, or the socket, is held by somebody who cannot be our leader.

    Attributes:
        endpoint: The election port, or the path of the socket.
        reason: Who or what holds it, as far as it can be told.
    """

    def __init__(self, endpoint: Endpoint, reason: str) -> None:
        super().__init__(endpoint, reason)
        self.endpoint = endpoint
        self.reason = reason

    @property
    def port(self) -> int | None:
        """The election port; ``None`` where there is a socket instead."""
        return self.endpoint if isinstance(self.endpoint, int) else None

    def __str__(self) -> str:
        return f"{describe_endpoint(self.endpoint)} is occupied: {self.reason}"


class AuthenticationError(ElectionError):
    """Leader and follower may not be peers: another user, or not the same secret.

    Attributes:
        endpoint: The election port, or the path of the socket.
        reason: Why, in words.
    """

    def __init__(self, endpoint: Endpoint, reason: str) -> None:
        super().__init__(endpoint, reason)
        self.endpoint = endpoint
        self.reason = reason

    def __str__(self) -> str:
        return f"{describe_endpoint(self.endpoint)}: {self.reason}"


class IdentityError(ElectionError):
    """The leader's real client is not what this client was made for.

    Another class, or another ``identity``: to be served by it would be to get somebody else's
    data. Give one of the two another name, or make them the same.

    Attributes:
        channel: The name that both have.
        leader: What leads, in words.
        follower: What wanted to follow.
    """

    def __init__(self, channel: str, leader: str, follower: str) -> None:
        super().__init__(channel, leader, follower)
        self.channel = channel
        self.leader = leader
        self.follower = follower

    def __str__(self) -> str:
        return (
            f"{self.channel!r} is led by {self.leader}, and {self.follower} cannot follow it: "
            f"give one of them another name"
        )


# ---------------------------------------------------------------------- link


class LinkError(ClusterClientError):
    """The connection between follower and leader failed."""


class LinkClosedError(LinkError):
    """The link is closed.

    Attributes:
        sent: False if the peer cannot have received the whole request, so that
            sending it to another leader is safe.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), sent=self.sent), self.args


class ResponseTimeoutError(LinkError, TimeoutError):
    """The leader did not answer in time; the call may have been executed.

    Attributes:
        method: What was called.
        timeout: The limit in seconds, counted from when the call was written.
    """

    def __init__(self, method: str, timeout: float) -> None:
        super().__init__(method, timeout)
        self.method = method
        self.timeout = timeout

    def __str__(self) -> str:
        return (
            f"{self.method!r} was not answered within {self.timeout:g} s; raise response_timeout "
            f"if it takes longer by nature"
        )


# ---------------------------------------------------------------------- call


class CallError(ClusterClientError):
    """One call failed; the client and other calls are unaffected."""


class RemoteInvokeError(CallError):
    """The real client raised an exception whose class is not known here.

    Attributes:
        remote_name: Name of its class.
        message: Its text.
        code: Its ``code`` attribute; ``None`` if it had none.
        remote_stack: Its traceback in the leader, as text.
        fields: Its other attributes.
    """

    def __init__(
        self,
        remote_name: str,
        message: str,
        *,
        code: object = None,
        remote_stack: str = "",
        fields: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(remote_name, message)
        self.remote_name = remote_name
        self.message = message
        self.code = code
        self.remote_stack = remote_stack
        self.fields = dict(fields or {})

    def __str__(self) -> str:
        return f"{self.remote_name}: {self.message}"


class OutcomeUnknownError(CallError):
    """The leader was lost while the call was in flight: it may have been executed.

    Declare the method idempotent, and it is sent again instead.

    Attributes:
        method: What was called.
        epoch: The leadership under which it was sent.
    """

    def __init__(self, method: str, epoch: str) -> None:
        super().__init__(method, epoch)
        self.method = method
        self.epoch = epoch

    def __str__(self) -> str:
        return (
            f"the leader was lost while {self.method!r} was in flight, so nobody knows whether it "
            f"was executed; if executing it twice does no harm, declare it idempotent"
        )


class StreamInterruptedError(OutcomeUnknownError):
    """The leader was lost while a stream was being read; the rest of it does not come.

    Attributes:
        method: What was called.
        epoch: The leadership under which it ran.
        received: How many items came before.
    """

    def __init__(self, method: str, epoch: str, received: int) -> None:
        CallError.__init__(self, method, epoch, received)
        self.method = method
        self.epoch = epoch
        self.received = received

    def __str__(self) -> str:
        return (
            f"the leader was lost after {self.received} items of {self.method!r}; a stream is not "
            f"resumed: call the method again, from where it makes sense"
        )


class RefusedError(CallError):
    """The leader did not execute the call; making it again is safe.

    Attributes:
        method: What was called.
        reason: Why it was refused.
    """

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(method, reason)
        self.method = method
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.method!r} was refused: {self.reason}"


class EncodeError(CallError, ValueError):
    """An argument, a result or a registration holds what cannot be sent."""


class ForkedClientError(CallError):
    """The client was opened before a fork, and this is the child.

    Its connection belongs to the parent. Open a client after the fork.
    """


class ClientClosedError(ClusterClientError):
    """The client is not open: not yet entered, closed, or closing."""
