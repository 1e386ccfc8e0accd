"""The contents of files through the kernel: what programs rely on without thinking of it.

A user would lose: bytes, or a program that works everywhere else.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mount.tools import MIB, python, record_figures, running, wait_until
from tests.mounting import MountedDrive


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_two_descriptors_that_append_never_overwrite_each_other(place: Path) -> None:
    path = place / "log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with opened(path, flags) as one, opened(path, flags) as two:
        for number in range(200):
            os.write(one, b"one %4d\n" % number)
            os.write(two, b"two %4d\n" % number)
    expected = [b"%s %4d" % (who, number) for number in range(200) for who in (b"one", b"two")]
    assert path.read_bytes().splitlines() == expected


def test_two_processes_that_append_lose_no_line(place: Path) -> None:
    path = place / "log"
    path.touch()
    code = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for number in range(500):
    os.write(fd, f"{sys.argv[2]} {number}\\n".encode())
"""
    command = [sys.executable, "-c", code, path]
    with running([*command, "a"]) as one, running([*command, "b"]) as two:
        assert (one.wait(60), two.wait(60)) == (0, 0)
    lines = path.read_text().splitlines()
    for who in "ab":
        assert [line for line in lines if line[0] == who] == [f"{who} {number}" for number in range(500)]


def test_truncate_both_ways(place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"0123456789")
    os.truncate(path, 4)
    assert path.read_bytes() == b"0123"
    os.truncate(path, 8)
    assert path.read_bytes() == b"0123\0\0\0\0"
    with opened(path) as file:
        os.ftruncate(file, 2)
        os.ftruncate(file, 5)
        assert os.fstat(file).st_size == 5
        os.pwrite(file, b"x", 6)
    assert path.read_bytes() == b"01\0\0\0\0x"
    os.truncate(path, 0)
    assert path.stat().st_blocks == 0


def test_holes_take_no_room_and_read_as_zeros(place: Path) -> None:
    path = place / "file"
    with opened(path, os.O_RDWR | os.O_CREAT) as file:
        os.ftruncate(file, 2**42)
        os.pwrite(file, b"far away", 2**41)
        status = os.fstat(file)
        assert (status.st_size, status.st_blocks * 512 <= 64 * 1024) == (2**42, True)
        assert os.pread(file, 16, 2**41 - 8) == b"\0" * 8 + b"far away"
        assert os.pread(file, 4096, 2**42 - 100) == b"\0" * 100
    assert path.stat().st_blocks * 512 <= 64 * 1024
    os.truncate(path, 2**24)


def test_a_file_unlinked_while_open_lives_until_its_last_close(place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"0123456789")
    with opened(path) as file, opened(path) as other:
        path.unlink()
        assert os.listdir(place) == []
        assert os.fstat(file).st_nlink == 0
        os.pwrite(file, b"abc", 8)
        assert os.fstat(file).st_size == 11
        assert os.pread(other, 100, 0) == b"01234567abc"
        os.ftruncate(file, 4)
        assert os.fstat(other).st_size == 4
        os.fsync(file)
        path.write_bytes(b"a new one")
        assert os.pread(file, 100, 0) == b"0123"
    assert path.read_bytes() == b"a new one"
    assert os.listdir(place) == ["file"]


def test_a_temporary_file_without_a_name(place: Path) -> None:
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(b"scratch" * 1000)
        file.seek(0)
        assert file.read() == b"scratch" * 1000
    assert os.listdir(place) == []


def test_a_rename_over_an_open_file_leaves_its_readers_the_old_one(place: Path) -> None:
    old, new = place / "file", place / "new"
    old.write_bytes(b"old" * 1000)
    new.write_bytes(b"new" * 2000)
    with opened(old) as file:
        os.replace(new, old)
        assert os.pread(file, 10_000, 0) == b"old" * 1000
        assert old.read_bytes() == b"new" * 2000
        os.pwrite(file, b"x", 0)
    assert old.read_bytes() == b"new" * 2000
    assert os.listdir(place) == ["file"]


