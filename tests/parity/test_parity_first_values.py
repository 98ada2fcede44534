"""Subscribing with a limit for the first value, as the original's suite does it."""

from __future__ import annotations

import anyio
import pytest

from cluster_client import Client, ClusterFactory, ResponseTimeoutError
from support.listening import Recorder
from support.registry import Registry, Upstream
from support.times import scaled

PROMPT = {"path": "/prompt"}
SILENT = {"path": "/silent"}
PATIENCE = scaled(5)


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream(data={"/prompt": "there"})


@pytest.mark.parametrize("late", [0, 1], ids=["first client", "second client"])
async def test_a_first_value_that_does_not_come_in_time_is_an_error(
    factory: ClusterFactory, upstream: Upstream, late: int
) -> None:
    limits = [PATIENCE, PATIENCE]
    limits[late] = scaled(0.1)
    one, two = (factory(Registry, subscribe_timeout=limit).create(upstream) for limit in limits)
    async with one, two:
        impatient, patient = (one, two) if late == 0 else (two, one)
        heard, seen = Recorder(), Recorder()
        with pytest.raises(ResponseTimeoutError):
            await impatient.subscribe(SILENT, heard)
        while upstream.listeners["/silent"]:  # nothing is subscribed then
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(LookupError):
            impatient.last(SILENT)
        await impatient.set_data("/silent", "late")
        await patient.subscribe(SILENT, seen)
        await seen.until("late")
        assert heard.values == []


async def test_a_value_that_comes_while_it_is_waited_for_is_in_time(
    factory: ClusterFactory, upstream: Upstream
) -> None:
    def client() -> Client[Registry]:
        return factory(Registry, subscribe_timeout=PATIENCE).create(upstream)

    async with client() as one, client() as two:
        for number, client_ in enumerate((one, two)):
            path = f"/{number}"
            seen = Recorder()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client_.subscribe, {"path": path}, seen)
                while path not in upstream.listeners:
                    await anyio.wait_all_tasks_blocked()
                await client_.set_data(path, "in time")
            await seen.until("in time")


async def test_where_there_is_a_value_already_nobody_waits_for_another(
    factory: ClusterFactory, upstream: Upstream
) -> None:
    def client() -> Client[Registry]:
        return factory(Registry, subscribe_timeout=PATIENCE).create(upstream)

    async with client() as one, client() as two:
        for client_ in (one, two, one, two):
            seen = Recorder()
            await client_.subscribe(PROMPT, seen)
            await seen.until("there")
        assert upstream.events.count("subscribe /prompt") == 1
