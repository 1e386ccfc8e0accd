"""The machine is gone: what a barrier had confirmed comes back from Discord alone, to the last attribute."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path
from typing import Any

import pytest

from discordfs import log, logbook
from discordfs.index import Index
from tests.fs.conftest import CALLER, House
from tests.log.conftest import Recover, assert_same, seen
from tests.log.recovering import recovered

KIB, MIB = 1024, 1024**2
LONG_AGO_NS = -1_234_567_890_123_456_789  # in 1930
ODD_NAMES = (
    b"\xff\xfe no text",
    b"two\nlines",
    b" ",
    b"\x01\x7f",
    b"-rf",
    "é".encode(),
    "e\u0301".encode(),
    b"A",
    b"a",
    b"n" * 255,
    b"\xe9" * 255,
)


def write_at(house: House, path: bytes, *parts: tuple[int, bytes]) -> None:
    """Writes these bytes at these places of a file, through one open."""
    handle = house.drive.open(path, os.O_RDWR).handle
    for offset, data in parts:
        house.drive.write(handle, data, offset)
    house.drive.release(handle)


def test_an_empty_drive_comes_back(house: House, recover: Recover) -> None:
    assert_same(seen(house), recover(house, house.store))


def test_every_kind_of_thing_comes_back(house: House, recover: Recover) -> None:
    drive = house.drive
    house.put(b"/file", b"contents")
    house.put(b"/empty", b"")
    drive.symlink(b"/link", b"../no\xffwhere", CALLER)
    drive.symlink(b"/longest", b"t" * 4095, CALLER)
    drive.mknod(b"/fifo", stat.S_IFIFO | 0o640, 0, CALLER)
    drive.mknod(b"/socket", stat.S_IFSOCK | 0o755, 0, CALLER)
    drive.mknod(b"/char", stat.S_IFCHR | 0o600, os.makedev(5, 1), CALLER)
    drive.mknod(b"/block", stat.S_IFBLK | 0o660, os.makedev(4095, 1048575), CALLER)
    drive.mkdir(b"/setgid", 0o2775, CALLER)
    drive.chown(b"/setgid", 7, 4_294_967_294)
    drive.mkdir(b"/setgid/inherits", 0o755, CALLER)
    drive.mkdir(b"/sticky", 0o1777, CALLER)
    drive.chmod(b"/file", 0o4711)
    drive.chown(b"/file", 65534, 0)
    house.barrier()
    assert_same(seen(house), recover(house, house.store))


def test_names_that_are_no_text_come_back(house: House, recover: Recover) -> None:
    for name in ODD_NAMES:
        house.drive.mkdir(b"/" + name, 0o755, CALLER)
        house.put(b"/" + name + b"/" + name, name)
        house.drive.symlink(b"/" + name + b"/to", b"/" + name, CALLER)
    house.barrier()
    assert_same(seen(house), recover(house, house.store))


def test_hard_links_are_still_one_file(house: House, recover: Recover) -> None:
    house.drive.mkdir(b"/d", 0o755, CALLER)
    house.put(b"/a", b"one file")
    house.drive.link(b"/a", b"/b")
    house.barrier()
    house.drive.link(b"/b", b"/d/c")
    house.drive.unlink(b"/a")
    house.drive.symlink(b"/s", b"x", CALLER)
    house.drive.link(b"/s", b"/d/s")
    house.barrier()
    after = recover(house, house.store)
    assert_same(seen(house), after)
    assert after[b"/b"].links == (b"/b", b"/d/c")


def test_extended_attributes_come_back_and_removed_ones_do_not(house: House, recover: Recover) -> None:
    house.put(b"/a", b"x")
    house.drive.mkdir(b"/d", 0o755, CALLER)
    for path in (b"/a", b"/d"):
        house.drive.setxattr(path, b"user.empty", b"", 0)
        house.drive.setxattr(path, b"user.\xff" + b"n" * 240, bytes(range(256)), 0)
        house.drive.setxattr(path, b"user.large", os.urandom(65_536), 0)
        house.drive.setxattr(path, b"security.capability", b"\x01\0\0\x02", 0)
        house.drive.setxattr(path, b"user.gone", b"g", 0)
    house.barrier()
    house.drive.removexattr(b"/a", b"user.gone")
    house.drive.setxattr(b"/d", b"user.gone", b"changed", 0)
    house.barrier()
    assert_same(seen(house), recover(house, house.store))


def test_times_come_back_to_the_nanosecond(house: House, recover: Recover) -> None:
    times = (LONG_AGO_NS, -1, 0, 1, 999_999_999, 2**63 - 1, -(2**63))
    for number, time_ns in enumerate(times):
        house.put(b"/f%d" % number, b"x")
        house.drive.utimens(b"/f%d" % number, time_ns, times[-1 - number])
        house.drive.mkdir(b"/d%d" % number, 0o755, CALLER)
        house.drive.utimens(b"/d%d" % number, times[-1 - number], time_ns)
    house.drive.utimens(b"/", LONG_AGO_NS, LONG_AGO_NS)
    house.barrier()
    after = recover(house, house.store)
    assert_same(seen(house), after)
    assert after[b"/"].times_ns[:2] == (LONG_AGO_NS, LONG_AGO_NS)


def test_an_access_time_that_was_set_goes_with_the_next_change(house: House, recover: Recover) -> None:
    house.put(b"/a", b"x")
    house.barrier()
    house.drive.utimens(b"/a", 12345, None)
    house.put(b"/b", b"y")
    house.barrier()
    assert recover(house, house.store)[b"/a"].times_ns[0] == 12345


def test_holes_are_still_holes(house: House, recover: Recover) -> None:
    for path in (b"/sparse", b"/cut", b"/hole"):
        house.put(path, b"")
    write_at(house, b"/sparse", (0, b"begin"), (MIB, b"middle"), (10 * 2**40, b"end"))
    write_at(house, b"/cut", (0, os.urandom(300_000)))
    house.drive.truncate(b"/hole", 2**62)
    house.barrier()
    house.drive.truncate(b"/cut", 70_000)
    house.drive.truncate(b"/cut", 500_000)
    write_at(house, b"/cut", (400_000, b"x" * 10))
    house.barrier()
    after = recover(house, house.store)
    assert_same(seen(house), after)
    assert after[b"/cut"].data == ((0, 70_000), (400_000, 400_010))
    assert after[b"/hole"].data == ()


def test_random_overwrites_leave_the_newest_bytes(house: House, recover: Recover) -> None:
    rng, model = random.Random(3), bytearray(MIB)
    house.put(b"/db", bytes(model))
    for step in range(300):
        at = rng.randrange(len(model) - 9000)
        data = rng.randbytes(rng.randrange(1, 9000))
        write_at(house, b"/db", (at, data))
        model[at : at + len(data)] = data
        if step % 40 == 0:
            house.barrier()
        if step % 100 == 99:
            house.reopen()
    house.barrier()
    assert house.get(b"/db") == model
    assert_same(seen(house), recover(house, house.store))


def test_a_file_of_several_chunks_comes_back(house: House, recover: Recover) -> None:
    house.put(b"/large", random.Random(4).randbytes(60 * MIB))
    house.put(b"/zeros", bytes(300 * MIB))
    house.barrier()
    write_at(house, b"/large", (24 * MIB - 5, b"across two chunks"), (59 * MIB, b"late"))
    house.barrier()
    assert_same(seen(house), recover(house, house.store))


def test_a_directory_of_thousands_of_names_comes_back(house: House, recover: Recover) -> None:
    house.drive.mkdir(b"/big", 0o755, CALLER)
    for number in range(3000):
        house.drive.mknod(b"/big/%05d" % number, stat.S_IFREG | 0o644, 0, CALLER)
    house.barrier()
    for number in range(0, 3000, 3):
        house.drive.unlink(b"/big/%05d" % number)
    for number in range(1, 3000, 300):
        house.drive.rename(b"/big/%05d" % number, b"/renamed-%d" % number)
    house.barrier()
    assert_same(seen(house), recover(house, house.store))


def test_what_was_removed_stays_removed(house: House, recover: Recover) -> None:
    house.drive.mkdir(b"/d", 0o755, CALLER)
    for name in (b"/a", b"/b", b"/d/c"):
        house.put(name, b"x" * 5000)
    house.barrier()
    house.drive.unlink(b"/a")
    house.drive.rename(b"/b", b"/d/c")
    house.drive.rename(b"/d", b"/e")
    handle = house.drive.open(b"/e/c", os.O_RDONLY).handle
    house.drive.unlink(b"/e/c")
    house.barrier()
    after = recover(house, house.store)
    house.drive.release(handle)
    assert sorted(after) == [b"/", b"/e"]
    assert_same(seen(house), after)


def test_a_file_that_is_written_while_open_comes_back_as_it_was_committed(
    house: House, recover: Recover
) -> None:
    """A database that never closes its file, with a barrier after its fsync."""
    handle = house.drive.create(b"/db", 0o600, os.O_RDWR, CALLER).handle
    house.drive.write(handle, b"page one" * 1000, 0)
    house.drive.fsync(handle, datasync=False)
    house.barrier()
    before = seen(house)
    house.drive.write(handle, b"PAGE TWO" * 1000, 0)
    after = recover(house, house.store)
    house.drive.release(handle)
    assert_same(before, after)


def test_numbers_are_not_used_again_after_a_recovery(house: House, empty_machine: Path) -> None:
    """Under lost+found the newest commit of an inode decides: one that came twice would mix two files."""
    house.put(b"/a", b"x")
    house.put(b"/newest", b"y")
    newest = house.drive.getattr(b"/newest").ino
    house.drive.unlink(b"/newest")
    house.barrier()
    used = {seq for (seq,) in sql(house.index, "SELECT seq FROM extents")}
    with recovered(house, house.store, empty_machine) as found:
        counters = dict(sql(found.index, "SELECT name, ceiling FROM counters"))
        assert counters["inode"] > newest
        assert counters["commit"] > max(used)


def sql(index: Index, query: str) -> list[tuple[Any, ...]]:
    with index._database.reading() as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("records", [1, 3])
def test_snapshots_in_between_change_nothing(
    house: House, recover: Recover, monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", records)
    for number in range(8):
        house.put(b"/f%d" % number, b"%d" % number * 5000)
        house.put(b"/same", os.urandom(3000))
        if number > 4:
            house.drive.unlink(b"/f%d" % (number - 4))
        house.barrier()
        assert_same(seen(house), recover(house, house.store))


def test_a_record_in_many_parts_comes_back(
    house: House, recover: Recover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "PART_BYTES", 2000)
    for number in range(200):
        house.put(b"/a file with a long name %d" % number, b"%d" % number)
    house.barrier()
    assert_same(seen(house), recover(house, house.store))
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", 1)
    house.put(b"/one more", b"1")
    house.barrier()
    assert_same(seen(house), recover(house, house.store))
