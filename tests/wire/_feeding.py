"""Ways to feed a decoder, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

from cluster_protocol import DEFAULT_LIMITS, Frame, FrameDecoder, FrameLimits, RemoteProtocolError


@dataclass
class Outcome:
    """All frames that came, and the error after them, if there was one.

    Attributes:
        frames: In their order.
        error: What `next_frame` raised.
        fed: Bytes that had been fed when it did, or all.
        unfinished: Whether a part of a frame was left.
    """

    frames: list[Frame]
    error: RemoteProtocolError | None
    fed: int
    unfinished: bool

    def essence(self) -> tuple[list[Frame], type | None, tuple[object, ...], bool]:
        """Return what must not depend on the chunks.

        That is all but the text about a stranger's bytes: it shows those that are there.
        """
        about = () if self.error is None else self.error.args if len(self.error.args) > 1 else ()
        return self.frames, type(self.error), about, self.unfinished


def feed(chunks: Iterable[bytes], limits: FrameLimits = DEFAULT_LIMITS) -> Outcome:
    """Feed a new decoder; after each chunk, take all frames that are whole."""
    decoder = FrameDecoder(limits)
    frames: list[Frame] = []
    fed = 0
    for chunk in chunks:
        decoder.receive_data(chunk)
        fed += len(chunk)
        try:
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        except RemoteProtocolError as exc:
            return Outcome(frames, exc, fed, decoder.has_partial_frame)
    return Outcome(frames, None, fed, decoder.has_partial_frame)


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def chunked(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut *data* at the positions *cuts*, in any order; an empty chunk may come out, too."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def cuts() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 400), max_size=12)


def frames() -> st.SearchStrategy[Frame]:
    """Any frames that can be written, with small objects of any bytes."""
    return st.builds(
        Frame,
        is_response=st.booleans(),
        request_id=st.integers(0, 2**64 - 1),
        timeout_ms=st.integers(-(2**31), 2**31 - 1),
        connection=st.binary(min_size=1, max_size=60),
        application=st.binary(max_size=60),
    )
