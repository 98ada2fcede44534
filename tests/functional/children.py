"""Children of workers, as a test sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from support.offspring import Task
from support.processes import CHANNEL, Host, Worker


@dataclass(frozen=True)
class Child:
    """A child of a worker, which lives on.

    Attributes:
        pid: Its process id.
        sockets: How many it has that belong to the election port.
        outcomes: What it got when it used its parent's client, if it has that.
        leader: Who led, when it followed with a client of its own.
        error: What went wrong.
    """

    pid: int
    sockets: int = -1
    outcomes: dict[str, str] | None = None
    leader: int | None = None
    error: str = ""


def task(host: Host, name: str, backend: str) -> Task:
    """Return what a child is to do, who reports under the name."""
    directory = host.directory
    return Task(str(directory / f"report.{name}"), str(directory), host.place, CHANNEL, backend)


async def bear(
    host: Host, worker: Worker, way: str, backend: str, *, in_thread: bool = False
) -> Child:
    """Have the worker make a child, and wait for what that found."""
    report = await worker.ask(
        "bear",
        way=way,
        channel=CHANNEL,
        task=vars(task(host, str(worker.pid), backend)),
        in_thread=in_thread,
    )
    return adopt(worker, report)


def adopt(worker: Worker, report: dict[str, Any]) -> Child:
    """Let a child end with its worker, at the latest."""
    child = Child(**report)
    worker.children.append(child.pid)
    return child
