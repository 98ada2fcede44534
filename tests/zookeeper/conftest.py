"""Fixtures of the tests with a real ZooKeeper server."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import pytest

from support.zookeeper import ZooKeeperServer, running_zookeeper

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """One server for all tests: Java takes its time to start."""
    with running_zookeeper(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture
def server(running_server: ZooKeeperServer) -> Iterator[ZooKeeperServer]:
    """The server, running, whatever the test before did to it; its log is shown on failure."""
    running_server.ensure_running()
    begin = running_server.log.stat().st_size
    yield running_server
    running_server.resume()
    with running_server.log.open(errors="replace") as log:
        log.seek(begin)
        sys.stdout.write(log.read())  # by pytest, if the test failed


@pytest.fixture
def path() -> str:
    """A node that no other test has."""
    return f"/test-{next(_numbers)}"
