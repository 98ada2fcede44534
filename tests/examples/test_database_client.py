from __future__ import annotations

import os
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from database_client import DatabaseClient, Row

LETTER_A = {
    "code_point": 0x41,
    "character": "A",
    "name": "LATIN CAPITAL LETTER A",
    "category": "Lu",
    "votes": 0,
    "note": "",
}
KEY = {"code_point": 0x41}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "characters.db"


@pytest.fixture
def client(path: Path) -> Iterator[DatabaseClient]:
    client = DatabaseClient(path)
    client.start()
    yield client
    client.close()


def open_files(path: Path) -> list[str]:
    """Names of the open files whose paths start with *path*: journals, too."""
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(entry.readlink()))
        except FileNotFoundError:  # the handle that reads the directory
            continue
    return sorted(name for name in names if name.startswith(str(path.resolve())))


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="needs /proc to list open files"
)


class TestRows:
    def test_are_real(self, client: DatabaseClient) -> None:
        assert client.get(0x41) == LETTER_A
        for code_point in (0x20, 0xDF, 0x3A9, 0x416, 0x5D0, 0xDDF):
            row = client.get(code_point)
            assert row is not None
            assert row["character"] == chr(code_point)
            assert row["name"] == unicodedata.name(chr(code_point))
            assert row["category"] == unicodedata.category(chr(code_point))

    def test_are_about_three_thousand(self, client: DatabaseClient) -> None:
        assert 3000 < client.count() < 3500

    @pytest.mark.parametrize("code_point", [0x00, 0x378, 0x1F600, -1])
    def test_nameless_and_later_ones_are_absent(
        self, client: DatabaseClient, code_point: int
    ) -> None:
        assert client.get(code_point) is None

    def test_are_written_on_first_use_only(self, path: Path) -> None:
        first = DatabaseClient(str(path))
        first.start()
        first.vote(0x41)
        count = first.count()
        first.close()
        second = DatabaseClient(path)
        second.start()
        with closing(second):
            assert second.get(0x41) == {**LETTER_A, "votes": 1}
            assert second.count() == count

    def test_are_filled_in_after_an_interrupted_first_use(
        self, client: DatabaseClient, path: Path
    ) -> None:
        client.close()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM characters")
        client.start()
        assert client.get(0x41) == LETTER_A


class TestFind:
    def test_is_in_the_order_of_code_points(self, client: DatabaseClient) -> None:
        found = [row["character"] for row in client.find("letter sharp s")]
        assert found == ["ß"]
        found = [row["character"] for row in client.find("LATIN CAPITAL LETTER ", limit=3)]
        assert found == ["A", "B", "C"]

    def test_gives_ten_by_default(self, client: DatabaseClient) -> None:
        assert len(client.find("GREEK")) == 10

    def test_takes_wildcards_literally(self, client: DatabaseClient) -> None:
        assert client.find("LATIN%A") == []
        assert client.find("no such name") == []


class TestWrites:
    def test_vote_returns_the_total(self, client: DatabaseClient) -> None:
        assert client.vote(0x41) == 1
        assert client.vote(0x41, by=5) == 6
        assert client.vote(0x41, -2) == 4
        assert client.get(0x42) == {
            **LETTER_A,
            "code_point": 0x42,
            "character": "B",
            "name": "LATIN CAPITAL LETTER B",
        }

    def test_vote_once_counts_an_id_once(self, client: DatabaseClient, path: Path) -> None:
        values: list[Row] = []
        assert client.vote_once("ballot-1", 0x41) == 1
        client.subscribe(KEY, values.append)
        assert client.vote_once("ballot-1", 0x41) == 1
        assert [row["votes"] for row in values] == [1]
        assert client.vote_once("ballot-2", 0x41) == 2
        client.close()
        client.start()
        assert client.vote_once("ballot-2", 0x41) == 2

    def test_a_failed_vote_does_not_use_up_its_id(self, client: DatabaseClient) -> None:
        with pytest.raises(LookupError):
            client.vote_once("ballot-1", 0x378)
        assert client.vote_once("ballot-1", 0x41) == 1

    def test_annotate_returns_the_row(self, client: DatabaseClient) -> None:
        assert client.annotate(0x41, "the first") == {**LETTER_A, "note": "the first"}
        assert client.annotate(0x41, "") == LETTER_A

    def test_publish_writes_the_fields(self, client: DatabaseClient) -> None:
        client.publish({**KEY, "votes": 3})
        client.publish({**KEY, "note": "Aleph's child"})
        assert client.get(0x41) == {**LETTER_A, "votes": 3, "note": "Aleph's child"}

    def test_is_durable_at_once(self, client: DatabaseClient, path: Path) -> None:
        client.vote(0x41)
        with closing(sqlite3.connect(path)) as other:
            query = "SELECT votes FROM characters WHERE code_point = 65"
            assert other.execute(query).fetchone() == (1,)

    @pytest.mark.parametrize(
        "write",
        [
            lambda client: client.vote(0x378),
            lambda client: client.vote_once("ballot-1", 0x378),
            lambda client: client.annotate(0x378, "nameless"),
            lambda client: client.publish({"code_point": 0x378, "votes": 1}),
            lambda client: client.subscribe({"code_point": 0x378}, print),
        ],
    )
    def test_an_unknown_character_is_named(
        self, client: DatabaseClient, write: Callable[[DatabaseClient], object]
    ) -> None:
        with pytest.raises(LookupError, match=r"no character has code_point 888: find\(\)"):
            write(client)

    def test_an_overflow_changes_nothing(self, client: DatabaseClient) -> None:
        client.publish({**KEY, "votes": 2**63 - 1})
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            client.vote(0x41)
        assert client.get(0x41) == {**LETTER_A, "votes": 2**63 - 1}


