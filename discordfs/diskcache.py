"""Sealed blocks on the local disk: one sparse file a chunk, each block where it lies in the chunk.

So neighbours are written and read as one run, a chunk just posted is adopted by a hard link, and there is
no index to keep: at the start the directory's listing says what there is, and a block that is not really
there, or not whole, fails when it is opened, as every block is at every read. Nothing is synced.

Limits: eviction is by chunk, least recently used first; `limit` bytes bounds what the files take on disk
(st_blocks), reserved before it is written. A disk that fails never fails a caller: writes pause for a
while, an eighth of the cache is given back, and the log says so.
Threading: any thread. One lock guards the table and the opening and unlinking of files; bytes are read and
written outside of it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

_log = logging.getLogger(__name__)

TAG = "CACHEDIR.TAG"
_TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Cache of discordfs; may be deleted while the drive is not mounted.\n"
)  # Cache Directory Tagging Specification, https://bford.info/cachedir/
_FOLDER = "chunks-1"
_PAGE = 4096
_STAT_UNIT = 512  # bytes of one of stat's st_blocks
_ALL = -1  # as a bit set: every block may be there
_PAUSE = 64  # writes left out after one failed
_PROBE = 16  # a sealed block never begins and ends with so many zeros; a hole does


class _File:
    """A chunk's file. `present` is a bit set of block numbers; `reserved` bytes are being written."""

    __slots__ = ("actual", "dead", "present", "reserved", "touched")

    def __init__(self, actual: int, present: int, touched: bool) -> None:
        self.actual = actual
        self.present = present
        self.reserved = 0
        self.touched = touched
        self.dead = False


