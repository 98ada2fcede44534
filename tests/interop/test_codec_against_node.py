"""The codec serialize-json against the npm package of that name, on values that Node makes up.

The seed is printed: ``CLUSTER_CLIENT_TEST_SEED`` runs the same values again.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from cluster_protocol.codecs import UNDEFINED, SerializeJsonCodec
from interop.tagged import exactly, untag
from support.times import scaled

CODEC: Final = SerializeJsonCodec(undefined=UNDEFINED)
COUNT: Final = 10_000
LIMIT: Final = scaled(120)

Values = list[dict[str, Any]]


@pytest.fixture(scope="module")
def run_node(node_modules: Path) -> Any:
    """Run ``values.js`` and return what it printed, line by line."""

    def run(*arguments: str, stdin: str = "") -> list[Any]:
        result = subprocess.run(
            ["node", Path(__file__).with_name("values.js"), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=LIMIT,
            check=True,
            env={**os.environ, "NODE_PATH": str(node_modules / "node_modules")},
        )
        return [json.loads(line) for line in result.stdout.split("\n") if line]

    return run


@pytest.fixture(scope="module")
def values(run_node: Any) -> Values:
    seed = os.environ.get("CLUSTER_CLIENT_TEST_SEED") or str(random.getrandbits(32))
    print(f"CLUSTER_CLIENT_TEST_SEED={seed}")  # noqa: T201
    values: Values = run_node("random", str(COUNT), seed)
    assert len(values) == COUNT
    return values


def test_what_we_write_is_byte_for_byte_what_node_writes(values: Values) -> None:
    for value in values:
        assert CODEC.encode(untag(value["tagged"])).hex() == value["hex"], value["tagged"]


def test_what_node_writes_we_read_as_node_does(values: Values) -> None:
    for value in values:
        read = CODEC.decode(bytes.fromhex(value["hex"]))
        assert exactly(read) == exactly(untag(value["decoded"])), value["tagged"]


def test_what_we_wrote_again_node_reads_the_same(values: Values, run_node: Any) -> None:
    """A second generation: beyond 2**53, numbers change a little whenever Node reads them."""
    second = [CODEC.decode(bytes.fromhex(value["hex"])) for value in values]
    lines = "".join(f"{CODEC.encode(value).hex()}\n" for value in second)

    third = run_node("decode", stdin=lines)

    assert len(third) == COUNT
    for value, read in zip(second, third, strict=True):
        assert exactly(CODEC.decode(CODEC.encode(value))) == exactly(untag(read))
