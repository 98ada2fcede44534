"""Free ports on loopback, outside the range that the kernel takes ports from by itself."""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

_FIRST: Final = 20_000
_LAST: Final = 32_000
# Test processes that run side by side begin at different places.
_candidates = itertools.cycle(range(_FIRST, _LAST))
for _ in range(os.getpid() * 37 % (_LAST - _FIRST)):
    next(_candidates)


def free_port() -> int:
    """Return a port that nobody listens on; the same one is not given out again soon."""
    for port in _candidates:
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError  # the cycle has no end
