"""What large frames ask of the C library's allocator."""

from __future__ import annotations

from functools import cache
from typing import Final

__all__ = ["keep_freed_blocks"]

_BLOCK: Final = 4 << 20


@cache
def keep_freed_blocks() -> None:
    """Have glibc keep freed blocks of up to 4 MiB for the next frame, once and for the process.

    It gives blocks above a threshold, 128 KiB at first, back to the system when they are freed,
    and the next one costs a page fault per 4 KiB: 700 of them, and more than half of the time of
    a call with 1 MiB. The threshold adapts to the largest block that was ever freed; this is one.
    Its pages are never touched, so it takes microseconds. Elsewhere it does nothing.
    """
    bytes(_BLOCK)
