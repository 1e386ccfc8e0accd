"""Files that mostly grow at their end, written so that nobody ever sees half of one.

What is behind an offset is written anew into a nameless place beside the file. If the file's own bytes from
there on are a beginning of that, it only grew, and just the rest is appended: that is compared byte for byte,
not assumed. Else the whole takes the file's place by a rename. Errors: OSError. Threading: one thread each.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from io import BufferedRandom, FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from discordfs.disk import DRAFT

_STEP = 1 << 20


class Tail:
    """`path` from `offset` on; `write`, then `finish`. Without `finish` nothing happens to the file."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=path.parent, buffering=_STEP)  # noqa: SIM115
        self._size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)

    @property
    def position(self) -> int:
        """Where in the whole file the next byte goes."""
        return self._offset + self._size

    def finish(self, mtime_ns: int) -> int:
        """The file is as was written, and its bytes are counted."""
        grown = self._grown_from()
        if grown is None:
            self._replace()
        elif grown < self.position:
            with self._path.open("ab") as file:
                self._file.seek(grown - self._offset)
                shutil.copyfileobj(self._file, file, _STEP)
        os.utime(self._path, ns=(mtime_ns, mtime_ns))
        return self.position

    def _grown_from(self) -> int | None:
        """The size of the file if it is a beginning of what it is to be; None if not, or if it is not
        there."""
        try:
            old = self._path.open("rb")
        except FileNotFoundError:
            return None
        with old:
            size = os.fstat(old.fileno()).st_size
            if size > self.position or size < self._offset:
                return None
            old.seek(self._offset)
            self._file.seek(0)
            while piece := old.read(_STEP):
                if self._file.read(len(piece)) != piece:
                    return None
        return size

    def _replace(self) -> None:
        with new_file(self._path) as file:
            if self._offset:
                with self._path.open("rb") as old:
                    _copy(old, file, self._offset)
            self._file.seek(0)
            shutil.copyfileobj(self._file, file, _STEP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    while size and (piece := source.read(min(size, _STEP))):
        target.write(piece)
        size -= len(piece)
    if size:
        raise OSError(f"{source.name} ends {size} bytes early")


class new_file:
    """`with new_file(path) as file`: takes the place of `path` when the block ends well."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> BufferedRandom:
        descriptor, self._name = tempfile.mkstemp(prefix=DRAFT, dir=self._path.parent)
        self._file = BufferedRandom(FileIO(descriptor, "r+b"), _STEP)
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._name, self._path)
        else:
            os.unlink(self._name)


def sweep(folder: Path) -> None:
    """Removes what somebody who was killed left half made. Nobody else may be making files there."""
    for left in folder.glob(f"{DRAFT}*"):
        left.unlink()


def put(path: Path, data: bytes, mtime_ns: int) -> bool:
    """The small file `path` holds `data`; whether that was news."""
    is_news = not path.exists() or path.read_bytes() != data
    if is_news:
        with new_file(path) as file:
            file.write(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return is_news
