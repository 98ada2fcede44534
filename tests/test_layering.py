"""Imports point one way, and each outside thing has one owner (DESIGN, "Layout")."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import cluster_client
import cluster_protocol

TOOLKIT: Final = Path(cluster_client.__file__).parent
PROTOCOL: Final = Path(cluster_protocol.__file__).parent

LAYERS: Final = (
    {"_endpoints"},
    {"errors", "leadership", "_backoff", "_changes", "_clock", "_event_queue"},
    {"_fork", "_logs", "_memory", "_states"},
    {"limits"},
    {"options", "_backend", "_encoding", "_exceptions", "_publications", "_registrations"},
    {"_access", "_identity"},
    {"_alarm", "_connections", "_loop_lag", "_outbox", "_delegate_options", "_exchange", "_inbox"},
    {"_items", "_owned_tasks", "_snapshots", "_user_types", "_watchdog"},
    {"_delegates", "_election", "_link", "_subscriptions", "_threads"},
    {"_arrivals", "_dialects", "_outgoing", "_outgoing_snapshots"},
    {"_real_client", "_shared_subscriptions", "_streams", "_turns", "_workers"},
    {"_admission", "_calls", "_hub", "streams"},
    {"_peer", "_server", "_session"},
    {"_stalls"},
    {"_host"},
    {"_local_session"},
    {"_leader", "_follower", "_single"},
    {"_campaign"},
    {"_membership"},
    {"_calling", "_publishing", "_subscribing"},
    {"client"},
    {"_delegated", "builder"},
    {"api"},
    {"__init__", "cli", "contrib", "demo", "stubs"},
)
"""From below. A module imports from lower layers only, and so not from beside it."""

PROGRAMS: Final = ("cli", "demo", "stubs")
"""They use the toolkit from outside, as anybody would."""

CONTRIB_MAY_USE: Final = {"_backend", "_delegate_options", "_exceptions", "contrib", "leadership"}
"""Real clients know nothing of clusters."""

OWNERS: Final = {
    "asyncio": {f"cluster_client._backend.{name}" for name in ("_asyncio", "_loops", "_sockets")},
    "trio": {"cluster_client._backend._trio", "cluster_client._backend._loops"},
    "sniffio": {"cluster_client._backend._loops"},
    "socket": {
        *(
            f"cluster_client._backend.{name}"
            for name in ("_asyncio", "_credentials", "_sockets", "_trio")
        ),
        "cluster_client._fork",
    },
    "select": {"cluster_client._fork"},
    "selectors": set(),
    "time": {"cluster_client._clock"},
    "structlog": {"cluster_client.client"},
    "msgpack": {f"cluster_protocol.codecs.{name}" for name in ("_msgpack", "_msgpack_levels")},
    "pickle": set(),
}
"""The only modules that may import these; programs aside."""

CLOCKS: Final = {
    *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "process_time"),
    *("now", "utcnow", "today", "localtime", "gmtime"),
}
"""Functions that tell the time, by the names they have in `time` and `datetime`."""

SANS_IO: Final = {"anyio", "asyncio", "trio", "socket", "threading", "time", "os", "structlog"}


class Module:
    """A module, and what it imports, also inside of functions.

    Attributes:
        name: With its package.
        imports: Modules by their full names.
    """

    def __init__(self, path: Path, root: Path) -> None:
        relative = path.relative_to(root.parent).with_suffix("")
        self.name = ".".join(relative.parts)
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.imports = set(self._imports())

    @property
    def part(self) -> str:
        """Name of the module or package right below the root."""
        return self.name.split(".")[1]

    def _imports(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: relative import"
                assert node.module is not None
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(root: Path) -> list[Module]:
    return [Module(path, root) for path in sorted(root.rglob("*.py"))]


EVERYTHING: Final = [*modules(TOOLKIT), *modules(PROTOCOL)]
TOOLKIT_ONLY: Final = [m for m in modules(TOOLKIT) if m.part not in PROGRAMS]
each = pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.name)
each_of_toolkit = pytest.mark.parametrize("module", TOOLKIT_ONLY, ids=lambda module: module.name)

LAYER_OF: Final = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def test_every_module_has_its_layer() -> None:
    assert {module.part for module in modules(TOOLKIT)} == set(LAYER_OF)
    assert sum(map(len, LAYERS)) == len(LAYER_OF)


@each_of_toolkit
def test_a_module_imports_from_lower_layers_only(module: Module) -> None:
    parts = {name.split(".")[1] for name in module.imports if name.startswith("cluster_client.")}
    for part in (parts & set(LAYER_OF)) - {module.part}:
        assert LAYER_OF[part] < LAYER_OF[module.part], f"{module.name} imports {part}"


@each_of_toolkit
def test_nothing_imports_the_package_itself(module: Module) -> None:
    members = {
        name.removeprefix("cluster_client.")
        for name in module.imports
        if name.startswith("cluster_client.") and name.count(".") == 1
    }
    assert members <= set(LAYER_OF), "a public name is imported where it is defined"


def test_leader_and_follower_do_not_know_each_other() -> None:
    imports = {module.part: module.imports for module in TOOLKIT_ONLY}
    assert "cluster_client._follower" not in imports["_leader"] | imports["_peer"]
    assert "cluster_client._leader" not in imports["_follower"]


def test_real_clients_know_nothing_of_clusters() -> None:
    for module in TOOLKIT_ONLY:
        if module.part == "contrib":
            parts = {n.split(".")[1] for n in module.imports if n.startswith("cluster_client.")}
            assert parts <= CONTRIB_MAY_USE


@pytest.mark.parametrize("module", modules(PROTOCOL), ids=lambda module: module.name)
def test_the_protocol_is_bytes_in_and_messages_out(module: Module) -> None:
    assert not any(name.split(".")[0] == "cluster_client" for name in module.imports)
    assert not module.imports & SANS_IO


@each
def test_outside_things_have_one_owner(module: Module) -> None:
    if module.name.startswith("cluster_client.") and module.part in PROGRAMS:
        return
    for outside, owners in OWNERS.items():
        if any(name.split(".")[0] == outside for name in module.imports):
            assert module.name in owners, f"{outside} belongs to {owners or 'nobody'}"


@each
def test_only_the_options_read_the_environment(module: Module) -> None:
    reads = {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in {"environ", "environb", "getenv"}
    }
    reads |= module.imports & {"os.environ", "os.getenv"}
    assert not reads or module.name == "cluster_client.options" or module.part in PROGRAMS


@each
def test_nobody_asks_what_time_it_is(module: Module) -> None:
    """A wall clock steps; what has a limit goes by the monotonic clock, which has one owner."""
    read = {
        ast.unparse(node)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS
    }
    allowed = {"cluster_client._clock": {"time.monotonic"}}
    assert read - {"_clock.now"} <= allowed.get(module.name, set()) or module.part in PROGRAMS
