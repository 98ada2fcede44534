"""The scenes of the original's suite: two clients that share a port, or one process by itself."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from cluster_client import ClusterBuilder, ClusterFactory, cluster
from support.times import scaled

Scene = Literal["cluster", "single"]


@pytest.fixture(params=["cluster", "single"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """Where two clients of a test meet: at a port, or in their process."""
    chosen: Scene = request.param
    return chosen


@pytest.fixture
def factory(scene: Scene, port: int) -> ClusterFactory:
    """`cluster` with the scene of the test, and times that suit tests; facades take it, too."""

    def in_scene(cls: type[Any], /, **options: Any) -> ClusterBuilder[Any]:
        if scene == "single":
            options["single_mode"] = True
        limits = {
            "port": port,
            "response_timeout": scaled(5),
            "drain_timeout": scaled(5),
            "max_wait_time": scaled(10),
        }
        return cluster(cls, **{**limits, **options})

    return in_scene
