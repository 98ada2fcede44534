"""What depends on sockets and on the event loop's library; nothing else in the package does.

The seam is small on purpose: a `Transport` receives and sends bytes, a `Listener` accepts
transports, a `Waiter` is what one task waits for and another one sets. Each exists once per event
loop's library, as the ones of anyio cost more than all else that a call does.
"""

from __future__ import annotations

from cluster_client._backend._loops import (
    event_loop_waker,
    is_cancelled,
    is_running,
    is_stray,
    poller,
    start_background_task,
    stray_cancellations_as_errors,
    waiter_factory,
)
from cluster_client._backend._seam import Listener, Transport, Waiter
from cluster_client._backend._socket_files import check_directory
from cluster_client._backend._sockets import SocketListener, bind_and_listen, connect

__all__ = [
    "Listener",
    "SocketListener",
    "Transport",
    "Waiter",
    "bind_and_listen",
    "check_directory",
    "connect",
    "event_loop_waker",
    "is_cancelled",
    "is_running",
    "is_stray",
    "poller",
    "start_background_task",
    "stray_cancellations_as_errors",
    "waiter_factory",
]
