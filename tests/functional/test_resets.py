"""Connections that end in the moment they begin: a peer may be killed at any time."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from cluster_client import _backend
from support.processes import Host

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reset(sock: socket.socket) -> None:
    """Close a connection as the kernel does for a killed process with unread data."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


async def test_a_leader_survives_connections_that_are_reset_before_it_accepts(host: Host) -> None:
    (leader,) = await host.start(1)
    await leader.freeze()
    for _ in range(10):
        reset(socket.create_connection(("127.0.0.1", host.port)))
    leader.thaw()
    (follower,) = await host.start(1)
    assert await follower.call("pid") == leader.pid


async def test_a_leader_that_dies_right_after_it_accepted_is_no_leader(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener:

        class ResetAtOnce(socket.socket):
            def connect_ex(self, address: Any) -> int:
                self.setblocking(True)
                self.connect(address)
                self.setblocking(False)
                reset(listener.accept()[0])
                return 0

        monkeypatch.setattr(socket, "socket", ResetAtOnce)
        assert await _backend.connect(port) is None
