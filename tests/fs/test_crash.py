"""A process that dies at a moment of our choosing: its state directory, as it lay, is opened by another.

Nothing here waits for a sync: this is what survives `kill -9`, not a power cut.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from discordfs import errors
from discordfs.model import Caller
from tests.fs.conftest import CALLER, House

MIB = 1024**2


def crashed(house: House, make_house: Callable[..., House]) -> House:
    """A house over a copy of the state directory as it is this instant, and over the same Discord."""
    survivor = make_house()
    survivor.close()
    shutil.rmtree(survivor.root)
    shutil.copytree(house.root, survivor.root)
    survivor.store = house.store
    survivor.open()
    return survivor


def test_what_was_closed_is_there_and_what_was_open_is_as_last_committed(
    make_house: Callable[..., House],
) -> None:
    house = make_house()
    house.put(b"/closed", b"c" * 100_000)
    house.put(b"/reopened", b"old")
    handle = house.drive.open(b"/reopened", os.O_RDWR).handle
    house.drive.write(handle, b"NEWER", 0)
    fresh = house.drive.create(b"/fresh", 0o644, os.O_WRONLY, CALLER).handle
    house.drive.write(fresh, b"never closed", 0)
    survivor = crashed(house, make_house)
    assert survivor.get(b"/closed") == b"c" * 100_000
    assert survivor.get(b"/reopened") == b"old"
    assert survivor.get(b"/fresh") == b""


def test_a_file_being_rewritten_is_the_old_one_until_it_is_closed(make_house: Callable[..., House]) -> None:
    """cp over an existing file, killed half-way: the old content is what the user still has."""
    house = make_house()
    house.put(b"/a", b"old content")
    house.barrier()
    handle = house.drive.open(b"/a", os.O_WRONLY | os.O_TRUNC).handle
    house.drive.write(handle, b"ne", 0)
    survivor = crashed(house, make_house)
    assert survivor.get(b"/a") == b"old content"


def test_a_settled_open_file_keeps_its_settled_bytes(make_house: Callable[..., House]) -> None:
    house = make_house()
    handle = house.drive.create(b"/a", 0o644, os.O_RDWR, CALLER).handle
    house.drive.write(handle, b"x" * MIB, 0)
    house.drive._nodes.settle()
    house.drive.write(handle, b"y" * MIB, 0)
    survivor = crashed(house, make_house)
    assert survivor.get(b"/a") == b"x" * MIB
    assert house.drive.read(handle, 10, 0) == b"y" * 10


def test_an_orphan_of_a_crash_is_gone_at_the_next_start(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.put(b"/a", b"x" * 1000)
    house.drive.open(b"/a", os.O_RDONLY)
    house.drive.unlink(b"/a")
    survivor = crashed(house, make_house)
    assert survivor.drive.readdir(b"/") == []
    assert survivor.drive.statfs().files == 1
    assert survivor.uploader.status().staged_bytes == 0


def test_a_crash_between_sealing_and_posting_posts_once(make_house: Callable[..., House]) -> None:
    house = make_house()
    data = os.urandom(200_000)
    house.put(b"/a", data)
    house.chunks.post_all = _refuse  # type: ignore[method-assign,assignment]
    assert not house.uploader.barrier(0.3, lambda status: None)
    survivor = crashed(house, make_house)
    survivor.barrier()
    assert survivor.posts() == 1
    assert survivor.get(b"/a") == data


def _refuse(*arguments: object) -> None:
    raise errors.Unavailable("the network is down")


def test_sealed_bytes_without_an_intent_are_thrown_away(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.put(b"/a", b"x" * 1000)
    pieces = house.index.ledger.queued(2**30, 100)
    stale = house.chunks.seal(pieces, house.staging.read, house.root / "outbox").path.name
    survivor = crashed(house, make_house)
    assert not (survivor.root / "outbox" / stale).exists()
    survivor.barrier()
    assert survivor.posts() == 1


@pytest.fixture
def small_disk(as_root: None, tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 48 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_on_a_full_disk_writing_fails_removing_works_and_nothing_is_damaged(small_disk: Path) -> None:
    house = House(small_disk / "house", quota=2**30)
    try:
        house.put(b"/kept", b"k" * MIB)
        refused = 0
        for number in range(200):
            try:
                house.put(b"/f%d" % number, os.urandom(MIB))
            except (errors.NoSpace, OSError):
                refused += 1
        assert refused
        with pytest.raises((errors.NoSpace, OSError)):
            _fill(house)
        assert house.get(b"/kept") == b"k" * MIB
        for entry in house.drive.readdir(b"/"):
            if entry.name != b"kept":
                _remove(house, b"/" + entry.name)
        house.put(b"/after", b"a" * MIB)
        assert house.get(b"/after") == b"a" * MIB
        assert house.get(b"/kept") == b"k" * MIB
        house.check()
    finally:
        house.loop.stop()


@pytest.mark.expects_log("cannot be moved", "nearly full")
def test_a_drive_ends_and_begins_on_a_full_disk(small_disk: Path) -> None:
    """Whoever filled the disk must still be able to unmount, mount again, and find everything."""
    house = House(small_disk / "house", quota=2**30)
    try:
        house.put(b"/kept", b"k" * MIB)
        house.index._database._ballast.unlink()
        with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="space"):
            _write_for_ever(filler)
        with pytest.raises(errors.NoSpace):
            _fill(house)
        made = len(house.drive.readdir(b"/"))
        house.close()
        (small_disk / "filler").unlink()
        house.open()
        assert len(house.drive.readdir(b"/")) == made
        assert house.get(b"/kept") == b"k" * MIB
        house.check()
    finally:
        house.loop.stop()


def _write_for_ever(file: BinaryIO) -> None:
    while True:
        file.write(bytes(4096))


def _fill(house: House) -> None:
    """Directories until not even one more fits."""
    for number in range(100_000):
        house.drive.mkdir(b"/d%d" % number, 0o755, Caller(0, 0))


def _remove(house: House, path: bytes) -> None:
    if house.drive.getattr(path).is_dir:
        house.drive.rmdir(path)
    else:
        house.drive.unlink(path)
