"""The drive: what POSIX expects of paths, inodes and handles, over index, staging and chunks.

Job: semantics. Works without libfuse; raises the errors of errors.py, which the faces translate. What is
promised, and what each call has done once it returned, stands in docs/SEMANTICS.md.

Threading: any thread may call anything. Lock order, outermost first:

    1. the tree lock     names: create, link, unlink, rename, and open against them
    2. a node's lock     one inode's contents and attributes
    3. the node table    who uses which inode (a leaf but for nothing: only dictionary work inside)
    4. the index's lock, 5. staging's lock

None of them is held while waiting for Discord or for room in staging.
"""

from __future__ import annotations

import itertools
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from discordfs.chunkstore import ChunkStore
from discordfs.contents import Contents
from discordfs.errors import (
    BadHandle,
    DirectoryNotEmpty,
    EntryExists,
    FileTooBig,
    InvalidArgument,
    IsADirectory,
    NameTooLong,
    NotADirectory,
    NotPermitted,
    ReadOnly,
    TooManyLinks,
)
from discordfs.index import Index
from discordfs.ledger import END
from discordfs.model import (
    Attr,
    Caller,
    Clock,
    DirEntry,
    Opened,
    StatFs,
)
from discordfs.node import Node
from discordfs.nodes import NodeTable
from discordfs.paths import Paths
from discordfs.readahead import Readahead
from discordfs.relocation import Relocator
from discordfs.staging import Staging
from discordfs.syncing import Syncer
from discordfs.uploader import Uploader
from discordfs.xattrs import ExtendedAttributes

FREE_WHILE_WORKING = 2**50
"""What statfs calls free while uploads work: Discord states no bound, and 1 PiB overflows nothing."""

_LINK_MAX = 65_000
_TARGET_MAX = 4095


@dataclass(slots=True)
class _Handle:
    node: Node
    may_read: bool
    may_write: bool
    appends: bool
    syncs: bool
    readahead: Readahead = field(default_factory=Readahead)


