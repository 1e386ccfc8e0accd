"""The FUSE face: paths and structs in, errnos out.

Translates only; what a call means stands in fs.py. The only importer of `fuse`, and the only place with
errno numbers (ERRNO). Names are bytes throughout: libfuse's own bytes go to the drive untouched, so any
name round-trips. Sizes in bytes, times in epoch nanoseconds.

Threading: libfuse calls every method from many threads of its own, which get a lasting interpreter state
here. The face keeps two small tables (open directories, orphans); a single dict operation each, which
the interpreter makes atomic.

Whatever a callback raises ends in Face._wrapper: refusals that POSIX has a name for become that errno,
anything else is logged once, with the operation and the path, and becomes EIO. fusepy by itself would
report success for an OSError without an errno, and end the mount at a SystemExit.

This is written for libfuse 2 through fusepy; FUSE.__init__, FUSE._wrapper, fuse_get_context and c_stat are
all that is used of it, and the maintained fork mfusepy has them too.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import fuse

from discordfs import errors
from discordfs.model import Attr, Caller, DirEntry, Filesystem, Opened
from discordfs.orphans import Orphans, Purpose, purpose_of
from discordfs.statstruct import StatPacker

log = logging.getLogger(__name__)

ERRNO: dict[type[errors.DiscordfsError], int] = {
    errors.NoEntry: errno.ENOENT,
    errors.EntryExists: errno.EEXIST,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.DirectoryNotEmpty: errno.ENOTEMPTY,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.InvalidArgument: errno.EINVAL,
    errors.TooManyLinks: errno.EMLINK,
    errors.FileTooBig: errno.EFBIG,
    errors.BadHandle: errno.EBADF,
    errors.ReadOnly: errno.EROFS,
    errors.NotPermitted: errno.EPERM,
    errors.NoSpace: errno.ENOSPC,
    errors.NotSupported: errno.EOPNOTSUPP,
    errors.NoAttribute: errno.ENODATA,
    errors.AttributeTooBig: errno.E2BIG,
    # Discord refused or did not answer: to a program that is a failed disk, whatever the reason.
    errors.RemoteError: errno.EIO,
    errors.Unavailable: errno.EIO,
    errors.OutcomeUnknown: errno.EIO,
    errors.RateLimited: errno.EIO,
    errors.Unauthorized: errno.EIO,
    errors.Forbidden: errno.EIO,
    errors.RemoteGone: errno.EIO,
    errors.TooLarge: errno.EIO,
    errors.BadRequest: errno.EIO,
    errors.Damaged: errno.EIO,
    errors.TimedOut: errno.EIO,
    errors.Interrupted: errno.EINTR,
}
"""Every error class that may come out of a Filesystem; one without a row is EIO."""

UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
"""utimensat(2): tv_nsec values that mean "now" and "leave it"."""

STATFS_UNIT = 4096
"""Bytes that statvfs counts in."""

IO_SIZE = 128 * 1024
"""Bytes of one kernel request at most (libfuse 2), and so the size that programs are told to use."""

FREE_INODES = 1 << 32
"""What df -i shows as free: inode numbers do not run out."""

NO_ID = 0xFFFF_FFFF
"""chown(2)'s -1: leave this id."""

KERNEL_OPTIONS: dict[str, Any] = {
    # Two links of a file are two inodes to this kernel interface: cached attributes of one would go stale
    # when the other is written, so none are kept.
    "attr_timeout": 0,
    # A name's existence changes only through this mount, except for the views; a second is a fair price
    # for not asking again at each component of a path.
    "entry_timeout": 1,
    "negative_timeout": 0,
    "default_permissions": True,
    "use_ino": True,
    "big_writes": True,
    # Open and truncation arrive as one call, so that a file being rewritten can stay the old one until its
    # close; without it the kernel truncates first, and a crash in between leaves an empty file.
    "atomic_o_trunc": True,
    # The default of 12 would let 12 slow reads from Discord hold up every other background read.
    "max_background": 256,
    "congestion_threshold": 192,
    "subtype": "discordfs",
}


@dataclass(frozen=True, slots=True)
class MountOptions:
    """`fsname` stands as the source in /proc/mounts; `extra` are options for the kernel or libfuse
    (("ro", True), ("uid", 1000), …)."""

    fsname: str
    extra: tuple[tuple[str, str | int | bool], ...] = ()
    debug: bool = False