class TestSubscriptions:
    def test_begin_with_the_current_row(self, client: DatabaseClient) -> None:
        values: list[Row] = []
        client.subscribe(KEY, values.append)
        assert values == [LETTER_A]

    def test_get_every_write_of_their_row_in_order(self, client: DatabaseClient) -> None:
        values: list[Row] = []
        client.subscribe(KEY, values.append)
        client.vote(0x41)
        client.vote(0x42)
        client.annotate(0x41, "first")
        client.publish({**KEY, "votes": 9})
        client.vote_once("ballot-1", 0x41)
        assert [(row["votes"], row["note"]) for row in values] == [
            (0, ""),
            (1, ""),
            (1, "first"),
            (9, "first"),
            (10, "first"),
        ]
        assert {row["code_point"] for row in values} == {0x41}

    def test_are_served_in_the_order_of_subscribing(self, client: DatabaseClient) -> None:
        calls: list[tuple[str, int]] = []
        client.subscribe(KEY, lambda row: calls.append(("first", row["votes"])))
        client.subscribe(KEY, lambda row: calls.append(("second", row["votes"])))
        client.vote(0x41)
        assert calls == [("first", 0), ("second", 0), ("first", 1), ("second", 1)]

    def test_share_no_row(self, client: DatabaseClient) -> None:
        values: list[Row] = []
        client.subscribe(KEY, lambda row: row.clear())
        client.subscribe(KEY, values.append)
        client.vote(0x41)
        assert [row["votes"] for row in values] == [0, 1]

    def test_end_with_unsubscribe(self, client: DatabaseClient) -> None:
        ended: list[Row] = []
        kept: list[Row] = []
        client.subscribe(KEY, ended.append)
        client.subscribe(KEY, kept.append)
        client.unsubscribe(dict(KEY), ended.append)
        client.vote(0x41)
        assert [row["votes"] for row in ended] == [0]
        assert [row["votes"] for row in kept] == [0, 1]

    def test_unsubscribe_undoes_one_subscription(self, client: DatabaseClient) -> None:
        calls: list[int] = []

        def listener(row: Row) -> None:
            calls.append(row["votes"])

        client.unsubscribe(KEY, listener)  # nothing to undo
        client.subscribe(KEY, listener)
        client.subscribe(KEY, listener)
        client.unsubscribe(KEY, listener)
        client.vote(0x41)
        assert calls == [0, 0, 1]

    def test_a_listener_may_unsubscribe_itself(self, client: DatabaseClient) -> None:
        once: list[int] = []
        after: list[int] = []

        def listener(row: Row) -> None:
            once.append(row["votes"])
            client.unsubscribe(KEY, listener)

        client.subscribe(KEY, listener)
        client.subscribe(KEY, lambda row: after.append(row["votes"]))
        client.vote(0x41)
        assert once == [0]
        assert after == [0, 1]

    def test_never_go_back_when_a_listener_writes(self, client: DatabaseClient) -> None:
        seen: list[int] = []

        def write_back(row: Row) -> None:
            if row["votes"] == 1:
                client.vote(0x41)

        client.subscribe(KEY, write_back)
        client.subscribe(KEY, lambda row: seen.append(row["votes"]))
        assert client.vote(0x41) == 1
        assert seen == [0, 2, 2]

    def test_end_with_close(self, client: DatabaseClient) -> None:
        values: list[Row] = []
        client.subscribe(KEY, values.append)
        client.close()
        client.start()
        client.vote(0x41)
        assert len(values) == 1


