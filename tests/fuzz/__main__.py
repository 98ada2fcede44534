"""Fuzz some targets or all, one after the other: ``python -m fuzz --seconds 600``.

What was learned of a target is kept in a folder, and the next run goes on from there. Ends with a
table in Markdown, and with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Final

from fuzz.report import Row, table
from fuzz.targets import TARGETS

_KEPT_LINES: Final = 40


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument(
        "--target",
        action="append",
        choices=[*TARGETS],
        help="what to fuzz; may be repeated; everything by default",
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument(
        "--corpus", type=Path, default=Path(".fuzz"), help="where what was learned is kept"
    )
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.target or TARGETS:
        row = _run(name, given.seconds, given.corpus)
        rows.append(row)
        print(table([row]).splitlines()[-1], flush=True)
        for finding in row.findings:
            print(f"\n{finding.title}\n{finding.details}\ninput: {finding.literal}\n", flush=True)
    print(f"\n{table(rows)}")
    return 1 if any(row.findings for row in rows) else 0


def _run(name: str, seconds: int, corpora: Path) -> Row:
    row = Row(name)
    corpus = corpora / name
    corpus.mkdir(parents=True, exist_ok=True)
    last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fuzz.engine", name, "--seconds", str(seconds)]
        command += ["--folder", folder, "--corpus", str(corpus)]
        begin = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as run:
            assert run.stderr is not None
            for line in run.stderr:
                row.read_line(line)
                last_lines.append(line.rstrip())
        row.seconds = time.monotonic() - begin
        row.read_folder(Path(folder), run.returncode, last_lines)
    return row


if __name__ == "__main__":
    sys.exit(main())
