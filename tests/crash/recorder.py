"""A directory that remembers, in order, everything that was ever done to it.

    with record(tmp_path) as recording:
        use(recording.root)                 # an ordinary directory, through FUSE
        recording.mark("the file is closed")
    journal = Journal.load(recording.journal)

From the journal any moment of the directory can be built again: as it was after the kth operation (what a
`kill -9` leaves), or as a power cut at that moment might leave it. See journal.py. The marks stand in the
journal between the operations, so that a test can say what it knew at which moment.

Recorded is what changes the directory: create, mkdir, symlink, link, unlink, rmdir, rename, write,
truncate, chmod, and fsync of files and directories (which is not carried out: nothing here is meant to
survive). Sockets are not recorded, nor what is written to `*-shm`, SQLite's shared memory, which means
nothing after a crash.

Threading: any; one lock puts the operations into one order. Run as a program it mounts:
recorder.py BACKING MOUNTPOINT JOURNAL.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgpack

from discordfs.model import Caller, Opened
from tests.face.passthrough import Passthrough

ROOT = Path(__file__).resolve().parents[2]
ROOT_ID = 0
MARK, FAIL = "user.mark", "user.fail-fsync"


@dataclass(frozen=True, slots=True)
class Recording:
    """`root`: the directory to use. `journal`: the file to load once the recording has ended."""

    root: Path
    journal: Path

    def mark(self, text: str) -> None:
        """Notes `text` at this moment: after every operation that has returned."""
        os.setxattr(self.root, MARK, text.encode())

    def fail_fsync(self, ending: str) -> None:
        """The next fsync of a file whose name ends so is an I/O error."""
        os.setxattr(self.root, FAIL, ending.encode())


@contextmanager
def record(place: Path) -> Iterator[Recording]:
    """Records a new, empty directory; `place` is where it and the journal are kept. Everything in it must be
    closed at the end."""
    backing, mountpoint, journal = place / "backing", place / "recorded", place / "journal"
    for directory in (backing, mountpoint):
        directory.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.crash.recorder", *map(str, (backing, mountpoint, journal))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "the recorder could not mount"
        try:
            yield Recording(mountpoint, journal)
        finally:
            subprocess.run(["fusermount", "-uz", str(mountpoint)], check=True)
            process.wait(60)


class Recorder(Passthrough):
    """A Passthrough that writes each change into `journal`: lists of a kind and its arguments, packed one
    after the other. Files and directories have numbers, as names change; the root's is 0."""

    def __init__(self, root: bytes, journal: BinaryIO) -> None:
        super().__init__(root)
        self._journal = journal
        self._order = threading.Lock()
        self._numbers = itertools.count(ROOT_ID + 1)
        self._ids = {os.stat(root).st_ino: ROOT_ID}
        self._ignored: set[int] = set()
        self._failing = ""

    def _note(self, *entry: object) -> None:
        self._journal.write(msgpack.packb(entry))

    def _new(self, path: bytes) -> int:
        number = next(self._numbers)
        self._ids[os.lstat(self._at(path)).st_ino] = number
        return number

    def _id(self, path: bytes) -> int:
        return self._ids[os.lstat(self._at(path)).st_ino]

    def _id_of(self, handle: int) -> int:
        return self._ids[os.fstat(handle).st_ino]

    # --- names ---------------------------------------------------------------------------------------

    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> Opened:
        with self._order:
            opened = super().create(path, mode, flags & ~os.O_TRUNC, caller)
            number = self._new(path)
            self._note("create", path, number, stat.S_IMODE(mode))
            if path.endswith(b"-shm"):
                self._ignored.add(number)
            return opened

    def mknod(self, path: bytes, mode: int, rdev: int, caller: Caller) -> None:
        with self._order:
            super().mknod(path, mode, rdev, caller)
            if stat.S_ISREG(mode):
                self._note("create", path, self._new(path), stat.S_IMODE(mode))

    def mkdir(self, path: bytes, mode: int, caller: Caller) -> None:
        with self._order:
            super().mkdir(path, mode, caller)
            self._note("mkdir", path, self._new(path), stat.S_IMODE(mode))

    def symlink(self, path: bytes, target: bytes, caller: Caller) -> None:
        with self._order:
            super().symlink(path, target, caller)
            self._note("symlink", path, self._new(path), target)

    def link(self, source: bytes, path: bytes) -> None:
        with self._order:
            super().link(source, path)
            self._note("link", path, self._id(source))

    def unlink(self, path: bytes) -> None:
        with self._order:
            is_socket = stat.S_ISSOCK(os.lstat(self._at(path)).st_mode)
            super().unlink(path)
            if not is_socket:
                self._note("unlink", path)

    def rmdir(self, path: bytes) -> None:
        with self._order:
            super().rmdir(path)
            self._note("rmdir", path)

    def rename(self, old: bytes, new: bytes) -> None:
        with self._order:
            super().rename(old, new)
            self._note("rename", old, new)

    # --- contents --------------------------------------------------------------------------------------

    def open(self, path: bytes, flags: int) -> Opened:
        with self._order:
            opened = super().open(path, flags)
            if flags & os.O_TRUNC:
                self._note("truncate", self._id_of(opened.handle), 0)
            return opened

    def write(self, handle: int, data: bytes, offset: int) -> int:
        with self._order:
            done = super().write(handle, data, offset)
            number = self._id_of(handle)
            if number not in self._ignored:
                self._note("write", number, offset, bytes(data[:done]))
            return done

    def truncate(self, path: bytes, size: int) -> None:
        with self._order:
            super().truncate(path, size)
            self._note("truncate", self._id(path), size)

    def ftruncate(self, handle: int, size: int) -> None:
        with self._order:
            super().ftruncate(handle, size)
            number = self._id_of(handle)
            if number not in self._ignored:
                self._note("truncate", number, size)

    def chmod(self, path: bytes, mode: int) -> None:
        with self._order:
            super().chmod(path, mode)
            self._note("chmod", self._id(path), stat.S_IMODE(mode))

    # --- to disk, and marks ------------------------------------------------------------------------------

    def fsync(self, handle: int, datasync: bool) -> None:
        with self._order:
            if self._failing and os.readlink(f"/proc/self/fd/{handle}").endswith(self._failing):
                self._failing = ""
                raise OSError(errno.EIO, "told to fail")
            self._note("fsync", self._id_of(handle))

    def fsyncdir(self, path: bytes) -> None:
        with self._order:
            self._note("fsyncdir", self._id(path))

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        with self._order:
            if name == MARK.encode():
                self._note("mark", value)
            elif name == FAIL.encode():
                self._failing = value.decode()
            else:
                super().setxattr(path, name, value, flags)


def _main(backing: str, mountpoint: str, journal: str) -> None:
    from discordfs.operations import MountOptions, serve

    with open(journal, "wb", buffering=1024**2) as file:
        recorder = Recorder(os.fsencode(backing), file)
        serve(
            recorder,
            os.fsencode(mountpoint),
            MountOptions("recorder"),
            lambda: print("ready", flush=True),
        )


if __name__ == "__main__":
    _main(*sys.argv[1:])
