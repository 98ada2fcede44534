"""Install the peers into ``benchmarks/.env``: ``python benchmarks/install.py``.

Needs nothing but Python, and Node with npm for the original. What is there stays until a file
with pins changes; ours is installed as it is here, editable.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ENVIRONMENT: Final = HERE / ".env"
PINS: Final = ("constraints.txt", "package.json", "package-lock.json", "../pyproject.toml")
_LIMIT: Final = 600


def main() -> None:
    """Install, unless that was done."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in PINS))
    wanted = digest.hexdigest() + sys.version
    stamp = ENVIRONMENT / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    ENVIRONMENT.mkdir()
    _say("installing ours and the Python peers into benchmarks/.env")
    _run(sys.executable, "-m", "venv", ".")
    python = str(ENVIRONMENT / "bin" / "python")
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    _run(*pip, "--upgrade", "pip>=25.1")  # the first that knows --group
    constraints = ("--constraint", str(HERE / "constraints.txt"))
    project = str(HERE.parent)
    _run(*pip, *constraints, "--editable", f"{project}[cli,trio,uvloop]")
    _run(*pip, *constraints, "--group", f"{project}/pyproject.toml:bench")
    if shutil.which("npm"):
        _say("installing Node's cluster-client into benchmarks/.env")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, ENVIRONMENT)
        _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent")
    else:
        _say("without Node and npm there will be no figures of the original")
    stamp.write_text(wanted)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=_LIMIT, check=True)


if __name__ == "__main__":
    main()