def errno_of(error: BaseException) -> int:
    """The errno that a program sees for `error`."""
    for cls in type(error).__mro__:
        if cls in ERRNO:
            return ERRNO[cls]
    if _is_disk_full(error):
        return errno.ENOSPC
    return errno.EIO


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _caller() -> Caller:
    uid, gid, _pid = fuse.fuse_get_context()
    return Caller(uid, gid)


class _OpenDirectory:
    """An open directory: its path and attributes, and the listing made at opendir until the first readdir
    takes it."""

    __slots__ = ("attr", "entries", "path")

    def __init__(self, path: bytes, attr: Attr, entries: Sequence[DirEntry]) -> None:
        self.path = path
        self.attr = attr
        self.entries: Sequence[DirEntry] | None = entries


KEPT_THREADS = 64
"""Threads of libfuse whose interpreter state is kept between calls, at most."""

_kept = threading.local()
"""Has a `state` on threads that serve a call."""
_kept_count = itertools.count(1)


def _keep_thread_state() -> None:
    """Without this the interpreter makes and drops a thread state, with all of its thread-locals, at every
    call of libfuse: a third of a stat's time, and a decompressor lost after each read. One reference more
    keeps it. A thread's end does not give it back, hence the bound: libfuse starts and ends threads as
    the load goes."""
    _kept.state = True
    if next(_kept_count) <= KEPT_THREADS:
        ctypes.pythonapi.PyGILState_Ensure()


def interrupted() -> bool:
    """Whether the program whose call this thread serves has been interrupted; False on any other thread.

    Others must not ask: libfuse keeps the request in a thread-local, finds none there, and follows it."""
    if not hasattr(_kept, "state"):
        return False
    return bool(fuse._libfuse.fuse_interrupted())


def _purpose(hidden: bytes) -> Purpose:
    _uid, _gid, thread = fuse.fuse_get_context()
    return purpose_of(thread, hidden)


