"""A factory is put into the facade, as Egg does with ``app.cluster``; it knows who is to lead."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from cluster_client import APIClientBase, ClusterBuilder, PortOccupiedError, cluster
from interop.registry import CHANNEL, Registry
from support.node import MixedHost, NodeError, NodeWorker
from support.times import scaled
from support.waiting import until


class RegistryAPI(APIClientBase[Registry]):
    data_client = Registry
    cluster_options = {"name": CHANNEL, "camel_case": True, "max_wait_time": scaled(10)}
    delegates = {"note": "invoke_oneway"}

    async def get_data(self, key: str) -> Any:
        return [await self._client.get_data(key), "by the facade"]


def app_cluster(
    cls: type[Any], /, *, port: int, is_leader: bool, **options: Any
) -> ClusterBuilder[Any]:
    return cluster(cls, **options, port=port, is_leader=is_leader)


def facade(host: MixedHost, *, is_leader: bool) -> RegistryAPI:
    return RegistryAPI(cluster=partial(app_cluster, port=host.port, is_leader=is_leader))


async def open_node_facade(host: MixedHost, *, is_leader: bool) -> NodeWorker:
    worker = await host.spawn_node()
    await worker.open(CHANNEL, real="facade", port=host.port, is_leader=is_leader)
    return worker


async def test_nodes_agent_leads_and_pythons_application_follows(host: MixedHost) -> None:
    agent = await open_node_facade(host, is_leader=True)
    async with facade(host, is_leader=False) as api:
        assert not api.is_leader
        values: list[Any] = []
        await api.subscribe({"path": "/a"}, values.append)
        await agent.call("setData", "/a", 1, channel=CHANNEL)
        await until(lambda: values == [1])
        assert await api.get_data("/a") == [1, "by the facade"]
        await api.note("noted")
        assert await api.notes() == ["noted"]
        with pytest.raises(PortOccupiedError, match="is_leader=True"):
            async with facade(host, is_leader=True):
                pass


async def test_pythons_agent_leads_and_nodes_application_follows(host: MixedHost) -> None:
    async with facade(host, is_leader=True) as agent:
        application = await open_node_facade(host, is_leader=False)
        await application.subscribe_to({"path": "/a"}, CHANNEL)
        await agent.set_data("/a", 1)
        assert await application.values_until(1, CHANNEL) == [1]
        await application.publish_to({"path": "/a", "value": 2}, CHANNEL)
        assert await application.values_until(2, CHANNEL) == [1, 2]
        assert await agent.get_data("/a") == [2, "by the facade"]
        with pytest.raises(NodeError, match="occupied"):
            await open_node_facade(host, is_leader=True)


async def test_an_application_that_must_not_lead_waits_for_its_agents_successor(
    host: MixedHost,
) -> None:
    agent = await open_node_facade(host, is_leader=True)
    async with facade(host, is_leader=False) as api, anyio.create_task_group() as tasks:
        pid = await api.pid()
        await agent.kill()
        answers: list[int] = []

        async def call() -> None:
            answers.append(await api.pid())

        tasks.start_soon(call)
        await until(lambda: api.state.value == "electing")
        assert not api.is_leader
        successor = await open_node_facade(host, is_leader=True)
        await until(lambda: bool(answers))
        assert answers == [successor.pid] != [pid]
