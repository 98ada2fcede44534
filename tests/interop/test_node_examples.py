"""The examples with Node and Egg, run as their page says."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from support.programs import Program, program

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "node"
COMMANDS = {"python": [sys.executable, "-u", "-W", "error"], "node": ["node"]}
SUFFIXES = {"python": "py", "node": "js"}


@asynccontextmanager
async def example(
    language: str, name: str, *arguments: object, node_modules: Path
) -> AsyncIterator[Program]:
    path = EXAMPLES / f"{name}.{SUFFIXES[language]}"
    environment = {**os.environ, "NODE_PATH": str(node_modules / "node_modules")}
    async with program(
        path, *arguments, command=COMMANDS[language], environment=environment
    ) as started:
        yield started


@pytest.mark.parametrize(("agent", "workers"), [("node", "python"), ("python", "node")])
async def test_an_agent_of_one_language_has_workers_of_the_other(
    agent: str, workers: str, port: int, node_modules: Path
) -> None:
    async with AsyncExitStack() as stack:

        async def start(language: str, name: str, *arguments: object) -> Program:
            starting = example(language, name, port, *arguments, node_modules=node_modules)
            return await stack.enter_async_context(starting)

        leader = await start(agent, "agent")
        await leader.line(rf"^{agent} \d+ leads$")
        first = await start(workers, "worker")
        await first.line(rf"^{workers} \d+ follows, the greeting is hello$")
        await first.line(r"got hello$")
        second = await start(workers, "worker", "hi")
        await second.line(rf"^{workers} \d+ follows, the greeting is hello$")
        for one in (leader, first, second):
            await one.line(r"got hi$")
        for one in (second, first, leader):
            assert await one.terminate() == 0
