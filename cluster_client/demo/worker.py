"""One of the demo's processes: takes orders on stdin and answers on stdout, in JSON lines.

An order is ``{"id": 1, "order": "publish", …}``; its answer has the same ``id`` and either
``result`` or ``error``. What happens unasked is told as ``{"event": "row", …}``. The end of
stdin ends the process, so none outlives the demo.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import anyio
import structlog

from cluster_client import Client, ClusterClientError, cluster
from cluster_client.demo.evidence import LETTER, Ledger, database_client_class

SUBJECT: Final = {"code_point": 0x3A9}
"""What is subscribed to; the load votes for another character."""

_MANY: Final = 100
"""Answers after which the load counts as running, and as running again."""

_FEW: Final = 20
"""Answers that suffice if they took longer than a second."""

_VOTE_TIMEOUT: Final = 10.0
"""Seconds: every vote is synced to a disk that may be slow."""


def say(**message: Any) -> None:
    """Write a line to whoever conducts the demo."""
    os.write(sys.stdout.fileno(), json.dumps(message).encode() + b"\n")


async def orders() -> AsyncGenerator[dict[str, Any]]:
    """Yield the orders that come on stdin, until it ends."""
    stdin = sys.stdin.fileno()
    rest = b""
    while True:
        await anyio.wait_readable(stdin)
        if not (data := os.read(stdin, 65536)):
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


class Load:
    """Keeps idempotent calls in flight; each is a vote with an id of its own.

    Attributes:
        made: How many calls were begun.
        failures: What went wrong, and with which vote.
    """

    def __init__(self, client: Client[Any], ledger: Ledger, name: str) -> None:
        self._client = client
        self._ledger = ledger
        self._name = name
        self._first_epoch = client.epoch
        self._answers = 0
        self._round_begin = 0.0
        self._round_told = False
        self._recovered = False
        self._stopping = False
        self._ended = anyio.Event()
        self.made = 0
        self.failures: list[str] = []

    async def run(self, width: int) -> None:
        """Keep *width* calls in flight until `stop`."""
        self._begin_round()
        async with anyio.create_task_group() as callers:
            for _ in range(width):
                callers.start_soon(self._call_again_and_again)
        self._ended.set()

    async def stop(self) -> None:
        """Begin no more calls, and wait for those in flight."""
        self._stopping = True
        await self._ended.wait()

    async def _call_again_and_again(self) -> None:
        while not self._stopping and not self.failures:
            self.made += 1
            vote_id = f"{self._name}-{self.made}"
            self._ledger.sent(vote_id)
            try:
                await self._client.vote_once(vote_id, LETTER)
            except Exception as exc:  # whatever it is, the demo has to show it
                self.failures.append(f"vote {vote_id}: {exc!r}")
                say(event="failed", error=self.failures[-1])  # at once: nobody should wait for it
            else:
                self._ledger.told(vote_id)
                self._note_answer()

    def _note_answer(self) -> None:
        self._answers += 1
        if not self._recovered and self._client.epoch not in (None, self._first_epoch):
            say(event="recovered", at=time.monotonic())
            self._recovered = True
            self._begin_round()
        elif not self._round_told and self._is_round():
            self._round_told = True
            say(event="loaded_again" if self._recovered else "loaded")

    def _begin_round(self) -> None:
        self._answers = 0
        self._round_begin = time.monotonic()
        self._round_told = False

    def _is_round(self) -> bool:
        slow = time.monotonic() - self._round_begin > 1
        return self._answers >= (_FEW if slow else _MANY)


class Worker:
    """Obeys orders: each public method is one."""

    def __init__(self, client: Client[Any], ledger: Ledger, name: str) -> None:
        self._client = client
        self._load = Load(client, ledger, name)

    async def status(self) -> dict[str, Any]:
        """Tell who leads, as this process sees it, and how many calls it sent again."""
        return {
            "leads": self._client.is_leader,
            "epoch": self._client.epoch,
            "resent": self._client.resent_calls,
        }

    async def invoke(self) -> dict[str, Any]:
        """Call the real client: which process does it live in, and what does it hold?"""
        begin = time.monotonic()
        pid = await self._client.pid()
        seconds = time.monotonic() - begin
        row = await self._client.get(SUBJECT["code_point"])
        return {"pid": pid, "seconds": seconds, "name": row["name"]}

    async def subscribe(self) -> None:
        """Tell of each row from now on."""
        await self._client.subscribe(
            dict(SUBJECT), lambda row: say(event="row", note=row["note"], at=time.monotonic())
        )

    async def publish(self, note: str) -> float:
        """Change the row's note; returns when that began."""
        begin = time.monotonic()
        await self._client.publish({**SUBJECT, "note": note})
        return begin

    async def load(self, width: int) -> None:
        """Keep *width* calls in flight until `stop_load`."""
        await self._load.run(width)

    async def stop_load(self) -> dict[str, Any]:
        """End the load and tell how it went."""
        await self._load.stop()
        return {"made": self._load.made, "failures": self._load.failures[:3]}

    async def obey(self, order: dict[str, Any]) -> None:
        """Carry out an order and answer it."""
        number, name = order.pop("id"), order.pop("order")
        try:
            say(id=number, result=await getattr(self, name)(**order))
        except Exception as exc:  # the demo fails with it
            say(id=number, error=f"{name}: {exc!r}")


async def main(name: str, port: int, folder: Path) -> None:
    """Share the database in *folder*, and obey until there are no more orders."""
    client = (
        cluster(database_client_class(), port=port, name="demo")
        .delegate("pid", idempotent=True)
        .delegate("get", idempotent=True)
        .delegate("vote_once", idempotent=True, response_timeout=_VOTE_TIMEOUT)
        .create(folder / "characters.db")
    )
    with Ledger(folder, name) as ledger:
        async with client:
            worker = Worker(client, ledger, name)
            say(event="open")
            async with anyio.create_task_group() as tasks:
                async for order in orders():
                    tasks.start_soon(worker.obey, order)
                tasks.cancel_scope.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the conductor's, who then closes us
    structlog.configure(  # stdout carries the answers
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        anyio.run(main, sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), backend=sys.argv[4])
    except ClusterClientError as error:
        say(event="failed", error=str(error))
        sys.exit(1)
