"""What several rooms need of the local disk. Threading: any thread; nothing is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

DRAFT = ".new-"
"""How the names of files begin that are not whole yet."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def sync_directory(path: Path) -> None:
    """The names in a directory are on disk when this returns (fsync(2): a file's own sync is not enough)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(directory: Path) -> None:
    """Everything in a directory, names and bytes, is on disk when this returns; nothing when it is absent."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_directory(directory)


def make_directory(path: Path) -> None:
    """For its owner alone; its name is on disk when this returns. Nothing when it is there."""
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path`, whole and on disk, when the block ends well; else nothing is
    changed. Its directory is made where it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=DRAFT, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
    sync_directory(path.parent)


def boot_id() -> str:
    """What the kernel calls this run of the machine (random(4)): another one after each start."""
    return _BOOT_ID.read_text(encoding="ascii").strip()
