"""What the demo shows, one function per step; each raises `DemoError` if it was not seen."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cluster_client.demo.evidence import audit, open_handles
from cluster_client.demo.stage import NAMES, Actor, DemoError, Stage, gather, in_parallel

_WIDTH: Final = 16
"""Calls that every process keeps in flight."""

_MILLISECONDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step saw.

    Attributes:
        cells: A few words about each process, by its name.
        lines: What concerns all.
    """

    cells: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the demo.

    Attributes:
        title: What is to be seen.
        show: Makes it happen and looks.
    """

    title: str
    show: Callable[[Stage], Awaitable[Finding]]


async def election(stage: Stage) -> Finding:
    """Start four processes at once; one of them must win the port."""
    if (trouble := port_trouble(stage.port)) is not None:
        raise DemoError(f"port {stage.port}: {trouble}; choose another one with --port")
    stage.actors = await in_parallel(NAMES, stage.start)
    await _ask_who_leads(stage)
    roles = _roles(stage)
    return Finding({actor.name: f"{actor.pid} {roles[actor.name]}" for actor in stage.actors})


async def one_handle(stage: Stage) -> Finding:
    """Look for the database among the open files of the whole machine."""
    return Finding(lines=(_one_handle(stage),))


async def invoke(stage: Stage) -> Finding:
    """Let every process make a call; the leader's process must answer all."""
    answers = await gather(stage.actors, lambda actor: actor.ask("invoke"))
    for name, answer in answers.items():
        if answer["pid"] != stage.leader.pid:
            raise DemoError(f"{name} was answered by process {answer['pid']}, not by the leader")
    cells = {
        name: f"{answer['seconds'] * _MILLISECONDS:.1f} ms" for name, answer in answers.items()
    }
    names = {answer["name"] for answer in answers.values()}
    return Finding(cells, (f"{stage.leader.name} answered all: {', '.join(sorted(names))}",))


async def publish(stage: Stage) -> Finding:
    """Subscribe everywhere, publish in a follower."""
    await gather(stage.actors, lambda actor: actor.ask("subscribe"))
    return await _publish(stage, "hello")


async def failover(stage: Stage) -> Finding:
    """Kill the leader while every process has calls in flight."""
    old_leader = stage.leader
    old_epoch = (await old_leader.ask("status"))["epoch"]
    await gather(stage.actors, lambda actor: actor.order("load", width=_WIDTH))
    await gather(stage.actors, lambda actor: actor.expect(event="loaded"))
    in_flight = _WIDTH * len(stage.actors)

    killed_at = time.monotonic()
    await old_leader.kill()
    stage.actors.remove(old_leader)
    recovered = await gather(stage.actors, lambda actor: actor.expect(event="recovered"))
    await gather(stage.actors, lambda actor: actor.expect(event="loaded_again"))
    loads = await gather(stage.actors, lambda actor: actor.ask("stop_load"))

    if (epoch := await _ask_who_leads(stage)) == old_epoch:
        raise DemoError(f"epoch {epoch} goes on after its leader's death")
    delays = [(message["at"] - killed_at) * _MILLISECONDS for message in recovered.values()]
    return Finding(
        {old_leader.name: "killed", **_roles(stage)},
        (
            f"{stage.leader.name} answered its first call {min(delays):.0f} ms after the kill, "
            f"the callers of all by {max(delays):.0f} ms",
            f"{in_flight} calls in flight at the kill, {_WIDTH} of them {old_leader.name}'s own",
            await _check_calls(stage, loads),
            _check_votes(stage, old_leader),
            _one_handle(stage),
        ),
    )


async def _check_calls(stage: Stage, loads: Mapping[str, Any]) -> str:
    for name, load in loads.items():
        if load["failures"]:
            raise DemoError(f"calls of {name} failed: {'; '.join(load['failures'])}")
    statuses = await gather(stage.actors, lambda actor: actor.ask("status"))
    resent = sum(status["resent"] for status in statuses.values())
    if not resent:
        raise DemoError("no call was sent again, so the leader was not killed under load")
    made = sum(load["made"] for load in loads.values())
    return f"calls of the survivors: {made:,} made, {resent} sent again, 0 failed"


