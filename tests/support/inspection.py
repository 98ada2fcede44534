"""What the kernel says about other processes (Linux)."""

from __future__ import annotations

import contextlib
from pathlib import Path


def open_handles(path: Path) -> dict[int, int]:
    """Return how many handles of a file each process of this machine has, by pid.

    Files beside it that SQLite makes, such as its journal, count as the file.
    """
    wanted = str(path.resolve())
    found: dict[int, int] = {}
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # not ours to see, or closed meanwhile
            if str(handle.readlink()).startswith(wanted):
                pid = int(handle.parts[2])
                found[pid] = found.get(pid, 0) + 1
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process that is no child of ours runs; a zombie doesn't."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}
