"""Clients of one name mean one real client: another class or configuration is refused."""

from __future__ import annotations

import os
from typing import Any

import pytest

from cluster_client import IdentityError, cluster
from support.times import scaled


class Registry:
    async def echo(self, value: Any) -> Any:
        return value


class Store:
    async def echo(self, value: Any) -> Any:
        return value


def client(port: int, real: type[Any] = Registry, **options: Any) -> Any:
    return cluster(real, name="shared", port=port, max_wait_time=scaled(10), **options).create()


async def test_the_same_identity_is_shared(port: int) -> None:
    async with client(port, identity="zk:2181"), client(port, identity=b"zk:2181") as follower:
        assert await follower.echo(1) == 1


async def test_another_class_is_refused_and_both_are_named(port: int) -> None:
    async with client(port) as leader:
        with pytest.raises(IdentityError) as caught:
            async with client(port, Store):
                pass
        assert str(caught.value) == (
            f"'shared' is led by process {os.getpid()} with the class Registry and no identity, "
            f"and process {os.getpid()} with the class Store and no identity cannot follow it: "
            f"give one of them another name"
        )
        assert await leader.echo(1) == 1


@pytest.mark.parametrize(
    ("leaders", "followers"),
    [("zk-1:2181", "zk-2:2181"), ("zk-1:2181", None), (None, "zk-2:2181"), ("", None)],
)
async def test_another_configuration_is_refused_and_not_shown(
    port: int, leaders: str | None, followers: str | None
) -> None:
    async with client(port, identity=leaders) as leader:
        with pytest.raises(IdentityError) as caught:
            async with client(port, identity=followers):
                pass
        assert "zk-" not in f"{caught.value!r} {caught.value} {leader!r} {leader._spec.options!r}"
        assert await leader.echo(1) == 1


async def test_single_mode_compares_it_too(port: int) -> None:
    async with client(port, identity="a", single_mode=True):
        with pytest.raises(IdentityError, match="'shared' is led by"):
            async with client(port, identity="b", single_mode=True):
                pass
        async with client(port, identity="a", single_mode=True) as other:
            assert await other.echo(1) == 1


async def test_who_was_refused_leads_when_the_other_one_has_gone(port: int) -> None:
    async with client(port):
        with pytest.raises(IdentityError):
            async with client(port, Store):
                pass
    async with client(port, Store) as own:
        assert own.is_leader
