"""`APIClientBase`: a facade of your own over a shared client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import anyio
import anyio.abc

from cluster_client._delegate_options import Delegate
from cluster_client._delegated import DelegatedMethod
from cluster_client._delegates import DelegateTable, Method, delegate_function
from cluster_client._event_queue import Gap
from cluster_client._registrations import Reg
from cluster_client._states import ClientState
from cluster_client.builder import RESERVED, ClusterFactory
from cluster_client.builder import cluster as make_builder
from cluster_client.client import Client
from cluster_client.errors import ConfigurationError

__all__ = ["APIClientBase"]

RealT = TypeVar("RealT")


class APIClientBase(anyio.AsyncContextManagerMixin, Generic[RealT]):
    """Base of facades: subclass it, name the real client, add logic of your own.

    ::

        class RegistryAPI(APIClientBase[Registry]):
            data_client = Registry
            cluster_options = {"port": 7777}
            delegates = {"remove": "invoke_oneway"}

            async def get_data(self, key):
                return self._cache.get(key) or await self._client.get_data(key)

    Delegates that the facade does not define itself are generated on it, with
    the real method's name, signature and docstring. Its errors are those of `Client`.

    Args:
        args: For the real client's constructor.
        cluster: Instead of `cluster_client.cluster`: a factory that a framework injects.
        kwargs: For the real client's constructor.

    Attributes:
        data_client: The real client's class.
        cluster_options: See `ClientOptions`.
        delegates: For methods of the real client: a kind, or a `Delegate`. Those of base
            facades hold, too.

    Raises:
        ConfigurationError: When the subclass is made, if a delegated method is missing or a
            name clashes; when it is instantiated, if an option is wrong.

    Source:
        cluster-client 3.7.0, ``lib/api_client.js``.
    """

    data_client: ClassVar[type[Any]]
    cluster_options: ClassVar[Mapping[str, Any]] = {}
    delegates: ClassVar[Mapping[str, str | Delegate]] = {}
    __cluster_generated__: ClassVar[Mapping[str, Method | str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "data_client"):
            return  # an intermediate base
        cls.delegates = {**_named_delegates(cls), **_typed_delegates(cls)}
        table = DelegateTable(
            cls.data_client,
            _delegates_of(cls),
            auto_generate=cls.cluster_options.get("auto_generate", True),
            reserved=RESERVED,
        )
        typed = {
            name: value for name, value in vars(cls).items() if isinstance(value, DelegatedMethod)
        }
        generated: dict[str, Method | str] = {}
        for name, value in typed.items():
            method = generated[name] = table.by_target[value.method.__name__]
            setattr(cls, name, delegate_function(method, cls._call_delegate, name))
        for name, own in table.aliases.items():
            if not hasattr(cls, name):
                generated[name] = own
                setattr(cls, name, getattr(cls, own))
        inherited = {
            name: getattr(what, "kind", None) for name, what in generated_attributes(cls).items()
        }
        for name, method in table.by_name.items():
            if not hasattr(cls, name) or inherited.get(name, method.kind) != method.kind:
                generated[name] = method
                setattr(cls, name, delegate_function(method, cls._call_delegate))
        cls.__cluster_generated__ = generated

    def __init__(self, *args: Any, cluster: ClusterFactory | None = None, **kwargs: Any) -> None:
        if not hasattr(self, "data_client"):
            raise ConfigurationError(
                f"{type(self).__qualname__} has no data_client: set it to the real client's class"
            )
        factory = make_builder if cluster is None else cluster
        builder = factory(self.data_client, **self.cluster_options)
        for name, options in _delegates_of(type(self)).items():
            builder.delegate(
                name,
                options.kind,
                idempotent=options.idempotent,
                response_timeout=options.response_timeout,
                name=options.name,
            )
        self._client: Client[RealT] = builder.create(*args, **kwargs)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self._client:
            yield self

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[APIClientBase[RealT]] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Open the client and keep it open until cancelled or closed; see `Client.run`."""
        async with self:
            task_status.started(self)
            await self._client.wait_closed()

    async def aclose(self) -> None:
        """Close the client; see `Client.aclose`."""
        await self._client.aclose()

    @property
    def state(self) -> ClientState:
        """Where the client is between opening and closing."""
        return self._client.state

    @property
    def is_leader(self) -> bool:
        """Whether this process owns the real client at the moment."""
        return self._client.is_leader

    @property
    def epoch(self) -> str | None:
        """Name of the current leadership; ``None`` while there is none."""
        return self._client.epoch

    @property
    def resent_calls(self) -> int:
        """How many calls were sent again after a leader was lost."""
        return self._client.resent_calls

    @property
    def loop_lag(self) -> float:
        """How late the event loop has run; see `Client.loop_lag`."""
        return self._client.loop_lag

    def on_state_change(
        self, listener: Callable[[ClientState, ClientState], object]
    ) -> Callable[[], None]:
        """See `Client.on_state_change`."""
        return self._client.on_state_change(listener)

    async def subscribe(
        self,
        reg: Reg,
        listener: Callable[[Any], Any],
        *,
        events: bool = False,
        on_gap: Callable[[Gap], Any] | None = None,
    ) -> None:
        """See `Client.subscribe`."""
        await self._client.subscribe(reg, listener, events=events, on_gap=on_gap)

    async def unsubscribe(self, reg: Reg, listener: Callable[[Any], Any] | None = None) -> None:
        """See `Client.unsubscribe`."""
        await self._client.unsubscribe(reg, listener)

    def subscription(
        self, reg: Reg, *, events: bool = False, gaps: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """See `Client.subscription`."""
        return self._client.subscription(reg, events=events, gaps=gaps)

    def last(self, reg: Reg, *default: Any) -> Any:
        """See `Client.last`."""
        return self._client.last(reg, *default)

    async def publish(self, reg: Reg, *, sticky: bool | None = None) -> None:
        """See `Client.publish`."""
        await self._client.publish(reg, sticky=sticky)

    async def unpublish(self, reg: Reg) -> None:
        """See `Client.unpublish`."""
        await self._client.unpublish(reg)

    def _call_delegate(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # By name, so that an override on an injected factory's client takes part.
        return getattr(self._client, method.name)(*args, **kwargs)

    if TYPE_CHECKING:
        # The delegates that are generated on subclasses: they return coroutines, or streams.
        def __getattr__(self, name: str, /) -> Callable[..., Any]: ...


def generated_attributes(cls: type[APIClientBase[Any]]) -> dict[str, Method | str]:
    """Return what was generated on a facade and its bases and is not overridden.

    That is, by attribute: the method it calls, or the name of the facade's own
    method that it is another name for.
    """
    generated: dict[str, Method | str] = {}
    overridden: set[str] = set()
    for base in cls.__mro__:
        own = vars(base).get("__cluster_generated__", {})
        generated.update({name: own[name] for name in own if name not in overridden})
        overridden.update(vars(base))
    return generated


def _named_delegates(cls: type[APIClientBase[Any]]) -> dict[str, str | Delegate]:
    """Return ``delegates`` of the class over those of its bases, whose attributes it inherits."""
    served = getattr(cls.data_client, "__mro__", ())
    delegates: dict[str, str | Delegate] = {}
    for base in reversed(cls.__mro__):
        if base is cls or getattr(base, "data_client", cls.data_client) in served:
            delegates.update(vars(base).get("delegates", {}))
    return delegates


def _typed_delegates(cls: type[APIClientBase[Any]]) -> dict[str, Delegate]:
    """Return what the class's own body says with `delegated`.

    Raises:
        ConfigurationError: If one is no method of the real client's class.
    """
    delegates: dict[str, Delegate] = {}
    for name, value in vars(cls).items():
        if not isinstance(value, DelegatedMethod):
            continue
        target = value.method.__name__
        if getattr(cls.data_client, target, None) != value.method:
            raise ConfigurationError(
                f"{cls.__qualname__}.{name} delegates {value.method.__qualname__}, which is not a "
                f"method of {cls.data_client.__qualname__}"
            )
        delegates[target] = value.options
    return delegates


def _delegates_of(cls: type[APIClientBase[Any]]) -> dict[str, Delegate]:
    """Return the options of the delegates that the facade names.

    Raises:
        ConfigurationError: If a value is neither a kind nor a `Delegate`.
    """
    delegates: dict[str, Delegate] = {}
    for name, value in cls.delegates.items():
        if isinstance(value, str):
            delegates[name] = Delegate(value)
        elif isinstance(value, Delegate):
            delegates[name] = value
        else:
            raise ConfigurationError(
                f"{cls.__qualname__}.delegates[{name!r}]={value!r} must be a kind such as "
                f'"invoke", or a Delegate'
            )
    return delegates
