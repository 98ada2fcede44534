"""Bytes in, frames out, whatever the chunks (SPEC section 2)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster_protocol import (
    DEFAULT_LIMITS,
    HEADER_SIZE,
    REGISTRATION_LIMITS,
    Frame,
    FrameDecoder,
    FrameLimits,
    FrameTooLargeError,
    RemoteProtocolError,
    encode_frame,
)

from ._feeding import bytewise, chunked, cuts, feed, frames
from ._vectors import Vector, each, load

SMALL = FrameLimits(connection=40, application=20)
FRAME = Frame(False, 1, 3000, b'{"type":"heartbeat"}')
OTHER = Frame(True, 2**40, 0, b'{"type":"invoke_result","success":true}', b"result")


def frame_of(vector: Vector) -> Frame:
    """Return the frame of a vector; its connection object is compared as text, byte for byte."""
    whole = bytes.fromhex(vector["hex"])
    application = bytes.fromhex(vector["application"])
    return Frame(
        is_response=vector["response"],
        request_id=vector["request_id"],
        timeout_ms=vector["timeout_ms"],
        connection=whole[HEADER_SIZE : len(whole) - len(application)],
        application=application,
    )


def limits_of(vector: Vector) -> FrameLimits:
    return FrameLimits(**vector["limits"]) if "limits" in vector else DEFAULT_LIMITS


# --------------------------------------------------------------- valid frames


@each("frames.json")
class TestAValidVector:
    def test_whole(self, vector: Vector) -> None:
        outcome = feed([bytes.fromhex(vector["hex"])])

        assert outcome.error is None
        assert outcome.frames == [frame_of(vector)]
        assert not outcome.unfinished

    def test_byte_by_byte(self, vector: Vector) -> None:
        *before, last = bytewise(bytes.fromhex(vector["hex"]))

        assert feed(before).frames == []
        assert feed(before).unfinished
        assert feed([*before, last]).frames == [frame_of(vector)]

    def test_with_the_next_frame_behind_it(self, vector: Vector) -> None:
        data = bytes.fromhex(vector["hex"]) + encode_frame(OTHER)

        assert feed([data]).frames == [frame_of(vector), OTHER]

    def test_with_a_part_of_the_next_frame_behind_it(self, vector: Vector) -> None:
        data, tail = bytes.fromhex(vector["hex"]), encode_frame(OTHER)
        for size in range(1, len(tail)):
            outcome = feed([data + tail[:size], tail[size:]])
            assert outcome.frames == [frame_of(vector), OTHER]
            assert not outcome.unfinished


@pytest.mark.parametrize("size", [1, 7, 24, 100, 10_000])
def test_nodes_conversation_is_the_same_in_chunks_of_any_size(size: int) -> None:
    vectors = load("node_conversation.json")
    data = b"".join(bytes.fromhex(vector["hex"]) for vector in vectors)

    outcome = feed(data[i : i + size] for i in range(0, len(data), size))

    assert [encode_frame(frame).hex() for frame in outcome.frames] == [v["hex"] for v in vectors]
    assert [f.application.decode() for f in outcome.frames] == [v["application"] for v in vectors]


@given(st.lists(frames(), max_size=6), cuts())
def test_any_frames_in_any_chunks_come_out_as_they_went_in(
    sent: list[Frame], cuts: list[int]
) -> None:
    data = b"".join(map(encode_frame, sent))

    outcome = feed(chunked(data, cuts))

    assert outcome.error is None
    assert outcome.frames == sent
    assert not outcome.unfinished


@given(st.lists(frames(), min_size=1, max_size=4), st.data())
def test_a_cut_connection_is_told_from_a_clean_end(sent: list[Frame], data: st.DataObject) -> None:
    whole = b"".join(map(encode_frame, sent))
    ends = {0}
    for frame in sent:
        ends.add(max(ends) + len(encode_frame(frame)))
    size = data.draw(st.integers(0, len(whole)))

    assert feed([whole[:size]]).unfinished == (size not in ends)


def test_an_empty_chunk_changes_nothing() -> None:
    data = encode_frame(FRAME)

    assert feed([b"", data[:30], b"", data[30:], b""]).frames == [FRAME]


def test_a_decoder_that_got_nothing_has_nothing() -> None:
    decoder = FrameDecoder()

    assert decoder.next_frame() is None
    assert not decoder.has_partial_frame


def test_frames_are_independent_of_the_decoders_buffer() -> None:
    """The objects are bytes of their own, although the buffer is used again."""
    decoder = FrameDecoder()
    decoder.receive_data(encode_frame(OTHER))
    frame = decoder.next_frame()
    decoder.receive_data(b"\x01" * 10)
    decoder.next_frame()

    assert frame == OTHER
    assert type(frame.connection) is bytes
    assert type(frame.application) is bytes


# -------------------------------------------------------------- invalid frames


@each("invalid_frames.json", "frames")
class TestAnInvalidVector:
    def test_whole(self, vector: Vector) -> None:
        outcome = feed([bytes.fromhex(vector["hex"])], limits_of(vector))

        assert outcome.frames == []
        assert type(outcome.error).__name__ == vector["error"]

    def test_byte_by_byte_it_is_told_as_early_as_it_can_be_known(self, vector: Vector) -> None:
        outcome = feed(bytewise(bytes.fromhex(vector["hex"])), limits_of(vector))

        assert type(outcome.error).__name__ == vector["error"]
        assert outcome.fed == vector["after"]

    def test_the_next_frame_behind_it_is_lost(self, vector: Vector) -> None:
        data = bytes.fromhex(vector["hex"]) + encode_frame(FRAME)
        for chunks in ([data], bytewise(data)):
            outcome = feed(chunks, limits_of(vector))
            assert outcome.frames == []
            assert type(outcome.error).__name__ == vector["error"]

    def test_the_frames_before_it_are_not(self, vector: Vector) -> None:
        """Even when they came in the same chunk."""
        short = Frame(False, 9, 0, b'{"type":"t"}')
        data = encode_frame(short) * 3 + bytes.fromhex(vector["hex"])

        outcome = feed([data], limits_of(vector))

        assert outcome.frames == [short] * 3
        assert type(outcome.error).__name__ == vector["error"]

    def test_the_error_is_final(self, vector: Vector) -> None:
        decoder = FrameDecoder(limits_of(vector))
        decoder.receive_data(bytes.fromhex(vector["hex"]))
        with pytest.raises(RemoteProtocolError) as first:
            decoder.next_frame()
        decoder.limits = DEFAULT_LIMITS
        decoder.receive_data(encode_frame(FRAME))
        with pytest.raises(RemoteProtocolError) as second:
            decoder.next_frame()

        assert second.value is first.value

    def test_nothing_is_kept_after_it(self, vector: Vector) -> None:
        decoder = FrameDecoder(limits_of(vector))
        decoder.receive_data(bytes.fromhex(vector["hex"]))
        with pytest.raises(RemoteProtocolError):
            decoder.next_frame()
        assert not decoder.has_partial_frame

        decoder.receive_data(bytes(1000))
        assert not decoder.has_partial_frame


def test_a_strangers_greeting_is_shown_in_part() -> None:
    error = feed([b"GET /" + b"x" * 1000]).error

    assert "b'GET /xxx" in str(error)
    assert len(str(error)) < 250


# ---------------------------------------------------------------------- limits


def sized(connection: int, application: int) -> Frame:
    return Frame(False, 7, 0, b"c" * connection, b"a" * application)


@pytest.mark.parametrize("frame", [sized(40, 20), sized(1, 20), sized(40, 0)])
def test_a_frame_as_long_as_the_limits_passes(frame: Frame) -> None:
    assert feed([encode_frame(frame)], SMALL).frames == [frame]


@pytest.mark.parametrize(
    ("frame", "part", "size", "limit"),
    [(sized(41, 0), "connection", 41, 40), (sized(40, 21), "application", 21, 20)],
)
def test_a_frame_one_byte_longer_does_not(frame: Frame, part: str, size: int, limit: int) -> None:
    error = feed([encode_frame(frame)], SMALL).error

    assert isinstance(error, FrameTooLargeError)
    assert (error.part, error.size, error.limit) == (part, size, limit)
    assert str(error) == (
        f"the frame announces {size} bytes of {part} object, the limit is {limit}"
    )


def test_the_header_alone_is_enough_to_refuse() -> None:
    """So a body beyond the limit is never buffered."""
    header = encode_frame(sized(41, 0))[:HEADER_SIZE]

    assert isinstance(feed([header], SMALL).error, FrameTooLargeError)


def test_a_stranger_may_register_and_no_more() -> None:
    assert FrameLimits(connection=4096, application=0) == REGISTRATION_LIMITS
    assert feed([encode_frame(sized(4096, 0))], REGISTRATION_LIMITS).frames == [sized(4096, 0)]
    assert feed([encode_frame(sized(20, 1))], REGISTRATION_LIMITS).error is not None


def test_limits_without_a_word_are_1_mib_and_64_mib() -> None:
    assert FrameDecoder().limits == FrameLimits(connection=2**20, application=2**26)


def test_new_limits_hold_from_the_next_frame_on_even_if_its_bytes_are_there() -> None:
    first, second = sized(20, 0), sized(20, 20)
    decoder = FrameDecoder(REGISTRATION_LIMITS)
    decoder.receive_data(encode_frame(first) + encode_frame(second))

    assert decoder.next_frame() == first
    decoder.limits = SMALL
    assert decoder.next_frame() == second


# ------------------------------------------------------------------- any bytes


def last_error(decoder: FrameDecoder) -> RemoteProtocolError | None:
    """Take all frames that are whole; return the error after them, if there is one."""
    try:
        while decoder.next_frame() is not None:
            pass
    except RemoteProtocolError as exc:
        return exc
    return None


def almost_frames() -> st.SearchStrategy[bytes]:
    """Bytes that are frames but for a few places; pure noise hardly gets past the first byte."""

    def damage(data: bytes, changes: list[tuple[int, int]]) -> bytes:
        damaged = bytearray(data)
        for place, value in changes:
            if damaged:
                damaged[place % len(damaged)] = value
        return bytes(damaged)

    changes = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=3)
    valid = st.lists(frames(), max_size=3).map(lambda sent: b"".join(map(encode_frame, sent)))
    headers = st.builds(
        lambda start, end: start + end, st.just(b"\x01\x00\x00\x00" + bytes(15)), st.binary()
    )
    return st.builds(damage, valid, changes) | headers | st.binary()


@given(almost_frames(), cuts(), st.sampled_from([SMALL, DEFAULT_LIMITS, REGISTRATION_LIMITS]))
@example(b"\x01\x02", [1], DEFAULT_LIMITS)
@example(b"\x01", [], DEFAULT_LIMITS)
def test_any_bytes_give_the_same_frames_or_error_whatever_the_chunks(
    data: bytes, cuts: list[int], limits: FrameLimits
) -> None:
    whole = feed([data], limits)

    assert feed(chunked(data, cuts), limits).essence() == whole.essence()
    assert feed(bytewise(data), limits).essence() == whole.essence()


@given(almost_frames(), st.binary(min_size=1), cuts())
def test_the_first_error_is_final_whatever_follows(
    data: bytes, more: bytes, cuts: list[int]
) -> None:
    decoder = FrameDecoder(SMALL)
    decoder.receive_data(data)
    first = last_error(decoder)
    for chunk in chunked(more, cuts) if first else ():
        decoder.receive_data(chunk)
        assert last_error(decoder) is first
        assert not decoder.has_partial_frame


@given(almost_frames(), cuts())
def test_no_more_is_kept_than_one_frame_within_the_limits(data: bytes, cuts: list[int]) -> None:
    decoder = FrameDecoder(SMALL)
    for chunk in chunked(data, cuts):
        decoder.receive_data(chunk)
        last_error(decoder)
        assert len(decoder._buffer) < HEADER_SIZE + SMALL.connection + SMALL.application


# ------------------------------------------------------------- many at once


def test_frames_come_at_once_as_they_come_one_by_one() -> None:
    frames = [Frame(False, number, 0, b"{}", b"x" * number) for number in range(50)]
    data = b"".join(map(encode_frame, frames))
    for size in (1, 7, 24, 100, len(data)):
        decoder = FrameDecoder()
        found = [
            frame
            for start in range(0, len(data), size)
            for frame in decoder.receive_frames(data[start : start + size])
        ]
        assert found == frames
        assert not decoder.has_partial_frame


def test_large_frames_come_at_once_too() -> None:
    frames = [Frame(True, number, 0, b"{}", bytes(200_000 * number)) for number in (1, 0, 2)]
    data = b"".join(map(encode_frame, frames))
    decoder = FrameDecoder()
    found: list[Frame] = []
    for start in range(0, len(data), 65536):
        found += decoder.receive_frames(data[start : start + 65536])
    assert found == frames


def test_both_ways_of_reading_can_follow_each_other() -> None:
    """The registration is read alone, and what follows it in bulk."""
    decoder = FrameDecoder()
    first, second, third = (Frame(False, number, 0, b"{}") for number in (1, 2, 3))
    decoder.receive_data(encode_frame(first) + encode_frame(second)[:30])
    assert decoder.next_frame() == first
    assert decoder.receive_frames(encode_frame(second)[30:]) == [second]
    assert decoder.receive_frames(b"") == []
    assert decoder.receive_frames(encode_frame(third)) == [third]
    assert decoder.next_frame() is None


def test_a_wrong_kind_is_told_at_once_even_if_it_comes_alone() -> None:
    decoder = FrameDecoder()
    assert decoder.receive_frames(b"\x01") == []
    assert decoder.failure is None
    assert decoder.receive_frames(b"\x02") == []
    assert isinstance(decoder.failure, RemoteProtocolError)


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_frames_before_an_error_are_given_first(size: int) -> None:
    whole = Frame(False, 1, 0, b"{}")
    data = encode_frame(whole) + b"GET / HTTP/1.1\r\n\r\n" + encode_frame(whole)
    decoder = FrameDecoder()
    found: list[Frame] = []
    for start in range(0, len(data), size):
        found += decoder.receive_frames(data[start : start + size])
    assert found == [whole]
    assert isinstance(decoder.failure, RemoteProtocolError)
    assert decoder.receive_frames(encode_frame(whole)) == []


def test_a_frame_behind_one_that_was_taken_alone_is_not_kept_back() -> None:
    """As the first frames of a link, which arrive with the rest of the answer to a registration."""
    answer = Frame(True, 10, 0, b'{"type":"answer"}' + b" " * 200)
    goodbye = Frame(False, 1, 0, b'{"type":"goodbye"}')
    data = encode_frame(answer) + encode_frame(goodbye)
    for cut in range(1, len(encode_frame(answer))):
        decoder = FrameDecoder()
        decoder.receive_data(data[:cut])
        assert decoder.next_frame() is None
        decoder.receive_data(data[cut:])
        assert decoder.next_frame() == answer
        assert decoder.receive_frames(b"") == [goodbye]
