"""The first start after the machine went down, with staging damaged by hand: what is undone, and what not."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from discordfs import errors, powercut
from tests.crash.conftest import SurvivingHouse
from tests.crash.user import Tree, tree_of
from tests.fs import audit
from tests.fs.conftest import House, make_house

__all__ = ["make_house"]  # a fixture

QUOTA = 64 * 1024**2
KEPT = "index.sqlite.before-power-cut"

pytestmark = pytest.mark.expects_log("the machine went down")


def left_by(house: House, place: Path, lost: bytes = b"") -> Path:
    """The state directory as it lies at this instant, where the bytes `lost` never came to the disk."""
    shutil.copytree(house.root, place)
    for path in (place / "staging").glob("*.segment"):
        path.write_bytes(path.read_bytes().replace(lost, bytes(len(lost))) if lost else path.read_bytes())
    return place


def tree_after(place: Path, house: House, **boot: str) -> Tree:
    """What a drive has that begins there, and goes on."""
    survivor = SurvivingHouse(place, QUOTA, house.store, **boot)
    try:
        return tree_of(survivor)
    finally:
        survivor.close()
        survivor.loop.stop()
        assert not audit.problems(place / "index.sqlite", place / "staging")


def text(name: bytes) -> bytes:
    return (b"bytes of " + name) * 100


def put(house: House, *names: bytes) -> Tree:
    for name in names:
        house.put(b"/" + name, text(name))
    return {b"/" + name: text(name) for name in names}


def test_what_was_not_synced_is_undone_and_what_was_synced_is_there(
    make_house: Callable[..., House], tmp_path: Path
) -> None:
    house = make_house()
    synced = put(house, b"synced")
    house.index.sync()
    early = put(house, b"early")
    put(house, b"lost", b"late")
    place = left_by(house, tmp_path / "left", lost=text(b"lost"))
    assert tree_after(place, house) == synced | early | {b"/lost": b""}


def test_an_overwritten_file_is_the_old_one(make_house: Callable[..., House], tmp_path: Path) -> None:
    house = make_house()
    house.put(b"/a", b"old" * 1000)
    house.index.sync()
    house.put(b"/a", b"new" * 1000)
    place = left_by(house, tmp_path / "left", lost=b"new" * 1000)
    assert tree_after(place, house) == {b"/a": b"old" * 1000}


def test_nothing_is_undone_when_all_bytes_are_there(make_house: Callable[..., House], tmp_path: Path) -> None:
    house = make_house()
    all_of_it = put(house, b"a", b"b")
    place = left_by(house, tmp_path / "left")
    assert tree_after(place, house) == all_of_it
    assert not (place / KEPT).exists()


def test_bytes_of_a_removed_file_are_no_reason_to_go_back(
    make_house: Callable[..., House], tmp_path: Path
) -> None:
    house = make_house()
    put(house, b"temporary")
    kept = put(house, b"kept")
    house.drive.unlink(b"/temporary")
    place = left_by(house, tmp_path / "left", lost=text(b"temporary"))
    assert tree_after(place, house) == kept


def test_a_process_that_died_in_this_run_of_the_machine_is_not_looked_into(
    make_house: Callable[..., House], tmp_path: Path
) -> None:
    """The kernel still has its bytes: the next start need not read all of staging."""
    house = make_house()
    put(house, b"a")
    place = left_by(house, tmp_path / "left", lost=text(b"a"))
    assert tree_after(place, house, boot_id=house.boot_id) == {b"/a": bytes(len(text(b"a")))}


def test_the_index_from_before_is_kept_until_the_drive_has_ended_well(
    make_house: Callable[..., House], tmp_path: Path
) -> None:
    house = make_house()
    put(house, b"lost")
    place = left_by(house, tmp_path / "left", lost=text(b"lost"))
    tree_after(place, house)
    with closing(sqlite3.connect(place / KEPT)) as before:
        assert before.execute("SELECT name FROM dentries").fetchall() == [(b"lost",)]
    tree_after(place, house)
    assert not list(place.glob(f"{KEPT}*"))


def test_many_losses_cost_what_was_not_synced_and_no_more(
    make_house: Callable[..., House], tmp_path: Path
) -> None:
    house = make_house()
    synced = put(house, *(b"s%d" % number for number in range(10)))
    house.index.sync()
    put(house, *(b"u%d" % number for number in range(200)))
    assert tree_after(left_by(house, tmp_path / "left", lost=b"bytes of u"), house).items() >= synced.items()


def test_a_checkpoint_that_a_view_held_up_is_no_place_to_go_behind(
    make_house: Callable[..., House], tmp_path: Path
) -> None:
    """The database then has pages of the WAL up to the view: a WAL cut off before is no state at all."""
    house = make_house()
    first = put(house, *(b"a%d" % number for number in range(50)))
    _, view = house.index._database.freeze(lambda connection: None)
    second = put(house, *(b"b%d" % number for number in range(50)))
    house.index._database.checkpoint()
    third = put(house, b"c", b"lost", b"d")
    place = left_by(house, tmp_path / "left", lost=text(b"lost"))
    view.close()
    del third[b"/d"]
    assert tree_after(place, house) == first | second | third | {b"/lost": b""}


def test_a_disk_without_hard_links_will_do(
    make_house: Callable[..., House], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    put(house, b"lost")
    place = left_by(house, tmp_path / "left", lost=text(b"lost"))

    def refuse(source: Path, target: Path) -> None:
        raise OSError(f"no link from {source} to {target}")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        powercut.mend(place / "index.sqlite", place / "staging", "the second run")
    assert tree_after(place, house) == {b"/lost": b""}


def test_an_index_that_somebody_else_checkpointed_is_refused_and_left_alone(
    make_house: Callable[..., House], tmp_path: Path
) -> None:
    """Never zeros: when no moment is whole, the user is told so and sent to what Discord has."""
    house = make_house()
    put(house, b"lost")
    place = left_by(house, tmp_path / "left", lost=text(b"lost"))
    with closing(sqlite3.connect(place / "index.sqlite")) as meddler:
        meddler.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = (place / "index.sqlite").read_bytes()
        with pytest.raises(errors.Damaged, match="discordfs recover"):
            powercut.mend(place / "index.sqlite", place / "staging", "the second run")
    assert (place / "index.sqlite").read_bytes() == before


def test_numbers_are_not_used_again(make_house: Callable[..., House], tmp_path: Path) -> None:
    """An inode number stands on Discord beside its bytes: another file must not get it."""
    house = make_house()
    house.index.sync()
    put(house, b"lost")
    number = house.drive.getattr(b"/lost").ino
    place = left_by(house, tmp_path / "left")
    (place / "index.sqlite-wal").write_bytes((house.root / "index.sqlite-wal").read_bytes()[:-8000])
    survivor = SurvivingHouse(place, QUOTA, house.store)
    survivor.put(b"/new", b"")
    assert survivor.drive.getattr(b"/new").ino > number
    survivor.close()
    survivor.loop.stop()
