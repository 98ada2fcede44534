"""Single mode: the clients of one name in this process share a real client (SPEC 8.8)."""

from __future__ import annotations

import os
import uuid
from typing import Any, Final

import anyio
from anyio.lowlevel import RunVar

from cluster_client import _backend
from cluster_client._host import Host, HostEvents
from cluster_client._local_session import LocalSession
from cluster_client._session import ClientSpec, SessionEvents, StartError
from cluster_client.errors import ConfigurationError, IdentityError

__all__ = ["Shared", "Single", "acquire"]

_ABORT_LIMIT: Final = 1.0


class Shared:
    """The one host of a name, while anybody uses it.

    Args:
        spec: What its first client was made of.
        log: Logger, already bound to that client.

    Attributes:
        users: How many sessions use it.
        settled: Set when the real client has started, or has failed to.
        error: Why it has failed.
        closed: Set when it is closed.
    """

    def __init__(self, spec: ClientSpec, log: Any) -> None:
        self.spec = spec
        self.host = Host(spec, None, log)
        self.epoch = uuid.uuid4().hex
        self.users = 0
        self.settled = anyio.Event()
        self.error: Exception | None = None
        self.unused = anyio.Event()
        self.closed = anyio.Event()
        self._start = anyio.CancelScope()

    async def run(self) -> None:
        """Have the real client until nobody uses it any more."""
        try:
            with self._start:
                async with self.host.open():
                    self.settled.set()
                    await self.unused.wait()
                    self.host.stop_renewing()
        except Exception as exc:
            self.error = exc
        finally:
            self._forget()
            self.settled.set()
            self.closed.set()

    def release(self) -> None:
        """Count a user less; the last one closes it."""
        self.users -= 1
        if self.users == 0:
            self.unused.set()
            if not self.settled.is_set():
                self._start.cancel()

    def _forget(self) -> None:
        if _shared().get(self.spec.options.name) is self:
            del _shared()[self.spec.options.name]


class Single(LocalSession):
    """A session in single mode; lives while `run` runs.

    Args:
        shared: From `acquire`; `run` releases it.
        spec: What the client was made of.
        events: Where the client wants to be told.
        log: Logger, already bound to the client.

    Source:
        cluster-client 3.7.0, ``lib/wrapper/single.js``.
    """

    def __init__(self, shared: Shared, spec: ClientSpec, events: SessionEvents, log: Any) -> None:
        super().__init__(shared.host, spec, events, log)
        self._shared = shared
        self._stop = anyio.Event()

    @property
    def epoch(self) -> str:
        return self._shared.epoch

    def stop(self) -> None:
        """Make `run` end, after the calls of this client."""
        self._stop.set()

    async def run(self) -> None:
        """Share the real client until asked to stop.

        Raises:
            StartError: If the real client's constructor or start raised.

        Cancellation:
            The calls of this client are cut off.
        """
        shared = self._shared
        watcher = HostEvents(
            real_client=self._events.real_client,
            snapshot=lambda _: None,  # there is nobody who could be handed it
            step_down=shared.host.renew,  # and nobody else who could lead
        )
        try:
            await shared.settled.wait()
            if shared.error is not None:
                raise StartError(shared.error)
            shared.host.watchers.append(watcher)
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._watch)
                self._events.ready()
                await self._stop.wait()
                await self._end()
                tasks.cancel_scope.cancel()
        finally:
            self._ending = True
            if watcher in shared.host.watchers:
                shared.host.watchers.remove(watcher)
                for subscriber in (self._of_states, self._of_events):
                    shared.host.hub.remove_everywhere(subscriber)
            shared.release()
            if not shared.users:
                with anyio.CancelScope(shield=True):  # its close has its own limit
                    await shared.closed.wait()

    async def _watch(self) -> None:
        """Fail with what the host failed with: a bug of ours, which must not go unseen."""
        await self._shared.closed.wait()
        raise RuntimeError("the real client's host has ended") from self._shared.error

    async def _end(self) -> None:
        self._ending = True
        self._events.ending()
        limit = self._spec.options.drain_timeout
        if not await self._calls.drain(limit):
            self._log.warning("drain_timed_out", limit=limit, calls=self._calls.running)
            self._calls.abort()
            await self._calls.drain(_ABORT_LIMIT)


async def acquire(spec: ClientSpec, log: Any) -> Shared:
    """Return what the clients of this name share, as one more user of it.

    Raises:
        ConfigurationError: If the name belongs to another class in this process.
        IdentityError: If it belongs to another ``identity``.

    Cancellation:
        Safe.
    """
    name = spec.options.name
    while (shared := _shared().get(name)) is not None and shared.unused.is_set():
        await shared.closed.wait()  # its last user has just left
    if shared is None:
        shared = _shared()[name] = Shared(spec, log)
        _backend.start_background_task(shared.run)
    elif shared.spec.cls is not spec.cls:
        raise ConfigurationError(
            f"{name!r} is {shared.spec.cls.__qualname__} in this process already, and cannot be "
            f"{spec.cls.__qualname__}; give one of them another name"
        )
    elif shared.spec.identity != spec.identity:
        pid = os.getpid()
        raise IdentityError(name, shared.spec.identity.describe(pid), spec.identity.describe(pid))
    shared.users += 1
    return shared


# Per event loop: a real client of one loop is of no use to another.
_shared_of_run: Final[RunVar[dict[str, Shared]]] = RunVar("cluster_client_shared")


def _shared() -> dict[str, Shared]:
    try:
        return _shared_of_run.get()
    except LookupError:
        found: dict[str, Shared] = {}
        _shared_of_run.set(found)
        return found