class Face(fuse.FUSE):  # type: ignore[misc]  # fusepy is untyped
    """One mount: `Face(drive, …)` returns when it is unmounted.

    The methods are called by libfuse with C values. fusepy looks at the names that `operations`, which is
    this object too, offers, and at its flags."""

    use_ns = True
    flag_utime_omit_ok = 1
    # Handles suffice for everything that has one: libfuse then computes no path, and takes no lock on the
    # path, for reads and writes; a slow read holds up no rename.
    flag_nullpath_ok = 1
    flag_nopath = 1
    # Left to the kernel: permission checks (default_permissions) and locks, which are local to this mount.
    access = lock = bmap = ioctl = None

    def __init__(
        self, drive: Filesystem, mountpoint: bytes, options: MountOptions, on_init: Callable[[], None]
    ) -> None:
        self._drive = drive
        self._on_init = on_init
        self._orphans = Orphans(drive, _purpose)
        self._directories: dict[int, _OpenDirectory] = {}
        self._numbers = itertools.count(1)
        self._packer = StatPacker(fuse.c_stat, fuse.c_timespec, IO_SIZE)
        # latin-1 maps bytes to characters one to one, so the mountpoint comes out as the bytes it is.
        super().__init__(
            self,
            mountpoint.decode("latin-1"),
            encoding="latin-1",
            foreground=True,
            debug=options.debug,
            fsname=options.fsname,
            **KERNEL_OPTIONS | dict(options.extra),
        )

    @staticmethod
    def _wrapper(func: Callable[..., int | None], *args: Any) -> int:
        """Every callback goes through here; nothing escapes into C."""
        try:
            if not hasattr(_kept, "state"):
                _keep_thread_state()
            return func(*args) or 0
        except errors.FilesystemError as error:
            number = errno_of(error)
            if number == errno.ENOSPC:
                log.warning("%s %s: %s", func.__name__, _subject(args), error)
            return -number
        except (errors.DiscordfsError, errors.Interrupted) as error:
            number = errno_of(error)
            log.warning("%s %s: %s: %s", func.__name__, _subject(args), type(error).__name__, error)
            return -number
        except BaseException as error:
            log.exception("%s %s failed", func.__name__, _subject(args))
            return -errno_of(error)

    # --- life ---

    def init(self, _connection: int) -> int:
        self._on_init()
        return 0

    def destroy(self, _private: int) -> int:
        return 0

    # --- attributes ---

    def getattr(self, path: bytes, stat_p: Any) -> int:
        try:
            attr = self._drive.getattr(path)
        except errors.NoEntry:
            attr = self._orphans.getattr(path)
        return self._fill(stat_p, attr)

    def fgetattr(self, _path: bytes | None, stat_p: Any, info_p: Any) -> int:
        return self._fill(stat_p, self._drive.fgetattr(info_p.contents.fh))

    def _fill(self, stat_p: Any, attr: Attr) -> int:
        packer = self._packer
        ctypes.memmove(stat_p, packer.pack(attr), packer.size)
        return 0

    def chmod(self, path: bytes, mode: int) -> None:
        self._drive.chmod(path, mode)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        self._drive.chown(path, None if uid == NO_ID else uid, None if gid == NO_ID else gid)

    def utimens(self, path: bytes, times_p: Any) -> None:
        if not times_p:
            now = self._drive.time_ns()
            self._drive.utimens(path, now, now)
            return
        times = times_p.contents
        self._drive.utimens(path, self._time_ns(times.actime), self._time_ns(times.modtime))

    def _time_ns(self, time: Any) -> int | None:
        nsec: int = time.tv_nsec
        if nsec == UTIME_OMIT:
            return None
        if nsec == UTIME_NOW:
            return self._drive.time_ns()
        return int(time.tv_sec) * 1_000_000_000 + nsec

    def truncate(self, path: bytes, size: int) -> None:
        self._drive.truncate(path, size)

    def ftruncate(self, _path: bytes | None, size: int, info_p: Any) -> None:
        self._drive.ftruncate(info_p.contents.fh, size)

    # --- names ---

    def readlink(self, path: bytes, buffer: Any, size: int) -> None:
        target = self._drive.readlink(path)[: size - 1] + b"\0"
        ctypes.memmove(buffer, target, len(target))

    def mknod(self, path: bytes, mode: int, rdev: int) -> None:
        self._drive.mknod(path, mode, rdev, _caller())

    def mkdir(self, path: bytes, mode: int) -> None:
        self._drive.mkdir(path, mode, _caller())

    def symlink(self, target: bytes, path: bytes) -> None:
        self._drive.symlink(path, target, _caller())

    def link(self, source: bytes, path: bytes) -> None:
        self._drive.link(source, path)

    def unlink(self, path: bytes) -> None:
        if not self._orphans.forget(path):
            self._drive.unlink(path)

    def rmdir(self, path: bytes) -> None:
        self._drive.rmdir(path)

    def rename(self, old: bytes, new: bytes) -> None:
        if not self._orphans.hide(old, new):
            self._drive.rename(old, new)

    # --- files ---

    def create(self, path: bytes, mode: int, info_p: Any) -> None:
        info = info_p.contents
        self._opened(info, self._drive.create(path, mode, info.flags, _caller()))

    def open(self, path: bytes, info_p: Any) -> int:
        info = info_p.contents
        try:
            opened = self._drive.open(path, info.flags)
        except errors.NoEntry:
            # The kernel had found the name, so it was replaced or removed since then. ESTALE makes the
            # kernel look it up afresh: a reader racing with a rename gets the new file, not ENOENT.
            return -errno.ESTALE
        self._opened(info, opened)
        return 0

    def _opened(self, info: Any, opened: Opened) -> None:
        info.fh = opened.handle
        info.keep_cache = opened.keep_cache
        if opened.direct:  # else as the mount's own option says
            info.direct_io = 1
        self._orphans.opened(opened.handle)

    def read(self, _path: bytes | None, buffer: Any, size: int, offset: int, info_p: Any) -> int:
        data = self._drive.read(info_p.contents.fh, size, offset)
        length = len(data)
        if length > size:
            raise ValueError(f"the drive gave {length} bytes where {size} were asked for")
        _view(buffer, size)[:length] = data
        return length

    def write(self, _path: bytes | None, buffer: Any, size: int, offset: int, info_p: Any) -> int:
        return self._drive.write(info_p.contents.fh, _view(buffer, size), offset)

    def flush(self, _path: bytes | None, info_p: Any) -> None:
        self._drive.flush(info_p.contents.fh)

    def fsync(self, _path: bytes | None, datasync: int, info_p: Any) -> None:
        self._drive.fsync(info_p.contents.fh, bool(datasync))

    def release(self, _path: bytes | None, info_p: Any) -> None:
        handle = info_p.contents.fh
        self._orphans.closed(handle)
        self._drive.release(handle)

    # --- directories ---

    def opendir(self, path: bytes, info_p: Any) -> None:
        number = next(self._numbers)
        self._directories[number] = _OpenDirectory(path, self._drive.getattr(path), self._drive.readdir(path))
        info_p.contents.fh = number

    def readdir(self, _path: bytes | None, buffer: Any, filler: Any, _offset: int, info_p: Any) -> None:
        directory = self._directories[info_p.contents.fh]
        # The listing of opendir serves the first read, whatever the directory is called by now, unless it
        # is old: programs make entries through a descriptor and then list them through it. After a
        # rewinddir libfuse asks again and POSIX wants it fresh.
        entries, directory.entries = directory.entries, None
        if entries is None or self._is_old(directory):
            entries = self._drive.readdir(directory.path)
        entry_stat = fuse.c_stat()
        pointer = ctypes.pointer(entry_stat)
        for name in (b".", b".."):
            filler(buffer, name, None, 0)
        for entry in entries:
            entry_stat.st_ino = entry.ino
            entry_stat.st_mode = entry.mode
            if filler(buffer, entry.name, pointer, 0):
                raise MemoryError("libfuse has no room for the listing")

    def _is_old(self, directory: _OpenDirectory) -> bool:
        try:
            now = self._drive.getattr(directory.path)
        except errors.FilesystemError:  # renamed or removed since: its name tells nothing of it
            return False
        return now.ino == directory.attr.ino and now.mtime_ns != directory.attr.mtime_ns

    def fsyncdir(self, _path: bytes | None, _datasync: int, info_p: Any) -> None:
        self._drive.fsyncdir(self._directories[info_p.contents.fh].path)

    def releasedir(self, _path: bytes | None, info_p: Any) -> None:
        self._directories.pop(info_p.contents.fh, None)

    # --- extended attributes ---

    def setxattr(self, path: bytes, name: bytes, value: Any, size: int, flags: int) -> None:
        self._drive.setxattr(path, name, ctypes.string_at(value, size), flags)

    def getxattr(self, path: bytes, name: bytes, buffer: Any, size: int) -> int:
        return _give(self._drive.getxattr(path, name), buffer, size)

    def listxattr(self, path: bytes, buffer: Any, size: int) -> int:
        return _give(b"".join(name + b"\0" for name in self._drive.listxattr(path)), buffer, size)

    def removexattr(self, path: bytes, name: bytes) -> None:
        self._drive.removexattr(path, name)

    # --- the whole ---

    def statfs(self, _path: bytes, statvfs_p: Any) -> None:
        figures = self._drive.statfs()
        out = statvfs_p.contents
        out.f_bsize = out.f_frsize = STATFS_UNIT
        out.f_blocks = figures.total // STATFS_UNIT
        out.f_bfree = out.f_bavail = figures.free // STATFS_UNIT
        out.f_files = figures.files + FREE_INODES
        out.f_ffree = out.f_favail = FREE_INODES
        out.f_namemax = figures.name_max


