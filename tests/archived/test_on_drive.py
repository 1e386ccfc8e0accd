"""An archive kept on a drive: only what is new goes there, and what comes back is what went."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from discordfs.archived.mediafiles import SCHEMA
from discordfs.archived.ondrive import PLACE, bring_back, keep
from discordfs.errors import NoSpace
from discordfs.localtree import LocalTree
from discordfs.model import Caller
from tests.archived.making import RunMaker, at, id_at, message
from tests.fs.conftest import House
from tests.lostwal import leave_wal

ME = Caller(os.geteuid(), os.getegid())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "house")
    try:
        yield made
        made.check()
    finally:
        made.loop.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "archive"
    made.mkdir()
    run(made, "2024-03-01", "first")
    return made


def run(root: Path, day: str, *texts: str) -> Path:
    maker = RunMaker(root, at(day))
    maker.page([message(id_at(day) + number, text) for number, text in enumerate(texts)], after=0)
    return maker.write()


def store(root: Path, data: bytes, sha256: str) -> None:
    media = root / "media"
    (media / sha256[:2]).mkdir(parents=True, exist_ok=True)
    (media / sha256[:2] / sha256).write_bytes(data)
    with closing(sqlite3.connect(media / "media.sqlite")) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(SCHEMA)
        names = [row[1] for row in database.execute("PRAGMA table_info(media)")]
        row = {"key": sha256, "sha256": sha256, "kind": "attachments", "name": "a", "size": len(data)}
        values = [
            row.get(name, "" if name not in ("status", "message", "channel", "size") else 0) for name in names
        ]
        database.execute(f"INSERT INTO media VALUES ({','.join('?' * len(names))})", values)


def contents(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith("media.sqlite")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_what_comes_back_is_what_went(house: House, root: Path, tmp_path: Path) -> None:
    store(root, b"picture", "ab" + "0" * 62)
    assert keep(root, house.drive, ME).files > 2
    back = tmp_path / "back"
    leave_wal(back / "media" / "media.sqlite")
    bring_back(house.drive, back)
    assert contents(back) == contents(root)
    for path in root.rglob("*.jsonl"):
        assert (back / path.relative_to(root)).stat().st_mtime_ns == path.stat().st_mtime_ns
    with closing(sqlite3.connect(back / "media" / "media.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM media WHERE size = 7").fetchone() == (1,)


def test_a_second_time_only_what_is_new_goes(house: House, root: Path) -> None:
    """Each night's run would else send the whole archive anew."""
    store(root, b"picture", "ab" + "0" * 62)
    keep(root, house.drive, ME)
    assert keep(root, house.drive, ME).files == 0
    new = run(root, "2024-03-02", "second")
    store(root, b"another", "cd" + "0" * 62)
    files = sum(path.is_file() for path in new.rglob("*"))
    assert keep(root, house.drive, ME).files == files + 2  # and the picture, and the database


