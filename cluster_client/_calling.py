"""Making a client's calls, through as many elections as it takes (SPEC 8.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cluster_client._clock import Deadline
from cluster_client._delegate_options import INVOKE_ONEWAY
from cluster_client._delegates import Method
from cluster_client._dialects import CallRequest
from cluster_client._membership import Membership
from cluster_client._session import ClientSpec, Session
from cluster_client.errors import (
    ClientClosedError,
    EncodeError,
    LeaderUnavailableError,
    LinkClosedError,
    OutcomeUnknownError,
)
from cluster_client.streams import FirstItem, Stream

ResultT = TypeVar("ResultT")


class Calling:
    """A client's calls.

    Args:
        spec: What the client was made of.
        membership: Gives the sessions.
        check_open: Raises if the client cannot be used.

    Attributes:
        resent: How many calls were sent again after a leader was lost.
    """

    def __init__(
        self, spec: ClientSpec, membership: Membership, check_open: Callable[[], None]
    ) -> None:
        self.resent = 0
        self._spec = spec
        self._membership = membership
        self._check_open = check_open
        self._codec = next(iter(spec.codecs.values()))

    async def call(
        self,
        method: Method,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        idempotent: bool | None = None,
    ) -> Any:
        """Call a method and return its result; errors are those of `Client`."""
        session = self._membership.session
        request = self._request(method, args, kwargs)
        deadline = Deadline.after(self._spec.options.max_wait_time)
        repeatable = method.idempotent if idempotent is None else idempotent
        if session is not None:  # as nearly always; without another coroutine
            try:
                if method.kind == INVOKE_ONEWAY:
                    return await session.call_oneway(request, deadline)
                return await session.call(request, deadline)
            except LinkClosedError as exc:
                deadline = self._after_loss(method, session, exc, deadline, repeatable=repeatable)

        async def attempt(session: Session, deadline: Deadline) -> Any:
            if method.kind == INVOKE_ONEWAY:
                return await session.call_oneway(request, deadline)
            return await session.call(request, deadline)

        _, result = await self._through_elections(
            method, attempt, session, deadline, repeatable=repeatable
        )
        return result

    def stream(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Stream[Any]:
        """Return the stream of a method, which is called when the first item is asked for."""
        request = self._request(method, args, kwargs)

        async def attempt(session: Session, deadline: Deadline) -> FirstItem:
            source = await session.open_stream(request, deadline)
            return await FirstItem.of(source, method.name, request.timeout)

        async def begin() -> tuple[FirstItem, str]:
            deadline = Deadline.after(self._spec.options.max_wait_time)
            session, first = await self._through_elections(
                method, attempt, None, deadline, repeatable=method.idempotent
            )
            return first, session.epoch

        return Stream(method.name, begin, self._check_stream)

    def _check_stream(self, method: str, received: int) -> None:
        if self._membership.is_closing:
            name = self._spec.options.name
            raise ClientClosedError(
                f"client {name!r} was closed after {received} items of {method!r}"
            )

    def _request(
        self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> CallRequest:
        self._check_open()
        timeout = method.response_timeout or self._spec.options.response_timeout
        request = CallRequest(method, *method.bind(args, kwargs), timeout)
        limits = self._spec.options.limits
        count = len(request.args) + len(request.kwargs)
        if count > limits.arguments:
            raise EncodeError(
                f"{method.arguments_title}: {count} of them, the limit is {limits.arguments}: pass "
                f"a list, or raise Limits.arguments in all processes"
            )
        request.encode(
            self._codec, limits
        )  # an error here is the caller's, and not after an election
        return request

    async def _through_elections(
        self,
        method: Method,
        attempt: Callable[[Session, Deadline], Awaitable[ResultT]],
        lost: Session | None,
        deadline: Deadline,
        *,
        repeatable: bool,
    ) -> tuple[Session, ResultT]:
        """Make an attempt with one session after the other until it is decided.

        Args:
            method: What is called.
            attempt: Calls it.
            lost: The session with which an attempt was made already.
            deadline: For the call to be sent.
            repeatable: Whether it may be sent again when it may have been executed.
        """
        session = lost
        while True:
            self._check_open()
            session = await self._membership.wait_for_session(deadline, other_than=session)
            try:
                return session, await attempt(session, deadline)
            except LinkClosedError as exc:
                deadline = self._after_loss(method, session, exc, deadline, repeatable=repeatable)

    def _after_loss(
        self,
        method: Method,
        session: Session,
        exc: LinkClosedError,
        deadline: Deadline,
        *,
        repeatable: bool,
    ) -> Deadline:
        """Return until when a call waits for another session; raises if it must not."""
        options = self._spec.options
        if exc.sent and not repeatable:
            raise OutcomeUnknownError(method.name, session.epoch) from exc
        self._check_open()
        if exc.sent:
            self.resent += 1
            return Deadline.after(options.max_wait_time)
        if deadline.passed:
            raise LeaderUnavailableError(
                options.name, options.endpoint, options.max_wait_time, str(exc)
            ) from exc
        return deadline
