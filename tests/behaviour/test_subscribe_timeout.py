"""The option subscribe_timeout: waiting for the first value."""

from __future__ import annotations

import pytest

from cluster_client import ConfigurationError, ResponseTimeoutError
from support.listening import Recorder
from support.registry import Role, Upstream, registry_client, registry_in_role
from support.times import scaled

K = {"path": "/k"}


async def test_without_a_value_nothing_is_subscribed(
    role: Role, upstream: Upstream, port: int
) -> None:
    async with registry_in_role(role, upstream, port, subscribe_timeout=scaled(0.1)) as client:
        values = Recorder()
        with pytest.raises(ResponseTimeoutError, match="'subscribe'"):
            await client.subscribe(K, values)
        await client.set_data("/k", 1)
        await client.subscribe(K, values)
        await values.until(1)


def test_it_is_a_number_of_seconds(port: int) -> None:
    with pytest.raises(ConfigurationError, match="subscribe_timeout=0 must be a number of sec"):
        registry_client(None, port, subscribe_timeout=0)  # type: ignore[arg-type]
