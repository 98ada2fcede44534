"""The README's quick start does what it says, typed in as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.ports import free_port
from support.times import LIMIT

README = Path(__file__).parents[1] / "README.md"


def quick_start() -> str:
    match = re.search(r"## Quick start\n+```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert match is not None
    return match.group(1)


def test_the_quick_start_is_short() -> None:
    lines = [line for line in quick_start().splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_quick_start_runs(tmp_path: Path, backend: str) -> None:
    program = tmp_path / "quick_start.py"
    program.write_text(
        quick_start()
        .replace("7777", str(free_port()))
        .replace("anyio.run(main)", f"anyio.run(main, backend={backend!r})")
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    assert "leading hello" in result.stdout


def test_every_option_is_in_the_readme() -> None:
    from dataclasses import fields

    from cluster_client import ClientOptions

    text = README.read_text()
    for option in fields(ClientOptions):
        assert f"`{option.name}`" in text, option.name


def test_every_error_is_in_the_readme() -> None:
    import cluster_client
    from cluster_client import errors

    abstract = {"ClusterClientError", "ElectionError", "LinkError", "CallError", "LinkClosedError"}
    text = README.read_text()
    for name in set(errors.__all__) - abstract:
        assert hasattr(cluster_client, name)
        assert f"`{name}`" in text, name
