"""Processes of other users are no peers, unless they are allowed; as leaders as little."""

from __future__ import annotations

import os
from typing import Any

import pytest

from cluster_client import AuthenticationError
from support.processes import Host, Worker

OTHER = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


async def open_registry(worker: Worker, host: Host, **options: Any) -> None:
    # This real client has no files, which the other user could not read.
    await worker.open("registry", real="registry", port=host.port, **options)


async def start_two(host: Host) -> tuple[Worker, Worker]:
    """Start a process of this user, and one of another."""
    own, other = await host.spawn(), await host.spawn()
    await other.ask("become_nobody")
    return own, other


async def test_a_leader_refuses_another_users_follower(host: Host) -> None:
    leader, follower = await start_two(host)
    await open_registry(leader, host)
    with pytest.raises(AuthenticationError) as caught:
        await open_registry(follower, host, is_leader=False, allow_uids=None)
    assert str(caught.value) == (
        f"port {host.port} of 127.0.0.1: the peer is a process of user {OTHER}, and only those of "
        f"user 0 are allowed; allow_uids=[{OTHER}] would allow it"
    )
    assert "follower_refused" in leader.output()
    assert await leader.call("echo", 1, channel="registry") == 1


async def test_a_follower_refuses_another_users_leader(host: Host) -> None:
    follower, leader = await start_two(host)
    await open_registry(leader, host, allow_uids=None)
    with pytest.raises(AuthenticationError, match=rf"a process of user {OTHER}, and only those of"):
        await open_registry(follower, host)


@pytest.mark.parametrize("own_leads", [True, False])
async def test_who_is_allowed_by_number_is_a_peer(host: Host, own_leads: bool) -> None:
    own, other = await start_two(host)
    opening = [(own, [OTHER]), (other, [0])]
    for worker, allowed in opening if own_leads else opening[::-1]:
        await open_registry(worker, host, allow_uids=allowed)
    leader, follower = (own, other) if own_leads else (other, own)
    assert await follower.call("pid", channel="registry") == leader.pid


async def test_when_a_leader_of_another_user_goes_the_port_is_ours(host: Host) -> None:
    own, other = await start_two(host)
    await open_registry(other, host)
    with pytest.raises(AuthenticationError):
        await open_registry(own, host)
    await other.kill()
    await open_registry(own, host)
    assert await own.is_leader("registry")


async def test_one_who_waits_for_another_channel_cannot_have_the_leader_make_way(
    host: Host,
) -> None:
    leader, other = await start_two(host)
    await open_registry(leader, host)
    epoch = await leader.epoch("registry")
    with pytest.raises(AuthenticationError):  # it could lead all that is led there, and more
        await other.open("elsewhere", real="registry", port=host.port)
    assert await leader.epoch("registry") == epoch
