"""What can go wrong on the wire, and whose fault it is.

::

    ProtocolError
    ├── LocalProtocolError          we were asked to send something invalid
    │   └── UnencodableValueError   … a value that the codec cannot carry
    └── RemoteProtocolError         the peer sent something invalid
        └── FrameTooLargeError      … a frame beyond the agreed size
"""

from __future__ import annotations

__all__ = [
    "FrameTooLargeError",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "UnencodableValueError",
]


class ProtocolError(Exception):
    """Base of every error that this package raises."""


class LocalProtocolError(ProtocolError):
    """This side tried to send something that the protocol does not allow."""


class UnencodableValueError(LocalProtocolError):
    """A value holds something that the codec cannot carry.

    Attributes:
        codec: Name of the codec.
        path: Where the culprit sits, in Python's notation: ``value['rows'][3]``.
        reason: What is wrong with it.
    """

    def __init__(self, codec: str, path: str, reason: str) -> None:
        super().__init__(codec, path, reason)
        self.codec = codec
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} cannot be encoded with codec {self.codec!r}: {self.reason}"


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes that are not a valid part of the conversation."""


class FrameTooLargeError(RemoteProtocolError):
    """A frame's header announces more than the limit (SPEC section 2.3).

    Attributes:
        part: ``"connection"`` or ``"application"``.
        size: Announced length in bytes.
        limit: Greatest length in bytes that was acceptable.
    """

    def __init__(self, part: str, size: int, limit: int) -> None:
        super().__init__(part, size, limit)
        self.part = part
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"the frame announces {self.size} bytes of {self.part} object, "
            f"the limit is {self.limit}"
        )
