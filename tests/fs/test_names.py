"""Names, links and attributes: each refusal is the one POSIX has, and nothing changes with it."""

from __future__ import annotations

import os
import stat

import pytest

from discordfs import errors
from tests.fs.conftest import CALLER, House


def names(house: House, path: bytes = b"/") -> list[bytes]:
    return [entry.name for entry in house.drive.readdir(path)]


def test_names_are_any_bytes_up_to_255(house: House) -> None:
    every = bytes(byte for byte in range(1, 256) if byte != ord("/"))
    house.put(b"/" + every, b"x")
    house.put(b"/" + b"\xff" * 255, b"y")
    assert sorted(names(house)) == sorted([every, b"\xff" * 255])
    with pytest.raises(errors.NameTooLong):
        house.drive.mkdir(b"/" + b"n" * 256, 0o755, CALLER)
    with pytest.raises(errors.NameTooLong):
        house.drive.getattr(b"/" + b"n" * 256)


def test_names_differ_by_case_and_by_normal_form(house: House) -> None:
    for name in ("é".encode(), "e\u0301".encode(), b"a", b"A"):
        house.put(b"/" + name, name)
    assert len(names(house)) == 4


def test_rename_over_a_file_replaces_it_at_once(house: House) -> None:
    house.put(b"/old", b"old")
    house.put(b"/new", b"new")
    house.barrier()
    house.drive.rename(b"/new", b"/old")
    assert names(house) == [b"old"]
    assert house.get(b"/old") == b"new"
    assert house.index.inodes == 2


def test_rename_over_an_open_file_leaves_its_reader_the_old_bytes(house: House) -> None:
    house.put(b"/old", b"old")
    house.put(b"/new", b"new")
    handle = house.drive.open(b"/old", os.O_RDONLY).handle
    house.drive.rename(b"/new", b"/old")
    assert house.drive.read(handle, 10, 0) == b"old"
    house.drive.release(handle)
    assert house.index.inodes == 2


def test_rename_refuses_what_posix_refuses(house: House) -> None:
    for directory in (b"/d", b"/d/e", b"/full", b"/empty"):
        house.drive.mkdir(directory, 0o755, CALLER)
    house.put(b"/full/f", b"f")
    house.put(b"/file", b"f")
    with pytest.raises(errors.InvalidArgument):
        house.drive.rename(b"/d", b"/d/e/d")
    with pytest.raises(errors.DirectoryNotEmpty):
        house.drive.rename(b"/d", b"/full")
    with pytest.raises(errors.NotADirectory):
        house.drive.rename(b"/d", b"/file")
    with pytest.raises(errors.IsADirectory):
        house.drive.rename(b"/file", b"/empty")
    with pytest.raises(errors.NoEntry):
        house.drive.rename(b"/nothing", b"/x")
    house.drive.rename(b"/d", b"/empty")
    assert names(house) == [b"empty", b"file", b"full"]
    assert names(house, b"/empty") == [b"e"]


def test_rename_between_two_names_of_one_inode_does_nothing(house: House) -> None:
    house.put(b"/a", b"x")
    house.drive.link(b"/a", b"/b")
    house.drive.rename(b"/a", b"/b")
    assert names(house) == [b"a", b"b"]


def test_a_hard_link_is_the_same_file(house: House) -> None:
    house.put(b"/a", b"one")
    house.drive.link(b"/a", b"/b")
    assert house.drive.getattr(b"/a").nlink == 2
    house.put(b"/b", b"two")
    assert house.get(b"/a") == b"two"
    house.drive.unlink(b"/a")
    assert house.drive.getattr(b"/b").nlink == 1
    assert house.get(b"/b") == b"two"
    with pytest.raises(errors.NotPermitted):
        house.drive.link(b"/", b"/c")


def test_directories_count_their_subdirectories(house: House) -> None:
    house.drive.mkdir(b"/a", 0o755, CALLER)
    house.drive.mkdir(b"/b", 0o755, CALLER)
    house.drive.mkdir(b"/a/x", 0o755, CALLER)
    assert house.drive.getattr(b"/").nlink == 4
    house.drive.rename(b"/a/x", b"/b/x")
    assert (house.drive.getattr(b"/a").nlink, house.drive.getattr(b"/b").nlink) == (2, 3)
    with pytest.raises(errors.DirectoryNotEmpty):
        house.drive.rmdir(b"/b")
    house.drive.rmdir(b"/b/x")
    house.drive.rmdir(b"/b")
    with pytest.raises(errors.IsADirectory):
        house.drive.unlink(b"/a")


def test_a_path_through_a_file_is_no_directory(house: House) -> None:
    house.put(b"/f", b"x")
    with pytest.raises(errors.NotADirectory):
        house.drive.getattr(b"/f/x")
    with pytest.raises(errors.NotADirectory):
        house.drive.mkdir(b"/f/x", 0o755, CALLER)
    with pytest.raises(errors.NotADirectory):
        house.drive.rmdir(b"/f")


def test_what_is_there_is_not_made_again(house: House) -> None:
    house.put(b"/f", b"x")
    for make in (
        lambda: house.drive.mkdir(b"/f", 0o755, CALLER),
        lambda: house.drive.symlink(b"/f", b"t", CALLER),
        lambda: house.drive.link(b"/f", b"/f"),
        lambda: house.drive.create(b"/f", 0o644, os.O_WRONLY, CALLER),
    ):
        with pytest.raises(errors.EntryExists):
            make()
    assert house.get(b"/f") == b"x"


