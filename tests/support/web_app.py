"""An application for gunicorn's synchronous workers: a client in an event loop in a thread.

As a module it is also gunicorn's configuration. ``WHEN`` in its environment says when the client is
opened: ``import``, as the master preloads the application, which is wrong; ``post_fork``; or
``request``, the first one.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - a worker that has no event loop starts one
import json
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import anyio
from anyio.from_thread import BlockingPortal

from cluster_client import Client, cluster
from support.ledger import Ledger
from support.times import LIMIT, scaled

WHEN: Final = os.environ.get("WHEN", "")


class Opened:
    """An open client, for threads."""

    def __init__(self) -> None:
        self.client: Client[Any] = cluster(
            Ledger, name="ledger", port=int(os.environ["PLACE"]), response_timeout=scaled(10)
        ).create(os.environ["DIRECTORY"])
        self.portal: BlockingPortal
        self._open = threading.Event()
        # Not `start_blocking_portal`: a child that ends would wait for its copy to be closed.
        self._thread = threading.Thread(
            target=anyio.run, args=(self._serve,), kwargs={"backend": os.environ["BACKEND"]}
        )
        self._thread.daemon = True
        self._thread.start()
        assert self._open.wait(LIMIT)

    async def _serve(self) -> None:
        async with BlockingPortal() as self.portal, self.client:
            self._open.set()
            await self.portal.sleep_until_stopped()

    def close(self) -> None:
        self.portal.call(self.portal.stop)
        self._thread.join()


_opened: Opened | None = None
_opening: Final = threading.Lock()


def open_once() -> Opened:
    global _opened  # noqa: PLW0603 - one for the process
    with _opening:
        if _opened is None:
            _opened = Opened()
        return _opened


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Tell who answers, and who leads."""
    del environ
    told: dict[str, Any] = {"worker": os.getpid()}
    opened = open_once()
    try:
        if WHEN == "import":
            told["leader"] = asyncio.run(opened.client.pid())
        else:
            told["leader"] = opened.portal.call(opened.client.pid)
    except Exception as exc:
        told["error"] = type(exc).__name__
    body = json.dumps(told).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


# ------------------------------------------------------------------ gunicorn's hooks


def post_fork(server: object, worker: object) -> None:
    del server, worker
    if WHEN == "post_fork":
        open_once()


def worker_exit(server: object, worker: object) -> None:
    """Hand over, if this worker leads."""
    del server, worker
    if WHEN != "import" and _opened is not None:
        _opened.close()


def on_exit(server: object) -> None:
    del server
    if _opened is not None:
        _opened.close()


if WHEN == "import" and os.environ.get("MASTER") == str(os.getpid()):
    open_once()
