"""gunicorn with ``--preload``: one real client for all workers, if each opens its client itself."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.ledger import LedgerBook
from support.load import Account
from support.ports import free_port
from support.processes import Host
from support.programs import Program, program
from support.times import scaled

WORKERS = 3

KINDS = {"sync": ["-k", "sync"], "gthread": ["-k", "gthread", "--threads", "2"]}


class Site:
    """A running gunicorn."""

    def __init__(self, running: Program, port: int) -> None:
        self.running = running
        self._port = port

    async def get(self) -> dict[str, Any]:
        """Make a request, on a connection of its own."""
        answer = b""
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            async for data in stream:
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], answer
        told: dict[str, Any] = json.loads(body)
        return told

    async def ask_all(self, *, but: int = 0) -> list[dict[str, Any]]:
        """Make requests until each worker has answered one."""
        answers: dict[int, dict[str, Any]] = {}
        while len(answers) < WORKERS:
            answer = await self.get()
            if answer["worker"] != but:
                answers[answer["worker"]] = answer
        return list(answers.values())


def command(port: int, kind: str) -> list[str]:
    # The module opens nothing where it is read as the configuration.
    start = (
        "import os, sys; os.environ['MASTER'] = str(os.getpid()); "
        "from gunicorn.app.wsgiapp import run; run()"
    )
    return [
        *(sys.executable, "-c", start, "--preload", "-w", str(WORKERS), *KINDS[kind]),
        *("-b", f"127.0.0.1:{port}", "-c", "python:support.web_app"),
        *("--worker-tmp-dir", "/dev/shm", "support.web_app:app"),
    ]


def environment(host: Host, when: str, backend: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HOME": str(host.directory),  # it keeps a socket there
        "WHEN": when,
        "BACKEND": backend,
        "PLACE": str(host.port),
        "DIRECTORY": str(host.directory),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["post_fork", "request"])
async def test_each_worker_opens_its_client(
    host: Host, when: str, kind: str, anyio_backend_name: str
) -> None:
    port = free_port()
    variables = environment(host, when, anyio_backend_name)
    async with program(command=command(port, kind), environment=variables) as running:
        for _ in range(WORKERS):
            await running.line("Booting worker")
        site = Site(running, port)
        answers = await site.ask_all()
        (leader,) = {answer["leader"] for answer in answers}
        assert leader in {answer["worker"] for answer in answers}
        os.kill(leader, signal.SIGKILL)
        await running.line("Booting worker")
        answers = await site.ask_all(but=leader)
        (successor,) = {answer["leader"] for answer in answers}
        assert successor != leader
        assert await running.terminate() == 0
    opened = [line for line in LedgerBook(host.directory).sessions() if line.startswith("open")]
    assert opened[:2] == [f"open {leader}", f"open {successor}"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_of_the_master_is_none_of_the_workers(
    host: Host, kind: str, anyio_backend_name: str, tmp_path: Path
) -> None:
    port = free_port()
    variables = environment(host, "import", anyio_backend_name)
    async with program(command=command(port, kind), environment=variables) as running:
        for _ in range(WORKERS):
            await running.line("Booting worker")
        (follower,) = await host.start(1, response_timeout=scaled(10))
        master = await follower.call("pid")
        assert master == running.pid
        await follower.begin_load(8)
        answers = await Site(running, port).ask_all()
        assert [answer.get("error") for answer in answers] == ["ForkedClientError"] * WORKERS
        os.kill(answers[0]["worker"], signal.SIGTERM)  # its end is nothing to the master
        await running.line("Booting worker")
        assert await follower.call("pid") == master
        seen = Account([await follower.end_load()])
        assert seen.failed == seen.unknown == []
        assert await running.terminate() == 0
    assert LedgerBook(tmp_path).sessions()[:2] == [f"open {master}", f"close {master}"]
