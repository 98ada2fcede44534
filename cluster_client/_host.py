"""The real client of one leadership, made again when it is lost (SPEC sections 8.6 and 8.7)."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint_if_cancelled

from cluster_client import _backend, _clock
from cluster_client._backoff import Backoff
from cluster_client._changes import Changes
from cluster_client._clock import Deadline
from cluster_client._hub import SubscriptionHub
from cluster_client._logs import describe
from cluster_client._real_client import RealClient
from cluster_client._session import ClientSpec
from cluster_client._snapshots import Snapshot
from cluster_client.errors import LinkClosedError
from cluster_client.leadership import Leadership
from cluster_protocol.codecs import Codec

__all__ = ["Host", "HostEvents"]

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0

_taking: Final[ContextVar[object]] = ContextVar("cluster_client_taking", default=None)
"""The snapshot that is being taken by this code, or by what called it."""


@dataclass(frozen=True, slots=True)
class HostEvents:
    """What a host tells whoever leads with it. None of them may fail or block.

    Attributes:
        real_client: The real client was lost, and why; or another one is ready.
        snapshot: What the next leader is to start from has changed.
        step_down: The real client wants another process to lead, and why.
    """

    real_client: Callable[[bool, str], None]
    snapshot: Callable[[Snapshot | None], None]
    step_down: Callable[[str], None]


class _Instance:
    """What one real client says of itself; from any thread, passed on in the event loop.

    Attributes:
        over: Set when it is lost, or the host is closed.
        reason: Why it is lost; ``None`` while it is not.
        changed: Set when its snapshot has something new.
    """

    def __init__(self, on_step_down: Callable[[str], None]) -> None:
        self.over = anyio.Event()
        self.changed = anyio.Event()
        self.reason: str | None = None
        self._wake = wake = _backend.event_loop_waker()
        self._taken: object = None
        self.leadership = Leadership(
            lost=lambda reason: wake(lambda: self.lose(reason)),
            step_down=lambda reason: wake(lambda: self._step_down(reason)),
            state_changed=self._change,
        )
        self._on_step_down = on_step_down

    def lose(self, reason: str) -> None:
        if self.reason is None and not self.over.is_set():
            self.reason = reason
            self.over.set()

    @contextmanager
    def taking_snapshot(self) -> Generator[None]:
        """Ask for its snapshot inside. What changes meanwhile is for the next one."""
        self.changed = anyio.Event()
        self._taken = object()
        token = _taking.set(self._taken)
        try:
            yield
        finally:
            _taking.reset(token)
            self._taken = None

    def _change(self) -> None:
        taken = self._taken
        # Of what `snapshot` changes itself its result tells; another one would change it again,
        # and so on for ever. The context reaches threads and tasks that it uses, and some of
        # those live on: what they say later counts.
        if taken is None or _taking.get() is not taken:
            self._wake(self.changed.set)

    def _step_down(self, reason: str) -> None:
        if not self.over.is_set():
            self._on_step_down(reason)


class Host:
    """Has a real client while `open` is entered; usually one, after losses one after the other.

    Args:
        spec: What the client was made of.
        snapshot: What the last leader left.
        log: Logger, already bound to the client.

    Attributes:
        current: The real client; ``None`` while there is none.
        snapshot: The latest one of the real client; at first the last leader's.
        watchers: Whoever leads with it.
        hub: Its subscriptions; once it is open.
    """

    def __init__(self, spec: ClientSpec, snapshot: Snapshot | None, log: Any) -> None:
        self.current: RealClient | None = None
        self._inherited = snapshot if spec.table.hands_over_state else None
        self.snapshot = self._inherited
        self.watchers: list[HostEvents] = []
        self.hub: SubscriptionHub
        self._spec = spec
        self._log = log
        self._codec: Codec = next(iter(spec.codecs.values()))
        self._changes = Changes()
        self._start_error: Exception | None = None
        self._opened = anyio.Event()
        self._ended = anyio.Event()
        self._closing = False
        self._renewing = True
        self._instance: _Instance | None = None

    # ------------------------------------------------------------- lifetime

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Start the real client, and close it at the end.

        Raises:
            Exception: What the real client's constructor or start raised.

        Cancellation:
            During the start it is passed on. The close is shielded, and limited.
        """
        async with anyio.create_task_group() as keeping:
            async with anyio.create_task_group() as upstream_tasks:
                self._upstream_tasks = upstream_tasks
                # A task of its own: a real client has to be entered and left in one.
                keeping.start_soon(self._keep)
                await self._opened.wait()
                if self._start_error is None:
                    try:
                        yield
                    finally:
                        self.hub.close()
                upstream_tasks.cancel_scope.cancel()
            self._closing = True
            self._changes.announce()  # whoever waits for a real client waits in vain
            if self.current is not None and self._instance is not None:
                self._instance.over.set()
            else:
                keeping.cancel_scope.cancel()  # it makes another one, or waits to
            with anyio.CancelScope(shield=True):  # the real client's close has its own limit
                await self._ended.wait()
        if self._start_error is not None:
            raise self._start_error

    def stop_renewing(self) -> None:
        """Make no other real client from now on, as the leadership ends; calls need not wait."""
        self._renewing = False
        self._changes.announce()

    def renew(self, reason: str) -> None:
        """Take the real client for lost."""
        if self._instance is not None:
            self._instance.lose(reason)

    async def hand_over(self) -> None:
        """Let the real client know that its close is to leave standing what it hands over."""
        table = self._spec.table
        if self.current is not None and self.snapshot is not None and table.leaves_standing:
            await self.current.hand_over()

    async def wait(self) -> RealClient:
        """Return the real client, waiting for one while it is being made again.

        Raises:
            LinkClosedError: If there will be none any more.
            Exception: What the attempt to make one raised.

        Cancellation:
            Safe.
        """
        while self.current is None:
            if not self._renewing or self._closing:
                raise LinkClosedError("leadership ends", sent=False)
            await self._changes.next.wait()
        return self.current

    # --------------------------------------------------------- real clients

    async def _keep(self) -> None:
        """Have one real client after the other, until the host is closed."""
        backoff = Backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        try:
            await self._keep_first()
            while self._renewing and not self._closing and self._start_error is None:
                begin = _clock.now()
                error = await self._have_one(None, self._due())
                if error is not None:
                    self._log.warning("real_client_start_failed", error=describe(error))
                    self._changes.announce(error)
                if not self._closing:
                    await self._pause(backoff, _clock.now() - begin)
        finally:
            self._ended.set()

    async def _pause(self, backoff: Backoff, lasted: float) -> None:
        if lasted > _LONGEST_PAUSE:
            backoff.reset()
        await backoff.pause(less=lasted)

    async def _keep_first(self) -> None:
        """Have the first one, with the last leader's snapshot if that works."""
        due = self._due()
        try:
            error = await self._have_one(self._inherited, due)
            if error is not None and self._inherited is not None:
                self._log.warning("restore_failed", error=describe(error))
                error = await self._have_one(None, due)
            if not self._opened.is_set():
                self._start_error = error
        finally:
            self._opened.set()

    def _due(self) -> Deadline:
        return Deadline.after(self._spec.options.max_wait_time)

    async def _have_one(self, snapshot: Snapshot | None, due: Deadline) -> Exception | None:
        """Have a real client until it is lost, or the host closed; returns why it didn't start."""
        spec = self._spec
        instance = self._instance = _Instance(self._on_step_down)
        real = RealClient(
            spec.cls,
            spec.args,
            spec.kwargs,
            close=spec.table.close_target,
            threads=spec.options.threads,
            leadership=instance.leadership,
            log=self._log,
        )
        started = False
        # Not inside of `open`: a real client's own cancel scopes have to end in turn.
        with anyio.CancelScope() as patience:
            if self._opened.is_set():  # for the first start those who wait for it have a limit
                patience.deadline = anyio.current_time() + due.remaining
            try:
                async with real.open(snapshot, due):
                    patience.deadline = math.inf
                    await checkpoint_if_cancelled()
                    if spec.table.hands_over_state:
                        await self._take_first_snapshot(real, instance, snapshot, due)
                    started = True
                    self._install(real)
                    await self._wait_until_over(real, instance)
                    self._remove(instance)
            except Exception as exc:
                if not started:
                    if real.hung == "restore":
                        self._keep_snapshot(None)  # it would cost the next start as much time
                    return exc
                # It has ended by itself: a task group of its own, say, of which a task has failed.
                instance.lose(describe(exc))
                self._remove(instance)
            finally:
                instance.over.set()
                self._instance = None
        if patience.cancelled_caught:
            limit = spec.options.max_wait_time
            return TimeoutError(f"{spec.cls.__qualname__} did not start within {limit:g} s")
        return None

    async def _wait_until_over(self, real: RealClient, instance: _Instance) -> None:
        async with anyio.create_task_group() as tasks:
            if self._spec.table.hands_over_state:
                tasks.start_soon(self._follow_snapshots, real, instance)
            await instance.over.wait()
            tasks.cancel_scope.cancel()

    def _install(self, real: RealClient) -> None:
        self.current = real
        self._changes.announce()
        if not self._opened.is_set():
            self.hub = SubscriptionHub(
                real,
                self._spec.table,
                codec=self._codec,
                tasks=self._upstream_tasks,
                broadcast=self._spec.options.is_broadcast,
                log=self._log,
                limits=self._spec.options.limits,
            )
            self._opened.set()
            return
        self._log.info("real_client_renewed")
        for watcher in list(self.watchers):
            watcher.real_client(True, "")
        self.hub.resume(real)

    def _remove(self, instance: _Instance) -> None:
        """Take the real client out of use before it is closed; tell everybody if it is lost."""
        if self.current is None:
            return
        self.current.retire()
        self.current = None
        if instance.reason is None or self._closing:
            return
        self._log.warning("real_client_lost", reason=instance.reason)
        self.hub.suspend(instance.reason)
        self._keep_snapshot(None)
        for watcher in list(self.watchers):
            watcher.real_client(False, instance.reason)

    def _on_step_down(self, reason: str) -> None:
        self._log.warning("stepping_down", reason=reason)
        for watcher in list(self.watchers):
            watcher.step_down(reason)

    # ------------------------------------------------------------ snapshots

    async def _follow_snapshots(self, real: RealClient, instance: _Instance) -> None:
        while True:
            await instance.changed.wait()
            await self._take_snapshot(real, instance, Deadline.never())

    async def _take_first_snapshot(
        self, real: RealClient, instance: _Instance, restored: Snapshot | None, due: Deadline
    ) -> None:
        if restored is None:
            self._keep_snapshot(None)  # the last leader's stands for nothing of this one
        await self._take_snapshot(real, instance, due)

    async def _take_snapshot(self, real: RealClient, instance: _Instance, due: Deadline) -> None:
        try:
            with instance.taking_snapshot():
                snapshot = await real.take_snapshot(due)
        except Exception as exc:
            # The last one stands: the successor has to cope with an old one anyway.
            self._log.warning("snapshot_failed", error=describe(exc))
        else:
            self._keep_snapshot(snapshot)

    def _keep_snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot != self.snapshot:
            self.snapshot = snapshot
            for watcher in list(self.watchers):
                watcher.snapshot(snapshot)
