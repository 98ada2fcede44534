"""A real client: an ordinary class over a SQLite file, which knows nothing of clusters.

The table holds Unicode's characters from Latin to Sinhala, as `unicodedata` describes
them, each with a number of votes and a note that can be changed.
"""

from __future__ import annotations

import os
import sqlite3
import unicodedata
from collections.abc import Callable
from typing import Any, Final, TypeAlias

Row: TypeAlias = dict[str, Any]
Listener: TypeAlias = Callable[[Row], object]

_KEY: Final[Row] = {"code_point": 65}
_CHANGE: Final[Row] = {"code_point": 65, "votes": 3, "note": "the first"}

# A rollback journal, not WAL: between two writes only the database file itself is open.
_SCHEMA: Final = """
PRAGMA journal_mode = DELETE;
CREATE TABLE IF NOT EXISTS characters (code_point INTEGER PRIMARY KEY, character TEXT, name TEXT,
    category TEXT, votes INTEGER CHECK (typeof(votes) = 'integer'), note TEXT);
CREATE TABLE IF NOT EXISTS journal (id TEXT PRIMARY KEY, code_point INTEGER);
"""
_UPDATE: Final = """UPDATE characters SET note = coalesce(:note, note),
votes = coalesce(:votes, votes) + :by WHERE code_point = :code_point"""


class DatabaseClient:
    """Characters in the SQLite file *path*; to be used in the thread that calls `start`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._connection: sqlite3.Connection | None = None
        self._subscriptions: list[tuple[int, Listener]] = []

    def start(self) -> None:
        """Open the file, by one connection; on first use create and fill the tables."""
        if self._connection is not None:
            return
        self._connection = sqlite3.connect(self._path, isolation_level="IMMEDIATE")
        try:
            self._connection.row_factory = sqlite3.Row
            self._connection.executescript(_SCHEMA)
            if self.count() == 0:
                named = ((n, chr(n)) for n in range(0x0E00) if unicodedata.name(chr(n), ""))
                rows = ((n, c, unicodedata.name(c), unicodedata.category(c)) for n, c in named)
                insert = "INSERT OR IGNORE INTO characters VALUES (?, ?, ?, ?, 0, '')"
                with self._connection:  # all rows or none
                    self._connection.executemany(insert, rows)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and forget the listeners; a second call does nothing."""
        self._subscriptions.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def pid(self) -> int:
        """Return the id of the process that this object lives in: the one that serves."""
        return os.getpid()

    def count(self) -> int:
        """Return how many characters there are."""
        return int(self._open().execute("SELECT count(*) FROM characters").fetchone()[0])

    def get(self, code_point: int) -> Row | None:
        """Return a character's row, or ``None`` if there is no such character."""
        query = "SELECT * FROM characters WHERE code_point = ?"
        row = self._open().execute(query, (code_point,)).fetchone()
        return None if row is None else dict(row)

    def find(self, name_part: str, limit: int = 10) -> list[Row]:
        """Return the first *limit* characters with *name_part*, in any case, in their names."""
        query = "SELECT * FROM characters WHERE instr(name, ?) ORDER BY code_point LIMIT ?"
        return [dict(row) for row in self._open().execute(query, (name_part.upper(), limit))]

    def vote(self, code_point: int, by: int = 1) -> int:
        """Add *by* to a character's votes and return the total."""
        return int(self._write(code_point, by=by)["votes"])

    def vote_once(self, vote_id: str, code_point: int) -> int:
        """Add one vote, unless *vote_id* was used before; safe to repeat after a failure."""
        return int(self._write(code_point, by=1, vote_id=vote_id)["votes"])

    def annotate(self, code_point: int, note: str) -> Row:
        """Replace a character's note and return its row."""
        return self._write(code_point, note=note)

    def publish(self, reg: Row) -> None:
        """Write ``votes``, ``note`` or both: ``{"code_point": 65, "votes": 3}``."""
        self._write(**_checked(reg, _CHANGE))

    def subscribe(self, reg: Row, listener: Listener) -> None:
        """Call *listener* with the row of ``{"code_point": 65}``, now and after each write here."""
        row = self._row(_checked(reg, _KEY)["code_point"])
        self._subscriptions.append((row["code_point"], listener))
        listener(row)

    def unsubscribe(self, reg: Row, listener: Listener) -> None:
        """Undo one `subscribe`; does nothing if there was none."""
        subscription = (_checked(reg, _KEY)["code_point"], listener)
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError(f"{self._path!r} is not open: call start() first, close() last")
        return self._connection

    def _row(self, code_point: int) -> Row:
        if (row := self.get(code_point)) is None:
            raise LookupError(f"no character has code_point {code_point!r}: find() tells which do")
        return row

    def _write(self, code_point: int, *, vote_id: str | None = None, **fields: object) -> Row:
        values = {"votes": None, "note": None, "by": 0, **fields, "code_point": code_point}
        with self._open() as transaction:  # an error undoes all of it
            if vote_id is not None:
                insert = "INSERT OR IGNORE INTO journal VALUES (?, ?)"
                if transaction.execute(insert, (vote_id, code_point)).rowcount == 0:
                    return self._row(code_point)  # counted before
            transaction.execute(_UPDATE, values)
            written = self._row(code_point)
        for listener in [call for key, call in self._subscriptions if key == code_point]:
            listener(self._row(code_point))  # read anew: an earlier listener may have written
        return written


def _checked(reg: object, example: Row) -> Row:
    """Return *reg* if it has fields of *example* and their types, else say what is wrong."""
    if not isinstance(reg, dict):
        problem = "is not a dict"
    elif unknown := [field for field in reg if field not in example]:
        problem = f"has an unknown field {unknown[0]!r}"
    elif wrong := [field for field in reg if type(reg[field]) is not type(example[field])]:
        problem = f"has a {wrong[0]!r} that is not of type {type(example[wrong[0]]).__name__}"
    elif "code_point" not in reg:
        problem = "lacks 'code_point'"
    elif len(reg) == 1 and len(example) > 1:
        problem = "lacks 'votes' or 'note'"
    else:
        return reg
    raise ValueError(f"registration {reg!r} {problem}: pass, for example, {example}")