class TestRegistrations:
    @pytest.mark.parametrize(
        ("reg", "problem"),
        [
            ("A", "'A' is not a dict"),
            (None, "None is not a dict"),
            ({}, "{} lacks 'code_point'"),
            ({"codepoint": 65}, "has an unknown field 'codepoint'"),
            ({"code_point": 65, "votes": 1}, "has an unknown field 'votes'"),
            ({"code_point": "A"}, "has a 'code_point' that is not of type int"),
            ({"code_point": True}, "has a 'code_point' that is not of type int"),
            ({"code_point": 65.0}, "has a 'code_point' that is not of type int"),
        ],
    )
    def test_a_bad_key_is_explained(self, client: DatabaseClient, reg: Any, problem: str) -> None:
        for method in (client.subscribe, client.unsubscribe):
            with pytest.raises(ValueError, match="registration ") as caught:
                method(reg, print)
            assert problem in str(caught.value)
            assert repr(reg) in str(caught.value)
            assert str(caught.value).endswith("pass, for example, {'code_point': 65}")

    @pytest.mark.parametrize(
        ("reg", "problem"),
        [
            (["votes", 3], "is not a dict"),
            ({"votes": 3}, "lacks 'code_point'"),
            ({"code_point": 65}, "lacks 'votes' or 'note'"),
            ({"code_point": 65, "name": "B"}, "has an unknown field 'name'"),
            ({"code_point": 65, "by": 1}, "has an unknown field 'by'"),
            ({"code_point": 65, "votes": "3"}, "has a 'votes' that is not of type int"),
            ({"code_point": 65, "votes": None}, "has a 'votes' that is not of type int"),
            ({"code_point": 65, "note": 3}, "has a 'note' that is not of type str"),
        ],
    )
    def test_a_bad_change_is_explained(
        self, client: DatabaseClient, reg: Any, problem: str
    ) -> None:
        values: list[Row] = []
        client.subscribe(KEY, values.append)
        with pytest.raises(ValueError, match="registration ") as caught:
            client.publish(reg)
        assert problem in str(caught.value)
        assert repr(reg) in str(caught.value)
        assert "{'code_point': 65, 'votes': 3, 'note': 'the first'}" in str(caught.value)
        assert values == [LETTER_A]


class TestConnection:
    @needs_proc
    def test_is_one_open_file(self, client: DatabaseClient, path: Path) -> None:
        client.start()  # a second start opens no second one
        assert open_files(path) == [str(path.resolve())]
        client.subscribe(KEY, lambda _row: None)
        client.vote(0x41)
        client.find("GREEK")
        assert open_files(path) == [str(path.resolve())]
        client.close()
        assert open_files(path) == []

    @needs_proc
    def test_is_one_open_file_where_another_journal_was_chosen(
        self, client: DatabaseClient, path: Path
    ) -> None:
        client.close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        client.start()
        client.vote(0x41)
        assert open_files(path) == [str(path.resolve())]

    def test_nothing_is_opened_before_start(self, path: Path) -> None:
        DatabaseClient(path)
        assert not path.exists()

    def test_pid_is_that_of_this_process(self, client: DatabaseClient) -> None:
        assert client.pid() == os.getpid()

    def test_belongs_to_one_thread(self, client: DatabaseClient) -> None:
        with (
            ThreadPoolExecutor(1) as executor,
            pytest.raises(sqlite3.ProgrammingError, match="same thread"),
        ):
            executor.submit(client.count).result()

    def test_a_failed_start_leaves_nothing_open(self, path: Path) -> None:
        path.write_bytes(b"This is no database. " * 100)
        client = DatabaseClient(path)
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            client.start()
        with pytest.raises(RuntimeError, match="is not open"):
            client.count()

    @pytest.mark.parametrize(
        "use",
        [
            lambda client: client.count(),
            lambda client: client.get(0x41),
            lambda client: client.find("GREEK"),
            lambda client: client.vote(0x41),
            lambda client: client.vote_once("ballot-1", 0x41),
            lambda client: client.annotate(0x41, "late"),
            lambda client: client.publish({**KEY, "votes": 3}),
            lambda client: client.subscribe(KEY, print),
        ],
    )
    def test_use_before_start_or_after_close_is_explained(
        self, path: Path, use: Callable[[DatabaseClient], object]
    ) -> None:
        client = DatabaseClient(path)
        with pytest.raises(RuntimeError, match=r"characters\.db' is not open: call start\(\)"):
            use(client)
        client.start()
        client.close()
        client.close()  # a second close does nothing
        with pytest.raises(RuntimeError, match=r"characters\.db' is not open: call start\(\)"):
            use(client)
