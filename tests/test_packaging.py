"""The built wheel works where nothing else is: in a new virtual environment."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from support.ports import free_port
from support.times import LIMIT, scaled
from test_readme import quick_start

ROOT = Path(__file__).parents[1]
INSTALL_LIMIT = scaled(300)


def run(*command: str | Path, limit: float = LIMIT, cwd: Path | None = None) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=limit,
        cwd=cwd,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT, limit=INSTALL_LIMIT)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_has_both_packages_and_their_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "cluster_client/__init__.py",
        "cluster_client/py.typed",
        "cluster_client/_examples/database_client.py",
        "cluster_protocol/__init__.py",
        "cluster_protocol/py.typed",
    } <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "cluster_client",
        "cluster_protocol",
    }


def test_the_wheel_runs_the_quick_start_in_a_new_environment(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, limit=INSTALL_LIMIT)
    program = tmp_path / "quick_start.py"
    program.write_text(quick_start().replace("7777", str(free_port())))
    assert "leading hello" in run(python, "-W", "error", program, cwd=tmp_path)
    # Without the extra the command line says what to install.
    result = subprocess.run(
        [str(environment / "bin" / "cluster-client"), "demo"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert result.returncode != 0
    assert "cluster-client[cli]" in result.stderr
