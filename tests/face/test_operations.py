"""The face over a passthrough, mounted for real: what programs see of paths, times, errors and races."""

from __future__ import annotations

import errno
import inspect
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from discordfs import errors, operations
from discordfs.cli import mountpoint as places
from discordfs.errors import DiscordfsError, FilesystemError, RemoteError
from discordfs.orphans import Orphans, Purpose
from tests.face.passthrough import Passthrough
from tests.mounting import ROOT, wait_for_end


@dataclass(frozen=True)
class Mounted:
    below: Path
    top: Path
    log: Path


@pytest.fixture(scope="module")
def mounted(fuse_available: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    root = tmp_path_factory.mktemp("face")
    made = Mounted(root / "below", root / "top", root / "log")
    made.below.mkdir()
    made.top.mkdir()
    command = [sys.executable, "-m", "tests.face.passthrough", str(made.below), str(made.top)]
    with open(made.log, "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield made
    watch = os.pidfd_open(process.pid)
    places.unmount(str(made.top), lazily=True)
    wait_for_end(watch, process.pid)
    process.wait()
    process.stdout.close()


@pytest.fixture
def top(mounted: Mounted, request: pytest.FixtureRequest) -> Path:
    """A directory of the mount for this test."""
    path = mounted.top / str(abs(hash(request.node.nodeid)))
    path.mkdir()
    return path


# --- errors -------------------------------------------------------------------------


def subclasses(cls: type[DiscordfsError]) -> Iterator[type[DiscordfsError]]:
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_error_of_a_filesystem_has_its_row() -> None:
    ours = {cls for _, cls in inspect.getmembers(errors, inspect.isclass)}
    due = {cls for base in (FilesystemError, RemoteError) for cls in subclasses(base)} & ours
    due |= {RemoteError, errors.Damaged, errors.TimedOut, errors.Interrupted}
    assert not due - set(operations.ERRNO)


def test_an_error_without_a_row_is_eio() -> None:
    assert operations.errno_of(DiscordfsError("?")) == errno.EIO
    assert operations.errno_of(errors.FormatError("?")) == errno.EIO


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("timeout", errno.EIO),
        ("exit", errno.EIO),
        ("keyboard", errno.EIO),
        ("value", errno.EIO),
        ("negative", errno.EIO),
        ("damaged", errno.EIO),
        ("full", errno.ENOSPC),
        ("interrupted", errno.EINTR),
    ],
)
def test_nothing_that_goes_wrong_looks_like_success(mounted: Mounted, name: str, number: int) -> None:
    with pytest.raises(OSError) as caught:
        os.stat(mounted.top / f"raise-{name}")
    assert caught.value.errno == number
    assert mounted.log.read_text().count(f"getattr /raise-{name}") == 1
    os.stat(mounted.top)  # and the mount still stands


# --- times --------------------------------------------------------------------------


@pytest.mark.parametrize("time_ns", [0, 1, -1, -1_500_000_000, 1_600_000_000_123_456_789])
def test_times_are_exact(top: Path, time_ns: int) -> None:
    path = top / "file"
    path.touch()
    os.utime(path, ns=(time_ns, time_ns + 7))
    found = path.stat()
    assert (found.st_atime_ns, found.st_mtime_ns) == (time_ns, time_ns + 7)


def test_one_time_can_be_set_alone(top: Path) -> None:
    """touch -a and -m send UTIME_OMIT and UTIME_NOW."""
    path = top / "file"
    path.touch()
    os.utime(path, ns=(1_000, 2_000))
    subprocess.run(["touch", "-m", path], check=True)
    found = path.stat()
    assert found.st_atime_ns == 1_000
    assert found.st_mtime_ns > 10**18
    os.utime(path, ns=(1_000, 2_000))
    subprocess.run(["touch", "-a", "-d", "@1234567890", path], check=True)
    found = path.stat()
    assert (found.st_atime, found.st_mtime_ns) == (1234567890, 2_000)


# --- names, listings, attributes ----------------------------------------------------


def test_names_are_any_bytes(top: Path) -> None:
    names = [b"\xff\xfe", b"caf\xe9", "\u2603".encode(), b"new\nline", b" ", b"\x01", b"a" * 255]
    for name in names:
        with open(os.path.join(os.fsencode(top), name), "wb") as file:
            file.write(name)
        os.symlink(name, os.path.join(os.fsencode(top), b"l" + name[:200]))
    found = os.listdir(os.fsencode(top))
    assert set(names) <= set(found)
    for name in names:
        with open(os.path.join(os.fsencode(top), name), "rb") as file:
            assert file.read() == name
        assert os.readlink(os.path.join(os.fsencode(top), b"l" + name[:200])) == name


def test_a_listing_knows_inodes_and_types(top: Path) -> None:
    (top / "directory").mkdir()
    (top / "file").touch()
    os.mkfifo(top / "fifo")
    with os.scandir(top) as entries:
        for entry in entries:
            assert entry.inode() == os.lstat(entry.path).st_ino
            assert entry.is_dir(follow_symlinks=False) == (entry.name == "directory")


