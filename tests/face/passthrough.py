"""A Filesystem over a local directory: what the face is tested with, apart from the drive.

Run as a program it mounts that directory until it is unmounted: passthrough.py ROOT MOUNTPOINT.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from discordfs import errors
from discordfs.model import Attr, Caller, DirEntry, Opened, StatFs

CLASSES: dict[int, type[errors.FilesystemError]] = {
    errno.ENOENT: errors.NoEntry,
    errno.EEXIST: errors.EntryExists,
    errno.ENOTDIR: errors.NotADirectory,
    errno.EISDIR: errors.IsADirectory,
    errno.ENOTEMPTY: errors.DirectoryNotEmpty,
    errno.ENAMETOOLONG: errors.NameTooLong,
    errno.EINVAL: errors.InvalidArgument,
    errno.EPERM: errors.NotPermitted,
    errno.EBADF: errors.BadHandle,
    errno.ENODATA: errors.NoAttribute,
    errno.EOPNOTSUPP: errors.NotSupported,
}


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cls = CLASSES.get(error.errno or 0)
        if cls is None:
            raise
        raise cls(str(error)) from error


def attr_of(st: os.stat_result) -> Attr:
    return Attr(
        st.st_ino,
        st.st_mode,
        st.st_nlink,
        st.st_uid,
        st.st_gid,
        st.st_rdev,
        st.st_size,
        st.st_blocks,
        st.st_atime_ns,
        st.st_mtime_ns,
        st.st_ctime_ns,
    )


class Passthrough:
    """`fault(operation, path)` is called first by read, write and getattr: tests raise from it."""

    def __init__(self, root: bytes, fault: Callable[[str, bytes], None] = lambda _op, _path: None) -> None:
        self.root = root
        self.fault = fault

    def _at(self, path: bytes) -> bytes:
        return self.root + path

    def getattr(self, path: bytes) -> Attr:
        self.fault("getattr", path)
        with translated():
            return attr_of(os.lstat(self._at(path)))

    def fgetattr(self, handle: int) -> Attr:
        with translated():
            return attr_of(os.fstat(handle))

    def readdir(self, path: bytes) -> Sequence[DirEntry]:
        """What is removed while we look is not in it: an error would be the whole directory's."""
        found = []
        with translated(), os.scandir(self._at(path)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.append(
                        DirEntry(entry.name, entry.inode(), entry.stat(follow_symlinks=False).st_mode)
                    )
        return found

    def readlink(self, path: bytes) -> bytes:
        with translated():
            return os.readlink(self._at(path))

    def mkdir(self, path: bytes, mode: int, caller: Caller) -> None:
        with translated():
            os.mkdir(self._at(path), mode)

    def mknod(self, path: bytes, mode: int, rdev: int, caller: Caller) -> None:
        with translated():
            os.mknod(self._at(path), mode, rdev)

    def symlink(self, path: bytes, target: bytes, caller: Caller) -> None:
        with translated():
            os.symlink(target, self._at(path))

    def link(self, source: bytes, path: bytes) -> None:
        with translated():
            os.link(self._at(source), self._at(path), follow_symlinks=False)

    def unlink(self, path: bytes) -> None:
        with translated():
            os.unlink(self._at(path))

    def rmdir(self, path: bytes) -> None:
        with translated():
            os.rmdir(self._at(path))

    def rename(self, old: bytes, new: bytes) -> None:
        self.fault("rename", new)
        with translated():
            os.rename(self._at(old), self._at(new))

    def chmod(self, path: bytes, mode: int) -> None:
        with translated():
            os.chmod(self._at(path), mode)

    def chown(self, path: bytes, uid: int | None, gid: int | None) -> None:
        with translated():
            os.lchown(self._at(path), -1 if uid is None else uid, -1 if gid is None else gid)

    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        with translated():
            old = os.lstat(self._at(path))
            atime = old.st_atime_ns if atime_ns is None else atime_ns
            mtime = old.st_mtime_ns if mtime_ns is None else mtime_ns
            os.utime(self._at(path), ns=(atime, mtime), follow_symlinks=False)

    def truncate(self, path: bytes, size: int) -> None:
        with translated():
            os.truncate(self._at(path), size)

    def ftruncate(self, handle: int, size: int) -> None:
        with translated():
            os.ftruncate(handle, size)

    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> Opened:
        with translated():
            return Opened(os.open(self._at(path), flags | os.O_CREAT, mode))

    def open(self, path: bytes, flags: int) -> Opened:
        with translated():
            return Opened(os.open(self._at(path), flags & ~os.O_APPEND))

    def read(self, handle: int, size: int, offset: int) -> bytes:
        self.fault("read", b"")
        with translated():
            return os.pread(handle, size, offset)

    def write(self, handle: int, data: bytes, offset: int) -> int:
        self.fault("write", b"")
        with translated():
            return os.pwrite(handle, data, offset)

    def flush(self, handle: int) -> None:
        pass

    def fsync(self, handle: int, datasync: bool) -> None:
        os.fsync(handle)

    def fsyncdir(self, path: bytes) -> None:
        pass

    def release(self, handle: int) -> None:
        os.close(handle)

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        with translated():
            os.setxattr(self._at(path), name, value, flags, follow_symlinks=False)

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        with translated():
            return os.getxattr(self._at(path), name, follow_symlinks=False)

    def listxattr(self, path: bytes) -> Sequence[bytes]:
        with translated():
            return [os.fsencode(name) for name in os.listxattr(self._at(path), follow_symlinks=False)]

    def removexattr(self, path: bytes, name: bytes) -> None:
        with translated():
            os.removexattr(self._at(path), name, follow_symlinks=False)

    def statfs(self) -> StatFs:
        figures = os.statvfs(self.root)
        return StatFs(
            figures.f_blocks * figures.f_frsize, figures.f_bavail * figures.f_frsize, figures.f_files
        )

    def time_ns(self) -> int:
        return time.time_ns()


def faults(operation: str, path: bytes) -> None:
    """Faults by name, for tests that look at the mount from outside."""
    name = os.path.basename(path)
    if operation == "getattr" and name == b"wait-for-interrupt":
        _wait_for_interrupt()
    if operation == "getattr" and name.startswith(b"raise-"):
        raise {
            b"raise-timeout": TimeoutError("no errno in here"),
            b"raise-exit": SystemExit(3),
            b"raise-keyboard": KeyboardInterrupt(),
            b"raise-value": ValueError("a mistake"),
            b"raise-full": OSError(errno.ENOSPC, "the local disk is full"),
            b"raise-negative": OSError(-5, "nonsense"),
            b"raise-damaged": errors.Damaged("a block is not what was sealed"),
            b"raise-interrupted": errors.Interrupted("the caller went away"),
        }[name]


def _wait_for_interrupt() -> None:
    """As a read of the drive waits for Discord: it looks now and then whether anybody still waits."""
    from discordfs.operations import interrupted

    never = threading.Event()
    while not interrupted():
        never.wait(0.05)
    raise errors.Interrupted("the caller went away")


if __name__ == "__main__":
    from discordfs.operations import MountOptions, serve

    serve(
        Passthrough(os.fsencode(sys.argv[1]), faults),
        os.fsencode(sys.argv[2]),
        MountOptions("passthrough"),
        lambda: print("ready", flush=True),
    )
