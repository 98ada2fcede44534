"""multiprocessing.managers: a proxy, with a connection and a thread over there per caller's thread.

To open a connection takes tens of milliseconds, as its handshake meets Nagle's algorithm.
"""

from __future__ import annotations

import threading
from multiprocessing.managers import BaseManager
from typing import Any, Final

from benchmarks.drivers.interface import BlockingConnection, BlockingDriver

_KEY: Final = b"benchmark"


class Real:
    """The shared object."""

    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value


class Manager(BaseManager):
    """Knows the shared object."""


class Connection(BlockingConnection):
    """A proxy."""

    def __init__(self, proxy: Any) -> None:
        self.echo = proxy.echo  # type: ignore[method-assign]


class Managers(BlockingDriver):
    """multiprocessing.managers."""

    def __init__(self) -> None:
        Manager.register("real", callable=Real, exposed=["echo"])
        self._lock = threading.Lock()
        self._proxy: Any = None

    def serve(self, port: int) -> None:
        Manager(("127.0.0.1", port), _KEY).get_server().serve_forever()

    def connect(self, port: int) -> BlockingConnection:
        with self._lock:
            if self._proxy is None:
                manager = Manager(("127.0.0.1", port), _KEY)
                manager.connect()
                self._proxy = manager.real()  # type: ignore[attr-defined]  # registered above
        return Connection(self._proxy)
