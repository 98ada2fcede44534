"""Running the race until this process leads or follows (SPEC section 8.1)."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any, Final

from cluster_client import _backend, _clock, _exceptions, _fork
from cluster_client._access import Access, new_nonce
from cluster_client._backoff import Backoff
from cluster_client._clock import Deadline
from cluster_client._election import Joined, Sighting, StartFailed, join
from cluster_client._endpoints import Endpoint, describe_endpoint
from cluster_client._server import Seat, contenders, race
from cluster_client._session import ClientSpec, StartError
from cluster_client.errors import (
    ElectionError,
    ForkedClientError,
    LeaderUnavailableError,
    PortOccupiedError,
)
from cluster_protocol import FEATURES, Offer

_MAX_OFFERED: Final = 1500
"""Bytes of a registration, which has 4 KiB in all (SPEC 2.3)."""


def _offered(candidates: Counter[str]) -> tuple[str, ...]:
    """Return the channels that the process could lead, as many as fit a registration.

    Leaving some out is safe: it only makes a holder less ready to make way.
    """
    channels: list[str] = []
    size = 0
    for channel in sorted(+candidates):  # without those of count 0
        size += len(json.dumps(channel)) + 1
        if size > _MAX_OFFERED:
            break
        channels.append(channel)
    return tuple(channels)


def _check_place(endpoint: Endpoint) -> None:
    if isinstance(endpoint, str):
        try:
            _backend.check_directory(endpoint)
        except OSError as exc:
            raise ElectionError(f"{describe_endpoint(endpoint)} is not safe to use: {exc}") from exc


class Campaign:
    """One client's part in the elections of its port.

    Args:
        spec: What the client was made of.
        log: Logger, already bound to the client.
    """

    def __init__(self, spec: ClientSpec, log: Any) -> None:
        self._spec = spec
        self._access = Access.of(spec.options)
        self._log = log
        self._reason_told = ""

    async def run(self, deadline: Deadline, *, first: bool) -> Seat | Joined:
        """Race and join in turn until one of the two succeeds.

        Args:
            deadline: When to give up.
            first: Whether the client is being opened. Then a port that can't
                be had is an error at once.

        Raises:
            LeaderUnavailableError: If the deadline passed.
            PortOccupiedError: If the port is held by another program, or must
                be ours and is not.
            ElectionError: If the port cannot be bound, or others have access to the socket.
            StartError: If there is a leader whose real client failed to start.
            ForkedClientError: If this has become a forked child.

        Cancellation:
            Safe at any point; nothing stays open.
        """
        options = self._spec.options
        _check_place(options.endpoint)
        begin = _clock.now()
        generation = _fork.generation()
        backoff = Backoff()
        sighting: Sighting | None = None
        while True:
            if generation != _fork.generation():
                raise ForkedClientError(
                    f"the election for {options.name!r} on {describe_endpoint(options.endpoint)} "
                    f"is the parent process's; create and open a client after the fork"
                )
            before, sighting = sighting, Sighting()
            if options.is_leader is not False:
                seat = race(options.endpoint, options.name, self._access)
                if seat is not None:
                    return seat
                sighting.reason = "another process holds it"
            if options.is_leader is not True:
                joined = await self._join(deadline, sighting)
                if joined is not None:
                    return joined
            elif first:
                raise PortOccupiedError(
                    options.endpoint,
                    f"{options.name!r} has is_leader=True and another process, or another client "
                    f"of this one, leads there",
                )
            if sighting.cut_short and before is not None:
                sighting = before  # what was met when there was time
            self._tell(sighting.reason)
            await backoff.pause(most=deadline.remaining)
            if deadline.passed:
                raise LeaderUnavailableError(
                    options.name,
                    options.endpoint,
                    _clock.now() - begin,
                    sighting.reason,
                    holder_pid=sighting.pid,
                    holder_channels=sighting.channels,
                )

    async def _join(self, deadline: Deadline, sighting: Sighting) -> Joined | None:
        options, identity = self._spec.options, self._spec.identity
        result = await join(
            options.endpoint,
            options.name,
            offer=Offer(
                codecs=tuple(self._spec.codecs),
                features=FEATURES,
                pid=os.getpid(),
                channels=_offered(contenders(options.endpoint)),
                nonce=None if self._access.secret is None else new_nonce(),
                class_name=identity.class_name,
                identity=identity.fingerprint,
            ),
            access=self._access,
            codecs=self._spec.codecs,
            node_codec=self._spec.node_codec,
            connect_timeout=options.connect_timeout,
            silence_limit=options.response_timeout,
            deadline=deadline,
            sighting=sighting,
            frames=options.limits.frames,
        )
        if isinstance(result, StartFailed):
            raise StartError(_exceptions.from_failure(result.failure))
        return result

    def _tell(self, reason: str) -> None:
        """Log why there is no leader yet, when that changes and not at each attempt."""
        if reason != self._reason_told:
            self._reason_told = reason
            self._log.info("no_leader_yet", reason=reason)