def test_a_rewound_directory_is_fresh(top: Path) -> None:
    descriptor = os.open(top, os.O_RDONLY)
    try:
        assert os.listdir(descriptor) == []
        (top / "new").touch()
        assert os.listdir(descriptor) == ["new"]
    finally:
        os.close(descriptor)


def test_xattrs_tell_their_size_and_are_whole(top: Path) -> None:
    path = top / "file"
    path.touch()
    value = bytes(range(256)) * 4
    os.setxattr(path, "user.test", value)
    assert os.getxattr(path, "user.test") == value
    assert os.listxattr(path) == ["user.test"]
    os.removexattr(path, "user.test")
    with pytest.raises(OSError) as caught:
        os.getxattr(path, "user.test")
    assert caught.value.errno == errno.ENODATA


def test_statfs_counts_in_4_kib(mounted: Mounted) -> None:
    top, below = os.statvfs(mounted.top), os.statvfs(mounted.below)
    assert (top.f_bsize, top.f_frsize, top.f_namemax) == (4096, 4096, 255)
    assert top.f_blocks == below.f_blocks * below.f_frsize // 4096


# --- files without a name -----------------------------------------------------------


def test_an_unlinked_open_file_goes_on(top: Path, mounted: Mounted) -> None:
    with tempfile.TemporaryFile(dir=top) as file:
        file.write(b"still here")
        file.flush()
        found = os.fstat(file.fileno())
        assert (found.st_nlink, found.st_size) == (0, 10)
        assert os.listdir(top) == []
        os.ftruncate(file.fileno(), 5)
        file.seek(0)
        assert file.read() == b"still"
        top.rmdir()


def test_a_file_replaced_while_it_is_open_goes_on(top: Path) -> None:
    (top / "old").write_text("old")
    (top / "new").write_text("new")
    with open(top / "old", encoding="ascii") as held:
        os.rename(top / "new", top / "old")
        assert os.fstat(held.fileno()).st_nlink == 0
        assert held.read() == "old"
        assert os.listdir(top) == ["old"]
    assert (top / "old").read_text() == "new"


def test_a_name_like_libfuses_own_is_a_name(top: Path) -> None:
    """Moving somebody's leftover `.fuse_hidden…` here must not delete it."""
    (top / "file").write_text("precious")
    os.rename(top / "file", top / ".fuse_hidden0000000100000001")
    assert (top / ".fuse_hidden0000000100000001").read_text() == "precious"


def test_a_replaced_target_is_never_missing(tmp_path: Path) -> None:
    """A rename over an open file hides it first; the name must stay until the rename replaces it."""
    drive = Passthrough(os.fsencode(tmp_path))
    (tmp_path / "target").write_text("old")
    purpose = [Purpose.REPLACING]
    orphans = Orphans(drive, lambda hidden: purpose[0])
    handle = drive.open(b"/target", os.O_RDONLY).handle
    orphans.opened(handle)
    hidden = b"/.fuse_hidden0000000100000001"
    assert orphans.hide(b"/target", hidden)
    assert (tmp_path / "target").exists()
    assert orphans.getattr(hidden).size == 3
    assert orphans.forget(hidden)
    purpose[0] = Purpose.UNLINKING
    assert orphans.hide(b"/target", hidden)
    assert not (tmp_path / "target").exists()
    assert orphans.forget(hidden)
    drive.release(handle)


def test_readers_of_a_file_that_is_replaced_get_the_old_or_the_new(top: Path) -> None:
    """Torn reads never. (A reader may be told that there is no such file: libfuse 2 says so by itself when
    the replacement comes between the kernel's lookup and its open.)"""
    (top / "file").write_bytes(b"0" * 10)
    stop = threading.Event()
    torn: list[bytes] = []
    counts = {"read": 0, "missing": 0}

    def read() -> None:
        while not stop.is_set():
            try:
                data = (top / "file").read_bytes()
            except FileNotFoundError:
                counts["missing"] += 1
                continue
            counts["read"] += 1
            if data not in (b"0" * 10, b"1" * 10):
                torn.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(200):
        (top / "new").write_bytes(b"1" * 10)
        os.rename(top / "new", top / "file")
    stop.set()
    reader.join()
    assert not torn
    assert counts["read"] > counts["missing"], counts


# --- the kernel's side --------------------------------------------------------------


def test_options_are_what_the_kernel_has(mounted: Mounted) -> None:
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if str(mounted.top) in line)
    assert line.startswith("passthrough ")
    assert " fuse.discordfs " in line
    assert "default_permissions" in line


def test_a_call_hears_that_its_caller_went_away(mounted: Mounted) -> None:
    """Else a program that reads in an outage could not be ended before the wait is over."""
    waiting = subprocess.Popen(["stat", mounted.top / "wait-for-interrupt"], stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    waiting.terminate()
    assert waiting.wait(10) == -signal.SIGTERM
    assert "wait-for-interrupt: Interrupted" in mounted.log.read_text()


def test_interrupted_is_false_elsewhere() -> None:
    """On a thread that serves no call libfuse would crash."""
    found: list[bool] = []
    ask: Callable[[], None] = lambda: found.append(operations.interrupted())  # noqa: E731
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [False]
    assert operations.interrupted() is False
