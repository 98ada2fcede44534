"""Publications: acknowledged, and where they are sticky made again to each new leader."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from cluster_client import Client, ConfigurationError, EncodeError, cluster
from support.listening import Recorder
from support.registry import Registry, Upstream, registry_client

ONE = {"path": "/k", "value": 1}
TWO = {"path": "/k", "value": 2}


def by_path(reg: Any) -> str:
    return str(reg["path"])


async def test_publish_returns_when_the_real_client_has_accepted(
    client: Client[Registry], upstream: Upstream
) -> None:
    await client.publish(ONE)
    assert upstream.data["/k"] == 1


async def test_an_error_of_the_real_publish_reaches_the_publisher(
    client: Client[Registry],
) -> None:
    with pytest.raises(KeyError, match="value"):
        await client.publish({"path": "/k"})


async def test_a_publication_must_be_plain_json(client: Client[Registry]) -> None:
    with pytest.raises(EncodeError, match="plain JSON"):
        await client.publish({"path": "/k", "value": b"bytes"})


async def test_a_publication_reaches_the_subscribers(client: Client[Registry]) -> None:
    seen = Recorder()
    await client.subscribe({"path": "/k"}, seen)
    await client.publish(ONE)
    await seen.until(1)


@pytest.mark.parametrize("sticky", [True, False])
async def test_only_sticky_publications_are_made_again_to_a_new_leader(
    upstream: Upstream, port: int, *, sticky: bool
) -> None:
    async with registry_client(upstream, port) as leader:
        async with registry_client(upstream, port) as follower:
            await follower.publish(ONE, sticky=sticky)
            await leader.aclose()
            await follower.echo("through the new leader")
            assert follower.is_leader
            if sticky:
                while upstream.events.count("publish /k=1") < 2:
                    await anyio.wait_all_tasks_blocked()
            await anyio.wait_all_tasks_blocked()
    assert upstream.events.count("publish /k=1") == 1 + sticky


async def test_of_publications_with_one_key_the_latest_is_made_again(
    upstream: Upstream, port: int
) -> None:
    options = {"publish_key": by_path, "sticky_publish": True}
    async with registry_client(upstream, port) as leader:
        async with registry_client(upstream, port, **options) as follower:
            await follower.publish(ONE)
            await follower.publish(TWO)
            await leader.aclose()
            while upstream.events.count("publish /k=2") < 2:
                await anyio.wait_all_tasks_blocked()
    assert upstream.events.count("publish /k=1") == 1


async def test_unpublish_withdraws_a_declaration(upstream: Upstream, port: int) -> None:
    async with registry_client(upstream, port) as leader:
        async with registry_client(upstream, port) as follower:
            await follower.publish(ONE, sticky=True)
            await follower.unpublish(ONE)
            assert "unpublish /k=1" in upstream.events
            await leader.aclose()
            await follower.echo("through the new leader")
            await anyio.wait_all_tasks_blocked()
            await follower.unpublish(ONE)  # what does not stand may be withdrawn
    assert upstream.events.count("publish /k=1") == 1


async def test_a_refused_declaration_does_not_stand(upstream: Upstream, port: int) -> None:
    async with registry_client(upstream, port) as leader:
        async with registry_client(upstream, port) as follower:
            with pytest.raises(KeyError):
                await follower.publish({"path": "/k"}, sticky=True)
            await leader.aclose()
            await follower.echo("through the new leader")
            await anyio.wait_all_tasks_blocked()
    assert not [event for event in upstream.events if event.startswith("publish")]


class Moody(Registry):
    """A real client that refuses some publications."""

    refusals = 0

    def publish(self, reg: dict[str, Any]) -> None:
        if reg["value"] == "bad":
            raise ValueError("bad value")
        if self.upstream.events.count("open") > 1 and Moody.refusals:
            Moody.refusals -= 1
            raise ValueError("not ready yet")
        super().publish(reg)


def moody_client(upstream: Upstream, port: int) -> Client[Moody]:
    return cluster(Moody, port=port, publish_key=by_path, sticky_publish=True).create(upstream)


async def test_a_refused_replacement_leaves_the_declaration_that_stood(
    upstream: Upstream, port: int
) -> None:
    async with moody_client(upstream, port) as leader, moody_client(upstream, port) as follower:
        await follower.publish(ONE)
        with pytest.raises(ValueError, match="bad value"):
            await follower.publish({"path": "/k", "value": "bad"})
        await leader.aclose()
        while upstream.events.count("publish /k=1") < 2:
            await anyio.wait_all_tasks_blocked()


async def test_a_declaration_is_made_to_a_new_leader_until_that_accepts_it(
    upstream: Upstream, port: int
) -> None:
    async with moody_client(upstream, port) as leader, moody_client(upstream, port) as follower:
        await follower.publish(ONE)
        Moody.refusals = 2
        await leader.aclose()
        while upstream.events.count("publish /k=1") < 2:
            await anyio.wait_all_tasks_blocked()
        assert Moody.refusals == 0


async def test_there_is_a_limit_to_standing_declarations(
    client: Client[Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster_client._publications.MAX_DECLARATIONS", 2)
    await client.publish({"path": "/a", "value": 1}, sticky=True)
    await client.publish({"path": "/b", "value": 1}, sticky=True)
    with pytest.raises(ConfigurationError, match="2 sticky publications stand already"):
        await client.publish({"path": "/c", "value": 1}, sticky=True)


class Mute:
    """A real client that neither publishes nor subscribes."""

    async def echo(self, value: Any) -> Any:
        return value


async def test_a_real_client_without_the_method_is_named(port: int) -> None:
    async with cluster(Mute, port=port).create() as client:
        with pytest.raises(ConfigurationError, match=r"Mute has no method to publish: define"):
            await client.publish(ONE)
        with pytest.raises(ConfigurationError, match=r"Mute has no method to subscribe"):
            await client.subscribe(ONE, Recorder())
