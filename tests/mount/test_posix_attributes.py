"""Modes, owners, times, extended attributes and space through the kernel.

A user would lose: what tells files apart for make, backup programs and other users.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from tests.mount.test_posix_names import fails
from tests.mount.tools import MIB, STATE, run, state, wait_until
from tests.mounting import MountedDrive

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("atime", "mtime"),
    [
        (1, 2),
        (1_700_000_000_123_456_789, 1_600_000_000_987_654_321),
        (-1, -SECOND),
        (-5 * SECOND - 999_999_999, -1_000_000_000 * SECOND + 1),
        (2**33 * SECOND + 1, 2**33 * SECOND + 999_999_999),
        # As tv_sec and tv_nsec these two look like UTIME_NOW and UTIME_OMIT to whoever mixes them up.
        (SECOND + (1 << 30) - 1 - SECOND, SECOND + 73_741_822),
        (1_073_741_823, 1_073_741_822),
    ],
)
def test_times_are_kept_to_the_nanosecond(place: Path, atime: int, mtime: int) -> None:
    file, folder, link = place / "file", place / "folder", place / "link"
    file.write_bytes(b"x")
    folder.mkdir()
    link.symlink_to("file")
    for path in (file, folder, link):
        os.utime(path, ns=(atime, mtime), follow_symlinks=False)
        status = path.lstat()
        assert (status.st_atime_ns, status.st_mtime_ns) == (atime, mtime)


def test_times_beyond_what_is_kept_become_the_nearest_that_is(place: Path) -> None:
    """As on other Linux filesystems. Kept are 1677 to 2262: nanoseconds in 64 bits."""
    path = place / "file"
    path.touch()
    os.utime(path, ns=(2**34 * SECOND, -(2**34) * SECOND))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (2**63 - 1, -(2**63))


def test_one_time_can_be_left_and_the_other_be_now(place: Path) -> None:
    path = place / "file"
    path.touch()
    os.utime(path, ns=(111, 222))
    before = time.time_ns()
    run("touch", "-a", path)
    assert path.stat().st_mtime_ns == 222
    assert before <= path.stat().st_atime_ns <= time.time_ns()
    os.utime(path, ns=(111, 222))
    run("touch", "-m", path)
    assert path.stat().st_atime_ns == 111
    assert before <= path.stat().st_mtime_ns <= time.time_ns()
    os.utime(path)
    assert min(path.stat().st_atime_ns, path.stat().st_mtime_ns) >= before
    run("touch", "-m", "-d", "1969-12-31 23:59:58.5 UTC", path)
    assert path.stat().st_mtime_ns == -1_500_000_000


def test_writing_changes_mtime_and_ctime_and_reading_nothing(place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, 1))
    before = path.stat()
    path.read_bytes()
    assert path.stat() == before
    with path.open("ab") as file:
        file.write(b"y")
        file.flush()
        assert path.stat().st_mtime_ns > before.st_mtime_ns
    middle = path.stat()
    path.chmod(0o600)
    assert path.stat().st_mtime_ns == middle.st_mtime_ns
    assert path.stat().st_ctime_ns > middle.st_ctime_ns


def test_a_time_set_while_the_file_is_open_stays_when_it_is_closed(place: Path) -> None:
    path = place / "file"
    with path.open("wb") as file:
        file.write(b"data")
        file.flush()
        os.utime(path, ns=(5, 6))
        os.utime(file.fileno(), ns=(7, 8))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (7, 8)


def test_newer(place: Path) -> None:
    for number, name in enumerate(("old", "middle", "new")):
        (place / name).touch()
        os.utime(place / name, ns=(0, number))
    assert run("find", place, "-type", "f", "-newer", place / "middle") == f"{place}/new\n"


@pytest.mark.parametrize("mode", [0, 0o777, 0o4755, 0o2755, 0o1777, 0o7777, 0o640])
def test_every_bit_of_a_mode(place: Path, mode: int) -> None:
    for path in (place / "file", place / "folder"):
        path.mkdir() if path.name == "folder" else path.touch()
        path.chmod(mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    with open(place / "file", "rb") as file:
        os.fchmod(file.fileno(), 0o604)
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o604


def test_umask_applies(place: Path) -> None:
    before = os.umask(0o027)
    try:
        (place / "file").touch()
        (place / "folder").mkdir()
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((place / "folder").stat().st_mode) == 0o750


@pytest.mark.usefixtures("as_root")
def test_owners(place: Path) -> None:
    path, link = place / "file", place / "link"
    path.touch()
    link.symlink_to("file")
    os.chown(path, 12345, 54321)
    os.chown(link, 7, 8, follow_symlinks=False)
    os.chown(path, -1, 99)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 99)
    assert (link.lstat().st_uid, link.lstat().st_gid) == (7, 8)
    os.chown(path, 2**32 - 2, -1)
    assert path.stat().st_uid == 2**32 - 2
    folder = place / "shared"
    folder.mkdir()
    os.chown(folder, 0, 4242)
    folder.chmod(0o2775)
    (folder / "file").touch()
    (folder / "below").mkdir()
    assert (folder / "file").stat().st_gid == 4242
    assert (folder / "below").stat().st_gid == 4242
    assert (folder / "below").stat().st_mode & stat.S_ISGID


def test_extended_attributes(place: Path) -> None:
    path = place / "file"
    path.touch()
    run("setfattr", "-n", "user.text", "-v", "words", path)
    run("setfattr", "-n", "user.binary", "-v", "0x00ff0a", path)
    assert run("getfattr", "--only-values", "-n", "user.text", path) == "words"
    assert sorted(os.listxattr(path)) == ["user.binary", "user.text"]
    assert os.getxattr(path, "user.binary") == b"\0\xff\n"
    os.setxattr(path, "user.empty", b"")
    assert os.getxattr(path, "user.empty") == b""
    os.setxattr(path, "user.large", bytes(65_536))
    assert os.getxattr(path, "user.large") == bytes(65_536)
    fails(errno.EEXIST, os.setxattr, path, "user.text", b"", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, path, "user.none", b"", os.XATTR_REPLACE)
    fails(errno.ENODATA, os.getxattr, path, "user.none")
    fails(errno.ENODATA, os.removexattr, path, "user.none")
    fails(errno.EOPNOTSUPP, os.getxattr, path, "system.posix_acl_access")
    os.removexattr(path, "user.large")
    assert sorted(os.listxattr(path)) == ["user.binary", "user.empty", "user.text"]
    if os.geteuid() == 0:
        os.setxattr(path, "trusted.secret", b"t")
        os.setxattr(place, "trusted.of.a.directory", b"t")
        assert os.getxattr(place, "trusted.of.a.directory") == b"t"


def test_where_a_file_is_can_be_asked_and_not_be_set(real_drive: MountedDrive) -> None:
    path = real_drive.mountpoint / "file"
    path.write_bytes(b"x" * 1000)
    assert state(path) == "staged"
    assert os.listxattr(path) == []
    assert STATE not in run("getfattr", "-d", "-m", "-", path)
    fails(errno.EPERM, os.setxattr, path, STATE, b"remote")
    fails(errno.EPERM, os.removexattr, path, STATE)
    real_drive.barrier()
    assert state(path) == "remote"
    with path.open("ab") as file:
        file.write(b"more")
    assert state(path) == "staged"
    assert os.listxattr(path) == []
    fails(errno.ENODATA, os.getxattr, real_drive.mountpoint, STATE)


def test_a_small_file_is_on_discord_within_half_a_minute_by_itself(real_drive: MountedDrive) -> None:
    path = real_drive.mountpoint / "file"
    path.write_bytes(b"x" * 1000)
    wait_until("the file is remote", lambda: state(path) == "remote", 30)


def test_df_shows_what_is_alive(real_drive: MountedDrive) -> None:
    root = real_drive.mountpoint

    def used() -> int:
        figures = os.statvfs(root)
        return (figures.f_blocks - figures.f_bfree) * figures.f_frsize

    assert used() == 0
    (root / "file").write_bytes(os.urandom(8 * MIB))
    with (root / "sparse").open("wb") as file:
        file.truncate(1024 * MIB)
    os.link(root / "file", root / "link")
    assert used() == 8 * MIB
    assert os.statvfs(root).f_namemax == 255
    real_drive.barrier()
    assert used() == 8 * MIB
    (root / "file").write_bytes(os.urandom(2 * MIB))
    assert used() == 2 * MIB
    (root / "file").unlink()
    assert used() == 2 * MIB
    (root / "link").unlink()
    assert used() == 0
    assert int(run("df", "--output=used", "-B1", root).split()[1]) == 0


@pytest.mark.usefixtures("as_root")
def test_the_view_of_owners_and_modes_can_be_changed(real_drive: MountedDrive) -> None:
    path = real_drive.mountpoint / "file"
    path.touch()
    path.chmod(0o666)
    real_drive.umount()
    real_drive.remount("-o", "uid=1234,gid=4321,umask=027")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    real_drive.umount()
    real_drive.remount()
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (0, 0o666)
