"""A file of records that only grows, plain or gzip, and can be gone on with after a kill.

`add` keeps lines in memory, `commit` hands them to the kernel in one write: from then on they survive kill
-9; `sync` brings them to disk. With gzip each commit is a member of its own, so a file that was cut short can
be read up to its last whole member. `open` cuts off what was torn and counts what is there.
Limits: a commit is held in memory (a page and what it entailed). Threading: any thread; a lock of its own.
"""

from __future__ import annotations

import gzip
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_STEP = 1 << 16
_GZIP_LEVEL = 6
_WITH_HEADER = 31  # of zlib: a gzip member


class RecordFile:
    """Records in `path` (with `.gz` behind it if `compressed`). `http` and `ws` count those of each type."""

    def __init__(self, path: Path, compressed: bool = False) -> None:
        self.path = path.with_name(path.name + ".gz") if compressed else path
        self._compressed = compressed
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._descriptor = -1
        self._is_unsynced = False
        self.http = 0
        self.ws = 0
        self.size = 0

    def open(self) -> None:
        """Goes on behind what is there; what a kill has torn off at the end is cut away first."""
        whole = 0
        if self.path.exists():
            for end, lines in self._wholes():
                whole = end
                for line in lines:
                    self._count(line)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, whole)
        os.lseek(self._descriptor, whole, os.SEEK_SET)
        self.size = whole

    def _wholes(self) -> Iterator[tuple[int, list[bytes]]]:
        with self.path.open("rb") as file:
            yield from _members(file) if self._compressed else _lines(file)

    def _count(self, line: str | bytes) -> None:
        start = line[:13] if isinstance(line, str) else line[:13].decode("ascii", "replace")
        if start == '{"type": "ws"':
            self.ws += 1
        else:
            self.http += 1

    def add(self, line: str | None) -> None:
        """A record without its line end; None is none."""
        if line is not None:
            with self._lock:
                self._lines.append(line)
                self._count(line)

    def commit(self) -> None:
        """What was added survives a kill when this returns."""
        with self._lock:
            if not self._lines:
                return
            data = ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
            if self._compressed:
                data = gzip.compress(data, _GZIP_LEVEL, mtime=0)
            self._write(data)

    def _write(self, data: bytes) -> None:
        """All of it or, on a disk that is full, none: what is written later must not follow half a record."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            raise
        self.size += len(data)
        self._is_unsynced = True

    def sync(self) -> None:
        """What was committed survives a power cut when this returns."""
        with self._lock:
            is_needed, self._is_unsynced = self._is_unsynced, False
            descriptor = os.dup(self._descriptor) if is_needed and self._descriptor >= 0 else -1
        if descriptor >= 0:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Commits, syncs, closes. Harmless when it is closed already."""
        if self._descriptor < 0:
            return
        self.commit()
        self.sync()
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1


def _lines(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    end = 0
    for line in file:
        if not line.endswith(b"}\n"):
            return
        end += len(line)
        yield end, [line]


def _members(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """The whole gzip members from the start on: where each ends, and its lines."""
    left = b""
    while True:
        engine, plain = zlib.decompressobj(_WITH_HEADER), bytearray()
        while not engine.eof:
            left = left or file.read(_STEP)
            if not left:
                return
            try:
                plain += engine.decompress(left)
            except zlib.error:
                return
            left = engine.unused_data
        yield file.tell() - len(left), bytes(plain).splitlines(keepends=False)
