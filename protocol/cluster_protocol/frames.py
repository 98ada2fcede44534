"""Frames: a 24-byte header and two objects (SPEC section 2)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from cluster_protocol.errors import LocalProtocolError

__all__ = ["HEADER_SIZE", "MAX_REQUEST_ID", "VERSION", "Frame", "encode_frame", "frame_bytes"]

VERSION: Final = 1
REQUEST: Final = 0
RESPONSE: Final = 1

HEADER: Final = struct.Struct(">BBHQiII")
"""Version, kind, reserved, request id, timeout, two lengths; all big-endian."""

HEADER_SIZE: Final = HEADER.size
MAX_REQUEST_ID: Final = 2**30 - 1
"""Node keeps its ids below 2**30; towards a Node peer ours stay there, too (SPEC 2.2)."""

_MAX_LENGTH: Final = 2**32 - 1
_MAX_TIMEOUT: Final = 2**31 - 1


class Frame(NamedTuple):
    """One frame, its two objects still encoded.

    A tuple and not a dataclass: one is made for every message that arrives.

    Attributes:
        is_response: Whether it answers the request *request_id*.
        request_id: Identifies a request among those of its sender.
        timeout_ms: How long the sender waits for an answer, in milliseconds;
            0 in answers to which none is expected.
        connection: The connection object: JSON text in UTF-8, never empty.
        application: The application object in the peers' codec; may be empty.
    """

    is_response: bool
    request_id: int
    timeout_ms: int
    connection: bytes
    application: bytes = b""


def encode_frame(frame: Frame) -> bytes:
    """Return the bytes of *frame*.

    Raises:
        LocalProtocolError: If a field does not fit the header, or the
            connection object is empty (Node's reader breaks on such a frame).

    Source:
        SPEC section 2; cluster-client 3.7.0, ``lib/protocol/byte_buffer``.
    """
    return frame_bytes(*frame)


def frame_bytes(
    is_response: bool, request_id: int, timeout_ms: int, connection: bytes, application: bytes
) -> bytes:
    """Return the bytes of a frame of these parts; as `encode_frame`, without making a `Frame`."""
    if not connection:
        raise LocalProtocolError("a frame needs a connection object; this one is empty")
    try:
        header = HEADER.pack(
            VERSION,
            RESPONSE if is_response else REQUEST,
            0,
            request_id,
            timeout_ms,
            len(connection),
            len(application),
        )
    except struct.error as exc:
        raise LocalProtocolError(
            f"a field does not fit the header: request id {request_id} (0 to 2**64-1), "
            f"timeout {timeout_ms} ms (up to {_MAX_TIMEOUT}), objects of {len(connection)} and "
            f"{len(application)} bytes (up to {_MAX_LENGTH})"
        ) from exc
    return b"".join((header, connection, application))
