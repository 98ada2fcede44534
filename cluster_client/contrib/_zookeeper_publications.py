"""Ephemeral nodes that stand until they are withdrawn."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Final

import anyio
from kazoo.exceptions import (
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)

from cluster_client.contrib._zookeeper_nodes import check_data, check_path, create
from cluster_client.contrib._zookeeper_requests import (
    Request,
    Requests,
    Steps,
    Upkeep,
    patiently,
)

__all__ = ["Publications"]

_KEYS: Final = {"path", "data"}


class Declaration:
    """One call of `publish`.

    Attributes:
        data: Of the node.
        settled: Set when it is known what has come of it.
        accepted: Whether it stood once.
        error: Why it cannot stand.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.settled = anyio.Event()
        self.accepted = False
        self.error: Exception | None = None

    def settle(self, error: Exception | None = None) -> None:
        self.accepted = error is None
        self.error = error
        self.settled.set()


class Publication(Upkeep[None]):
    """A node that is made again whenever it goes.

    Args:
        requests: Takes the steps.
        session_id: Of the session that is to own it.
        path: Of the node.

    Attributes:
        wanted: The latest declaration; ``None`` when it is withdrawn.

    Source:
        Apache Curator's ``PersistentNode``.
    """

    def __init__(self, requests: Requests, session_id: int, path: str) -> None:
        super().__init__(requests, path)
        self.wanted: Declaration | None = None
        self._session_id = session_id
        self._unsettled: list[Declaration] = []

    @property
    def is_wanted(self) -> bool:
        return self.wanted is not None

    def declare(self, declaration: Declaration) -> None:
        """Have the node stand with other data from now on."""
        self.wanted = declaration
        self._unsettled.append(declaration)
        self.stop()  # what is on its way has other data
        self.refresh()

    def return_to(self, before: Declaration | None) -> None:
        """Take the latest declaration back."""
        self.wanted = before
        self.stop()
        if before is None:
            self._settle(NoNodeError(f"{self._path} was unpublished in the meantime"))
        else:
            self.refresh()

    def steps(self) -> Steps[None]:
        while self.wanted is not None:
            data = self.wanted.data
            with contextlib.suppress(NodeExistsError):  # whose, is seen next
                yield from create(self._path, data, ephemeral=True, make_parents=True)
            try:
                found, stat = yield Request("get", self._path, watch=self.on_event)
                if stat.ephemeralOwner == self._session_id:
                    if found != data:
                        yield Request("set", self._path, data)
                    return
            except NoNodeError:
                continue
            if stat.ephemeralOwner and found == data:
                return  # a predecessor's, most likely; it goes with its session
            owner = f"session {stat.ephemeralOwner:#x}" if stat.ephemeralOwner else "nobody"
            raise NodeExistsError(
                f"{self._path} is there already with {len(found or b'')} bytes of other data or "
                f"for good: it belongs to {owner}"
            )

    def succeeded(self, value: None) -> None:
        if not self._again:
            self._settle(None)

    def failed(self, exc: Exception) -> bool:
        if self._again:
            return False
        if self._unsettled:
            self._settle(exc)  # whoever publishes takes it back
            return False
        if isinstance(exc, SessionExpiredError):
            return False
        self.complain(exc)
        return not isinstance(exc, NodeExistsError)  # of which the watch tells when it goes

    def _settle(self, error: Exception | None) -> None:
        unsettled, self._unsettled = self._unsettled, []
        for declaration in unsettled:
            declaration.settle(error)


class Publications:
    """All publications of a session.

    Args:
        requests: Of the session.
        session_id: Its id.
    """

    def __init__(self, requests: Requests, session_id: int) -> None:
        self._requests = requests
        self._session_id = session_id
        self._publications: dict[str, Publication] = {}

    async def publish(self, reg: object) -> None:
        """See `ZooKeeperClient.publish`."""
        path, data = check_reg(reg)
        publication = self._publications.get(path)
        if publication is None:
            publication = Publication(self._requests, self._session_id, path)
            self._publications[path] = publication
        before = publication.wanted
        declaration = Declaration(data)
        publication.declare(declaration)
        try:
            await declaration.settled.wait()
        finally:
            if not declaration.accepted and publication.wanted is declaration:
                self._take_back(path, publication, before)
        if declaration.error is not None:
            raise declaration.error

    async def unpublish(self, reg: object) -> None:
        """See `ZooKeeperClient.unpublish`."""
        path, _ = check_reg(reg)
        publication = self._publications.pop(path, None)
        if publication is not None:
            publication.return_to(None)
        await self._requests.take(self._removal(path))

    def connected(self) -> None:
        """See to all of them: kazoo forgets its watches with a connection."""
        for publication in self._publications.values():
            publication.refresh()

    def _take_back(self, path: str, publication: Publication, before: Declaration | None) -> None:
        """Undo a declaration that has failed, or for which nobody waits any more."""
        if before is not None and before.accepted:
            publication.return_to(before)
            return
        publication.return_to(None)
        if self._publications.get(path) is publication:
            del self._publications[path]
        self._requests.begin(self._removal(path), lambda _: None)

    def _removal(self, path: str) -> Steps[None]:
        return patiently(partial(_remove, path, self._session_id))


def _remove(path: str, session_id: int) -> Steps[None]:
    """Delete a node if it is ours."""
    while True:
        stat = yield Request("exists", path)
        if stat is None or stat.ephemeralOwner != session_id:
            return
        try:
            yield Request("delete", path, stat.version)
            return
        except NoNodeError:
            return
        except BadVersionError:
            continue


def check_reg(reg: object) -> tuple[str, bytes]:
    """Return path and data.

    Raises:
        ValueError: If the registration is not one for a node.
    """
    if not isinstance(reg, dict) or "path" not in reg:
        raise ValueError(f"reg={reg!r} must be a dict with a path, like {{'path': '/x'}}")
    if unknown := reg.keys() - _KEYS:
        raise ValueError(f"reg={reg!r} has {sorted(map(str, unknown))}; it may have path and data")
    text = reg.get("data", "")
    if not isinstance(text, str):
        raise ValueError(f"data={text!r} in reg={reg!r} must be a str")  # noqa: TRY004 - as above
    path = check_path(reg["path"])
    if path == "/":
        raise ValueError("path='/' cannot be published: the root is always there")
    return path, check_data(text.encode())
