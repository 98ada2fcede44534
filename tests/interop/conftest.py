"""Fixtures of the tests with Node processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.node import MixedHost, install_node_modules, require_node


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where the original is installed; the tests are skipped where there is no Node."""
    require_node()
    return install_node_modules()


@pytest.fixture
async def host(
    tmp_path: Path, port: int, anyio_backend_name: str, node_modules: Path
) -> AsyncIterator[MixedHost]:
    """Processes of both languages; whatever happens, none is left behind."""
    async with MixedHost(tmp_path, port, backend=anyio_backend_name) as host:
        yield host
        host.show_output()  # by pytest, if the test failed
