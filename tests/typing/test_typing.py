"""Type checkers accept right calls and reject wrong ones: they report the marked lines, no others.

The samples are checked as a user's programs are, against the installed library.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from support.times import scaled

SAMPLES: Final = Path(__file__).with_name("samples")
FILES: Final = sorted(path.name for path in SAMPLES.iterdir() if path.suffix in {".py", ".pyi"})
CHECKED: Final = [name for name in FILES if f"{name}i" not in FILES]
"""Beside its stub a module itself is not checked."""

MARK: Final = re.compile(r"  # error: \S")
LIMIT: Final = scaled(300)

Reports = dict[str, dict[int, str]]
"""What a checker says, by file and line."""


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ}
    environment.pop("COVERAGE_PROCESS_START", None)  # theirs is no concern of ours, and takes long
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert result.returncode == 1, result.stdout + result.stderr  # as there are wrong calls
    return result.stdout


def mypy(folder: Path) -> Reports:
    options = ("--strict", "--config-file=", "--no-error-summary")
    reports: Reports = {}
    for line in run(folder, "mypy", *options, *CHECKED).splitlines():
        if found := re.fullmatch(r"(.+?):(\d+): error: (.*)", line):
            reports.setdefault(found[1], {})[int(found[2])] = found[3]
    return reports


def pyright(folder: Path) -> Reports:
    output = run(folder, "pyright", "--outputjson", "--pythonpath", sys.executable, *CHECKED)
    reports: Reports = {}
    for report in json.loads(output)["generalDiagnostics"]:
        line = report["range"]["start"]["line"] + 1
        reports.setdefault(Path(report["file"]).name, {})[line] = report["message"]
    return reports


@pytest.fixture(scope="module", params=[mypy, pyright], ids=lambda checker: checker.__name__)
def reports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """Let a checker loose on a copy of all samples, without our own configuration."""
    folder = tmp_path_factory.mktemp("samples")
    for name in FILES:
        shutil.copy(SAMPLES / name, folder)
    checker: Callable[[Path], Reports] = request.param
    return checker(folder)


@pytest.mark.parametrize("name", CHECKED)
def test_the_marked_lines_are_reported_and_no_others(reports: Reports, name: str) -> None:
    lines = (SAMPLES / name).read_text(encoding="utf-8").splitlines()
    marked = {number: line.strip() for number, line in enumerate(lines, 1) if MARK.search(line)}
    reported = reports.get(name, {})
    accepted = {number: line for number, line in marked.items() if number not in reported}
    refused = {number: text for number, text in reported.items() if number not in marked}
    assert not accepted, "wrong, and not reported"
    assert not refused, "right, and reported"


def test_nothing_else_is_reported(reports: Reports) -> None:
    assert set(reports) <= set(CHECKED)
