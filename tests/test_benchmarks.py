"""The benchmarks run, with what the package itself needs; no figure is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.times import scaled

ROOT = Path(__file__).resolve().parent.parent


def test_a_look_at_our_own_calls(tmp_path: Path) -> None:
    command = "-m benchmarks --quick --only calls --contenders ours-asyncio --rounds 1 --results"
    done = subprocess.run(
        [sys.executable, *command.split(), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=scaled(120),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ours, asyncio" in done.stdout
    results = json.loads((tmp_path / "latest.json").read_text())
    assert results
