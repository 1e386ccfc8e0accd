"""When staging and index go to disk, and when room is given back: not before it is safe, nor much later."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import closing
from pathlib import Path

import pytest

from discordfs.syncing import Syncer
from tests.crash.conftest import RecordedHouse
from tests.crash.recorder import record
from tests.fs.conftest import CALLER, House, make_house

__all__ = ["make_house"]  # a fixture

MIB = 1024**2


def segments(house: House) -> list[str]:
    return sorted(path.name for path in (house.root / "staging").glob("*.segment"))


def wait_for_sync(house: House, change: Callable[[], None]) -> None:
    """Until a sync that nobody here asked for has covered `change`."""
    synced = threading.Event()
    change()
    house.index.once_synced(synced.set)
    assert synced.wait(60)


def test_a_quota_full_of_dead_bytes_is_no_full_quota(make_house: Callable[..., House]) -> None:
    """Files that come and go: their room is given back without anybody calling fsync."""
    house = make_house(quota=8 * MIB)
    house.patience_s = 5.0
    for number in range(10):
        data = os.urandom(3 * MIB)
        house.put(b"/f", data)
        assert house.get(b"/f") == data
        if number % 2:
            house.drive.unlink(b"/f")


def test_much_that_is_dead_is_not_kept_for_half_a_minute(make_house: Callable[..., House]) -> None:
    house = make_house(quota=1024 * MIB)
    house.put(b"/big", bytes(130 * MIB))
    wait_for_sync(house, lambda: house.drive.unlink(b"/big"))
    house.index.sync()
    assert len(segments(house)) <= 1


def test_what_is_dead_stays_until_the_sync(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.put(b"/a", b"x" * 1000)
    house.index.sync()
    before = segments(house)
    house.drive.unlink(b"/a")
    assert segments(house) == before
    house.index.sync()
    assert segments(house) == []


def test_a_sync_comes_by_itself(make_house: Callable[..., House]) -> None:
    house = make_house()
    syncer = Syncer(house.index, interval_s=0.01)
    syncer.start()
    wait_for_sync(house, lambda: house.put(b"/a", b"x"))
    syncer.stop()
    with house.index._database.reading() as connection:
        assert connection.execute("SELECT COUNT(*) FROM unsynced").fetchone() == (0,)


@pytest.mark.expects_log("cannot be synced")
def test_a_disk_that_fails_is_said_once_and_tried_again(
    make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = make_house()
    house.put(b"/a", b"x")
    tried = threading.Semaphore(0)

    def broken_disk(only: object) -> Callable[[], None]:
        tried.release()
        raise OSError("the disk is broken")

    syncer = Syncer(house.index, interval_s=0.01)
    house.index.before_sync(broken_disk)
    syncer.start()
    for _ in range(3):
        assert tried.acquire(timeout=60)
    house.index.before_sync(house.staging.sync)
    wait_for_sync(house, lambda: house.put(b"/b", b"x"))
    syncer.stop()
    assert caplog.text.count("the disk is broken") == 1


def test_what_an_older_index_may_need_goes_after_the_sync_that_makes_it_old(
    make_house: Callable[..., House],
) -> None:
    house = make_house()
    done: list[str] = []
    house.put(b"/a", b"x")
    house.index.once_synced(lambda: done.append("deleted"))
    house.put(b"/b", b"x")
    assert not done
    house.index.sync()
    house.index.sync()
    assert done == ["deleted"]


def test_a_sync_holds_up_others_only_for_what_they_closed_meanwhile(
    make_house: Callable[..., House],
) -> None:
    """A big file is being written while somebody calls fsync: the second look at staging, which holds up
    every close, must leave that file alone."""
    house = make_house()
    big = house.drive.create(b"/big", 0o644, os.O_WRONLY, CALLER).handle
    house.drive.write(big, bytes(9 * MIB), 0)
    looks: list[AbstractSet[int] | None] = []

    def sync_staging(only: AbstractSet[int] | None) -> Callable[[], None]:
        delete_dead = house.staging.sync(only)
        looks.append(only)
        if len(looks) == 1:
            house.put(b"/closed meanwhile", b"x" * 1000)
            house.drive.write(big, bytes(MIB), 9 * MIB)
        return delete_dead

    house.index.before_sync(sync_staging)
    house.drive.fsyncdir(b"/")
    (extent,) = house.index.ledger.extents(house.drive.getattr(b"/closed meanwhile").ino)
    assert looks == [None, {extent.segment}]
    house.drive.fsyncdir(b"/")
    assert looks[2:] == [None, set()]
    house.index.before_sync(house.staging.sync)


def test_an_fsync_of_nothing_new_writes_nothing(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.put(b"/a", b"x")
    house.index.sync()
    wal = (house.root / "index.sqlite-wal").stat().st_size
    for _ in range(5):
        house.drive.fsyncdir(b"/")
    assert (house.root / "index.sqlite-wal").stat().st_size == wal


@pytest.mark.expects_log("cannot be moved")
def test_an_end_that_cannot_sync_staging_leaves_the_index_behind_it(
    make_house: Callable[..., House],
) -> None:
    """SQLite would move the WAL into the database as it closes, which names bytes that are not on disk: a
    start after a power cut could not go back any more."""
    house = make_house()
    house.index._database.checkpoint()
    house.put(b"/a", b"x" * 1000)
    before = (house.root / "index.sqlite").read_bytes()

    def broken_disk(only: object) -> Callable[[], None]:
        raise OSError("the disk is broken")

    house.index.before_sync(broken_disk)
    house.index.close()
    assert (house.root / "index.sqlite").read_bytes() == before
    house.drive._syncer.stop()
    house.uploader.stop()
    house.staging.close()
    house.chunks.close()
    house.open()
    assert house.get(b"/a") == b"x" * 1000


def test_an_index_that_failed_to_be_synced_is_not_called_synced_for_a_second_try(
    fuse_available: None, tmp_path: Path
) -> None:
    """The kernel forgets what it failed to write, and says yes the next time."""
    with record(tmp_path) as recording:
        house = RecordedHouse(recording, 64 * MIB)
        house.put(b"/a", b"x")
        recording.fail_fsync("index.sqlite-wal")
        with pytest.raises(sqlite3.OperationalError):
            house.drive.fsyncdir(b"/")
        _, view = house.index._database.freeze(lambda connection: None)
        with pytest.raises(OSError, match="try again"):
            house.drive.fsyncdir(b"/")
        view.close()
        house.drive.fsyncdir(b"/")
        assert (house.root / "index.sqlite-wal").stat().st_size == 0
        house.close()
        house.loop.stop()


def test_an_end_leaves_one_file_and_nothing_to_compare(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.put(b"/a", b"x" * 1000)
    house.close()
    assert not (house.root / "index.sqlite-wal").exists()
    with closing(sqlite3.connect(house.root / "index.sqlite")) as connection:
        assert connection.execute("SELECT boot_id FROM machine").fetchone() == ("",)
        assert connection.execute("SELECT COUNT(*) FROM unsynced").fetchone() == (0,)
    house.open()