class DiskCache:
    """Sealed blocks by (chunk uid, number), at most `limit` bytes of disk. A limit of 0 keeps nothing."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._folder = directory / _FOLDER
        self._limit = limit
        self._guard = threading.Lock()
        self._files: OrderedDict[bytes, _File] = OrderedDict()
        self._total = 0
        self._pause = 0
        self._usable = self._begin(directory)

    @property
    def total(self) -> int:
        """Bytes on disk, those being written included."""
        return self._total

    def read(self, uid: bytes, numbers: range, offsets: Sequence[int]) -> list[memoryview | None]:
        """The adjacent blocks `numbers`, block n at offsets[n] to offsets[n + 1] of the chunk, unverified;
        None for each that is not there. One open and one read for all of them."""
        descriptor = self._open(uid, numbers)
        if descriptor is None:
            return [None] * len(numbers)
        start = offsets[numbers.start]
        try:
            data = memoryview(os.pread(descriptor, offsets[numbers.stop] - start, start))
        except OSError as error:
            self._failed("reading from", error)
            data = memoryview(b"")
        finally:
            os.close(descriptor)
        blocks = [data[offsets[number] - start : offsets[number + 1] - start] for number in numbers]
        return [
            self._if_whole(uid, number, block, offsets[number + 1] - offsets[number])
            for number, block in zip(numbers, blocks, strict=True)
        ]

    def _if_whole(self, uid: bytes, number: int, block: memoryview, length: int) -> memoryview | None:
        is_hole = block[:_PROBE].tobytes().count(0) == _PROBE and block[-_PROBE:].tobytes().count(0) == _PROBE
        if len(block) == length and not is_hole:
            return block
        self.drop(uid, number)
        return None

    def write(self, uid: bytes, numbers: range, offset: int, data: bytes | memoryview) -> None:
        """The adjacent blocks `numbers`, lying at `offset` of the chunk."""
        need = _pages(offset, len(data))
        entry = self._reserve(uid, need)
        if entry is None:
            return
        written = False
        try:
            self._put(entry, uid, offset, data)
            written = True
        except OSError as error:
            self._failed("writing to", error)
        self._settle(entry, uid, need, numbers, written)

    def adopt(self, uid: bytes, path: Path, count: int, size: int) -> None:
        """The whole chunk in the file at `path`, `count` blocks in its first `size` bytes; `path` stays."""
        if not self._usable or _pages(0, size) > self._limit:
            return
        try:
            self._link(uid, path, count)
        except OSError:  # another filesystem, or one without links
            self._copy(uid, path, count, size)

    def drop(self, uid: bytes, number: int) -> None:
        """Forgets one block; its place is written again when it is fetched anew."""
        with self._guard:
            entry = self._files.get(uid)
            if entry is not None:
                entry.present &= ~(1 << number)

    def surely_had(self, uid: bytes) -> bool:
        """Whether this process wrote the chunk's blocks itself, so that a damaged one is worth a word."""
        with self._guard:
            entry = self._files.get(uid)
            return entry is not None and entry.present >= 0

    # --- inside; names with _locked need the guard -----------------------------------------------------

    def _begin(self, directory: Path) -> bool:
        if self._limit <= 0 and not self._folder.exists():
            return False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (directory / TAG).exists():  # a full disk is no reason to do without what is there
                (directory / TAG).write_text(_TAG_TEXT, encoding="ascii")
            self._scan()
        except OSError as error:
            self._failed("opening", error)
            return False
        with self._guard:
            self._evict_locked(self._limit)
        return self._limit > 0

    def _scan(self) -> None:
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime_ns, entry.name, status.st_blocks * _STAT_UNIT))
        for _, name, size in sorted(found):
            try:
                uid = bytes.fromhex(name)
            except ValueError:
                (self._folder / name).unlink(missing_ok=True)
                continue
            self._files[uid] = _File(size, _ALL, touched=False)
            self._total += size

    def _path(self, uid: bytes) -> Path:
        return self._folder / uid.hex()

    def _open(self, uid: bytes, numbers: range) -> int | None:
        """The chunk's file, if it may have any of the blocks."""
        wanted = ((1 << len(numbers)) - 1) << numbers.start
        with self._guard:
            entry = self._files.get(uid)
            if entry is None or not entry.present & wanted:
                return None
            self._files.move_to_end(uid)
            touch, entry.touched = not entry.touched, True
            try:
                descriptor = os.open(self._path(uid), os.O_RDONLY)
            except FileNotFoundError:  # deleted from under the mount
                self._forget_locked(uid)
                return None
            except OSError as error:
                _log.warning("a file of the cache cannot be opened: %s", error)
                return None
        if touch:
            self._touch(descriptor)
        return descriptor

    def _touch(self, descriptor: int) -> None:
        """Times are the order of use for the next mount."""
        try:
            os.utime(descriptor)
        except OSError as error:
            self._failed("touching a file in", error)

    def _reserve(self, uid: bytes, need: int) -> _File | None:
        with self._guard:
            if not self._usable or need > self._limit:
                return None
            if self._pause:
                self._pause -= 1
                return None
            if uid in self._files:
                self._files.move_to_end(uid)
            self._evict_locked(self._limit - need)
            if self._total + need > self._limit:
                return None  # all of it is being written by others
            entry = self._files.setdefault(uid, _File(0, 0, touched=True))
            entry.reserved += need
            self._total += need
            return entry

    def _put(self, entry: _File, uid: bytes, offset: int, data: bytes | memoryview) -> None:
        with self._guard:
            if entry.dead:
                return
            descriptor = os.open(self._path(uid), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            view = memoryview(data)
            while view:
                done = os.pwrite(descriptor, view, offset)
                view, offset = view[done:], offset + done
        finally:
            os.close(descriptor)

    def _settle(self, entry: _File, uid: bytes, need: int, numbers: range, written: bool) -> None:
        with self._guard:
            entry.reserved -= need
            self._total -= need
            if entry.dead:
                return
            if not written:
                self._forget_locked(uid)
                return
            entry.present |= ((1 << len(numbers)) - 1) << numbers.start
            self._measure_locked(entry, uid, need)
            self._evict_locked(self._limit)

    def _measure_locked(self, entry: _File, uid: bytes, need: int) -> None:
        """What the file takes: as the disk says, once nobody writes to it; until then what was reserved."""
        actual = entry.actual + need
        if not entry.reserved:
            try:
                actual = self._path(uid).stat().st_blocks * _STAT_UNIT
            except OSError as error:
                _log.warning("a file of the cache cannot be measured: %s", error)
        self._total += actual - entry.actual
        entry.actual = actual

    def _link(self, uid: bytes, path: Path, count: int) -> None:
        with self._guard:
            if uid in self._files:
                self._forget_locked(uid)
            need = path.stat().st_blocks * _STAT_UNIT
            if need > self._limit:
                return
            self._evict_locked(self._limit - need)
            if self._total + need > self._limit:
                return
            os.link(path, self._path(uid))
            self._files[uid] = _File(need, (1 << count) - 1, touched=True)
            self._total += need

    def _copy(self, uid: bytes, path: Path, count: int, size: int) -> None:
        try:
            with open(path, "rb") as file:
                data = file.read(size)
        except OSError as error:
            self._failed("copying a chunk to", error)
        else:
            self.write(uid, range(count), 0, data)

    def _evict_locked(self, limit: int) -> None:
        while self._total > limit and self._files:
            self._forget_locked(next(iter(self._files)))

    def _forget_locked(self, uid: bytes) -> None:
        entry = self._files.pop(uid)
        entry.dead = True
        self._total -= entry.actual
        try:
            self._path(uid).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("a file of the cache cannot be deleted: %s", error)

    def _failed(self, doing: str, error: OSError) -> None:
        _log.warning("%s the cache failed, reads go on without it: %s", doing, error)
        with self._guard:
            self._pause = _PAUSE
            self._evict_locked(self._total - self._total // 8)


def _pages(offset: int, length: int) -> int:
    """Bytes of the pages that [offset, offset + length) touches, and one for the filesystem's own map of a
    file with holes."""
    return (-(-(offset + length) // _PAGE) - offset // _PAGE + 1) * _PAGE
