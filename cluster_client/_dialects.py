"""How calls and errors are written, towards our peers and towards Node's (SPEC 3.2, 4.3, 5.4).

The codec turns values into bytes; a dialect says which values there are: a packed call or
Node's list of arguments, an error with its class or with Node's four members.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from cluster_client import _exceptions
from cluster_client._clock import from_microseconds, now, to_microseconds
from cluster_client._delegates import Method
from cluster_client._encoding import check_size, encode
from cluster_client.errors import RefusedError
from cluster_client.limits import DEFAULTS, Limits
from cluster_protocol import (
    Frame,
    Invoke,
    RemoteProtocolError,
    encode_registration_outcome,
    join_arguments,
    pack_call,
    split_arguments,
    unpack_call,
)
from cluster_protocol.codecs import Codec

__all__ = [
    "Arguments",
    "CallRequest",
    "Dialect",
    "NodeDialect",
    "PeerDialect",
    "read_call",
    "shown_name",
    "unpack_arguments",
]

_CALL_PARTS = 2
_SHOWN_NAME = 80
_MILLISECONDS = 1000

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class CallRequest:
    """A call on its way to whoever leads.

    Encoded once per codec, however often it is sent again.

    Args:
        method: What to call.
        args: Positional arguments, as `Method.bind` gave them.
        kwargs: Keyword-only arguments.
        timeout: For the answer, in seconds.
    """

    __slots__ = ("_encoded", "args", "kwargs", "method", "timeout")

    def __init__(
        self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float
    ) -> None:
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.timeout = timeout
        self._encoded: tuple[str, bytes] | None = None

    def encode(self, codec: Codec, limits: Limits = DEFAULTS) -> bytes:
        """Return the codec's bytes of ``[positional, keyword]`` (SPEC 6.2).

        Raises:
            EncodeError: If an argument cannot be encoded; names the method and the path.
        """
        if self._encoded is None or self._encoded[0] != codec.name:
            data = encode(codec, [self.args, self.kwargs], self.method.arguments_title, limits)
            self._encoded = (codec.name, data)
        return self._encoded[1]


class Dialect:
    """What both dialects have in common.

    Args:
        codec: Of the application objects.
        limits: Of the client.

    Attributes:
        is_node: Whether it is spoken with a Node peer.
    """

    is_node = False

    def __init__(self, codec: Codec, limits: Limits = DEFAULTS) -> None:
        self.codec = codec
        self.limits = limits

    def failure(self, exc: BaseException) -> bytes:
        """Return the application object that tells an error. Never fails."""
        largest = self.limits.encoded_size
        return _exceptions.encode_failure(exc, self.codec, largest, for_node=self.is_node)

    def registration_outcome(self, error: Exception | None) -> bytes:
        """Return the application object of an answer to a registration (SPEC 3.1).

        Raises:
            Exception: What a codec of the user's own raises.
        """
        failure = None if error is None else _exceptions.to_failure(error, self.codec)
        data = self.codec.encode(encode_registration_outcome(failure, for_node=self.is_node))
        if failure is not None and len(data) > self.limits.encoded_size:
            outcome = encode_registration_outcome(failure.texts_only(), for_node=self.is_node)
            data = self.codec.encode(outcome)
        return data


class PeerDialect(Dialect):
    """Spoken between our peers."""

    def head(self, request: CallRequest, oneway: bool, credit: int | None = None) -> bytes:
        """Return the connection object of a call."""
        return _packed_head(request.method.wire_name, len(request.args), oneway, credit)

    def body(self, request: CallRequest, expires: float) -> bytes:
        """Return the application object of a call.

        Args:
            request: The call.
            expires: When the caller gives up, on the monotonic clock.

        Raises:
            EncodeError: If an argument cannot be encoded.
        """
        return pack_call(to_microseconds(expires), request.encode(self.codec, self.limits))


class NodeDialect(Dialect):
    """Spoken with Node peers."""

    is_node = True

    def head(self, request: CallRequest, oneway: bool, credit: int | None = None) -> bytes:
        """Return the connection object of a call."""
        del credit  # streams are refused before
        return _node_head(request.method.wire_name, len(request.args), oneway)

    def body(self, request: CallRequest, expires: float) -> bytes:
        """Return the application object of a call.

        Raises:
            EncodeError: If an argument cannot be encoded.
            TypeError: If there are keyword-only arguments, which JavaScript has not.
        """
        del expires  # the header tells how long the caller waits
        name = request.method.name
        if request.kwargs:
            names = ", ".join(request.kwargs)
            raise TypeError(
                f"{name}(): a Node process leads, which takes positional arguments only, "
                f"and no {names}"
            )
        arguments = join_arguments(
            encode(self.codec, argument, f"argument {position} of {name!r}", self.limits)
            for position, argument in enumerate(request.args)
        )
        check_size(len(arguments), request.method.arguments_title, self.limits)
        return arguments


# The same few connection objects are sent again and again.
@lru_cache(maxsize=1024)
def _packed_head(method: str, arguments: int, oneway: bool, credit: int | None) -> bytes:
    return Invoke(method, arguments, oneway, packed=True, credit=credit).encode()


@lru_cache(maxsize=1024)
def _node_head(method: str, arguments: int, oneway: bool) -> bytes:
    return Invoke(method, arguments, oneway).encode()


def read_call(
    message: Invoke, frame: Frame, codec: Codec, most: int = DEFAULTS.arguments
) -> tuple[Arguments, float]:
    """Read an invocation's arguments, in either dialect, and when its caller gives up.

    Node tells how long it waits, counted from when it sent the frame. One that wants no answer
    names a time, too, which means nothing.

    Args:
        message: The connection object.
        frame: All of it.
        codec: Of its application object.
        most: How many arguments there may be.

    Raises:
        RemoteProtocolError: If the application object is not what the message announces.
        RefusedError: If there are too many arguments.
    """
    if message.packed:
        microseconds, data = unpack_call(frame.application)
        arguments = unpack_arguments(codec.decode(data))
        count = len(arguments[0]) + len(arguments[1])
        if count > most:
            raise _too_many_arguments(message, count, most)
        return arguments, from_microseconds(microseconds)
    if message.argument_count > most:
        raise _too_many_arguments(message, message.argument_count, most)
    encoded = split_arguments(frame.application, message.argument_count)
    waits = frame.timeout_ms > 0 and not message.oneway
    expires = now() + frame.timeout_ms / _MILLISECONDS if waits else math.inf
    return (tuple(map(codec.decode, encoded)), {}), expires


def _too_many_arguments(message: Invoke, count: int, most: int) -> RefusedError:
    return RefusedError(
        shown_name(message.method), f"{count} arguments, the limit is {most} (Limits.arguments)"
    )


def shown_name(name: str) -> str:
    """Return a method's name as an error can hold it: a peer's may be anything."""
    return name if len(name) <= _SHOWN_NAME else f"{name[:_SHOWN_NAME]}…"


def unpack_arguments(value: object) -> Arguments:
    """Check the decoded ``[positional, keyword]`` of a packed call.

    Raises:
        RemoteProtocolError: If it is something else.
    """
    if isinstance(value, list) and len(value) == _CALL_PARTS:
        args, kwargs = value
        whole = isinstance(args, list) and isinstance(kwargs, dict)
        if whole and (not kwargs or all(isinstance(name, str) for name in kwargs)):
            return tuple(args), kwargs
    raise RemoteProtocolError("a packed call must hold a list and a mapping with string keys")
