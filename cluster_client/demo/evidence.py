"""What can be looked at from outside: the database, its open handles, the callers' ledgers."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

LETTER: Final = 0x41
"""The character that the load votes for."""

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_PROC: Final = Path("/proc")


def database_client_class() -> type[Any]:
    """Return `DatabaseClient` of ``examples/database_client.py``.

    It is found in the installed package, or beside it in the repository.

    Raises:
        FileNotFoundError: If it is in neither place.
    """
    places = (_PACKAGE / "_examples", _PACKAGE.parent / "examples")
    for file in (place / "database_client.py" for place in places):
        if file.is_file():
            spec = importlib.util.spec_from_file_location("database_client", file)
            assert spec is not None and spec.loader is not None  # noqa: PT018, S101 - a .py file
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            cls: type[Any] = module.DatabaseClient
            return cls
    raise FileNotFoundError(
        f"no database_client.py in {' or '.join(map(str, places))}: reinstall cluster-client"
    )


# -------------------------------------------------------------------- handles


@dataclass(frozen=True, slots=True)
class Handles:
    """Who has a file open.

    Attributes:
        pids: One entry for each open handle.
        seen: How many processes were looked at.
        hidden: How many belong to other users and could not be.
    """

    pids: tuple[int, ...]
    seen: int
    hidden: int


def open_handles(file: Path) -> Handles | None:
    """Find the handles on *file* in all processes of the machine; ``None`` without ``/proc``."""
    if not (_PROC / "self" / "fd").is_dir():
        return None
    wanted = str(file.resolve())
    pids: list[int] = []
    seen = hidden = 0
    for process in _PROC.iterdir():
        if not process.name.isdecimal():
            continue
        try:
            handles = list((process / "fd").iterdir())
        except PermissionError:
            hidden += 1
            continue
        except OSError:  # it has just ended
            continue
        seen += 1
        pids.extend(int(process.name) for handle in handles if _target(handle) == wanted)
    return Handles(tuple(pids), seen, hidden)


def _target(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except OSError:  # closed in the meantime
        return None


# -------------------------------------------------------------------- ledgers


class Ledger:
    """A caller's record of its votes; unbuffered, so that it outlives a SIGKILL."""

    def __init__(self, folder: Path, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(_ledger_file(folder, name), flags, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def sent(self, vote_id: str) -> None:
        """Record that the call is about to be made."""
        os.write(self._file, f"sent {vote_id}\n".encode())

    def told(self, vote_id: str) -> None:
        """Record that the caller was told that the vote counts."""
        os.write(self._file, f"told {vote_id}\n".encode())


def _ledger_file(folder: Path, name: str) -> Path:
    return folder / f"ledger-{name}"


@dataclass(frozen=True, slots=True)
class Audit:
    """The database compared with what the callers were told.

    Attributes:
        told: Votes that a caller was told to count.
        unheard: Votes that count, of the killed process: its callers died before they knew.
        problems: What does not fit, in words.
    """

    told: int
    unheard: int
    problems: tuple[str, ...]


def audit(folder: Path, *, alive: Iterable[str], killed: str) -> Audit:
    """Compare the votes in the database with the ledgers.

    Args:
        folder: Holds both.
        alive: Names of the callers that live, and have no call in flight.
        killed: Name of the one that died with calls in flight.
    """
    entries: dict[str, set[str]] = {"sent": set(), "told": set()}
    for name in (*alive, killed):
        for line in _ledger_file(folder, name).read_text().splitlines():
            kind, vote_id = line.split()
            entries[kind].add(vote_id)
    sent, told = entries["sent"], entries["told"]
    with closing(sqlite3.connect(folder / "characters.db")) as database:
        votes = database.execute(
            "SELECT votes FROM characters WHERE code_point = ?", (LETTER,)
        ).fetchone()[0]
        counted = {row[0] for row in database.execute("SELECT id FROM journal")}
    unheard = counted - told
    problems = []
    if lost := told - counted:
        problems.append(f"{len(lost)} votes lost, {min(lost)} for one")
    if votes != len(counted):
        problems.append(f"{len(counted)} votes were made, but {votes} counted")
    if invented := counted - sent:
        problems.append(f"{len(invented)} votes that nobody made, {min(invented)} for one")
    if untold := {vote_id for vote_id in unheard if not vote_id.startswith(f"{killed}-")}:
        problems.append(f"{len(untold)} votes that nobody was told of, {min(untold)} for one")
    return Audit(len(told), len(unheard), tuple(problems))
