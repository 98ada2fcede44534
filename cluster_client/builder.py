"""`cluster`: from a real client's class to a client of it."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from cluster_client._delegate_options import INVOKE, Delegate
from cluster_client._delegates import DelegateTable
from cluster_client._session import ClientSpec
from cluster_client.client import Client
from cluster_client.errors import ConfigurationError
from cluster_client.options import ClientOptions
from cluster_protocol.codecs import Codec, JsonCodec, MsgpackCodec, SerializeJsonCodec

__all__ = ["ClusterBuilder", "ClusterFactory", "cluster"]

RealT = TypeVar("RealT")

RESERVED = frozenset(
    [name for name in dir(Client) if not name.startswith("_")]
    + ["resent_calls", "data_client", "cluster_options", "delegates"]
)
"""Names that a delegate cannot have, as client or facade have them itself."""


class ClusterBuilder(Generic[RealT]):
    """Collects what a client is to be; `create` makes it.

    Args:
        cls: The real client's class.
        options: See `ClientOptions`.

    Raises:
        ConfigurationError: If *cls* is no class, or an option is wrong.
    """

    def __init__(self, cls: type[RealT], **options: Any) -> None:
        if not isinstance(cls, type):
            raise ConfigurationError(f"the real client must be a class, got {cls!r}")
        self._cls = cls
        self._options = ClientOptions.build({"name": cls.__name__, **options})
        self._delegates: dict[str, Delegate] = {}
        self._overrides: dict[str, Any] = {}

    def delegate(
        self,
        method: str,
        kind: str = INVOKE,
        *,
        idempotent: bool = False,
        response_timeout: float | None = None,
        name: str | None = None,
    ) -> ClusterBuilder[RealT]:
        """Delegate a method of the real client; arguments and errors as of `Delegate`."""
        self._delegates[method] = Delegate(kind, idempotent, response_timeout, name)
        return self

    def override(self, name: str, value: Any) -> ClusterBuilder[RealT]:
        """Put an attribute of your own on the client, a method as a rule.

        It takes the place of a delegate of that name. A function becomes a
        method: it gets the client as its first argument.

        Raises:
            ConfigurationError: If the name is private or the client's own.
        """
        if not name.isidentifier() or name.startswith("_") or name in RESERVED:
            raise ConfigurationError(f"{name!r} cannot be overridden; choose another public name")
        self._overrides[name] = value
        return self

    def create(self, *args: Any, **kwargs: Any) -> Client[RealT]:
        """Return a client, to be opened with ``async with``.

        Args:
            args: For the real client's constructor, wherever it is called.
            kwargs: Likewise.

        Raises:
            ConfigurationError: If a delegated method is missing, or names clash.
        """
        table = DelegateTable(
            self._cls,
            self._delegates,
            auto_generate=self._options.auto_generate,
            reserved=RESERVED,
            camel_case=self._options.camel_case,
            longest_name=self._options.limits.method_name,
        )
        options = self._options
        codecs = _codecs(options)
        # As in Node, where it is the same in all processes of a channel.
        node_codec = (
            SerializeJsonCodec(max_depth=options.limits.depth)
            if options.transcode is None
            else codecs[options.transcode.name]
        )
        spec = ClientSpec(self._cls, args, kwargs, table, options, codecs, node_codec)
        return Client[RealT].from_spec(spec, self._overrides)


def cluster(cls: type[RealT], **options: Any) -> ClusterBuilder[RealT]:
    """Share one real client among all processes of this host.

    ::

        async with cluster(Registry, port=7777).create("zk:2181") as client:
            value = await client.get_data("k")

    Args:
        cls: The real client's class, an ordinary class.
        options: See `ClientOptions`.

    Raises:
        ConfigurationError: If *cls* is no class, or an option is wrong.

    Source:
        cluster-client 3.7.0, ``index.js`` and ``lib/index.js``.
    """
    return ClusterBuilder(cls, **options)


class ClusterFactory(Protocol):
    """What can stand in for `cluster`: a framework that fills in port and logger, say."""

    def __call__(self, cls: type[Any], /, **options: Any) -> ClusterBuilder[Any]:
        """Return what `cluster` would."""
        ...


def _codecs(options: ClientOptions) -> dict[str, Codec]:
    codecs: dict[str, Codec] = {}
    depth = options.limits.depth
    if options.transcode is not None:
        codec = options.transcode
        if isinstance(codec, (MsgpackCodec, JsonCodec, SerializeJsonCodec)):
            codec = codec.with_max_depth(depth)
        codecs[codec.name] = codec
    for own in (MsgpackCodec(max_depth=depth), JsonCodec(max_depth=depth)):
        codecs.setdefault(own.name, own)
    return codecs
