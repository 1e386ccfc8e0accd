"""A volume that was made by the release that brought format 1 is read by this one, and by a reader written
from docs/FORMAT.md alone: every byte, name and attribute of it."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from tests.golden import second_reader
from tests.golden.second_reader import Inode, Volume
from tests.golden.volume_1 import FOLDER, Golden, load
from tests.log.conftest import assert_same
from tests.log.recovering import recovered


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load()


def test_the_volume_is_still_read(golden: Golden, tmp_path: Path) -> None:
    with recovered(golden, golden.store(), tmp_path / "recovered") as found:
        assert_same(golden.picture, found.picture())
        assert not found.problems


def test_it_has_something_of_everything(golden: Golden) -> None:
    """Or the other tests here would say little."""
    names = [attachment.name for message in golden.messages for attachment in message.attachments]
    assert {name[0] for name in names} == set("crsp")
    kinds = {stat.S_IFMT(sight.mode) for sight in golden.picture.values()}
    assert kinds == {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR}
    assert any(len(sight.data) > 1 for sight in golden.picture.values())
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 200 * 1024


@pytest.fixture(scope="module")
def second(golden: Golden) -> Volume:
    messages = [
        second_reader.Message(
            message.channel,
            message.id,
            [
                *second_reader.chunks_of(
                    [(each.name, golden.attachments[each.id]) for each in message.attachments]
                )
            ],
        )
        for message in golden.messages
    ]
    return second_reader.read_volume(golden.master, messages)


def test_a_reader_written_from_the_document_finds_the_same_names(golden: Golden, second: Volume) -> None:
    found = second_reader.paths(second)
    assert found == {path: sight.ino for path, sight in golden.picture.items()}
    assert set(found.values()) == set(second.inodes)


def test_and_the_same_attributes(golden: Golden, second: Volume) -> None:
    for path, ino in second_reader.paths(second).items():
        sight, (_, *fields) = golden.picture[path], second.inodes[ino].fields
        owners = [sight.mode, sight.nlink, sight.uid, sight.gid, sight.rdev, sight.size]
        assert fields[:6] == owners, path
        assert (tuple(fields[6:9]), fields[9]) == (sight.times_ns, sight.target), path
        assert tuple(map(tuple, fields[10])) == sight.xattrs, path


def test_and_the_same_bytes(golden: Golden, second: Volume) -> None:
    for path, ino in second_reader.paths(second).items():
        sight, inode = golden.picture[path], second.inodes[ino]
        if stat.S_ISREG(sight.mode):
            assert hashlib.sha256(second_reader.contents(inode)).hexdigest() == sight.contents, path
            assert joined(inode) == list(sight.data), path


def joined(inode: Inode) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for start, end in inode.data:
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs
