"""What a client, and a leader above all, takes from its peers at most (SPEC section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from cluster_client.errors import ConfigurationError
from cluster_protocol import FrameLimits

__all__ = ["DEFAULTS", "Limits"]

_CONNECTION: Final = 1 << 20
"""Bytes of a connection object; a registration of 256 KiB with all escapes fits (SPEC 2.3)."""

_MARGIN: Final = 64
"""Bytes by which a value must be smaller than a frame: a packed call adds its deadline."""

_RANGES: Final[dict[str, tuple[float, float]]] = {
    "frame_size": (1 << 20, 1 << 30),
    "depth": (3, 500),
    "arguments": (1, 1 << 20),
    "method_name": (1, 1 << 16),
    "calls_per_follower": (1, 1 << 24),
    "calls": (1, 1 << 24),
    "subscriptions_per_follower": (1, 1 << 24),
    "connections": (1, 1 << 20),
    "registration_time": (0, 3600),
}
_WHOLE: Final = frozenset(_RANGES) - {"registration_time"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps on what one process makes another one do; an option of every client.

    They hold in the leader towards each follower, and as far as they concern values and calls in
    every role, so that nothing works in a test that fails behind a real leader. All processes of a
    channel should have the same. Nothing beyond a cap costs anybody else anything.

    Attributes:
        frame_size: Bytes of an application object: arguments, a result, a value. 1 MiB to 1 GiB. A
            larger one raises `EncodeError` where it comes from; a frame that is larger all the
            same closes the connection.
        depth: How deeply a value nests: 1 is a list of scalars. 3 to 500. The arguments of
            a call are 2 levels deep by themselves, as a list in a list. Deeper ones raise
            `EncodeError`, which names the path; in what a peer sent they fail that call, or that
            value. A codec of your own (``transcode``) has to see to it itself.
        arguments: Of a call, positional and keyword. `EncodeError` at the caller, `RefusedError` in
            the leader.
        method_name: Bytes of a method's name. `ConfigurationError` where it is delegated,
            `RefusedError` in the leader.
        calls_per_follower: Calls of one client that run, or wait for their turn, in the leader.
            One more is answered with `RefusedError` at once and is not run.
        calls: The same for all clients of the leader together.
        subscriptions_per_follower: Registrations that one client is subscribed to. One more
            raises `RefusedError`, and nobody else notices.
        connections: On the port of this process, registered or not. One more is closed at once,
            which is logged once per burst; a follower tries again as long as it waits for a leader.
        registration_time: Seconds that a new connection has for its registration, then it is
            closed. More than 0, up to 3,600.

    Raises:
        ConfigurationError: If a value is of the wrong kind or out of its range.
    """

    frame_size: int = 64 << 20
    depth: int = 100
    arguments: int = 256
    method_name: int = 256
    calls_per_follower: int = 4096
    calls: int = 16384
    subscriptions_per_follower: int = 16384
    connections: int = 1024
    registration_time: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.name in _WHOLE
            lowest, highest = _RANGES[field.name]
            fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            # NaN is in no range.
            if not fits or not lowest <= value <= highest or value <= 0:
                kind = "an integer" if whole else "a number of seconds"
                above = f"from {lowest:,}" if lowest else "above 0"
                raise ConfigurationError(
                    f"limit {field.name}={value!r} must be {kind} {above} to {highest:,}"
                )

    @property
    def frames(self) -> FrameLimits:
        """What a decoder of frames is to accept after the registration."""
        return FrameLimits(connection=_CONNECTION, application=self.frame_size)

    @property
    def encoded_size(self) -> int:
        """Bytes of an encoded value that fits a frame whatever is sent with it."""
        return self.frame_size - _MARGIN


DEFAULTS: Final = Limits()
