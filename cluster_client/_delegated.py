"""`delegated`: a delegate in a facade's body, with the types of the real method."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    get_origin,
    overload,
)

from cluster_client._delegate_options import INVOKE, INVOKE_ONEWAY, STREAM, Delegate
from cluster_client.errors import ConfigurationError
from cluster_client.streams import Stream

__all__ = ["DelegatedMethod", "delegated", "natural_kind"]

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")
ReturnT_co = TypeVar("ReturnT_co", covariant=True)
P = ParamSpec("P")

_Items = AsyncIterable[ItemT] | Iterable[ItemT]

_CALLS: Final = (INVOKE, INVOKE_ONEWAY, STREAM)
_ITERATORS: Final = frozenset({"AsyncGenerator", "AsyncIterator", "Generator", "Iterator"})


class DelegatedMethod(Generic[P, ReturnT_co]):
    """What `delegated` leaves in a facade's body; the finished class has a function instead.

    Attributes:
        method: The real class's method.
        options: How it is called.
    """

    def __init__(self, method: Callable[..., Any], options: Delegate) -> None:
        self.method = method
        self.options = options

    def __get__(self, instance: object, owner: type[Any]) -> Callable[P, ReturnT_co]:
        """Tell type checkers what an attribute of the finished class is."""
        raise ConfigurationError(
            f"delegated({getattr(self.method, '__qualname__', self.method)}) works only in the "
            f"body of a subclass of APIClientBase, not in {owner.__qualname__}"
        )


@overload
def delegated(
    method: Callable[Concatenate[Any, P], Any],
    *,
    kind: Literal["invoke_oneway"],
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[P, Coroutine[Any, Any, None]]: ...


@overload
def delegated(
    method: Callable[Concatenate[Any, P], _Items[ItemT] | Awaitable[_Items[ItemT]]],
    *,
    kind: Literal["stream"],
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[P, Stream[ItemT]]: ...


@overload
def delegated(
    method: Callable[Concatenate[Any, P], Awaitable[ResultT]],
    *,
    kind: Literal["invoke"] | None = None,
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[P, Coroutine[Any, Any, ResultT]]: ...


# The plain methods' overload below would take these, too: the first that fits is taken.
@overload
def delegated(  # type: ignore[overload-overlap]
    method: Callable[Concatenate[Any, P], AsyncIterator[ItemT] | Iterator[ItemT]],
    *,
    kind: None = None,
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[P, Stream[ItemT]]: ...


@overload
def delegated(
    method: Callable[Concatenate[Any, P], ResultT],
    *,
    kind: Literal["invoke"] | None = None,
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[P, Coroutine[Any, Any, ResultT]]: ...


def delegated(
    method: Callable[..., Any],
    *,
    kind: str | None = None,
    idempotent: bool = False,
    response_timeout: float | None = None,
) -> DelegatedMethod[Any, Any]:
    """Delegate a method of the real class in a facade's body, with its types.

    ::

        class RegistryAPI(APIClientBase[Registry]):
            data_client = Registry
            get_data = delegated(Registry.get_data, idempotent=True)
            remove = delegated(Registry.remove, kind="invoke_oneway")
            history = delegated(Registry.history)

    It is called like the real method, and awaited; a generator's items are
    iterated over with ``async for``. It may have another name on the facade.

    Args:
        method: The real class's method, not a name. Checkers see ``self`` as
            its first parameter, which class methods and static methods lack:
            name these in ``delegates``.
        kind: ``"invoke"``, ``"invoke_oneway"`` or ``"stream"``, see `Delegate`.
            Default: ``"stream"`` for a generator function and whatever is
            annotated to return an iterator, else ``"invoke"``.
        idempotent: See `Delegate`.
        response_timeout: See `Delegate`.

    Raises:
        ConfigurationError: If an argument is wrong; when the facade's class is
            made, if the method is not one of its ``data_client``.
    """
    if not callable(method) or not hasattr(method, "__name__"):
        raise ConfigurationError(f"delegated({method!r}) needs a method of the real class")
    if kind is None:
        kind = natural_kind(method)
    elif kind not in _CALLS:
        raise ConfigurationError(
            f"delegated({method.__qualname__}, kind={kind!r}) is no call, which are "
            f"{', '.join(_CALLS)}; name it in the facade's delegates instead"
        )
    return DelegatedMethod(method, Delegate(kind, idempotent, response_timeout))


def natural_kind(method: Callable[..., Any]) -> str:
    """Return the kind that type checkers take a method for, who see its annotation only."""
    if inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
        return STREAM
    if inspect.iscoroutinefunction(method):
        return INVOKE
    annotation = getattr(method, "__annotations__", {}).get("return")
    if isinstance(annotation, str):  # by its text: its names may exist for type checkers alone
        name = annotation.partition("[")[0].rpartition(".")[2]
    else:
        name = getattr(get_origin(annotation) or annotation, "__name__", "")
    return STREAM if name in _ITERATORS else INVOKE
