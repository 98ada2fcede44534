"""Let all processes of a host share one client.

::

    async with cluster(Registry, port=7777).create("zk:2181") as client:
        value = await client.get_data("k")
"""

from __future__ import annotations

from cluster_client._delegate_options import Delegate, delegate
from cluster_client._delegated import delegated
from cluster_client._event_queue import Gap
from cluster_client._exceptions import register_exception
from cluster_client._states import ClientState
from cluster_client._user_types import register_type
from cluster_client.api import APIClientBase
from cluster_client.builder import ClusterBuilder, ClusterFactory, cluster
from cluster_client.client import Client
from cluster_client.errors import (
    AuthenticationError,
    CallError,
    ClientClosedError,
    ClusterClientError,
    ConfigurationError,
    ElectionError,
    EncodeError,
    ForkedClientError,
    IdentityError,
    LeaderUnavailableError,
    LinkClosedError,
    LinkError,
    OutcomeUnknownError,
    PortOccupiedError,
    RefusedError,
    RemoteInvokeError,
    ResponseTimeoutError,
    StreamInterruptedError,
)
from cluster_client.leadership import Leadership
from cluster_client.limits import Limits
from cluster_client.options import ClientOptions
from cluster_client.streams import Stream
from cluster_protocol.codecs import JavaScriptError

__version__ = "0.1.0"

__all__ = [
    "APIClientBase",
    "AuthenticationError",
    "CallError",
    "Client",
    "ClientClosedError",
    "ClientOptions",
    "ClientState",
    "ClusterBuilder",
    "ClusterClientError",
    "ClusterFactory",
    "ConfigurationError",
    "Delegate",
    "ElectionError",
    "EncodeError",
    "ForkedClientError",
    "Gap",
    "IdentityError",
    "JavaScriptError",
    "LeaderUnavailableError",
    "Leadership",
    "Limits",
    "LinkClosedError",
    "LinkError",
    "OutcomeUnknownError",
    "PortOccupiedError",
    "RefusedError",
    "RemoteInvokeError",
    "ResponseTimeoutError",
    "Stream",
    "StreamInterruptedError",
    "__version__",
    "cluster",
    "delegate",
    "delegated",
    "register_exception",
    "register_type",
]
