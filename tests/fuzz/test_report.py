"""What a run says: each defect once, its input as Python writes it, and a table."""

from __future__ import annotations

from pathlib import Path

from fuzz.findings import Watch, read_findings
from fuzz.report import Row, table

_OUTPUT = """\
INFO: seed corpus: files: 3 min: 1b max: 40b total: 80b rss: 60Mb
#4\tINITED cov: 101 ft: 200 corp: 3/80b exec/s: 0 rss: 60Mb
#8192\tpulse  cov: 120 ft: 230 corp: 9/90b lim: 40 exec/s: 4096 rss: 61Mb
#9000\tDONE   cov: 123 ft: 240 corp: 9/90b lim: 40 exec/s: 4500 rss: 61Mb
Done 9001 runs in 2 second(s)
"""


def _check(data: bytes) -> None:
    if data.startswith(b"\xff"):
        raise ExceptionGroup("in a task", [KeyError("k")])
    if data == b"big":
        assert len(bytearray(b"\1") * (300 << 20))


def test_a_defect_is_noted_once_with_its_input(tmp_path: Path) -> None:
    watch = Watch(_check, tmp_path / "findings")
    for data in (b"good", b"\xff1", b"\xff2", b"good"):
        watch(data)
    [found] = read_findings(tmp_path / "findings")
    assert found.title.startswith("KeyError")
    assert found.literal == repr(b"\xff1")
    assert "in a task" in found.details


def test_an_input_that_takes_much_memory_is_noted(tmp_path: Path) -> None:
    watch = Watch(_check, tmp_path / "findings")
    watch(b"big")
    [found] = read_findings(tmp_path / "findings")
    assert found.title == "MemoryError at input"
    assert found.literal == repr(b"big")


def test_figures_are_those_of_the_engine(tmp_path: Path) -> None:
    row = Row("leader", seconds=2)
    for line in _OUTPUT.splitlines():
        row.read_line(line)
    row.read_folder(tmp_path, 0, [])
    assert table([row]).splitlines()[-1] == "| leader | 9,001 | 4,500 | 101 | 123 | 2 | 0 |"


def test_a_hang_and_an_engine_that_failed_are_findings(tmp_path: Path) -> None:
    failed = Row("leader")
    failed.read_folder(tmp_path, 1, ["no module named atheris"])
    assert [found.title for found in failed.findings] == ["the engine ended with 1"]
    assert failed.findings[0].details == "no module named atheris"
    (tmp_path / "timeout-1234").write_bytes(b"\0slow")
    hung = Row("leader")
    hung.read_folder(tmp_path, 70, [])
    assert [(found.title, found.literal) for found in hung.findings] == [("hang", repr(b"\0slow"))]
