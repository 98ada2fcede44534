"""Running calls on the real client: the same way for every caller (SPEC section 8).

A call of the leader's own process takes the same codec, limits and error rules as
a follower's, so a program cannot tell in which role it runs.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, NamedTuple, Protocol

import anyio
import anyio.lowlevel

from cluster_client import _backend, _exceptions
from cluster_client._alarm import Alarm
from cluster_client._clock import Deadline, now
from cluster_client._delegate_options import STREAM
from cluster_client._delegates import DelegateTable, Method
from cluster_client._dialects import Arguments, Dialect, shown_name
from cluster_client._encoding import encode
from cluster_client._items import Items
from cluster_client._real_client import RealClient
from cluster_client._streams import ItemSink
from cluster_client._threads import NotRunError
from cluster_client.errors import LinkClosedError, RefusedError
from cluster_client.limits import DEFAULTS, Limits
from cluster_protocol.codecs import Codec


class Outcome(NamedTuple):
    """What came of a call.

    Attributes:
        success: Whether *data* is the result; else it is the error.
        data: In the codec of the call.
        refused: Whether the method was not run, because leadership ends.
    """

    success: bool
    data: bytes
    refused: bool = False

    def unwrap(self, codec: Codec) -> Any:
        """Return the result.

        Raises:
            LinkClosedError: If the call was refused: it is to be made to the next leader.
            Exception: What the real client raised.
        """
        self.check(codec)
        return codec.decode(self.data)

    def check(self, codec: Codec) -> None:
        """Raise what `unwrap` raises, for a call that has no result of its own."""
        if self.refused:
            raise LinkClosedError("the leader refused the call, as leadership ends", sent=False)
        if not self.success:
            raise _exceptions.from_failure(_exceptions.Failure.from_value(codec.decode(self.data)))


class Provider(Protocol):
    """Has the real client, or will have one again."""

    @property
    def current(self) -> RealClient | None: ...

    async def wait(self) -> RealClient:
        """Wait for one; see `Host.wait`."""
        ...


class Admission:
    """A call that counts as running; made by `CallExecutor.admit`.

    Attributes:
        cancelled: Whether nobody waits for it any more.
        scope: Cancels it; ``None`` while it is not executed.
        expires: When its caller gives up, on the monotonic clock; for those in `Workers`.
    """

    __slots__ = ("cancelled", "expires", "scope")

    def __init__(self) -> None:
        self.cancelled = False
        self.scope: anyio.CancelScope | None = None
        self.expires = math.inf

    def cancel(self) -> None:
        """Stop it, or keep it from being executed."""
        self.cancelled = True
        if self.scope is not None:
            self.scope.cancel()


class CallExecutor:
    """Runs delegated methods, and knows how many are running.

    Args:
        provider: Has the real client.
        table: Its delegated methods; no other one can be called.
        log: Logger, already bound to the client.
        limits: How many may run.

    Attributes:
        admitted: The calls that are running, or about to.
        most: How many there may be, if those that admit them look at that.
    """

    def __init__(
        self, provider: Provider, table: DelegateTable, log: Any, limits: Limits = DEFAULTS
    ) -> None:
        self.limits = limits
        self.most = limits.calls
        self._provider = provider
        self._table = table
        self._log = log
        self.admitted: set[Admission] = set()
        self._idle = anyio.Event()
        self._draining = False
        self._alarm = Alarm(self._expire)
        self.refusing = False
        """Whether calls are refused, because leadership ends."""

    @property
    def running(self) -> int:
        return len(self.admitted)

    def admit(self) -> Admission:
        """Count a call as running from now on.

        From when it has arrived, and not from when its task gets its turn:
        else the end of leadership could slip in between, and lose it. To be
        followed by `execute`, or by `dismiss` in any case.
        """
        admission = Admission()
        self.admitted.add(admission)
        return admission

    def excess(self, name: str, own: int) -> RefusedError:
        """Return the error for a call for which there is no room."""
        limits = self.limits
        if own >= limits.calls_per_follower:
            told = f"{own} calls of this client are running (Limits.calls_per_follower"
        else:
            told = f"{len(self.admitted)} calls are running in the leader (Limits.calls"
        reason = f"{told}); make it again when some of them are done"
        return RefusedError(shown_name(name), reason)

    def dismiss(self, admission: Admission) -> None:
        """Count an admitted call no longer."""
        admission.scope = None
        self.admitted.discard(admission)
        if self._draining and not self.admitted:
            self._idle.set()

    async def execute(
        self,
        name: str,
        arguments: Arguments,
        *,
        dialect: Dialect,
        deadline: Deadline,
        admission: Admission,
        sink: ItemSink | None = None,
    ) -> Outcome | None:
        """Run a method; ``None`` if its caller has given up or it was aborted.

        Args:
            name: The method's, on the wire.
            arguments: Its arguments, which are the method's to keep.
            dialect: For the result, or the error.
            deadline: When the caller gives up; of a stream, on its first item. A call that comes
                too late is not run.
            admission: From `admit`. It cancels the method; one in a thread goes on, and its
                result is dropped.
            sink: Takes the items of a method that is streamed.
        """
        try:
            with anyio.CancelScope() as scope:
                admission.scope = scope
                scope.deadline = anyio.current_time() + deadline.remaining
                return await self._execute(name, arguments, dialect, deadline.at, admission, sink)
            return None
        finally:
            self.dismiss(admission)

    async def watch_deadlines(self) -> None:
        """Cancel calls of `execute_in` whose callers give up, until cancelled."""
        await self._alarm.run()

    def execute_in(
        self,
        scope: anyio.CancelScope,
        name: str,
        arguments: Arguments,
        *,
        dialect: Dialect,
        expires: float,
        admission: Admission,
    ) -> Coroutine[Any, Any, Outcome | None]:
        """Run a method as `execute` does, in a scope that is there already; to be awaited at once.

        Args:
            scope: Cancels it; to be left when it has been cancelled.
            name: As of `execute`.
            arguments: Likewise.
            dialect: Likewise.
            expires: When the caller gives up, on the monotonic clock. Then *scope* is cancelled.
            admission: Likewise. `dismiss` is to follow.
        """
        admission.scope = scope
        admission.expires = expires
        self._alarm.set(expires)
        return self._execute(name, arguments, dialect, expires, admission, None)

    def _expire(self, now: float) -> float:
        earliest = math.inf
        for admission in list(self.admitted):
            if admission.expires <= now:
                admission.cancel()
                admission.expires = math.inf
            else:
                earliest = min(earliest, admission.expires)
        return earliest

    async def _execute(
        self,
        name: str,
        arguments: Arguments,
        dialect: Dialect,
        expires: float,
        admission: Admission,
        sink: ItemSink | None,
    ) -> Outcome | None:
        if self.refusing:
            return self.refused(name, dialect)
        method = self._table.by_wire_name.get(name)
        if method is None or (method.kind == STREAM) is not (sink is not None):
            flaw = self._flaw(name, method, streamed=sink is not None)
            return self.failed(RefusedError(shown_name(name), flaw), dialect)
        if admission.cancelled or expires <= now():
            return None
        try:
            real = self._provider.current or await self._provider.wait()
        except LinkClosedError:
            return self.refused(name, dialect)
        except Exception as exc:  # another real client could not be started
            return self.failed(exc, dialect)
        try:
            if sink is not None:
                await self._stream(real, method, arguments, dialect, admission, sink)
                return Outcome(True, b"")
            result = await real.invoke(method.target, *arguments)
            data = encode(dialect.codec, result, method.result_title, dialect.limits)
            return Outcome(True, data)
        except KeyboardInterrupt:
            raise
        except NotRunError:  # the real client was lost while the call waited for a thread
            return await self._execute(name, arguments, dialect, expires, admission, sink)
        except anyio.get_cancelled_exc_class() as exc:
            if not _backend.is_stray(exc):
                raise
            return self.failed(CancelledError("what was awaited has been cancelled"), dialect)
        # SystemExit of a method is its caller's affair, not the end of everybody's leader.
        except BaseException as exc:
            return self.failed(exc, dialect)

    def _flaw(self, name: str, method: Method | None, *, streamed: bool) -> str:
        """Say why a method cannot be called in this way."""
        cls = self._table.cls.__qualname__
        if method is None:
            # One that is delegated has a name that is short enough.
            size = len(name.encode(errors="surrogatepass"))
            if size > self.limits.method_name:
                limit = self.limits.method_name
                return f"a name of {size} bytes, the limit is {limit} (Limits.method_name)"
            names = ", ".join(sorted(self._table.by_wire_name)) or "nothing"
            return f"{cls} does not delegate it; it delegates {names}"
        if streamed:
            return f"{cls} does not stream it in the leader's version"
        return f"{cls} streams it in the leader's version"

    async def drain(self, limit: float) -> bool:
        """Wait until no call is running; tells whether that came about in time."""
        with anyio.move_on_after(limit):
            self._draining = True
            while self.admitted:
                self._idle = anyio.Event()
                await self._idle.wait()
        return not self.admitted

    def abort(self) -> None:
        """Cancel what is still running."""
        for admission in list(self.admitted):
            admission.cancel()

    async def _stream(
        self,
        real: RealClient,
        method: Method,
        arguments: Arguments,
        dialect: Dialect,
        admission: Admission,
        sink: ItemSink,
    ) -> None:
        async with real.iterate(method.target, *arguments) as items:
            with _backend.stray_cancellations_as_errors():
                async for item in items:
                    title = f"item of {method.wire_name!r}"
                    data = encode(dialect.codec, item, title, dialect.limits)
                    scope = admission.scope
                    assert scope is not None  # noqa: S101 - of `execute`
                    if scope.cancel_called:
                        # If the first one is too late, nobody is told that no more follow.
                        await anyio.lowlevel.checkpoint_if_cancelled()
                    scope.deadline = math.inf  # it was for the first one
                    await self._put(data, scope, sink, items)

    async def _put(
        self, data: bytes, scope: anyio.CancelScope, sink: ItemSink, items: Items
    ) -> None:
        while True:
            try:
                return await sink.put(data)
            except anyio.get_cancelled_exc_class() as exc:
                if scope.cancel_called:
                    raise
                await items.throw(exc)

    def refused(self, name: str, dialect: Dialect) -> Outcome:
        """Return the outcome of a call that is not run, as leadership ends."""
        error = RefusedError(shown_name(name), "leadership ends")
        return Outcome(False, dialect.failure(error), True)

    def failed(self, exc: BaseException, dialect: Dialect) -> Outcome:
        """Return the outcome of a call that raised *exc*."""
        return Outcome(False, dialect.failure(exc))
