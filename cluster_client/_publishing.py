"""Publishing, and making standing declarations again to every new leader (SPEC section 10)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

import anyio

from cluster_client._calls import CallRequest
from cluster_client._clock import Deadline
from cluster_client._delegates import PUBLISH, UNPUBLISH, Method
from cluster_client._logs import describe
from cluster_client._publications import DeclarationTable
from cluster_client._registrations import Reg, check_registration, publication_key
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
            declaration = self._declarations.declare(key, checked)
            try:
                await self._call(method, (checked,), {}, idempotent=True)
                declaration.accepted = True
            finally:
                if not declaration.accepted and self._declarations.is_current(key, declaration):
                    self._declarations.withdraw(key)

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
        return any(declaration.accepted for declaration in self._declarations)

    async def replay(self, session: Session) -> None:
        """Make the standing declarations to a new leader."""
        method = self._spec.table.part(PUBLISH)
        timeout = method.response_timeout or self._spec.options.response_timeout
        async with self._turn:
            for declaration in self._declarations:
                if not declaration.accepted:
                    continue
                request = CallRequest(method, (declaration.reg,), {}, timeout)
                try:
                    await session.call(request, Deadline.after(timeout))
                except LinkClosedError:
                    return  # the next leader will be told
                except Exception as exc:  # nobody waits for it
                    self._log.warning("republish_failed", error=describe(exc))

    def _check(self, reg: Reg) -> Json:
        return check_registration(reg, self._spec.options.format_key).reg