def _check_votes(stage: Stage, killed: Actor) -> str:
    found = audit(stage.folder, alive=[actor.name for actor in stage.actors], killed=killed.name)
    if found.problems:
        raise DemoError("; ".join(found.problems))
    unheard = f" ({found.unheard} unheard by {killed.name})" if found.unheard else ""
    return f"votes: {found.told:,} confirmed and counted, 0 lost, 0 doubled{unheard}"


async def subscriptions_go_on(stage: Stage) -> Finding:
    """Publish again, under the new leader; nobody has subscribed anew."""
    return await _publish(stage, "hello again")


async def close(stage: Stage) -> Finding:
    """Let all processes close; file and port must be free afterwards."""
    actors, stage.actors = stage.actors, []
    codes = await gather(actors, lambda actor: actor.close())
    for name, code in codes.items():
        if code:
            raise DemoError(f"{name} ended with exit code {code}")
    handles = open_handles(stage.database)
    if handles is not None and handles.pids:
        raise DemoError(f"processes {handles.pids} have the database open still")
    if (trouble := port_trouble(stage.port)) is not None:
        raise DemoError(f"port {stage.port} is not free again: {trouble}")
    return Finding(dict.fromkeys(codes, "closed"), ("database closed, port free",))


STEPS: Final = (
    Step("Four processes start, one leads", election),
    Step("One handle on the database is open", one_handle),
    Step("Every process makes a call", invoke),
    Step("One publishes, all hear it", publish),
    Step("The leader is killed under load (SIGKILL)", failover),
    Step("Subscriptions go on", subscriptions_go_on),
    Step("All close in order", close),
)


# -------------------------------------------------------------------- helpers


def port_trouble(port: int) -> str | None:
    """Tell why a port of 127.0.0.1 cannot be listened on; ``None`` if it can."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError as exc:
            return os.strerror(exc.errno).lower() if exc.errno else str(exc)
    return None


async def _ask_who_leads(stage: Stage) -> str:
    """Bring `Stage.leader` up to date; returns the epoch, in which all must agree."""
    statuses = await gather(stage.actors, lambda actor: actor.ask("status"))
    for actor in stage.actors:
        actor.leads = statuses[actor.name]["leads"]
    epochs = {status["epoch"] for status in statuses.values()}
    if len(epochs) != 1:
        raise DemoError(f"the processes know of different leaderships: {statuses}")
    epoch: str = epochs.pop()
    return epoch


def _roles(stage: Stage) -> dict[str, str]:
    return {actor.name: "leads" if actor.leads else "follows" for actor in stage.actors}


def _one_handle(stage: Stage) -> str:
    handles = open_handles(stage.database)
    if handles is None:
        return "open handles: not checked, as this system has no /proc"
    if handles.pids != (stage.leader.pid,):
        raise DemoError(
            f"the leader, process {stage.leader.pid}, should have the one handle on the database, "
            f"but these have one: {', '.join(map(str, handles.pids)) or 'nobody'}"
        )
    hidden = f", {handles.hidden} of other users hidden" if handles.hidden else ""
    return f"one handle is open, {stage.leader.name}'s ({handles.seen} processes seen{hidden})"


async def _publish(stage: Stage, note: str) -> Finding:
    publisher = next(actor for actor in stage.actors if not actor.leads)
    begin = await publisher.ask("publish", note=note)
    heard = await gather(stage.actors, lambda actor: actor.expect(event="row", note=note))
    cells = {name: f"{(row['at'] - begin) * _MILLISECONDS:.1f} ms" for name, row in heard.items()}
    return Finding(
        cells, (f'{publisher.name} published "{note}"; it took so long to each subscriber',)
    )
