"""Bytes in, frames out, whatever the chunks (SPEC section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cluster_protocol.errors import FrameTooLargeError, ProtocolError, RemoteProtocolError
from cluster_protocol.frames import HEADER, HEADER_SIZE, RESPONSE, VERSION, Frame

__all__ = ["DEFAULT_LIMITS", "REGISTRATION_LIMITS", "FrameDecoder", "FrameLimits"]


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """Greatest acceptable lengths, in bytes (SPEC section 2.3).

    Attributes:
        connection: For the connection object.
        application: For the application object.
    """

    connection: int
    application: int


DEFAULT_LIMITS: Final = FrameLimits(connection=1 << 20, application=64 << 20)
REGISTRATION_LIMITS: Final = FrameLimits(connection=4096, application=0)
"""For the first frame of a connection, whose sender is still a stranger."""


_LARGE: Final = 128 << 10
"""Bytes of a frame from which on its body is cut out of the buffer where it is."""


class FrameDecoder:
    """Feed with `receive_data`, then call `next_frame` until it gives ``None``.

    Lengths are checked as soon as the header is there, so a peer cannot make
    us buffer a body beyond the limit. The first error is final: once framing
    is lost there is no way to find the next header.

    Attributes:
        limits: May be replaced at any time; holds for every frame that is not complete yet.
    """

    def __init__(self, limits: FrameLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._buffer = bytearray()
        self._start = 0
        self._needed = HEADER_SIZE  # bytes of which a frame may be whole
        self._failure: ProtocolError | None = None

    def receive_data(self, data: bytes) -> None:
        """Append what arrived.

        After an error nothing is kept: the bytes could never be used.
        """
        if self._failure is None:
            self._buffer += data

    def receive_frames(self, data: bytes) -> list[Frame]:
        """Append what arrived and return all frames that are whole now.

        Like `receive_data` and `next_frame` in turn, at a third of the price: small frames are
        cut out of *data* itself. Frames that come before an error are returned; `failure` tells
        of it then.
        """
        if self._failure is not None:
            return []
        self._compact()
        buffer = self._buffer
        if buffer:
            if len(buffer) + len(data) < self._needed:
                buffer += data
                # Of a header the second byte may just have come.
                return self._remaining_frames([]) if self._needed == HEADER_SIZE else []
            if self._needed > _LARGE:  # not worth another copy
                buffer += data
                return self._remaining_frames([])
            data = b"".join((buffer, data))
            buffer.clear()
        frames: list[Frame] = []
        start, size = 0, len(data)
        limits = self.limits
        while size - start >= HEADER_SIZE:
            version, kind, _, request_id, timeout_ms, connection_size, application_size = (
                HEADER.unpack_from(data, start)
            )
            if (
                version != VERSION
                or kind > RESPONSE
                or not 0 < connection_size <= limits.connection
                or application_size > limits.application
            ):
                break  # it is told below what is wrong
            begin = start + HEADER_SIZE
            middle = begin + connection_size
            end = middle + application_size
            if end > size:
                break
            frames.append(
                Frame(
                    kind == RESPONSE, request_id, timeout_ms, data[begin:middle], data[middle:end]
                )
            )
            start = end
        if start < size:
            buffer += data[start:]
            self._remaining_frames(frames)
        return frames

    def _remaining_frames(self, frames: list[Frame]) -> list[Frame]:
        try:
            while (frame := self.next_frame()) is not None:
                frames.append(frame)
        except ProtocolError:
            return frames  # `failure` tells it
        return frames

    @property
    def failure(self) -> ProtocolError | None:
        """The error that was found; no frame comes after it."""
        return self._failure

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or ``None`` if more bytes are needed.

        Raises:
            RemoteProtocolError: If the bytes are not a frame. The same error
                is raised by every later call.
            FrameTooLargeError: If an object is longer than its limit.
        """
        if self._failure is not None:
            raise self._failure
        try:
            return self._parse()
        except ProtocolError as exc:
            self._failure = exc
            self._buffer.clear()
            raise

    def _parse(self) -> Frame | None:
        buffer, start = self._buffer, self._start
        available = len(buffer) - start
        if available < HEADER_SIZE:
            if available and (buffer[start] != VERSION or buffer[start + 1 : start + 2] > b"\x01"):
                # A stranger's greeting can be shorter than a header; say so at once.
                raise _not_a_frame(buffer[start:])
            self._compact()
            self._needed = HEADER_SIZE
            return None
        version, kind, _, request_id, timeout_ms, connection_size, application_size = (
            HEADER.unpack_from(buffer, start)
        )
        if version != VERSION or kind > RESPONSE:
            raise _not_a_frame(buffer[start:])
        limits = self.limits
        if not connection_size:
            raise RemoteProtocolError(f"frame {request_id} has no connection object")
        if connection_size > limits.connection:
            raise FrameTooLargeError("connection", connection_size, limits.connection)
        if application_size > limits.application:
            raise FrameTooLargeError("application", application_size, limits.application)
        middle = start + HEADER_SIZE + connection_size
        end = middle + application_size
        if len(buffer) < end:
            self._compact()
            self._needed = end - start
            return None
        connection = bytes(buffer[start + HEADER_SIZE : middle])
        # Through a view: slicing the bytearray would copy a large body twice.
        with memoryview(buffer) as view:
            application = bytes(view[middle:end])
        self._start = end
        self._needed = HEADER_SIZE  # what follows may be whole already
        return Frame(kind == RESPONSE, request_id, timeout_ms, connection, application)

    def _compact(self) -> None:
        """Drop what was consumed: once per call that comes up short, not once per frame."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0

    @property
    def has_partial_frame(self) -> bool:
        """Whether bytes of an unfinished frame are buffered.

        At the end of the stream this tells a cut connection from a clean end.
        """
        return len(self._buffer) > self._start


def _not_a_frame(data: bytearray) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the peer does not speak the cluster protocol: it sent {bytes(data[:32])!r}, where a "
        f"frame begins with version {VERSION} and a kind of 0 or 1"
    )
