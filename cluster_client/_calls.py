"""Running calls on the real client: the same way for every caller (SPEC section 8).

A call of the leader's own process takes the same codec, limits and error rules as
a follower's, so a program cannot tell in which role it runs.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

import anyio
import anyio.lowlevel

from cluster_client import _backend, _exceptions
from cluster_client._clock import Deadline
from cluster_client._delegate_options import STREAM
from cluster_client._delegates import DelegateTable, Method
from cluster_client._dialects import Arguments, Dialect
from cluster_client._encoding import encode
from cluster_client._items import Items
from cluster_client._real_client import RealClient
from cluster_client._streams import ItemSink
from cluster_client.errors import LinkClosedError, RefusedError
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


class _Call(NamedTuple):
    """A call that is to be executed; see `CallExecutor.execute`."""

    name: str
    arguments: Arguments
    dialect: Dialect
    deadline: Deadline
    scope: anyio.CancelScope
    sink: ItemSink | None


class CallExecutor:
    """Runs delegated methods, and knows how many are running.

    Args:
        provider: Has the real client.
        table: Its delegated methods; no other one can be called.
        log: Logger, already bound to the client.
    """

    def __init__(self, provider: Provider, table: DelegateTable, log: Any) -> None:
        self._provider = provider
        self._table = table
        self._log = log
        self._running: set[anyio.CancelScope] = set()
        self._idle = anyio.Event()
        self.refusing = False
        """Whether calls are refused, because leadership ends."""

    @property
    def running(self) -> int:
        return len(self._running)

    def admit(self) -> anyio.CancelScope:
        """Count a call as running from now on, and return what cancels it.

        From when it has arrived, and not from when its task gets its turn:
        else the end of leadership could slip in between, and lose it. To be
        followed by `execute` or `dismiss`, whichever comes of it.
        """
        scope = anyio.CancelScope()
        self._running.add(scope)
        return scope

    def dismiss(self, scope: anyio.CancelScope) -> None:
        """Count an admitted call no longer."""
        self._running.discard(scope)
        if not self._running:
            self._idle.set()

    async def execute(
        self,
        name: str,
        arguments: Arguments,
        *,
        dialect: Dialect,
        deadline: Deadline,
        scope: anyio.CancelScope,
        sink: ItemSink | None = None,
    ) -> Outcome | None:
        """Run a method; ``None`` if its caller has given up or it was aborted.

        Args:
            name: The method's, on the wire.
            arguments: Its arguments, which are the method's to keep.
            dialect: For the result, or the error.
            deadline: When the caller gives up; of a stream, on its first item. A call that comes
                too late is not run.
            scope: From `admit`. It cancels the method; one in a thread goes on, and its result is
                dropped.
            sink: Takes the items of a method that is streamed.
        """
        call = _Call(name, arguments, dialect, deadline, scope, sink)
        try:
            return await self._execute(call)
        finally:
            self.dismiss(scope)

    async def _execute(self, call: _Call) -> Outcome | None:
        if self.refusing:
            return self.refused(call.name, call.dialect)
        method = self._table.by_wire_name.get(call.name)
        flaw = self._flaw(method, streamed=call.sink is not None)
        if method is None or flaw is not None:
            return self.failed(RefusedError(call.name, flaw or ""), call.dialect)
        if call.deadline.passed or call.scope.cancel_called:
            return None
        call.scope.deadline = anyio.current_time() + call.deadline.remaining
        with call.scope:
            try:
                real = self._provider.current or await self._provider.wait()
            except LinkClosedError:
                return self.refused(call.name, call.dialect)
            except Exception as exc:  # another real client could not be started
                return self.failed(exc, call.dialect)
            run = (
                self._run(real, method.target, call)
                if call.sink is None
                else self._stream(real, method.target, call, call.sink)
            )
            return await self._attempt(run, call.dialect)
        return None

    def _flaw(self, method: Method | None, *, streamed: bool) -> str | None:
        """Say why a method cannot be called in this way."""
        name = self._table.cls.__qualname__
        if method is None:
            names = ", ".join(sorted(self._table.by_wire_name)) or "nothing"
            return f"{name} does not delegate it; it delegates {names}"
        if streamed and method.kind != STREAM:
            return f"{name} does not stream it in the leader's version"
        if method.kind == STREAM and not streamed:
            return f"{name} streams it in the leader's version"
        return None

    async def drain(self, limit: float) -> bool:
        """Wait until no call is running; tells whether that came about in time."""
        with anyio.move_on_after(limit):
            while self._running:
                self._idle = anyio.Event()
                await self._idle.wait()
        return not self._running

    def abort(self) -> None:
        """Cancel what is still running."""
        for scope in list(self._running):
            scope.cancel()

    async def _run(self, real: RealClient, target: str, call: _Call) -> bytes:
        result = await real.invoke(target, *call.arguments)
        return encode(call.dialect.codec, result, f"result of {call.name!r}")

    async def _stream(self, real: RealClient, target: str, call: _Call, sink: ItemSink) -> bytes:
        async with real.iterate(target, *call.arguments) as items:
            with _backend.stray_cancellations_as_errors():
                async for item in items:
                    data = encode(call.dialect.codec, item, f"item of {call.name!r}")
                    if call.scope.cancel_called:
                        # If the first one is too late, nobody is told that no more follow.
                        await anyio.lowlevel.checkpoint_if_cancelled()
                    call.scope.deadline = math.inf  # it was for the first one
                    await self._put(data, call, sink, items)
        return b""

    async def _put(self, data: bytes, call: _Call, sink: ItemSink, items: Items) -> None:
        while True:
            try:
                return await sink.put(data)
            except anyio.get_cancelled_exc_class() as exc:
                if call.scope.cancel_called:
                    raise
                await items.throw(exc)

    async def _attempt(self, run: Coroutine[Any, Any, bytes], dialect: Dialect) -> Outcome:
        """Run code of the real client, and make an outcome of whatever comes."""
        try:
            return Outcome(True, await run)
        except (KeyboardInterrupt, anyio.get_cancelled_exc_class()):
            raise
        # SystemExit of a method is its caller's affair, not the end of everybody's leader.
        except BaseException as exc:
            return self.failed(exc, dialect)

    def refused(self, name: str, dialect: Dialect) -> Outcome:
        """Return the outcome of a call that is not run, as leadership ends."""
        return Outcome(False, dialect.failure(RefusedError(name, "leadership ends")), True)

    def failed(self, exc: BaseException, dialect: Dialect) -> Outcome:
        """Return the outcome of a call that raised *exc*."""
        return Outcome(False, dialect.failure(exc))
