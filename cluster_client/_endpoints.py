"""Where a race takes place: a port of 127.0.0.1, or a Unix domain socket (SPEC section 8.1)."""

from __future__ import annotations

import sys
from typing import Final, TypeAlias

__all__ = ["LOCALHOST", "MAX_PATH", "Endpoint", "describe_endpoint", "endpoint_name"]

LOCALHOST: Final = "127.0.0.1"
MAX_PATH: Final = 107 if sys.platform == "linux" else 103
"""Bytes of a path that the address of a socket has room for."""

Endpoint: TypeAlias = int | str
"""The number of a port, or the path of a socket."""


def describe_endpoint(endpoint: Endpoint) -> str:
    """Return it for people, as in "no leader on …"."""
    return f"port {endpoint} of {LOCALHOST}" if isinstance(endpoint, int) else f"socket {endpoint}"


def endpoint_name(endpoint: Endpoint) -> str:
    """Return what both sides of a connection call it, and no other endpoint of the host."""
    return f"tcp:{LOCALHOST}:{endpoint}" if isinstance(endpoint, int) else f"unix:{endpoint}"
