"""Value types and protocols that the layers speak to each other in.

Nothing here does I/O, takes a lock or reads a clock. Sizes and offsets are bytes, times are epoch
nanoseconds unless a name says otherwise, ids of Discord are integers (snowflakes).
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BLOCK_SIZE = 256 * 1024
"""Bytes of a chunk's plaintext that are compressed, sealed, cached and fetched together (at most)."""

CHUNK_SIZE = 24 * 1024**2
"""Bytes of a chunk as posted, footer included, at most."""

NAME_MAX = 255
"""Bytes of a name, at most (POSIX NAME_MAX as Linux has it)."""

ROOT_INO = 1

Clock = Callable[[], int]
"""Epoch nanoseconds."""

RandomBytes = Callable[[int], bytes]
"""n -> n bytes fit for keys and ids."""


# --- files ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attr:
    """An inode's attributes. `blocks` counts allocated 512-byte units (holes are not allocated)."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)


@dataclass(frozen=True, slots=True)
class DirEntry:
    """A name in a directory; `mode` holds the file type bits at least."""

    name: bytes
    ino: int
    mode: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the ids a new entry gets."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class StatFs:
    """Sizes in bytes; `files` counts inodes."""

    total: int
    free: int
    files: int
    name_max: int = NAME_MAX


@dataclass(frozen=True, slots=True)
class Opened:
    """What open and create give: a handle, and whether the kernel may keep the pages it has. `direct`: it
    keeps none at all, and asks for exactly what the program reads, nothing ahead; then the file cannot be
    mapped into memory for sharing (mmap's MAP_SHARED)."""

    handle: int
    keep_cache: bool = False
    direct: bool = False


class Filesystem(Protocol):
    """The drive as its faces see it. Paths are absolute bytes (b"/a/b"), names any bytes but "/" and NUL.

    Every method may raise FilesystemError, RemoteError, Damaged, TimedOut or Interrupted, and may be
    called from any thread. What a call promises once it returned stands in docs/SEMANTICS.md.
    """

    def getattr(self, path: bytes) -> Attr: ...
    def fgetattr(self, handle: int) -> Attr: ...
    def readdir(self, path: bytes) -> Sequence[DirEntry]: ...
    def readlink(self, path: bytes) -> bytes: ...
    def mkdir(self, path: bytes, mode: int, caller: Caller) -> None: ...
    def mknod(self, path: bytes, mode: int, rdev: int, caller: Caller) -> None: ...
    def symlink(self, path: bytes, target: bytes, caller: Caller) -> None: ...
    def link(self, source: bytes, path: bytes) -> None: ...
    def unlink(self, path: bytes) -> None: ...
    def rmdir(self, path: bytes) -> None: ...
    def rename(self, old: bytes, new: bytes) -> None: ...
    def chmod(self, path: bytes, mode: int) -> None: ...
    def chown(self, path: bytes, uid: int | None, gid: int | None) -> None:
        """None leaves an id as it is."""

    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        """None leaves a time as it is (UTIME_OMIT); the caller resolves UTIME_NOW."""

    def truncate(self, path: bytes, size: int) -> None: ...
    def ftruncate(self, handle: int, size: int) -> None: ...
    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> Opened: ...
    def open(self, path: bytes, flags: int) -> Opened: ...
    def read(self, handle: int, size: int, offset: int) -> bytes | memoryview:
        """At most `size` bytes; fewer only at the end of the file. Holes read as zeros."""

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        """`data` is read before this returns and not kept: it may be a view of the face's own buffer."""

    def flush(self, handle: int) -> None:
        """close(2): what was written is committed to the index when this returns."""

    def fsync(self, handle: int, datasync: bool) -> None: ...
    def fsyncdir(self, path: bytes) -> None: ...
    def release(self, handle: int) -> None: ...
    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None: ...
    def getxattr(self, path: bytes, name: bytes) -> bytes: ...
    def listxattr(self, path: bytes) -> Sequence[bytes]: ...
    def removexattr(self, path: bytes, name: bytes) -> None: ...
    def statfs(self) -> StatFs: ...
    def time_ns(self) -> int:
        """The drive's clock, for UTIME_NOW."""


class ReadOnlyTree(Protocol):
    """A view that tree.py grafts beside the drive (archive/, clips/). Paths are absolute, as seen from the
    view's own root (b"/"). Handles are below 2^48; inode numbers have bit 63 set, so that none is the
    drive's."""

    @property
    def has_content(self) -> bool:
        """A view without any is not shown. Asked at each look into the view, so it is cheap."""

    def getattr(self, path: bytes) -> Attr: ...
    def fgetattr(self, handle: int) -> Attr: ...
    def readdir(self, path: bytes) -> Sequence[DirEntry]: ...
    def readlink(self, path: bytes) -> bytes: ...
    def open(self, path: bytes) -> Opened: ...
    def read(self, handle: int, size: int, offset: int) -> bytes: ...
    def release(self, handle: int) -> None: ...


# --- where bytes live ---------------------------------------------------------------------------


class Home(enum.IntEnum):
    """Where an extent's bytes are; the whole life stands as a table at the top of staging.py."""

    STAGED = 0
    SEALED = 1
    REMOTE = 2


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of a file's bytes. `segment` and `segment_position` say where it is in staging (meaningful
    unless REMOTE), `chunk` (the index's row id) and `chunk_position` where it is in that chunk's plaintext
    (meaningful unless STAGED)."""

    offset: int
    length: int
    home: Home
    segment: int = 0
    segment_position: int = 0
    chunk: int = 0
    chunk_position: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.length

    def longer(self, by: int) -> Extent:
        """This extent with so many more bytes at its end (dataclasses.replace costs 18 µs, this 1)."""
        return Extent(
            self.offset,
            self.length + by,
            self.home,
            self.segment,
            self.segment_position,
            self.chunk,
            self.chunk_position,
        )

    def cut(self, start: int, end: int) -> Extent:
        """The part of this extent within [start, end) of the file; the range must overlap it."""
        start, end = max(start, self.offset), min(end, self.end)
        skip = start - self.offset
        return Extent(
            start,
            end - start,
            self.home,
            self.segment,
            self.segment_position + skip,
            self.chunk,
            self.chunk_position + skip,
        )


class Kind(enum.IntEnum):
    """What a chunk's plaintext is: files' bytes, or entries of the log (2 to 15 belong to it). A PART holds
    the earlier entries of a record or snapshot that is too large for one chunk."""

    DATA = 1
    RECORD = 2
    SNAPSHOT = 3
    PART = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of a file's bytes on its way into a chunk. `seq` is the commit it belongs to, `name` a hint
    for recovery without the log (the last name the file had; may be empty)."""

    ino: int
    offset: int
    length: int
    seq: int
    name: bytes
    segment: int
    segment_position: int


@dataclass(frozen=True, slots=True)
class AttachmentRef:
    """One attachment of a chunk's message and how many bytes of the chunk it holds, in order."""

    id: int
    size: int


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """A chunk that is on Discord.

    `uid` is its random 16-byte id, `plain_size` the bytes of plaintext, `blocks` the sealed length of each
    block (unsigned 32-bit little-endian, concatenated, in order): block n holds plaintext
    [n * BLOCK_SIZE, (n + 1) * BLOCK_SIZE) and lies after the sealed blocks before it. No block straddles
    two attachments.
    """

    uid: bytes
    channel: int
    message: int
    attachments: tuple[AttachmentRef, ...]
    plain_size: int
    blocks: bytes


@dataclass(frozen=True, slots=True)
class SealedChunk:
    """A chunk sealed once into a local file, ready to be posted, any number of times, byte for byte.

    `path` is the whole chunk as posted (blocks, footer, trailer); `stored_size` its bytes. `blocks` and
    `plain_size` as in ChunkRef. `pieces` are what went in: the last may be shorter than what was offered;
    a chunk of the log has exactly one, of inode 0.
    """

    uid: bytes
    path: Path
    stored_size: int
    plain_size: int
    blocks: bytes
    pieces: tuple[Piece, ...] = ()
    kind: Kind = Kind.DATA


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may carry: bytes of one file, bytes of the whole request, number of files."""

    file_bytes: int
    request_bytes: int
    files: int


# --- figures for `status` ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """`staged_*`: closed but not on Discord; `uploading_bytes`: of those, sealed and under way."""

    staged_files: int
    staged_bytes: int
    uploading_bytes: int


@dataclass(frozen=True, slots=True)
class CacheStatus:
    ram_bytes: int
    disk_bytes: int
    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests by "METHOD /route/{id}", API and CDN; bytes of bodies sent and received."""

    requests: dict[str, int]
    bytes_up: int
    bytes_down: int
