"""The public names: these and no others, and each module's `__all__` is true."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import cluster_client
import cluster_protocol


def modules_of(package: ModuleType) -> list[ModuleType]:
    names = [
        module.name
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if ".demo" not in module.name and not module.name.endswith(".cli")
    ]
    return [package, *(importlib.import_module(name) for name in names)]


ALL = [*modules_of(cluster_client), *modules_of(cluster_protocol)]
WITH_ALL = [module for module in ALL if hasattr(module, "__all__")]
PUBLIC = [module for module in ALL if not module.__name__.split(".")[-1].startswith("_")]


def test_the_toolkits_names() -> None:
    assert cluster_client.__all__ == [
        "APIClientBase",
        "AuthenticationError",
        "CallError",
        "Client",
        "ClientClosedError",
        "ClientOptions",
        "ClientState",
        "ClusterBuilder",
        "ClusterClientError",
        "ClusterFactory",
        "ConfigurationError",
        "Delegate",
        "ElectionError",
        "EncodeError",
        "ForkedClientError",
        "Gap",
        "IdentityError",
        "JavaScriptError",
        "LeaderUnavailableError",
        "Leadership",
        "Limits",
        "LinkClosedError",
        "LinkError",
        "OutcomeUnknownError",
        "PortOccupiedError",
        "RefusedError",
        "RemoteInvokeError",
        "ResponseTimeoutError",
        "Stream",
        "StreamInterruptedError",
        "__version__",
        "cluster",
        "delegate",
        "delegated",
        "register_exception",
        "register_type",
    ]


def test_nothing_else_can_be_taken_from_the_package() -> None:
    names = {
        name
        for name, value in vars(cluster_client).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert names - {"annotations"} == set(cluster_client.__all__) - {"__version__"}


@pytest.mark.parametrize("module", WITH_ALL, ids=lambda module: module.__name__)
def test_what_a_module_exports_is_there_and_sorted(module: ModuleType) -> None:
    names: list[str] = module.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []
    # As ruff sorts them: constants, classes, the rest.
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_a_public_module_says_what_it_exports(module: ModuleType) -> None:
    assert hasattr(module, "__all__")


def test_every_error_is_public() -> None:
    from cluster_client import errors

    assert set(errors.__all__) <= set(cluster_client.__all__)
