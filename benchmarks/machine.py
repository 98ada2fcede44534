"""On what it was measured; no host names, no paths."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import ENVIRONMENT, HERE

_PYTHON: Final = (
    *("cluster-client", "anyio", "msgpack", "trio", "uvloop"),
    *("grpcio", "gunicorn", "pyzmq", "rpyc"),
)
_NODE: Final = ("cluster-client", "serialize-json", "sdk-base")


def facts() -> dict[str, Any]:
    """Return cores, versions, commit and date."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "node": _output("node", "--version").removeprefix("v"),
        "python packages": {name: _python_version(name) for name in _PYTHON},
        "node packages": {name: _node_version(name) for name in _NODE},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((ln.partition(": ")[2] for ln in lines if ln.startswith("model name")), "")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=HERE, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _python_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _node_version(name: str) -> str | None:
    try:
        package = json.loads((ENVIRONMENT / "node_modules" / name / "package.json").read_text())
    except OSError:
        return None
    return str(package["version"])