def _view(buffer: Any, size: int) -> memoryview:
    """libfuse's own bytes, without a copy; only until the callback returns."""
    return memoryview((ctypes.c_char * size).from_address(ctypes.addressof(buffer.contents))).cast("B")


def _give(value: bytes, buffer: Any, size: int) -> int:
    """Answers an xattr call: its size where only that was asked, else the bytes, all or nothing."""
    if not buffer or size == 0:
        return len(value)
    if len(value) > size:
        return -errno.ERANGE
    ctypes.memmove(buffer, value, len(value))
    return len(value)


def _subject(args: Sequence[Any]) -> str:
    """What a failed call was about, for the log: its path, or its handle."""
    if args and isinstance(args[0], bytes):
        return os.fsdecode(args[0]).encode("utf-8", "backslashreplace").decode()
    handles = [arg.contents.fh for arg in args if isinstance(arg, ctypes.POINTER(fuse.fuse_file_info))]
    return f"handle {handles[0]}" if handles else "-"


def serve(
    drive: Filesystem, mountpoint: bytes, options: MountOptions, on_init: Callable[[], None] = lambda: None
) -> None:
    """Mounts `drive` and serves it until it is unmounted, or SIGINT, SIGTERM or SIGHUP comes (libfuse then
    unmounts by itself). Call it on the main thread. `on_init` is called, on a thread of libfuse, as the
    kernel connects. Raises DiscordfsError when libfuse refuses (it has said why on stderr by then)."""
    try:
        Face(drive, mountpoint, options, on_init)
    except RuntimeError as error:
        raise errors.DiscordfsError(f"libfuse could not mount {os.fsdecode(mountpoint)}") from error
