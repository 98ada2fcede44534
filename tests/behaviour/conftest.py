"""Every behavioural test runs in every role, on both event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cluster_client import Client
from support.registry import Registry, Role, Upstream, registry_in_role


@pytest.fixture(params=["leader", "follower", "single"])
def role(request: pytest.FixtureRequest) -> Role:
    chosen: Role = request.param
    return chosen


@pytest.fixture
async def upstream() -> Upstream:
    """What stands behind the real clients; asynchronous, as it holds the loop's events."""
    return Upstream()


@pytest.fixture
async def client(role: Role, upstream: Upstream, port: int) -> AsyncIterator[Client[Registry]]:
    """A client in the role of the test."""
    async with registry_in_role(role, upstream, port) as client:
        yield client
