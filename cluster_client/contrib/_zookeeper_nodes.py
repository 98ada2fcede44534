"""Nodes of ZooKeeper: what is said of them, what their paths may be, and how they are made."""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import Any, Final, TypedDict

from kazoo.exceptions import (
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)

from cluster_client.contrib._zookeeper_requests import Request, Steps

__all__ = [
    "Node",
    "Stat",
    "check_data",
    "check_path",
    "check_version",
    "create",
    "delete",
    "stat_of",
]

LARGEST_DATA: Final = 1 << 20
"""ZooKeeper's own limit. A server drops the connection of a client that sends more."""

LARGEST_VERSION: Final = (1 << 31) - 1

_FORBIDDEN: Final = re.compile("[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\U0010ffff]")


class Stat(TypedDict):
    """What ZooKeeper knows of a node.

    Attributes:
        version: Number of changes of its data.
        cversion: Number of changes of its children.
        aversion: Number of changes of its access rights.
        czxid: The transaction that created it.
        mzxid: The one that changed its data last.
        pzxid: The one that changed its children last.
        ctime: When it was created, in milliseconds since 1970, by the server's clock.
        mtime: When its data was changed last, the same.
        ephemeral_owner: The session that it ends with, or 0.
        data_length: Bytes of its data.
        num_children: How many it has.
    """

    version: int
    cversion: int
    aversion: int
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    ephemeral_owner: int
    data_length: int
    num_children: int


class Node(Stat):
    """A node's data, and what ZooKeeper knows of it.

    Attributes:
        data: Its data; empty where it has none.
    """

    data: bytes


def stat_of(stat: Any) -> Stat:
    """Return kazoo's named tuple as a dict."""
    return Stat(
        version=stat.version,
        cversion=stat.cversion,
        aversion=stat.aversion,
        czxid=stat.czxid,
        mzxid=stat.mzxid,
        pzxid=stat.pzxid,
        ctime=stat.ctime,
        mtime=stat.mtime,
        ephemeral_owner=stat.ephemeralOwner,
        data_length=stat.dataLength,
        num_children=stat.numChildren,
    )


def check_path(path: object, *, sequence: bool = False) -> str:
    """Return a path that a server will accept.

    kazoo's connection breaks over one that it cannot encode, for all who share it.

    Args:
        path: From the root, or from the path behind the hosts.
        sequence: The name may be empty, as a number follows.

    Raises:
        ValueError: If it is not such a path.

    Source:
        ZooKeeper's ``PathUtils.validatePath``.
    """
    if not isinstance(path, str):
        raise ValueError(f"path={path!r} must be a str")  # noqa: TRY004 - in a reg, too
    if not path.startswith("/"):
        raise ValueError(f"path={path!r} must begin with '/'")
    if found := _FORBIDDEN.search(path):
        raise ValueError(f"path={path!r} has {found[0]!r}, which ZooKeeper does not allow")
    names = path[1:].split("/")
    if sequence and len(names) > 1 and not names[-1]:
        names.pop()
    for name in names:
        if name in {".", ".."} or (not name and path != "/"):
            raise ValueError(f"path={path!r} has the name {name!r}, which ZooKeeper does not allow")
    return path


def check_data(data: object) -> bytes:
    """Return data that a server will accept.

    Raises:
        TypeError: If it is not bytes.
        ValueError: If there is too much of it.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    if len(data) > LARGEST_DATA:
        raise ValueError(f"data has {len(data)} bytes; a node of ZooKeeper holds {LARGEST_DATA}")
    return data


def check_version(version: object) -> int:
    """Return a version that can be sent.

    Raises:
        ValueError: If it is neither a node's version nor -1, which means any.
    """
    if not isinstance(version, int) or not -1 <= version <= LARGEST_VERSION:
        raise ValueError(f"version={version!r} must be an int from -1 to {LARGEST_VERSION}")
    return version


def create(
    path: str,
    data: bytes = b"",
    *,
    ephemeral: bool = False,
    sequence: bool = False,
    make_parents: bool = False,
) -> Steps[str]:
    """Create a node.

    Parents are made from below: of one that is there nothing is asked, not even the right
    to create it.
    """
    ask = partial(Request, "create", path, data, ephemeral=ephemeral, sequence=sequence)
    parent = path.rpartition("/")[0]
    while True:
        try:
            created: str = yield ask()
            return created
        except NoNodeError:
            if not (make_parents and path != "/"):
                raise
        with contextlib.suppress(NodeExistsError):  # somebody was faster
            yield from create(parent or "/", make_parents=True)


def delete(path: str, version: int = -1, *, recursive: bool = False) -> Steps[None]:
    """Delete a node; with all below it if told so."""
    if recursive and version >= 0:
        # Before anything below is deleted.
        stat = yield Request("exists", path)
        if stat is not None and stat.version != version:
            raise BadVersionError(f"delete {path}: version {stat.version} is not {version}")
    while True:
        try:
            yield Request("delete", path, version)
            return
        except NotEmptyError:
            if not recursive:
                raise
        try:
            names = yield Request("get_children", path)
        except NoNodeError:
            continue
        for name in names:
            with contextlib.suppress(NoNodeError):  # somebody was faster
                yield from delete(f"{path}/{name}", recursive=True)
