"""Whose process is at the other end of a connection, as far as the kernel tells (SPEC section 12).

Of a Unix domain socket the kernel keeps the user. Of a TCP connection on loopback Linux knows whose
socket the other end is: it is asked for the connection's exact four-tuple, as of its two ends.
Nobody can forge the answer, and reading it costs some 20 µs, once per connection.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["peer_uid"]

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NO_COOKIE: Final = b"\xff" * 8
_ESTABLISHED: Final = 1

_NLMSGHDR: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI")
_ID: Final = struct.Struct(">HH16s16s")
"""Ports in network byte order, addresses; interface and cookie follow."""
_ANSWER_UID: Final = struct.Struct("=BBBB48xIIIII")
"""Family, state, timer, retransmissions; expiry, two queues, user, inode."""

_UCRED: Final = struct.Struct("=iII")
_XUCRED: Final = struct.Struct("=II")
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1

Address = tuple[str, int]


class _Row(NamedTuple):
    """What the kernel knows of one end of a connection."""

    state: int
    uid: int
    inode: int


def peer_uid(sock: socket.socket) -> int | None:
    """Return the user of the process at the other end; ``None`` where the system cannot tell.

    To be called when something has come from the peer: before it has accepted the connection,
    its end belongs to nobody.

    Raises:
        ConnectionError: If there is none any more.
        LookupError: If the system does not tell its user, though it tells others'; says why.
    """
    if sock.family == socket.AF_UNIX:
        uid: int | None = _user_of_unix_peer(sock)
    elif sys.platform == "linux":
        uid = _user_of_tcp_peer(sock)
    else:
        return None
    if uid is not None and uid == _ambiguous_uid():
        raise LookupError(f"its user, shown as {uid}, has no number in this user namespace")
    return uid


def _user_of_unix_peer(sock: socket.socket) -> int:
    try:
        if sys.platform == "linux":
            _, uid, _ = _UCRED.unpack(
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            )
        else:
            _, uid = _XUCRED.unpack(sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
    except OSError as exc:
        raise LookupError(f"the kernel does not tell its user: {exc}") from exc
    return int(uid)


def _user_of_tcp_peer(sock: socket.socket) -> int:
    try:
        theirs, ours = sock.getpeername(), sock.getsockname()
    except OSError as exc:
        raise ConnectionResetError("the connection is gone") from exc
    try:
        row = _ask_kernel(theirs, ours)
    except OSError:  # not there, or not allowed: in some containers
        row = _search_tables(theirs, ours)
    # Without an inode the socket belongs to no process: not accepted yet, or closed already.
    if row is None or row.state != _ESTABLISHED or not row.inode:
        raise ConnectionResetError("there is no process at the other end")
    return row.uid


def _ask_kernel(local: Address, remote: Address) -> _Row | None:
    """Ask for one connection by its addresses; `sock_diag(7)`."""
    request = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    request += _ID.pack(
        local[1], remote[1], socket.inet_aton(local[0]), socket.inet_aton(remote[0])
    )
    request += struct.pack("=I", 0) + _NO_COOKIE
    header = _NLMSGHDR.pack(
        _NLMSGHDR.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.send(header + request)
        answer = netlink.recv(4096)
    _, kind, _, _, _ = _NLMSGHDR.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        code = -struct.unpack_from("=i", answer, _NLMSGHDR.size)[0]
        if code == errno.ENOENT:
            return None
        raise OSError(code, os.strerror(code))
    if _ID.unpack_from(answer, _NLMSGHDR.size + 4)[:2] != (local[1], remote[1]):
        return None  # the listening socket, where the connection itself has gone
    _, state, _, _, _, _, _, uid, inode = _ANSWER_UID.unpack_from(answer, _NLMSGHDR.size)
    return _Row(state, uid, inode)


def _search_tables(local: Address, remote: Address) -> _Row | None:
    """Look for one connection in /proc/net/tcp, and in tcp6, where it is a mapped one."""
    for table, mapped in (("tcp", ""), ("tcp6", "0000000000000000FFFF0000")):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        wanted = [mapped + _hexadecimal(address) for address in (local, remote)]
        for line in lines:
            fields = line.split()
            if fields[1:3] == wanted:
                return _Row(int(fields[3], 16), int(fields[7]), int(fields[9]))
    return None


def _hexadecimal(address: Address) -> str:
    number = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"


def _ambiguous_uid() -> int | None:
    """Return the number that stands for all users without one; ``None`` where all have one."""
    try:
        ranges = Path("/proc/self/uid_map").read_text().split()
        if ranges[:2] == ["0", "0"] and int(ranges[2]) == 2**32 - 1:
            return None
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError, IndexError):
        return None
