"""Short runs of what `make chaos` does at length, and a planted bug that it finds.

As programs, so that a test may take longer than others, and its processes are its own.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.times import scaled

SECONDS = 10

pytestmark = pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="looks for links in /dev/fd")


def chaos(*arguments: object, limit: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "faults.chaos", *map(str, arguments)]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=scaled(limit),
        check=False,
    )


@pytest.mark.parametrize("seed", [6, None], ids=["fixed", "random"])
def test_callers_see_what_the_model_allows_whatever_is_done_to_the_processes(
    seed: int | None, record_property: Callable[[str, object], None]
) -> None:
    seed = random.randrange(1, 1_000_000) if seed is None else seed
    run = chaos("--seconds", scaled(SECONDS), "--seed", seed, limit=150)
    record_property("seed", seed)
    assert run.returncode == 0, f"seed {seed}\n{run.stdout}"
    assert "0 violations" in run.stdout


def test_a_planted_bug_is_found() -> None:
    """Calls that are not idempotent are sent again after a loss: two seeds at most find it."""
    arguments = ("--plant", "resend", "--seed", 1, "--seeds", 3, "--seconds", scaled(SECONDS))
    run = chaos(*arguments, limit=170)
    assert run.returncode == 1, run.stdout
    assert "VIOLATION executed 2 times" in run.stdout
    assert "again with: --seed" in run.stdout
