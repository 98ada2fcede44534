"""A session in the process that has the real client: as leader, or in single mode."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from cluster_client import _exceptions
from cluster_client._calls import Admission, CallExecutor, Outcome
from cluster_client._clock import Deadline
from cluster_client._dialects import Arguments, CallRequest, PeerDialect, unpack_arguments
from cluster_client._event_queue import Gap
from cluster_client._host import Host
from cluster_client._registrations import Registration
from cluster_client._session import ClientSpec, SessionEvents
from cluster_client._streams import FIRST_CREDIT, ItemSource, StreamReader, Window, cost_of
from cluster_client._subscriptions import EncodedValue
from cluster_client.errors import LinkClosedError, RefusedError, ResponseTimeoutError
from cluster_protocol.codecs import Codec

__all__ = ["LocalSession"]


class LocalSession:
    """Calls the real client of its own process, by the rules of a follower's session.

    Args:
        host: Has the real client.
        spec: What the client was made of.
        events: Where the client wants to be told.
        log: Logger, already bound to the client.
    """

    def __init__(self, host: Host, spec: ClientSpec, events: SessionEvents, log: Any) -> None:
        self.codec: Codec = next(iter(spec.codecs.values()))
        limits = spec.options.limits
        self._dialect = PeerDialect(self.codec, limits)
        self._host = host
        self._spec = spec
        self._events = events
        self._log = log
        self._calls = CallExecutor(host, spec.table, log, limits)
        self._own_calls = 0
        self._of_states = LocalSubscriber(self.codec, events, events=False)
        self._of_events = LocalSubscriber(self.codec, events, events=True)
        self._tasks: anyio.abc.TaskGroup  # while it can be used
        self._ending = False

    @property
    def is_leader(self) -> bool:
        return True

    @property
    def tells_events(self) -> bool:
        return True

    def _arguments(self, request: CallRequest) -> Arguments:
        """Return the arguments as a follower's would arrive.

        Decoded again: the real client must not get the caller's own objects.
        """
        data = request.encode(self.codec, self._dialect.limits)
        if self._ending:
            raise LinkClosedError("leadership ends", sent=False)
        try:
            return unpack_arguments(self.codec.decode(data))
        except Exception as exc:  # a registered type's, or the user's own codec
            failure = _exceptions.to_failure(exc, self.codec)
            raise _exceptions.from_failure(failure) from exc

    async def call(self, request: CallRequest, unsent_until: Deadline) -> Any:
        """See `Session.call`; nothing is ever unsent here, as there is no link."""
        del unsent_until
        # A method that never waits must not keep the event loop from everybody else.
        await checkpoint()
        arguments = self._arguments(request)
        deadline = Deadline.after(request.timeout)
        admission = self._admit(request)
        try:
            outcome = await self._calls.execute(
                request.method.wire_name,
                arguments,
                dialect=self._dialect,
                deadline=deadline,
                admission=admission,
            )
        finally:
            self._own_calls -= 1
        if outcome is not None:
            return outcome.unwrap(self.codec)
        if deadline.passed:
            raise ResponseTimeoutError(request.method.name, request.timeout)
        raise LinkClosedError("the call was aborted, as leadership ended", sent=True)

    async def call_oneway(self, request: CallRequest, unsent_until: Deadline) -> None:
        """See `Session.call_oneway`."""
        del unsent_until
        arguments = self._arguments(request)
        try:
            admission = self._admit(request)
        except RefusedError:  # nobody is told, as nobody would be by another leader
            self._log.warning("oneway_call_failed", method=request.method.wire_name)
            return
        self._tasks.start_soon(self._execute_oneway, request.method.wire_name, arguments, admission)

    def _admit(self, request: CallRequest) -> Admission:
        """Count a call of the client's own, by the rules for followers; until `_own_calls` is less.

        Raises:
            RefusedError: If too many are running.
        """
        calls, most = self._calls, self._dialect.limits.calls_per_follower
        if self._own_calls >= most or len(calls.admitted) >= calls.most:
            raise self._calls.excess(request.method.wire_name, self._own_calls)
        self._own_calls += 1
        return self._calls.admit()

    async def _execute_oneway(self, name: str, arguments: Arguments, admission: Admission) -> None:
        try:
            outcome = await self._calls.execute(
                name,
                arguments,
                dialect=self._dialect,
                deadline=Deadline.never(),
                admission=admission,
            )
        finally:
            self._own_calls -= 1
        if outcome is not None and not outcome.success:
            self._log.warning("oneway_call_failed", method=name)

    async def open_stream(self, request: CallRequest, unsent_until: Deadline) -> ItemSource:
        """See `Session.open_stream`."""
        del unsent_until
        await checkpoint()  # who is refused, and tries again at once, must let others go on
        arguments = self._arguments(request)
        stream = _LocalStream(self._admit(request))
        self._tasks.start_soon(self._execute_stream, request, arguments, stream)
        return stream.reader

    async def _execute_stream(
        self, request: CallRequest, arguments: Arguments, stream: _LocalStream
    ) -> None:
        deadline = Deadline.after(request.timeout)
        sink = _LocalSink(stream, self.codec)
        outcome: Outcome | None = None
        try:
            outcome = await self._calls.execute(
                request.method.wire_name,
                arguments,
                dialect=self._dialect,
                deadline=deadline,
                admission=stream.admission,
                sink=sink,
            )
        finally:
            self._own_calls -= 1
            if outcome is not None:
                stream.finish(outcome, self.codec)
            elif deadline.passed and not sink.used:
                stream.reader.finish(ResponseTimeoutError(request.method.name, request.timeout))
            else:
                stream.reader.finish(
                    LinkClosedError("the stream was cut off, as leadership ended", sent=True)
                )

    async def subscribe(self, registration: Registration) -> None:
        """See `Session.subscribe`."""
        if self._ending:
            raise LinkClosedError("leadership ends", sent=False)
        upstream = self._host.hub.add(registration, registration.key, self._receiver(registration))
        limit = self._spec.options.response_timeout
        with anyio.move_on_after(limit) as scope:
            try:
                await self._host.hub.settle(upstream)
            except LinkClosedError:
                raise
            except Exception as exc:  # as a follower would get it
                failure = _exceptions.to_failure(exc, self.codec)
                raise _exceptions.from_failure(failure) from exc
        if scope.cancelled_caught:
            raise ResponseTimeoutError("subscribe", limit)

    def unsubscribe(self, registration: Registration) -> None:
        """See `Session.unsubscribe`."""
        self._host.hub.remove(registration, self._receiver(registration))

    def _receiver(self, registration: Registration) -> LocalSubscriber:
        return self._of_events if registration.events else self._of_states


class LocalSubscriber:
    """Gives the client of this process its values; see `Subscriber`.

    Args:
        codec: In which they come.
        session_events: Where the client wants to be told.
        events: Whether each value counts.
    """

    def __init__(self, codec: Codec, session_events: SessionEvents, *, events: bool) -> None:
        self.codec = codec
        self.events = events
        self._session_events = session_events

    def deliver(self, key: str, data: bytes) -> None:
        self._session_events.value(key, EncodedValue(self.codec, data))

    def miss(self, key: str, gap: Gap) -> None:
        self._session_events.missed(key, gap)


class _LocalStream:
    """A stream within the process.

    Args:
        admission: Cancels it.
    """

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.window = Window(FIRST_CREDIT)
        self.reader = StreamReader(grant=self.window.grant, cancel=admission.cancel)

    def finish(self, outcome: Outcome, codec: Codec) -> None:
        try:
            outcome.check(codec)
        except Exception as exc:
            self.reader.finish(exc)
        else:
            self.reader.finish(None)


class _LocalSink:
    """See `ItemSink`."""

    def __init__(self, stream: _LocalStream, codec: Codec) -> None:
        self.used = False
        self._stream = stream
        self._codec = codec

    async def put(self, data: bytes) -> None:
        self.used = True
        await self._stream.window.take(cost_of(len(data)))
        self._stream.reader.put(EncodedValue(self._codec, data), len(data))
