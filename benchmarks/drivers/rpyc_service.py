"""RPyC: a connection per thread, and a thread per connection over there, its own default.

RPyC passes a dict by reference: to compare one would be a dozen calls more. So values travel
as bytes, which it copies, in msgpack, and both sides have the object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import rpyc
from rpyc.utils.server import ThreadedServer

from benchmarks.drivers.interface import BlockingConnection, BlockingDriver
from benchmarks.workload import numbered


class Service(rpyc.Service):  # type: ignore[misc, unused-ignore]  # untyped
    """The shared object."""

    def exposed_echo(self, data: bytes) -> bytes:
        """Return the value."""
        encoded: bytes = msgpack.packb(msgpack.unpackb(data))
        return encoded

    def exposed_rows(self, count: int) -> Iterator[bytes]:
        """Stream small values."""
        for number in range(count):
            yield msgpack.packb(numbered(number))


class Connection(BlockingConnection):
    """A connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection  # the root does not keep it open
        self._root = connection.root

    def echo(self, value: Any) -> Any:
        return msgpack.unpackb(self._root.echo(msgpack.packb(value)))

    def rows(self, count: int) -> Iterator[Any]:
        for data in self._root.rows(count):
            yield msgpack.unpackb(data)


class Rpyc(BlockingDriver):
    """RPyC's ThreadedServer."""

    def serve(self, port: int) -> None:
        ThreadedServer(Service, hostname="127.0.0.1", port=port).start()

    def connect(self, port: int) -> BlockingConnection:
        return Connection(rpyc.connect("127.0.0.1", port))
