"""Targets: frames, messages and calls; all that has neither task nor transport."""

from __future__ import annotations

from itertools import cycle
from typing import Final

from cluster_client._dialects import read_call
from cluster_client.errors import RefusedError
from cluster_protocol import (
    DEFAULT_LIMITS,
    FEATURES,
    REGISTRATION_LIMITS,
    Frame,
    FrameDecoder,
    FrameLimits,
    Invoke,
    LocalProtocolError,
    ProtocolError,
    RegisterChannel,
    RemoteProtocolError,
    UnknownMessage,
    decode_message,
    encode_frame,
    join_arguments,
    negotiate,
    pack_call,
    split_arguments,
    unpack_call,
)
from fuzz.values import CODECS

_LIMITS: Final = (DEFAULT_LIMITS, REGISTRATION_LIMITS, FrameLimits(64, 64))
_SIZES: Final = ((1, 23, 24, 25), (2,), (7, 1, 100), (64, 3), (1 << 20,), (24, 1), (5, 0, 5), (48,))


def chunks_of(data: bytes, pattern: int) -> list[bytes]:
    """Cut *data* in one of several ways, of which one is not at all."""
    chunks: list[bytes] = []
    for size in cycle(_SIZES[pattern % len(_SIZES)]):
        if not data:
            return chunks
        chunks.append(data[:size])
        data = data[size:]
    return chunks


def check_decoder(data: bytes) -> None:
    """Any chunks give what single bytes give, by either way to ask for frames."""
    options, stream = data[:2].ljust(2, b"\0"), data[2:]
    limits = _LIMITS[options[0] % len(_LIMITS)]
    expected = _one_by_one([stream[i : i + 1] for i in range(len(stream))], limits)
    chunks = chunks_of(stream, options[1])
    for found in (_one_by_one(chunks, limits), _all_at_once(chunks, limits)):
        assert found == expected, f"{found} and not {expected}"
    for frame in expected[0]:
        assert encode_frame(frame)[:2] == bytes([1, frame.is_response])


_Outcome = tuple[list[Frame], str, bool]


def _one_by_one(chunks: list[bytes], limits: FrameLimits) -> _Outcome:
    decoder = FrameDecoder(limits)
    frames: list[Frame] = []
    for chunk in chunks:
        decoder.receive_data(chunk)
        try:
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        except RemoteProtocolError as exc:
            assert decoder.failure is exc
            break
    return frames, _essence(decoder.failure), decoder.has_partial_frame


def _all_at_once(chunks: list[bytes], limits: FrameLimits) -> _Outcome:
    decoder = FrameDecoder(limits)
    frames: list[Frame] = []
    for chunk in chunks:
        frames += decoder.receive_frames(chunk)
    return frames, _essence(decoder.failure), decoder.has_partial_frame


def _essence(error: ProtocolError | None) -> str:
    """Return what must not depend on the chunks: a stranger's bytes are shown as far as known."""
    return f"{type(error).__name__}: {str(error).partition(': it sent')[0]}"


def check_message(data: bytes) -> None:
    """A connection object is a message that means the same when it is sent on, or refused."""
    is_response, connection = bool(data[:1] and data[0] & 1), data[1:]
    try:
        message = decode_message(connection, is_response=is_response)
    except RemoteProtocolError as exc:
        assert str(exc)
        return
    if isinstance(message, UnknownMessage):
        return
    assert message.is_response == is_response
    if isinstance(message, RegisterChannel) and message.offer is not None:
        try:
            negotiate(message.offer, codecs=["msgpack"], features=FEATURES, epoch="e", pid=1)
        except RemoteProtocolError as exc:
            assert str(exc)
    try:
        written = message.encode()
    except LocalProtocolError as exc:
        assert "recursion" in str(exc), exc
        return
    assert decode_message(written, is_response=is_response) == message


def check_call(data: bytes) -> None:
    """An application object is a call's arguments, or refused.

    Of the options the first byte chooses form and codec, the second the number of arguments.
    """
    options, application = data[:2].ljust(2, b"\0"), data[2:]
    packed, codec = bool(options[0] & 1), CODECS[(options[0] >> 1) % len(CODECS)]
    count = options[1] if options[1] < 255 else 2**62
    if packed:
        _check_packed(application)
    else:
        _check_list(application, count)
    frame = Frame(False, 1, 3000, b"{}", application)
    try:
        (args, kwargs), expires = read_call(
            Invoke("m", count, oneway=bool(options[0] & 64), packed=packed), frame, codec
        )
    except (RefusedError, RemoteProtocolError) as exc:
        assert str(exc)
        return
    assert isinstance(args, tuple)
    assert all(isinstance(name, str) for name in kwargs)
    assert expires > 0


def _check_packed(application: bytes) -> None:
    try:
        deadline, arguments = unpack_call(application)
    except RemoteProtocolError:
        return
    assert pack_call(deadline, arguments) == application


def _check_list(application: bytes, count: int) -> None:
    try:
        arguments = split_arguments(application, count)
    except RemoteProtocolError:
        return
    assert len(arguments) == count
    assert join_arguments(arguments) == application
