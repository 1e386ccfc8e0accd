"""Files of a loser, saved whole and put back: nothing is lost, nothing is overwritten."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from discordfs.copying import Tree, describe
from discordfs.errors import DiscordfsError, NoSpace
from discordfs.localtree import LocalTree
from discordfs.model import Caller
from discordfs.stranded import PutBack, read_manifest, save, stranded_paths
from discordfs.tenure import Wish
from tests.fs.conftest import CALLER
from tests.roles.conftest import Machine

SUFFIX = b".resubmitted-here"


def quietly(done: int, total: int) -> None:
    assert done <= total


def fill(machine: Machine) -> None:
    """Everything that a drive can have, none of it recorded."""
    drive = machine.drive
    drive.mkdir(b"/d", 0o2751, Caller(5, 6))
    drive.mkdir(b"/d/empty", 0o700, CALLER)
    machine.put(b"/d/file", os.urandom(2_500_000))
    machine.put(b"/zero", b"")
    machine.put(b"/\xff odd\n", b"odd")
    machine.put(b"/" + b"n" * 255, b"as long as a name may be")
    drive.link(b"/d/file", b"/link")
    drive.symlink(b"/d/symlink", b"\xfenowhere", Caller(7, 8))
    drive.mknod(b"/fifo", stat.S_IFIFO | 0o604, 0, CALLER)
    drive.mknod(b"/device", stat.S_IFCHR | 0o600, os.makedev(1, 7), CALLER)
    drive.setxattr(b"/d/file", b"user.x", b"\0\xff", 0)
    drive.chown(b"/d/file", 11, 12)
    drive.chmod(b"/d/file", 0o4070)
    drive.utimens(b"/d/file", 1, -5)
    opened = drive.create(b"/holes", 0o644, os.O_WRONLY, CALLER)
    drive.write(opened.handle, b"end", 5_000_000)
    drive.release(opened.handle)


def saved(machine: Machine, place: Path) -> Path:
    assert save(machine.drive, stranded_paths(machine.index), place, quietly) == []
    return place


def assert_same(one: Tree, other: Tree, entries: Path) -> None:
    for entry in read_manifest(entries)[0]:
        mine, theirs = describe(one, b"/" + entry.path), describe(other, b"/" + entry.path)
        for name in ("mode", "uid", "gid", "rdev"):
            assert getattr(mine.attr, name) == getattr(theirs.attr, name), (entry.path, name)
        if not entry.is_parent and not mine.attr.is_dir:
            assert (mine.attr.mtime_ns, mine.attr.size) == (theirs.attr.mtime_ns, theirs.attr.size)
        assert (mine.target, dict(mine.xattrs)) == (theirs.target, dict(theirs.xattrs)), entry.path


needs_root = pytest.mark.usefixtures("as_root")


def test_only_what_no_record_says_is_stranded(first: Machine) -> None:
    assert stranded_paths(first.index) == []
    first.put(b"/new", b"new")
    first.drive.mkdir(b"/full", 0o755, CALLER)
    first.put(b"/full/inside", b"")
    first.drive.unlink(b"/a")
    assert stranded_paths(first.index) == [b"full/inside", b"new"]
    first.barrier()
    assert stranded_paths(first.index) == []
    first.drive.rename(b"/new", b"/newer")
    assert stranded_paths(first.index) == [b"newer"]


@needs_root
def test_everything_comes_back_into_another_drive(first: Machine, second: Machine, tmp_path: Path) -> None:
    fill(first)
    place = saved(first, tmp_path / "saved")
    second.assume(Wish.TAKE_OVER)
    second.open()
    places = PutBack(place, second.drive, SUFFIX, strictly=True).run(quietly)
    assert all(path == there for path, there in places.items())
    assert_same(first.drive, second.drive, place)
    assert second.get(b"/d/file") == first.get(b"/d/file")
    assert second.drive.getattr(b"/link").ino == second.drive.getattr(b"/d/file").ino
    assert second.drive.getattr(b"/holes").blocks < 3000


@needs_root
def test_everything_comes_back_into_a_directory(first: Machine, tmp_path: Path) -> None:
    fill(first)
    place = saved(first, tmp_path / "saved")
    (tmp_path / "target").mkdir()
    target = LocalTree(tmp_path / "target")
    PutBack(place, target, SUFFIX, strictly=True).run(quietly)
    assert_same(first.drive, target, place)
    assert (tmp_path / "target" / "d" / "file").read_bytes() == first.get(b"/d/file")
    assert not target.left_out


def test_nothing_is_overwritten(first: Machine, second: Machine, tmp_path: Path) -> None:
    """Files, links, directories in the place of files and files in that of directories."""
    first.put(b"/file", b"mine")
    first.put(b"/same", b"agreed")
    first.drive.utimens(b"/same", 1, 2)
    first.drive.mkdir(b"/d", 0o755, CALLER)
    first.put(b"/d/inside", b"mine")
    first.put(b"/was-a-directory", b"mine")
    first.put(b"/" + b"n" * 255, b"mine")
    place = saved(first, tmp_path / "saved")
    second.assume(Wish.TAKE_OVER)
    second.open()
    second.put(b"/file", b"theirs")
    second.put(b"/same", b"agreed")
    second.drive.utimens(b"/same", 1, 2)
    second.put(b"/d", b"a file by now")
    second.drive.mkdir(b"/was-a-directory", 0o700, CALLER)
    second.put(b"/" + b"n" * 255, b"theirs")
    before = {name: second.get(name) for name in (b"/file", b"/same", b"/d", b"/" + b"n" * 255)}
    places = PutBack(place, second.drive, SUFFIX, strictly=True).run(quietly)
    assert {name: second.get(name) for name in before} == before
    assert second.get(b"/file" + SUFFIX) == b"mine"
    assert second.get(b"/d" + SUFFIX + b"/inside") == b"mine"
    assert second.get(b"/was-a-directory" + SUFFIX) == b"mine"
    assert second.get(b"/" + b"n" * (255 - len(SUFFIX)) + SUFFIX) == b"mine"
    assert places[b"same"] == b"same"
    again = PutBack(place, second.drive, SUFFIX, strictly=True).run(quietly)
    assert again == places


class Interrupted(DiscordfsError):
    pass


def test_begun_again_at_any_moment_all_is_there_once(
    first: Machine, second: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        first.put(b"/file %d" % number, os.urandom(1000 + number))
    first.drive.link(b"/file 1", b"/link")
    place = saved(first, tmp_path / "saved")
    second.assume(Wish.TAKE_OVER)
    second.open()
    second.put(b"/file 3", b"theirs")
    calls = [0]

    def limited(name: str, most: int) -> None:
        real = getattr(type(second.drive), name)

        def call(drive: object, *arguments: object) -> object:
            calls[0] += 1
            if calls[0] > most:
                raise Interrupted(name)
            return real(drive, *arguments)

        monkeypatch.setattr(type(second.drive), name, call)

    for most in range(0, 60, 3):
        calls[0] = 0
        for name in ("create", "write", "link", "unlink", "utimens", "release"):
            limited(name, most)
        with suppress(Interrupted):
            PutBack(place, second.drive, SUFFIX, strictly=True).run(quietly)
        monkeypatch.undo()
    PutBack(place, second.drive, SUFFIX, strictly=True).run(quietly)
    names = [entry.name for entry in second.drive.readdir(b"/")]
    expected = [b"a", b"file 3" + SUFFIX, b"link", *(b"file %d" % number for number in range(6))]
    assert sorted(names) == sorted(expected)
    for number in (0, 1, 2, 4, 5):
        assert second.get(b"/file %d" % number) == first.get(b"/file %d" % number)
    assert second.get(b"/file 3" + SUFFIX) == first.get(b"/file 3")
    assert second.get(b"/file 3") == b"theirs"


def test_saving_that_is_interrupted_leaves_no_directory_that_looks_whole(
    first: Machine, tmp_path: Path
) -> None:
    first.put(b"/one", b"1")
    first.put(b"/two", b"2")

    def full(done: int, total: int) -> None:
        raise NoSpace("the disk is full")

    place = tmp_path / "saved"
    with pytest.raises(NoSpace):
        save(first.drive, stranded_paths(first.index), place, full)
    assert not place.exists()
    assert saved(first, place).is_dir()
    assert (place / "one").read_bytes() == b"1"


@pytest.mark.expects_log("cannot be read")
def test_a_file_whose_bytes_are_gone_is_named_and_the_others_are_saved(
    first: Machine, tmp_path: Path
) -> None:
    first.put(b"/half", os.urandom(2_000_000))
    first.barrier()
    opened = first.drive.open(b"/half", os.O_WRONLY)
    first.drive.write(opened.handle, b"new at its end", 2_000_000)
    first.drive.release(opened.handle)
    first.put(b"/whole", b"whole")
    first.drive.link(b"/half", b"/other name")
    for ref in first.chunk_refs():
        first.store.delete_quietly(ref.channel, [ref.message])
    first.close()
    (cache,) = first.root.glob("cache/chunks-*")
    for path in cache.iterdir():
        path.unlink()
    first.open()
    said = save(first.drive, stranded_paths(first.index), tmp_path / "saved", quietly)
    assert [sentence.partition(" cannot")[0] for sentence in said] == ["half", "other name"]
    assert read_manifest(tmp_path / "saved")[1] == said
    assert (tmp_path / "saved" / "whole").read_bytes() == b"whole"
    assert not (tmp_path / "saved" / "half").exists()