class Drive:
    """model.Filesystem over an index, staging and chunks. `cancelled` tells, on the calling thread,
    whether the caller of the current operation has gone away. `refresh` is for a drive that another machine
    writes: it brings the index to the newest record, and waits for that."""

    def __init__(
        self,
        *,
        index: Index,
        staging: Staging,
        chunks: ChunkStore,
        uploader: Uploader,
        clock: Clock,
        cancelled: Callable[[], bool] = lambda: False,
        refresh: Callable[[], None] | None = None,
    ) -> None:
        self._index = index
        self._staging = staging
        self._chunks = chunks
        self._uploader = uploader
        self._clock = clock
        self._cancelled = cancelled
        self._tree = threading.Lock()
        self._paths = Paths(index)
        self._follows = refresh is not None
        self._nodes = NodeTable(index, staging, uploader.committed, self._follows)
        self._contents = Contents(staging, chunks, self._nodes, cancelled, refresh)
        self._xattrs = ExtendedAttributes(index, self._nodes, clock)
        self._relocator = Relocator(index, staging, chunks, self._nodes)
        self._handles: dict[int, _Handle] = {}
        self._numbers = itertools.count(1)
        self._linked: set[int] = set()
        uploader.attach(self._nodes.settle, self._nodes.reload)
        index.before_sync(staging.sync)
        self._syncer = Syncer(index)
        staging.on_dying(self._syncer.wake)
        self._syncer.start()

    def time_ns(self) -> int:
        return self._clock()

    def quiet_s(self) -> float:
        """Seconds since anybody changed anything; 0 as long as writes are not committed."""
        return 0.0 if self._nodes.is_any_changed() else self._uploader.quiet_s()

    def relocate(self, ino: int, start: int, end: int, cancelled: Callable[[], bool]) -> int:
        """Has what a file has on Discord within [start, end) sent anew, into another chunk; bytes moved. As
        Relocator.relocate; ReadOnly where nothing may be written."""
        self._check_writable()
        return self._relocator.relocate(ino, start, end, cancelled)

    def _check_writable(self) -> None:
        if self._uploader.lost:
            raise ReadOnly(self._uploader.lost)

    # --- looking --------------------------------------------------------------------------------------

    def getattr(self, path: bytes) -> Attr:
        return self._paths.looked_up(lambda: self._attr(self._paths.resolve(path)))

    def _attr(self, ino: int) -> Attr:
        node = self._nodes.get(ino)
        if node is None or not node.is_changed:
            return self._index.attr(ino)
        with node.lock:
            return node.attr()

    def fgetattr(self, handle: int) -> Attr:
        node = self._handle(handle).node
        if not self._follows:
            return self._attr(node.ino)
        with node.lock:
            return node.attr()

    def readdir(self, path: bytes) -> list[DirEntry]:
        return self._paths.looked_up(lambda: self._readdir(path))

    def _readdir(self, path: bytes) -> list[DirEntry]:
        ino = self._paths.resolve(path)
        if not self._index.attr(ino).is_dir:
            raise NotADirectory(os.fsdecode(path))
        return self._index.entries(ino)

    def readlink(self, path: bytes) -> bytes:
        return self._paths.looked_up(lambda: self._readlink(path))

    def _readlink(self, path: bytes) -> bytes:
        ino = self._paths.resolve(path)
        if not stat.S_ISLNK(self._index.attr(ino).mode):
            raise InvalidArgument(f"{os.fsdecode(path)} is no symbolic link")
        return self._index.target(ino)

    def statfs(self) -> StatFs:
        free = FREE_WHILE_WORKING if self._uploader.is_working else self._staging.room()
        return StatFs(self._index.ledger.live_bytes + free, free, self._index.inodes)

    # --- names ------------------------------------------------------------------------------------------

    def mkdir(self, path: bytes, mode: int, caller: Caller) -> None:
        self._make(path, stat.S_IFDIR | stat.S_IMODE(mode), caller)

    def mknod(self, path: bytes, mode: int, rdev: int, caller: Caller) -> None:
        self._make(path, mode, caller, rdev=rdev)

    def symlink(self, path: bytes, target: bytes, caller: Caller) -> None:
        if len(target) > _TARGET_MAX:
            raise NameTooLong(f"a link's target of {len(target)} bytes")
        self._make(path, stat.S_IFLNK | 0o777, caller, target=target)

    def _make(self, path: bytes, mode: int, caller: Caller, rdev: int = 0, target: bytes = b"") -> Attr:
        self._check_writable()
        with self._tree:
            return self._make_locked(path, mode, caller, rdev, target)

    def _make_locked(
        self, path: bytes, mode: int, caller: Caller, rdev: int = 0, target: bytes = b""
    ) -> Attr:
        parent, name = self._paths.parent(path)
        if self._index.lookup(parent, name) is not None:
            raise EntryExists(os.fsdecode(path))
        above, gid = self._index.attr(parent), caller.gid
        if above.mode & stat.S_ISGID:
            gid = above.gid
            mode |= stat.S_ISGID if stat.S_ISDIR(mode) else 0
        now = self._clock()
        nlink = 2 if stat.S_ISDIR(mode) else 1
        attr = Attr(0, mode, nlink, caller.uid, gid, rdev, len(target), 0, now, now, now)
        made = self._index.create(parent, name, attr, target)
        self._uploader.committed()
        return made

    def link(self, source: bytes, path: bytes) -> None:
        self._check_writable()
        with self._tree:
            ino = self._paths.resolve(source)
            attr = self._index.attr(ino)
            if attr.is_dir:
                raise NotPermitted("a directory has one name only")
            if attr.nlink >= _LINK_MAX:
                raise TooManyLinks(os.fsdecode(source))
            parent, name = self._paths.parent(path)
            if self._index.lookup(parent, name) is not None:
                raise EntryExists(os.fsdecode(path))
            self._linked.add(ino)
            self._index.link(parent, name, ino, self._clock())
        self._uploader.committed()

    def unlink(self, path: bytes) -> None:
        self._check_writable()
        with self._tree:
            parent, name = self._paths.parent(path)
            ino = self._paths.resolve(path)
            if self._index.attr(ino).is_dir:
                raise IsADirectory(os.fsdecode(path))
            released = self._index.unlink(parent, name, ino, self._clock(), self._nodes.is_in_use(ino))
        self._staging.release(released)
        self._nodes.forget_if_unlinked(ino)
        self._uploader.committed()

    def rmdir(self, path: bytes) -> None:
        self._check_writable()
        with self._tree:
            parent, name = self._paths.parent(path)
            ino = self._paths.resolve(path)
            self._check_removable_directory(path, ino)
            self._index.unlink(parent, name, ino, self._clock(), is_open=False)
        self._uploader.committed()

    def _check_removable_directory(self, path: bytes, ino: int) -> None:
        if not self._index.attr(ino).is_dir:
            raise NotADirectory(os.fsdecode(path))
        if not self._index.is_empty(ino):
            raise DirectoryNotEmpty(os.fsdecode(path))

    def rename(self, old: bytes, new: bytes) -> None:
        self._check_writable()
        with self._tree:
            ino = self._paths.resolve(old)
            source, destination = self._paths.parent(old), self._paths.parent(new)
            replaced = self._index.lookup(*destination)
            if replaced == ino:
                return
            self._check_rename(old, new, ino, replaced)
            in_use = replaced is not None and self._nodes.is_in_use(replaced)
            released = self._index.rename(source, destination, ino, replaced, self._clock(), in_use)
        self._staging.release(released)
        if replaced is not None:
            self._nodes.forget_if_unlinked(replaced)
        self._uploader.committed()

    def _check_rename(self, old: bytes, new: bytes, ino: int, replaced: int | None) -> None:
        is_dir = self._index.attr(ino).is_dir
        if is_dir and new.startswith(old.rstrip(b"/") + b"/"):
            raise InvalidArgument("a directory cannot move into itself")
        if replaced is None:
            return
        if is_dir:
            self._check_removable_directory(new, replaced)
        elif self._index.attr(replaced).is_dir:
            raise IsADirectory(os.fsdecode(new))

    # --- attributes ---------------------------------------------------------------------------------------

    def chmod(self, path: bytes, mode: int) -> None:
        self._check_writable()
        with self._nodes.using(self._paths.resolve(path)) as node:
            attr = node.attr()
            mode = stat.S_IFMT(attr.mode) | stat.S_IMODE(mode)
            self._set_attr(node, replace(attr, mode=mode, ctime_ns=self._clock()))

    def chown(self, path: bytes, uid: int | None, gid: int | None) -> None:
        self._check_writable()
        with self._nodes.using(self._paths.resolve(path)) as node:
            attr = node.attr()
            uid, gid = attr.uid if uid is None else uid, attr.gid if gid is None else gid
            self._set_attr(node, replace(attr, uid=uid, gid=gid, ctime_ns=self._clock()))

    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        """A new access time alone is no reason to send anything to Discord: it goes with the next change."""
        self._check_writable()
        with self._nodes.using(self._paths.resolve(path)) as node:
            attr = node.attr()
            atime = attr.atime_ns if atime_ns is None else _kept(atime_ns)
            mtime = attr.mtime_ns if mtime_ns is None else _kept(mtime_ns)
            new = replace(attr, atime_ns=atime, mtime_ns=mtime, ctime_ns=self._clock())
            self._set_attr(node, new, counts=mtime != attr.mtime_ns)

    def _set_attr(self, node: Node, attr: Attr, counts: bool = True) -> None:
        counts = counts or node.is_changed
        node.set_attr(attr)
        if counts:
            self._uploader.committed()

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        self._check_writable()
        self._xattrs.set(self._paths.resolve(path), name, value, flags)
        self._uploader.committed()

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        return self._paths.looked_up(lambda: self._xattrs.get(self._paths.resolve(path), name))

    def listxattr(self, path: bytes) -> list[bytes]:
        return self._index.xattrs(self._paths.resolve(path))

    def removexattr(self, path: bytes, name: bytes) -> None:
        self._check_writable()
        self._xattrs.remove(self._paths.resolve(path), name)
        self._uploader.committed()

    # --- handles ------------------------------------------------------------------------------------------

    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> Opened:
        self._check_writable()
        with self._tree:
            attr = self._make_locked(path, stat.S_IFREG | stat.S_IMODE(mode), caller)
            node = self._nodes.take(attr.ino)
        return Opened(self._add_handle(node, flags))

    def open(self, path: bytes, flags: int) -> Opened:
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            self._check_writable()
        attr, node = self._paths.looked_up(lambda: self._take(path))
        number = self._add_handle(node, flags)
        if flags & os.O_TRUNC:
            self.ftruncate(number, 0)
        return Opened(number, keep_cache=self._may_keep_pages(attr))

    def _take(self, path: bytes) -> tuple[Attr, Node]:
        with self._tree:
            attr = self._index.attr(self._paths.resolve(path))
            if attr.is_dir:
                raise IsADirectory(os.fsdecode(path))
            return attr, self._nodes.take(attr.ino)

    def _may_keep_pages(self, attr: Attr) -> bool:
        """Each name of an inode has pages of its own in the kernel: only a file that never had a second
        name (since this mount began) can trust them, and none that another machine writes."""
        if attr.nlink > 1:
            self._linked.add(attr.ino)
        return attr.ino not in self._linked and not self._follows

    def _add_handle(self, node: Node, flags: int) -> int:
        number = next(self._numbers)
        access = flags & os.O_ACCMODE
        self._handles[number] = _Handle(
            node,
            may_read=access != os.O_WRONLY,
            may_write=access != os.O_RDONLY,
            appends=bool(flags & os.O_APPEND),
            syncs=bool(flags & (os.O_SYNC | os.O_DSYNC)),
        )
        return number

    def _handle(self, number: int) -> _Handle:
        try:
            return self._handles[number]
        except KeyError:
            raise BadHandle(f"handle {number} is not open") from None

    def flush(self, handle: int) -> None:
        node = self._handle(handle).node
        if node.is_changed:
            with node.lock:
                self._nodes.commit(node)

    def fsync(self, handle: int, datasync: bool) -> None:
        self.flush(handle)
        self._index.sync()

    def fsyncdir(self, path: bytes) -> None:
        self._index.sync()

    def release(self, handle: int) -> None:
        node = self._handle(handle).node
        try:
            self.flush(handle)
        finally:
            del self._handles[handle]
            self._nodes.give(node)

    # --- contents -------------------------------------------------------------------------------------------

    def truncate(self, path: bytes, size: int) -> None:
        _check_end(size)
        self._check_writable()
        with self._nodes.using(self._paths.resolve(path)) as node:
            attr = self._index.attr(node.ino)
            if attr.is_dir:
                raise IsADirectory(os.fsdecode(path))
            if not attr.is_regular:
                raise InvalidArgument(f"{os.fsdecode(path)} is no regular file")
            node.truncate(size, self._clock())
            self._nodes.commit(node)

    def ftruncate(self, handle: int, size: int) -> None:
        """Committed with the writes around it, at the latest when the file is closed: so a file that is
        emptied and written anew is the old one or the new one after a crash."""
        _check_end(size)
        self._check_writable()
        held = self._handle(handle)
        if not held.may_write and size != 0:
            raise InvalidArgument("the file is not open for writing")
        with held.node.lock:
            held.node.truncate(size, self._clock())

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        held = self._handle(handle)
        if not held.may_write:
            raise BadHandle("the file is not open for writing")
        _check_end(offset + len(data))
        self._check_writable()
        self._staging.admit(len(data), self._cancelled)
        node = held.node
        with node.lock:
            node.write(data, node.size if held.appends else offset, self._clock())
        if held.syncs:
            self.fsync(handle, datasync=False)
        return len(data)

    def read(self, handle: int, size: int, offset: int) -> bytes | memoryview:
        held = self._handle(handle)
        if not held.may_read:
            raise BadHandle("the file is not open for reading")
        data = self._contents.read(held.node, size, offset)
        self._contents.read_ahead(held.node, held.readahead, offset, offset + len(data))
        return data

    def close(self) -> None:
        """The mount ends: whatever is still open is committed as if it had been closed."""
        self._syncer.stop()
        for handle in list(self._handles):
            self.release(handle)


def _kept(time_ns: int) -> int:
    """The nearest time that 64 bits of nanoseconds can tell (1677 to 2262), as Linux's own filesystems do
    with times beyond theirs."""
    return max(-(2**63), min(2**63 - 1, time_ns))


def _check_end(end: int) -> None:
    if end > END:
        raise FileTooBig("beyond the largest offset there is")
