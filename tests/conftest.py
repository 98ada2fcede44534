"""Fixtures for all tests."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
import structlog

from support.ports import free_port
from support.times import LIMIT


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run every asynchronous test on both event loops."""
    return request.param, {"debug": True} if request.param == "asyncio" else {}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(autouse=True, scope="session")
def quiet_log() -> Iterator[None]:
    """Let the library log only what goes wrong."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    """Give every asynchronous test a time limit: a hang is a failure, not a standstill."""
    function = pyfuncitem.obj
    if inspect.iscoroutinefunction(function) and not hasattr(function, "hypothesis"):

        async def limited(**kwargs: Any) -> None:
            with anyio.fail_after(LIMIT):
                await function(**kwargs)

        pyfuncitem.obj = limited
    try:
        return (yield)
    finally:
        pyfuncitem.obj = function
