"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.processes import Host


@pytest.fixture
async def host(tmp_path: Path, port: int, anyio_backend_name: str) -> AsyncIterator[Host]:
    """Processes on the event loop of the test; whatever happens, none is left behind."""
    async with Host(tmp_path, port, backend=anyio_backend_name) as host:
        yield host
        host.show_output()  # by pytest, if the test failed
