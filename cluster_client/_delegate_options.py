"""What users say of their methods: `Delegate`, `delegate`, `delegated`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

from cluster_client.errors import ConfigurationError
from cluster_client.options import check_duration

__all__ = ["Delegate", "DelegatedMethod", "delegate", "delegated"]

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

ResultT = TypeVar("ResultT")
P = ParamSpec("P")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Delegate:
    """How a method of the real client is reached.

    Attributes:
        kind: ``"invoke"`` waits for the result, ``"invoke_oneway"`` does not,
            ``"stream"`` iterates over what the method's iterator yields;
            ``"subscribe"``, ``"unsubscribe"``, ``"publish"`` and ``"unpublish"``
            tell that the method plays that part, ``"close"`` that the name
            closes the client.
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


class DelegatedMethod(Generic[P, ResultT]):
    """What `delegated` leaves in a facade's body; the finished class has a function instead.

    Attributes:
        method: The real class's method.
        options: How it is called.
    """

    def __init__(self, method: Callable[..., Any], options: Delegate) -> None:
        self.method = method
        self.options = options

    def __get__(
        self, instance: object, owner: type[Any]
    ) -> Callable[P, Coroutine[Any, Any, ResultT]]:
        """Tell type checkers what an attribute of the finished class is."""
        raise ConfigurationError(
            f"delegated({getattr(self.method, '__qualname__', self.method)}) works only in the "
            f"body of a subclass of APIClientBase, not in {owner.__qualname__}"
        )


@overload
def delegated(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, ResultT]],
    *,
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[P, ResultT]: ...


@overload
def delegated(
    method: Callable[Concatenate[Any, P], ResultT],
    *,
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[P, ResultT]: ...


def delegated(
    method: Callable[..., Any],
    *,
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[Any, Any]:
    """Delegate a method of the real class in a facade's body, with its types.

    ::

        class RegistryAPI(APIClientBase[Registry]):
            data_client = Registry
            get_data = delegated(Registry.get_data, idempotent=True)

    It is called like the real method, and awaited. It may have another name
    on the facade.

    Args:
        method: The real class's method, not a name.
        idempotent: See `Delegate`.
        response_timeout: See `Delegate`.

    Raises:
        ConfigurationError: If an argument is wrong; when the facade's class is
            made, if the method is not one of its ``data_client``.
    """
    if not callable(method) or not hasattr(method, "__name__"):
        raise ConfigurationError(f"delegated({method!r}) needs a method of the real class")
    return DelegatedMethod(method, Delegate(INVOKE, idempotent, response_timeout))
