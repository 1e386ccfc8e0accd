"""Names, directories and links through the kernel, and the errors that programs tell apart.

A user would lose: files with unusual names, or get a wrong errno that a program takes for something else.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mount.tools import cold, run, snapshot
from tests.mounting import MountedDrive


def fails(number: int, call: Callable[..., Any], *arguments: Any, **more: Any) -> None:
    """The call raises just this errno."""
    with pytest.raises(OSError) as error:
        call(*arguments, **more)
    assert error.value.errno == number, error.value


ODD_NAMES = (
    b"with\nnewline",
    b"\xff\xfe not utf-8 \x80",
    "ﷺ 日本語 é é".encode(),
    b"-rf",
    b" ",
    b"back\\slash 'quotes\" $HOME `id` *",
    bytes(code for code in range(1, 256) if code != ord("/")),
    b"\xf0\x9f" * 127,
    "é".encode() * 127,
    b"x" * 255,
    b"CASE",
    b"case",
    b".fuse_hidden0000000000000001",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_bytes_are_a_name(place: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(place), name)
    with open(path, "wb") as file:
        file.write(name)
    os.symlink(name, path[:-1] + b"~")
    assert sorted(os.listdir(os.fsencode(place))) == sorted((name, name[:-1] + b"~"))
    assert os.readlink(path[:-1] + b"~") == name
    os.rename(path, path[:-1] + b"!")
    os.link(path[:-1] + b"!", path)
    os.mkdir(path[:-1] + b"#")
    with open(path, "rb") as file:
        assert file.read() == name


def test_a_name_of_256_bytes_is_too_long(place: Path) -> None:
    long = place / ("x" * 256)
    (place / "file").touch()
    fails(errno.ENAMETOOLONG, long.write_bytes, b"")
    fails(errno.ENAMETOOLONG, long.mkdir)
    fails(errno.ENAMETOOLONG, long.stat)
    fails(errno.ENAMETOOLONG, os.rename, place / "file", long)
    fails(errno.ENAMETOOLONG, os.link, place / "file", long)
    fails(errno.ENAMETOOLONG, os.symlink, "x", long)


def test_the_errors_of_directories(place: Path) -> None:
    full, empty, file = place / "full", place / "empty", place / "file"
    (full / "below").mkdir(parents=True)
    empty.mkdir()
    file.write_bytes(b"x")
    fails(errno.ENOTEMPTY, full.rmdir)
    fails(errno.ENOTEMPTY, os.rename, empty, full)
    fails(errno.EISDIR, os.unlink, full)
    fails(errno.EISDIR, os.open, full, os.O_WRONLY)
    fails(errno.EISDIR, os.rename, file, full)
    fails(errno.ENOTDIR, os.rename, empty, file)
    fails(errno.ENOTDIR, file.rmdir)
    fails(errno.ENOTDIR, os.stat, file / "below")
    fails(errno.ENOTDIR, os.open, file / "below", os.O_CREAT | os.O_WRONLY)
    fails(errno.ENOTDIR, os.listdir, file)
    fails(errno.EEXIST, full.mkdir)
    fails(errno.EEXIST, os.open, file, os.O_CREAT | os.O_EXCL)
    fails(errno.EEXIST, os.link, file, full)
    fails(errno.EEXIST, os.symlink, "x", file)
    fails(errno.EINVAL, os.rename, full, full / "below" / "within")
    fails(errno.ENOENT, os.rename, place / "none", file)
    fails(errno.ENOENT, os.stat, place / "none" / "below")
    fails(errno.EPERM, os.link, full, place / "link")
    assert sorted(os.listdir(place)) == ["empty", "file", "full"]
    os.rename(full / "below", empty / "below")
    os.rename(full, place / "moved")
    assert sorted(os.listdir(place)) == ["empty", "file", "moved"]


def test_links_that_go_in_circles(place: Path) -> None:
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    fails(errno.ELOOP, os.stat, place / "a")
    fails(errno.ELOOP, os.open, place / "a", os.O_RDONLY)
    (place / "file").touch()
    (place / "link").symlink_to("file")
    fails(errno.ELOOP, os.open, place / "link", os.O_RDONLY | os.O_NOFOLLOW)
    fails(errno.EINVAL, os.readlink, place / "file")


def test_nothing_crosses_the_border_of_the_drive(place: Path, tmp_path: Path) -> None:
    (place / "file").touch()
    fails(errno.EXDEV, os.rename, place / "file", tmp_path / "file")
    fails(errno.EXDEV, os.link, place / "file", tmp_path / "file")


def test_long_targets(place: Path) -> None:
    (place / "link").symlink_to("t" * 4095)
    assert os.readlink(place / "link") == "t" * 4095
    assert (place / "link").lstat().st_size == 4095


def test_fifos_sockets_and_devices(place: Path) -> None:
    os.mkfifo(place / "fifo", 0o640)
    assert stat.S_ISFIFO((place / "fifo").stat().st_mode)
    reader = os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        (place / "fifo").write_bytes(b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    before = os.getcwd()
    os.chdir(place)  # a socket's path has 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("socket")
            server.listen()
            client.connect("socket")
    finally:
        os.chdir(before)
    assert stat.S_ISSOCK((place / "socket").stat().st_mode)
    if os.geteuid() == 0:
        os.mknod(place / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        assert (place / "device").stat().st_rdev == os.makedev(1, 3)


def test_a_directory_of_five_thousand_entries(place: Path) -> None:
    names = [f"entry {number:05}" for number in range(5000)]
    for name in names:
        os.close(os.open(place / name, os.O_CREAT | os.O_WRONLY, 0o644))
    assert sorted(os.listdir(place)) == names
    assert place.stat().st_nlink == 2
    inodes = {entry.name: entry.inode() for entry in os.scandir(place)}
    assert len(set(inodes.values())) == 5000
    assert inodes[names[0]] == (place / names[0]).stat().st_ino
    with os.scandir(place) as entries:  # removing while listing, as rm -r does
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(place) == []


def test_deep_paths(place: Path) -> None:
    """As deep as a path may be: 4,095 bytes, by the kernel's own limit; deeper through descriptors."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(60):
        os.mkdir("d" * 100, dir_fd=descriptor)
        deeper = os.open("d" * 100, os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    try:
        file = os.open("file", os.O_CREAT | os.O_RDWR, dir_fd=descriptor)
        os.write(file, b"deep")
        assert os.fstat(file).st_size == 4
        os.close(file)
        assert os.listdir(descriptor) == ["file"]
    finally:
        os.close(descriptor)
        run("rm", "-r", place / ("d" * 100))
    assert os.listdir(place) == []


def test_a_directory_opened_before_its_entries_were_made_lists_them(place: Path) -> None:
    """What programs do that work through a descriptor of the directory."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.mkdir("below", dir_fd=descriptor)
        assert os.listdir(descriptor) == ["below"]
        os.rmdir("below", dir_fd=descriptor)
        assert os.listdir(descriptor) == []
    finally:
        os.close(descriptor)


def test_a_directory_renamed_while_it_is_open_is_listed(place: Path) -> None:
    (place / "old" / "below").mkdir(parents=True)
    descriptor = os.open(place / "old", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.rename(place / "old", place / "new")
        (place / "old").mkdir()
        assert os.listdir(descriptor) == ["below"]
    finally:
        os.close(descriptor)


def test_a_directorys_links_and_times(place: Path) -> None:
    before = place.stat()
    (place / "one").mkdir()
    (place / "two").mkdir()
    assert place.stat().st_nlink == 4
    assert place.stat().st_mtime_ns > before.st_mtime_ns
    middle = place.stat().st_mtime_ns
    os.rename(place / "one", place / "two" / "one")
    assert (place.stat().st_nlink, (place / "two").stat().st_nlink) == (3, 3)
    assert place.stat().st_mtime_ns > middle


def test_inode_numbers_outlive_a_mount_and_are_not_used_again(real_drive: MountedDrive) -> None:
    root = real_drive.mountpoint
    for name in "abc":
        (root / name).write_bytes(name.encode())
    gone = (root / "c").stat().st_ino
    (root / "c").unlink()
    before = snapshot(root)
    cold(real_drive)
    assert snapshot(root) == before
    (root / "d").touch()
    assert (root / "d").stat().st_ino > gone


def test_read_only_refuses_every_change(real_drive: MountedDrive) -> None:
    root = real_drive.mountpoint
    (root / "file").write_bytes(b"kept")
    (root / "dir").mkdir()
    real_drive.umount()
    real_drive.remount("-o", "ro")
    file = root / "file"
    for call, *arguments in (
        (os.open, file, os.O_WRONLY),
        (os.open, root / "new", os.O_CREAT | os.O_WRONLY),
        (os.mkdir, root / "new"),
        (os.rmdir, root / "dir"),
        (os.unlink, file),
        (os.rename, file, root / "new"),
        (os.link, file, root / "new"),
        (os.symlink, "x", root / "new"),
        (os.chmod, file, 0o600),
        (os.chown, file, 1, 1),
        (os.utime, file),
        (os.truncate, file, 0),
        (os.setxattr, file, "user.x", b""),
        (os.mkfifo, root / "new"),
    ):
        fails(errno.EROFS, call, *arguments)
    assert file.read_bytes() == b"kept"