def test_symlinks_keep_any_target(house: House) -> None:
    house.drive.symlink(b"/l", b"\xff/../no where", CALLER)
    assert house.drive.readlink(b"/l") == b"\xff/../no where"
    assert house.drive.getattr(b"/l").size == 13
    with pytest.raises(errors.InvalidArgument):
        house.drive.readlink(b"/")


def test_attributes_stay_to_the_nanosecond(house: House) -> None:
    house.put(b"/f", b"x")
    house.drive.chmod(b"/f", 0o4751)
    house.drive.chown(b"/f", 4_000_000_000, None)
    house.drive.utimens(b"/f", -5, 1_073_741_822)
    house.drive.utimens(b"/f", None, 1_234_567_890_123_456_789)
    house.reopen()
    attr = house.drive.getattr(b"/f")
    assert attr.mode == stat.S_IFREG | 0o4751
    assert (attr.uid, attr.gid) == (4_000_000_000, CALLER.gid)
    assert (attr.atime_ns, attr.mtime_ns) == (-5, 1_234_567_890_123_456_789)


def test_times_beyond_what_can_be_stored_are_the_nearest_that_can(house: House) -> None:
    house.put(b"/f", b"x")
    house.drive.utimens(b"/f", -(2**70), 2**70)
    attr = house.drive.getattr(b"/f")
    assert (attr.atime_ns, attr.mtime_ns) == (-(2**63), 2**63 - 1)


def test_times_set_on_an_open_file_outlast_its_close(house: House) -> None:
    """What tar and rsync do: write, set the time, close."""
    handle = house.drive.create(b"/f", 0o644, os.O_WRONLY, CALLER).handle
    house.drive.write(handle, b"x", 0)
    house.drive.utimens(b"/f", 1, 2)
    house.drive.release(handle)
    assert house.drive.getattr(b"/f").mtime_ns == 2
    assert house.get(b"/f") == b"x"


def test_extended_attributes(house: House) -> None:
    house.put(b"/f", b"x")
    house.drive.setxattr(b"/f", b"user.b", b"\x00\xff", 0)
    house.drive.setxattr(b"/f", b"user.a", b"", 0)
    assert house.drive.listxattr(b"/f") == [b"user.a", b"user.b"]
    assert house.drive.getxattr(b"/f", b"user.b") == b"\x00\xff"
    with pytest.raises(errors.EntryExists):
        house.drive.setxattr(b"/f", b"user.a", b"", os.XATTR_CREATE)
    with pytest.raises(errors.NoAttribute):
        house.drive.setxattr(b"/f", b"user.c", b"", os.XATTR_REPLACE)
    house.drive.removexattr(b"/f", b"user.a")
    for missing in (
        lambda: house.drive.removexattr(b"/f", b"user.a"),
        lambda: house.drive.getxattr(b"/f", b"user.a"),
    ):
        with pytest.raises(errors.NoAttribute):
            missing()
    with pytest.raises(errors.NotSupported):
        house.drive.setxattr(b"/f", b"system.posix_acl_access", b"", 0)
    with pytest.raises(errors.AttributeTooBig):
        house.drive.setxattr(b"/f", b"user.big", bytes(65_537), 0)


def test_an_extended_attribute_can_be_changed_again_and_again(house: House) -> None:
    house.put(b"/f", b"x")
    for value in (b"one", b"two", b"three"):
        house.drive.setxattr(b"/f", b"user.a", value, 0)
    house.barrier()
    house.drive.setxattr(b"/f", b"user.a", b"four", 0)
    assert house.drive.getxattr(b"/f", b"user.a") == b"four"


def test_the_state_attribute_is_told_but_never_listed_nor_set(house: House) -> None:
    house.put(b"/f", b"x")
    assert house.drive.getxattr(b"/f", b"user.discordfs.state") == b"staged"
    assert house.drive.listxattr(b"/f") == []
    with pytest.raises(errors.NotPermitted):
        house.drive.setxattr(b"/f", b"user.discordfs.state", b"remote", 0)
    with pytest.raises(errors.NotPermitted):
        house.drive.removexattr(b"/f", b"user.discordfs.state")


def test_inode_numbers_are_never_used_twice(house: House) -> None:
    seen = set()
    for turn in range(20):
        house.put(b"/f", b"x")
        ino = house.drive.getattr(b"/f").ino
        assert ino not in seen
        seen.add(ino)
        house.drive.unlink(b"/f")
        if turn % 5 == 4:
            house.reopen()


def test_used_space_is_that_of_live_bytes(house: House) -> None:
    house.put(b"/a", bytes(100_000))
    house.put(b"/b", bytes(50_000))
    house.barrier()
    used = house.drive.statfs()
    assert used.total - used.free == 150_000
    house.drive.unlink(b"/a")
    used = house.drive.statfs()
    assert used.total - used.free == 50_000
    assert used.files == 2


def test_offsets_beyond_the_largest_are_refused(house: House) -> None:
    handle = house.drive.create(b"/f", 0o644, os.O_RDWR, CALLER).handle
    with pytest.raises(errors.FileTooBig):
        house.drive.write(handle, b"xx", 2**63 - 2)
    house.drive.release(handle)
    with pytest.raises(errors.BadHandle):
        house.drive.read(handle, 1, 0)
