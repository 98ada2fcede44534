"""gRPC's asyncio API, with msgpack where a service would have its protobuf messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import msgpack

from benchmarks.drivers.interface import AsyncConnection, AsyncDriver
from benchmarks.workload import numbered


async def _echo(request: Any, context: Any) -> Any:
    return request


async def _rows(request: int, context: Any) -> AsyncIterator[Any]:
    for number in range(request):
        yield numbered(number)


class Connection(AsyncConnection):
    """A channel."""

    def __init__(self, channel: Any) -> None:
        codec = {
            "request_serializer": msgpack.packb,
            "response_deserializer": msgpack.unpackb,
        }
        echo = channel.unary_unary("/benchmark.Real/echo", **codec)
        self.echo = echo  # type: ignore[method-assign]
        self._rows = channel.unary_stream("/benchmark.Real/rows", **codec)

    def rows(self, count: int) -> AsyncIterator[Any]:
        stream: AsyncIterator[Any] = self._rows(count)
        return stream


class GrpcAio(AsyncDriver):
    """grpc.aio."""

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncGenerator[None]:
        codec = {
            "request_deserializer": msgpack.unpackb,
            "response_serializer": msgpack.packb,
        }
        handlers = {
            "echo": grpc.unary_unary_rpc_method_handler(_echo, **codec),
            "rows": grpc.unary_stream_rpc_method_handler(_rows, **codec),
        }
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("benchmark.Real", handlers),)
        )
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    @asynccontextmanager
    async def connect(self, port: int) -> AsyncGenerator[AsyncConnection]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Connection(channel)
