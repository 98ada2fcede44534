"""Codecs of application objects (SPEC section 4).

Each module imports its own library; this one holds what they share.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cluster_protocol.codecs._javascript import (
    UNDEFINED,
    JavaScriptError,
    inexact_integer,
    json_text,
)
from cluster_protocol.codecs._json import JsonCodec
from cluster_protocol.codecs._msgpack import MsgpackCodec
from cluster_protocol.codecs._serialize_json import SerializeJsonCodec
from cluster_protocol.codecs._user_types import REGISTERED_TYPES, UserType, UserTypes

__all__ = [
    "REGISTERED_TYPES",
    "UNDEFINED",
    "Codec",
    "JavaScriptError",
    "JsonCodec",
    "MsgpackCodec",
    "SerializeJsonCodec",
    "UserType",
    "UserTypes",
    "inexact_integer",
    "json_text",
]


# An error that came from Node as a value can be sent on, to our peers, too.
REGISTERED_TYPES.add(
    UserType(
        "JavaScriptError",
        JavaScriptError,
        lambda error: [error.message, error.stack, error.fields],
        lambda parts: JavaScriptError(*parts),
    )
)


@runtime_checkable
class Codec(Protocol):
    """Turns values into bytes and back; Node calls it a transcode.

    Implementations keep no state between calls and may be shared by threads.

    Attributes:
        name: Under which peers agree on it.
    """

    @property
    def name(self) -> str:  # noqa: D102 - told above
        ...

    def encode(self, value: object, /) -> bytes:
        """Return the bytes of *value*.

        Raises:
            UnencodableValueError: If a part of it cannot be carried; names the path to it.
        """
        ...

    def decode(self, data: bytes, /) -> object:
        """Return the value again, as a new object.

        Raises:
            RemoteProtocolError: If *data* is not the codec's.
        """
        ...
