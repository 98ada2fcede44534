"""What users say of their methods: `Delegate`, `delegate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cluster_client.errors import ConfigurationError
from cluster_client.options import check_duration

__all__ = ["Delegate", "delegate"]

INVOKE: Final = "invoke"
INVOKE_ONEWAY: Final = "invoke_oneway"
STREAM: Final = "stream"
SUBSCRIBE: Final = "subscribe"
UNSUBSCRIBE: Final = "unsubscribe"
PUBLISH: Final = "publish"
UNPUBLISH: Final = "unpublish"
CLOSE: Final = "close"

KINDS: Final = (INVOKE, INVOKE_ONEWAY, STREAM, SUBSCRIBE, UNSUBSCRIBE, PUBLISH, UNPUBLISH, CLOSE)

MARK: Final = "__cluster_delegate__"
"""Attribute of a function that is decorated with `delegate`."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Delegate:
    """How a method of the real client is reached.

    Attributes:
        kind: ``"invoke"`` waits for the result, ``"invoke_oneway"`` does not,
            ``"stream"`` iterates over what the method's iterator yields;
            ``"subscribe"``, ``"unsubscribe"``, ``"publish"`` and ``"unpublish"``
            tell that the method plays that part, ``"close"`` that it closes the real
            client (which a context manager does by leaving it) and, called on the client,
            the client.
        idempotent: Executing it twice does no harm; it is sent again when the
            leader is lost while it is in flight.
        response_timeout: Instead of the client's, in seconds.
        name: Instead of the method's own, on the client.

    Raises:
        ConfigurationError: If an argument is not one of these.
    """

    kind: str = INVOKE
    idempotent: bool = False
    response_timeout: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(
                f"unknown delegate target {self.kind!r}; the targets are {', '.join(KINDS)}"
            )
        if not isinstance(self.idempotent, bool):
            raise ConfigurationError(f"idempotent={self.idempotent!r} must be True or False")
        if self.response_timeout is not None:
            check_duration(
                "response_timeout", self.response_timeout, allow_zero=False, finite=False
            )
        if self.name is not None and not (
            isinstance(self.name, str) and self.name.isidentifier() and self.name[0] != "_"
        ):
            raise ConfigurationError(f"name={self.name!r} must be a public Python name")


def delegate(
    kind: str = INVOKE,
    *,
    idempotent: bool = False,
    response_timeout: float | None = None,
    name: str | None = None,
) -> Callable[[FunctionT], FunctionT]:
    """Mark a method of a real client as delegated; it stays an ordinary method.

    Arguments and errors are those of `Delegate`.
    """
    mark = Delegate(kind, idempotent, response_timeout, name)

    def apply(function: FunctionT) -> FunctionT:
        setattr(function, MARK, mark)
        return function

    return apply
