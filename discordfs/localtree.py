"""A directory of this machine, spoken to as the drive is: so that files can be copied either way.

Job: what copying needs of model.Filesystem, over the system's own calls. Limits: what the user may not do
(owners, other namespaces of attributes) is left undone, and told in `left_out`. Links are never followed but
in the root itself. Errors: NoEntry and EntryExists; any other OSError as it comes. Threading: one thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from discordfs.errors import EntryExists, NoEntry
from discordfs.model import Attr, Caller, DirEntry, Opened


class LocalTree:
    """The directory at `root`. Paths are absolute bytes, as seen from there."""

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)
        self.left_out: set[str] = set()

    def _at(self, path: bytes) -> bytes:
        return self._root + path.rstrip(b"/")

    # --- looking ----------------------------------------------------------------------------------

    def getattr(self, path: bytes) -> Attr:
        try:
            return _attr(os.lstat(self._at(path)))
        except (FileNotFoundError, NotADirectoryError):
            raise NoEntry(os.fsdecode(path)) from None

    def readdir(self, path: bytes) -> Sequence[DirEntry]:
        """What is removed while we look is not in it."""
        with os.scandir(self._at(path)) as entries:
            return [found for each in entries if (found := _entry(each))]

    def readlink(self, path: bytes) -> bytes:
        return os.readlink(self._at(path))

    def listxattr(self, path: bytes) -> Sequence[bytes]:
        names = os.listxattr(self._at(path), follow_symlinks=False)
        return sorted(os.fsencode(name) for name in names)

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        return os.getxattr(self._at(path), name, follow_symlinks=False)

    # --- making -----------------------------------------------------------------------------------

    def mkdir(self, path: bytes, mode: int, caller: Caller) -> None:
        try:
            os.mkdir(self._at(path), mode)
        except FileExistsError:
            raise EntryExists(os.fsdecode(path)) from None

    def mknod(self, path: bytes, mode: int, rdev: int, caller: Caller) -> None:
        try:
            os.mknod(self._at(path), mode, rdev)
        except FileExistsError:
            raise EntryExists(os.fsdecode(path)) from None

    def symlink(self, path: bytes, target: bytes, caller: Caller) -> None:
        try:
            os.symlink(target, self._at(path))
        except FileExistsError:
            raise EntryExists(os.fsdecode(path)) from None

    def link(self, source: bytes, path: bytes) -> None:
        try:
            os.link(self._at(source), self._at(path), follow_symlinks=False)
        except FileExistsError:
            raise EntryExists(os.fsdecode(path)) from None

    def unlink(self, path: bytes) -> None:
        try:
            os.unlink(self._at(path))
        except FileNotFoundError:
            raise NoEntry(os.fsdecode(path)) from None

    def rename(self, old: bytes, new: bytes) -> None:
        os.rename(self._at(old), self._at(new))

    def chmod(self, path: bytes, mode: int) -> None:
        os.chmod(self._at(path), mode)

    def chown(self, path: bytes, uid: int | None, gid: int | None) -> None:
        try:
            os.chown(
                self._at(path), -1 if uid is None else uid, -1 if gid is None else gid, follow_symlinks=False
            )
        except PermissionError:
            self.left_out.add("owners")

    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        old = os.lstat(self._at(path))
        times = (
            old.st_atime_ns if atime_ns is None else atime_ns,
            old.st_mtime_ns if mtime_ns is None else mtime_ns,
        )
        os.utime(self._at(path), ns=times, follow_symlinks=False)

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        try:
            os.setxattr(self._at(path), name, value, flags, follow_symlinks=False)
        except OSError:  # not this user's, or nothing that this filesystem keeps
            self.left_out.add("extended attributes")

    # --- contents -----------------------------------------------------------------------------------

    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> Opened:
        try:
            return Opened(os.open(self._at(path), flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        except FileExistsError:
            raise EntryExists(os.fsdecode(path)) from None

    def open(self, path: bytes, flags: int) -> Opened:
        return Opened(os.open(self._at(path), flags | os.O_NOFOLLOW | os.O_CLOEXEC))

    def read(self, handle: int, size: int, offset: int) -> bytes:
        return os.pread(handle, size, offset)

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        view, done = memoryview(data), 0
        while done < len(view):
            done += os.pwrite(handle, view[done:], offset + done)
        return done

    def ftruncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def fsync(self, handle: int, datasync: bool) -> None:
        os.fsync(handle)

    def fsyncdir(self, path: bytes) -> None:
        descriptor = os.open(self._at(path) or b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def release(self, handle: int) -> None:
        os.close(handle)


def _attr(status: os.stat_result) -> Attr:
    return Attr(
        ino=status.st_ino,
        mode=status.st_mode,
        nlink=status.st_nlink,
        uid=status.st_uid,
        gid=status.st_gid,
        rdev=status.st_rdev if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode) else 0,
        size=status.st_size,
        blocks=status.st_blocks,
        atime_ns=status.st_atime_ns,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
    )


def _entry(entry: os.DirEntry[bytes]) -> DirEntry | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return DirEntry(entry.name, status.st_ino, stat.S_IFMT(status.st_mode))
