"""A port whose holder closes each connection at the first word."""

from __future__ import annotations

import anyio
import anyio.abc
import pytest

from cluster_client import ClientState, LeaderUnavailableError
from support.logs import LogRecorder
from support.registry import Upstream, registry_client
from support.times import scaled


async def test_a_leader_that_closes_instead_of_answering_is_named(port: int) -> None:
    log = LogRecorder()

    async def close_at_the_first_word(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, close_at_the_first_word)
        client = registry_client(Upstream(), port, max_wait_time=scaled(0.2), logger=log)
        with pytest.raises(LeaderUnavailableError, match="closed the connection"):
            async with client:
                raise AssertionError("opened")
        tasks.cancel_scope.cancel()
    assert client.state is ClientState.CLOSED
    assert [entry for entry in log.entries if entry.level != "info"] == []
