"""Databases that others may find at any moment: the file is there with its tables, or it is not there. And
what SQLite had beside an earlier one of the name is not carried out on it."""

from __future__ import annotations

import fcntl
import itertools
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from discordfs.archived.mediafiles import open_store
from discordfs.clipping.catalogue import Catalogue
from discordfs.config import StateDirectory, StateLock
from discordfs.disk import finish_database, new_database, put_database
from tests.dying import Killed, dying
from tests.lostwal import leave_wal

Opening = Callable[[Path], Any]

DATABASES: dict[str, tuple[Opening, str]] = {
    "clips": (Catalogue, "SELECT value FROM setting WHERE key = 'store'"),
    "media": (open_store, "SELECT sha256 FROM media"),
}


def at_each_line(opening: Callable[[], Any], look: Callable[[], None]) -> Any:
    """Calls `look` before each line of the project's code that runs in `opening`."""

    def on_line(_frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            look()
        return on_line

    def on_call(frame: FrameType, _event: str, _argument: object) -> Any:
        return on_line if "/discordfs/" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        return opening()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize(("opening", "query"), DATABASES.values(), ids=DATABASES.keys())
def test_nobody_finds_a_file_without_its_tables(opening: Opening, query: str, tmp_path: Path) -> None:
    place = tmp_path / "new.sqlite"
    found = []

    def look() -> None:
        found.append(place.exists())
        if place.exists():
            with closing(sqlite3.connect(f"{place.as_uri()}?mode=ro", uri=True)) as reader:
                assert reader.execute(query).fetchall() == []

    with closing(at_each_line(lambda: opening(place), look)):
        assert {False, True} == set(found)
    assert [path.name for path in tmp_path.iterdir()] == ["new.sqlite"]


def test_one_that_somebody_else_makes_first_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "new.sqlite"
    lock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        with closing(sqlite3.connect(place)) as other:
            other.execute("CREATE TABLE theirs(x)")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    new_database(place, "CREATE TABLE mine(x)")
    with closing(sqlite3.connect(place)) as reader:
        assert reader.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    assert [path.name for path in tmp_path.iterdir()] == ["new.sqlite"]


# --- what an earlier one left -----------------------------------------------------------------------------


def tables(place: Path) -> list[str]:
    with closing(sqlite3.connect(place)) as reader:
        assert reader.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [name for (name,) in reader.execute("SELECT name FROM sqlite_schema")]


def test_a_wal_without_its_database_is_dangerous(tmp_path: Path) -> None:
    """Else the tests below would show nothing."""
    with closing(sqlite3.connect(tmp_path / "whole")) as whole:
        whole.execute("CREATE TABLE mine(x)")
    leave_wal(tmp_path / "place")
    (tmp_path / "whole").rename(tmp_path / "place")
    assert tables(tmp_path / "place") == ["lost"]


@pytest.mark.parametrize(("opening", "query"), DATABASES.values(), ids=DATABASES.keys())
def test_a_new_one_has_nothing_of_the_wal_of_a_lost_one(opening: Opening, query: str, tmp_path: Path) -> None:
    leave_wal(tmp_path / "new.sqlite")
    opening(tmp_path / "new.sqlite").close()
    assert "lost" not in tables(tmp_path / "new.sqlite")


def test_nor_has_one_that_takes_the_name(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "whole")) as whole:
        whole.execute("CREATE TABLE mine(x)")
    leave_wal(tmp_path / "place")
    put_database(tmp_path / "whole", tmp_path / "place")
    assert tables(tmp_path / "place") == ["mine"]


def make(place: Path, table: str) -> None:
    """With a WAL that has it all, as a mount that was killed leaves it."""
    with closing(sqlite3.connect(place, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute(f"CREATE TABLE {table}(x)")
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{place}{suffix}", f"{place}.copy{suffix}")
    for suffix in ("", "-wal"):
        Path(f"{place}.copy{suffix}").rename(f"{place}{suffix}")


def test_who_dies_as_it_replaces_one_leaves_the_old_or_the_new_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the old one without its WAL: that would lack what was written last."""
    outcomes = []
    for step in range(100):
        home = tmp_path / str(step)
        home.mkdir()
        make(home / "place", "old")
        with closing(sqlite3.connect(home / "draft")) as whole:
            whole.execute("CREATE TABLE new(x)")
        is_dead = False
        try:
            with dying(step, monkeypatch):
                put_database(home / "draft", home / "place")
        except Killed:
            is_dead = True
        finish_database(home / "place")
        outcomes.append(tables(home / "place"))
        if not is_dead:
            break
    assert outcomes == sorted(outcomes, reverse=True)
    assert [key for key, _ in itertools.groupby(outcomes)] == [["old"], ["new"]]
    assert len(outcomes) > 5, "it was not ended in the midst of it"


def test_whoever_takes_the_state_directory_next_has_the_index_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StateDirectory(tmp_path / "state")
    state.create()
    make(state.index_file, "old")
    with closing(sqlite3.connect(state.path / "draft")) as whole:
        whole.execute("CREATE TABLE new(x)")
    with pytest.raises(Killed), dying(3, monkeypatch):
        put_database(state.path / "draft", state.index_file)
    with StateLock(state):
        assert tables(state.index_file) == ["new"]
    assert {path.name for path in state.path.iterdir()} == {"index.sqlite", "lock"}
