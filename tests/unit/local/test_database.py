"""The connection: what it shows to whom, and when its bytes move from the WAL to the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from discordfs.database import Database
from discordfs.errors import BusyError


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "index.sqlite")
    yield made
    made.close()


def put(database: Database, name: str, value: int = 1) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO counters VALUES (?, ?)", (name, value))


def names(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM counters")}


def test_a_frozen_view_is_the_state_that_its_transaction_left(database: Database) -> None:
    """A snapshot of the whole index is written while users go on: it must be one moment, not a mixture."""
    put(database, "before")

    def change(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO counters VALUES ('mine', 1)")
        return "done"

    result, view = database.freeze(change)
    put(database, "after")
    assert result == "done"
    assert {"before", "mine"} <= names(view)
    assert "after" not in names(view)
    view.close()


def test_a_frozen_view_stays_whole_when_the_index_is_checkpointed_meanwhile(database: Database) -> None:
    put(database, "before")
    _, view = database.freeze(lambda connection: None)
    put(database, "after")
    database.checkpoint()
    assert "after" not in names(view)
    view.close()
    wal = database.path.with_name("index.sqlite-wal")
    assert wal.stat().st_size > 0
    database.checkpoint()
    assert wal.stat().st_size == 0
    with database.reading() as connection:
        assert {"before", "after"} <= names(connection)


def test_a_change_that_fails_leaves_no_view_and_no_change(database: Database) -> None:
    def change(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO counters VALUES ('half', 1)")
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        database.freeze(change)
    with database.reading() as connection:
        assert "half" not in names(connection)


def test_a_view_that_outlives_the_database_loses_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.sqlite")
    _, view = database.freeze(lambda connection: None)
    put(database, "last")
    database.close()
    view.close()
    database = Database(tmp_path / "index.sqlite")
    with database.reading() as connection:
        assert "last" in names(connection)
    database.close()


def test_an_index_whose_mount_did_not_end_is_for_a_mount_alone(tmp_path: Path) -> None:
    """Whoever opens and closes it without a look would wipe out the checksums of what may be missing."""
    database = Database(tmp_path / "index.sqlite", boot_id="the first run")
    put(database, "of a mount")
    (tmp_path / "left").mkdir()
    for path in tmp_path.glob("index.sqlite*"):
        (tmp_path / "left" / path.name).write_bytes(path.read_bytes())
    database.close()
    left = tmp_path / "left" / "index.sqlite"
    before = left.read_bytes(), left.with_name("index.sqlite-wal").read_bytes()
    with pytest.raises(BusyError, match="mount that drive once"):
        Database(left)
    assert before == (left.read_bytes(), left.with_name("index.sqlite-wal").read_bytes())
    Database(left, boot_id="the second run").close()
    Database(left).close()