def test_a_run_that_goes_on_is_kept_as_it_is_now(house: House, root: Path, tmp_path: Path) -> None:
    """Its state goes when it ends well; else a recovered archive would take it for unfinished."""
    (state,) = [path.parent / "state.json" for path in root.rglob("run.meta.json")] or [root / "state.json"]
    state.write_text("{}")
    keep(root, house.drive, ME)
    state.unlink()
    (grown,) = list(root.rglob("200.jsonl"))
    with grown.open("ab") as file:
        file.write(b'{"more": 1}\n')
    keep(root, house.drive, ME)
    bring_back(house.drive, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(root)


def test_an_interrupted_copy_goes_on_and_leaves_no_half_file(
    house: House, root: Path, tmp_path: Path
) -> None:
    class Breaking:
        """The drive, until its disk is full."""

        def __init__(self) -> None:
            self.left = 2

        def __getattr__(self, name: str) -> object:
            return getattr(house.drive, name)

        def write(self, handle: int, data: bytes, offset: int) -> int:
            self.left -= 1
            if self.left < 0:
                house.drive.write(handle, data[:5], offset)
                raise NoSpace("the disk is full")
            return house.drive.write(handle, data, offset)

    with pytest.raises(NoSpace):
        keep(root, Breaking(), ME)  # type: ignore[arg-type]
    bring_back(house.drive, tmp_path / "part")
    whole = contents(root)
    for name, data in contents(tmp_path / "part").items():
        assert whole[name] == data
    keep(root, house.drive, ME)
    bring_back(house.drive, tmp_path / "part")
    assert contents(tmp_path / "part") == whole
    names = {entry.name for entry in house.drive.readdir(PLACE)}
    assert not any(name.startswith(b".") for name in names)


def test_nothing_that_is_here_is_overwritten(house: House, root: Path) -> None:
    keep(root, house.drive, ME)
    (mine,) = list(root.rglob("200.jsonl"))
    mine.write_bytes(b"newer\n")
    assert bring_back(house.drive, root).files == 0
    assert mine.read_bytes() == b"newer\n"


def test_what_broke_here_is_not_carried_to_the_drive(house: House, root: Path, tmp_path: Path) -> None:
    """A run that is over does not change any more, nor do media: else a failing disk, or a slip of the hand,
    would reach the copy too, with the next night's run."""
    picture = "ab" + "0" * 62
    store(root, b"picture", picture)
    keep(root, house.drive, ME)
    whole = contents(root)
    (records,) = list(root.rglob("200.jsonl"))
    records.write_bytes(b"broken\n")
    (root / "media" / "ab" / picture).write_bytes(b"")
    (meta,) = list(root.rglob("guild.meta.json")) or list(root.rglob("200.meta.json"))
    meta.unlink()
    kept = keep(root, house.drive, ME)
    assert set(kept.others) == {str(records.relative_to(root)), f"media/ab/{picture}"}
    bring_back(house.drive, tmp_path / "back")
    assert contents(tmp_path / "back") == whole


def test_an_archive_that_begins_anew_takes_nothing_from_the_one_that_is_kept(
    house: House, root: Path, tmp_path: Path
) -> None:
    """After a disk was lost, before somebody thinks of `recover`."""
    store(root, b"picture", "ab" + "0" * 62)
    keep(root, house.drive, ME)
    second = tmp_path / "second"
    second.mkdir()
    run(second, "2024-05-01", "later")
    store(second, b"another", "cd" + "0" * 62)
    assert keep(second, house.drive, ME).files > 2
    assert keep(second, house.drive, ME).files == 0
    bring_back(house.drive, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(root) | contents(second)
    bring_back(house.drive, second)
    assert contents(second) == contents(tmp_path / "back")
    for back in (tmp_path / "back", second):
        with closing(sqlite3.connect(back / "media" / "media.sqlite")) as database:
            names = {row[0][:2] for row in database.execute("SELECT sha256 FROM media")}
        assert names == {"ab", "cd"}


def test_a_run_whose_first_copy_was_interrupted_is_completed_when_it_has_ended(
    house: House, root: Path, tmp_path: Path
) -> None:
    (meta,) = list(root.rglob("run.meta.json"))
    (meta.parent / "state.json").write_text("{}")

    class Breaking:
        """The drive, whose disk is full at the last file."""

        def __getattr__(self, name: str) -> object:
            return getattr(house.drive, name)

        def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> object:
            if path.endswith(b"run.meta.json"):
                raise NoSpace("the disk is full")
            return house.drive.create(path, mode, flags, caller)

    with pytest.raises(NoSpace):
        keep(root, Breaking(), ME)  # type: ignore[arg-type]
    (meta.parent / "state.json").unlink()
    (grown,) = list(root.rglob("200.jsonl"))
    with grown.open("ab") as file:
        file.write(b'{"more": 1}\n')
    assert keep(root, house.drive, ME).others == ()
    bring_back(house.drive, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(root)


def test_derived_files_and_what_is_half_imported_stay_here(house: House, root: Path) -> None:
    (root / "views" / "S (1)").mkdir(parents=True)
    (root / "catalogue.sqlite").write_bytes(b"x")
    (root / ".importing-20240101T000000_channel").mkdir()
    keep(root, house.drive, ME)
    names = {entry.name for entry in house.drive.readdir(PLACE)}
    assert names == {b"20240301T000000_channel"}


def test_it_goes_through_a_mounted_drive_as_well(root: Path, tmp_path: Path) -> None:
    """There the drive is a directory of this machine."""
    place = tmp_path / "mnt"
    place.mkdir()
    keep(root, LocalTree(place), ME)
    assert contents(place / ".archive") == contents(root)
