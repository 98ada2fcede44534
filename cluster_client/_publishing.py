"""Publishing, and making standing declarations again to every new leader (SPEC section 10)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

import anyio

from cluster_client._backoff import Backoff
from cluster_client._clock import Deadline
from cluster_client._delegate_options import PUBLISH, UNPUBLISH
from cluster_client._delegates import Method
from cluster_client._dialects import CallRequest
from cluster_client._logs import describe
from cluster_client._publications import DeclarationTable
from cluster_client._registrations import Reg, publication_key
from cluster_client._session import ClientSpec, Session
from cluster_client.errors import LinkClosedError
from cluster_protocol import Json


class MakeCall(Protocol):
    """Calls a method of the real client through as many elections as it takes."""

    def __call__(
        self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], *, idempotent: bool
    ) -> Awaitable[Any]: ...


class Publishing:
    """A client's publications.

    Args:
        spec: What the client was made of.
        call: Makes the calls.
        log: Logger, already bound to the client.
    """

    def __init__(self, spec: ClientSpec, call: MakeCall, log: Any) -> None:
        self._spec = spec
        self._call = call
        self._log = log
        self._declarations = DeclarationTable()
        # Sticky publications go one after the other, lest an earlier one overtakes a later one.
        self._turn = anyio.Lock()

    async def publish(self, reg: Reg, *, sticky: bool | None) -> None:
        """See `Client.publish`."""
        method = self._spec.table.part(PUBLISH)
        checked = self._check(reg)
        if not (self._spec.options.sticky_publish if sticky is None else sticky):
            await self._call(method, (checked,), {}, idempotent=method.idempotent)
            return
        key = publication_key(checked, self._spec.options.publish_key)
        async with self._turn:
            before = self._declarations.get(key)
            declaration = self._declarations.declare(key, checked)
            try:
                await self._call(method, (checked,), {}, idempotent=True)
                declaration.accepted = True
            finally:
                if not declaration.accepted:
                    self._declarations.withdraw(key)
                    if before is not None:
                        self._declarations.restore(key, before)

    async def unpublish(self, reg: Reg) -> None:
        """See `Client.unpublish`."""
        key = publication_key(self._check(reg), self._spec.options.publish_key)
        async with self._turn:
            declaration = self._declarations.withdraw(key)
            if declaration is not None and self._spec.table.has_part(UNPUBLISH):
                method = self._spec.table.part(UNPUBLISH)
                await self._call(method, (declaration.reg,), {}, idempotent=True)

    @property
    def has_declarations(self) -> bool:
        """Whether anything has to be told to a new leader."""
        return any(declaration.accepted for _, declaration in self._declarations)

    async def replay(self, session: Session) -> None:
        """Make the standing declarations to a new leader, each until it is accepted."""
        backoff = Backoff(first=0.1, longest=30.0)
        waiting = {key for key, declaration in self._declarations if declaration.accepted}
        try:
            while waiting:
                for key in list(waiting):
                    if await self._replay_one(session, key):
                        waiting.discard(key)
                if waiting:
                    await backoff.pause()
        except LinkClosedError:
            return  # the next leader will be told

    async def _replay_one(self, session: Session, key: str) -> bool:
        """Make one declaration again; False if the real client did not accept it."""
        method = self._spec.table.part(PUBLISH)
        timeout = method.response_timeout or self._spec.options.response_timeout
        # For each anew, so that a publication of now need not wait for them all.
        async with self._turn:
            declaration = self._declarations.get(key)
            if declaration is None or not declaration.accepted:
                return True  # withdrawn in the meantime
            request = CallRequest(method, (declaration.reg,), {}, timeout)
            try:
                await session.call(request, Deadline.after(timeout))
            except LinkClosedError:
                raise
            except Exception as exc:  # nobody waits for it, so it is tried again
                self._log.warning("republish_failed", error=describe(exc))
                return False
            return True

    def _check(self, reg: Reg) -> Json:
        return self._spec.check_registration(reg).reg