def test_a_reader_of_a_name_that_is_replaced_over_and_over_sees_one_version(place: Path) -> None:
    """Editors and package managers replace by rename: what is read is old or new, never between.

    libfuse answers ENOENT by itself to an open that reaches it while the rename is being served, a bare
    passthrough over it too; so that is counted here, and not a failure."""
    path = place / "file"
    path.write_bytes(b"0" * 5000)
    code = """
import os, sys
path = sys.argv[1]
print("go", flush=True)
for turn in range(300):
    with open(path + ".new", "wb") as file:
        file.write(b"%d" % (turn % 10) * 5000)
    os.replace(path + ".new", path)
"""
    reads = missed = 0
    with running([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        while writer.poll() is None:
            reads += 1
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                missed += 1
            else:
                assert data == data[:1] * 5000
        assert writer.returncode == 0
    record_figures("reads of a name while it is replaced", reads=reads, enoent=missed)
    assert path.read_bytes() == b"9" * 5000
    assert os.listdir(place) == ["file"]


def test_a_file_unlinked_just_as_it_is_closed_is_gone(place: Path) -> None:
    path = place / "file"
    code = """
import sys
print("go", flush=True)
for turn in range(3000):
    try:
        with open(sys.argv[1], "rb") as file:
            file.read()
    except FileNotFoundError:
        pass
"""
    with running([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        while reader.poll() is None:
            path.write_bytes(b"short lived")
            path.unlink()
        assert reader.returncode == 0
    assert os.listdir(place) == []


def test_hard_links_are_one_file(place: Path) -> None:
    first, second = place / "first", place / "second"
    first.write_bytes(b"x" * 1000)
    os.link(first, second)
    assert first.stat().st_ino == second.stat().st_ino
    assert (first.stat().st_nlink, second.stat().st_nlink) == (2, 2)
    assert second.read_bytes() == b"x" * 1000
    with first.open("ab") as file:
        file.write(b"y" * 5000)
    assert second.stat().st_size == 6000
    assert second.read_bytes() == b"x" * 1000 + b"y" * 5000
    second.write_bytes(b"short")
    assert (first.stat().st_size, first.read_bytes()) == (5, b"short")
    second.chmod(0o640)
    assert first.stat().st_mode & 0o777 == 0o640
    first.unlink()
    assert (second.stat().st_nlink, second.read_bytes()) == (1, b"short")


def test_a_file_written_anew_is_shorter_if_the_new_one_is(place: Path) -> None:
    path = place / "file"
    for size in (100_000, 10, 300_000, 0, 1):
        data = os.urandom(size)
        path.write_bytes(data)
        assert (path.stat().st_size, path.read_bytes()) == (size, data)


def test_mmap(place: Path) -> None:
    path = place / "file"
    path.write_bytes(bytes(3 * MIB))
    with opened(path) as file:
        with mmap.mmap(file, 0, mmap.MAP_SHARED) as memory:
            memory[MIB : MIB + 5] = b"hello"
            memory.flush()
            assert os.pread(file, 5, MIB) == b"hello"
            memory[2 * MIB :] = b"z" * MIB
        with mmap.mmap(file, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as memory:
            assert memory[MIB : MIB + 5] == b"hello"
    assert path.read_bytes()[2 * MIB :] == b"z" * MIB
    code = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    print(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[1048576:1048581])
"""
    assert python(code, path) == "b'hello'\n"


def test_random_writes_reads_and_cuts_agree_with_a_local_file(
    place: Path, shared_drive: MountedDrive, tmp_path: Path
) -> None:
    rng = random.Random(20)
    size = 4 * MIB
    with (
        opened(place / "file", os.O_RDWR | os.O_CREAT) as ours,
        opened(tmp_path / "file", os.O_RDWR | os.O_CREAT) as theirs,
    ):
        for step in range(1500):
            offset, length = rng.randrange(size), rng.choice((1, 100, 4096, 70_000))
            if step % 3 == 0:
                assert os.pread(ours, length, offset) == os.pread(theirs, length, offset)
            elif step % 97 == 0:
                os.ftruncate(ours, offset)
                os.ftruncate(theirs, offset)
            elif step % 500 == 1:
                os.fsync(ours)
                shared_drive.barrier()
            else:
                data = rng.randbytes(length)
                assert os.pwrite(ours, data, offset) == os.pwrite(theirs, data, offset) == length
    assert (place / "file").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("flags", [os.O_SYNC, os.O_DSYNC, 0])
def test_writes_that_are_synced(place: Path, flags: int) -> None:
    with opened(place / "file", os.O_WRONLY | os.O_CREAT | flags) as file:
        for _ in range(5):
            os.write(file, b"x" * 10_000)
            os.fdatasync(file)
            os.fsync(file)
    with opened(place, os.O_RDONLY | os.O_DIRECTORY) as folder:
        os.fsync(folder)
    assert (place / "file").stat().st_size == 50_000


def test_access_modes_are_kept(place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"x")
    with opened(path, os.O_RDONLY) as file, pytest.raises(OSError) as error:
        os.write(file, b"y")
    assert error.value.errno == errno.EBADF
    with opened(path, os.O_WRONLY) as file, pytest.raises(OSError) as error:
        os.read(file, 1)
    assert error.value.errno == errno.EBADF


def test_a_copy_that_is_interrupted_leaves_what_it_wrote(place: Path) -> None:
    path = place / "file"
    with running(["dd", "if=/dev/urandom", f"of={path}", "bs=64K", "status=none"]) as dd:
        wait_until("some of it is there", lambda: path.exists() and path.stat().st_size > 2 * MIB)
        dd.send_signal(signal.SIGINT)
        dd.wait(30)
    size = path.stat().st_size
    assert size >= 2 * MIB
    assert len(path.read_bytes()) == size
    path.write_bytes(b"the next copy works")
    assert path.read_bytes() == b"the next copy works"


def test_locks_are_between_the_processes_here(place: Path) -> None:
    path = place / "file"
    path.touch()
    code = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
try:
    getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("got it")
except OSError:
    print("refused")
"""
    for call in ("flock", "lockf"):
        with path.open("r+b") as file:
            getattr(fcntl, call)(file, fcntl.LOCK_EX)
            assert python(code, path, call) == "refused\n"
            getattr(fcntl, call)(file, fcntl.LOCK_UN)
            assert python(code, path, call) == "got it\n"


def test_many_files_open_at_once(place: Path) -> None:
    limit = min(800, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
    files = []
    try:
        for number in range(limit):
            files.append(os.open(place / str(number), os.O_RDWR | os.O_CREAT, 0o644))
            os.write(files[-1], b"%d" % number)
        for number, file in enumerate(files):
            assert os.pread(file, 10, 0) == b"%d" % number
    finally:
        for file in files:
            os.close(file)
