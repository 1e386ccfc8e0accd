"""What several rooms need of the local disk. Threading: any thread; nothing is kept."""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

DRAFT = ".new-"
"""How the names of files begin that are not whole yet."""

JOURNALS = ("-wal", "-shm", "-journal")
"""How the names end of what SQLite has beside a database."""

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


def remove_drafts(folder: Path, before_s: float = math.inf) -> None:
    """Removes what ended processes left half made of whole files in `folder` and below it. Where others may
    be at work: what was changed last before that time (epoch seconds)."""
    for place, _, names in os.walk(folder):
        for draft in (Path(place, name) for name in names if name.startswith(DRAFT)):
            with suppress(FileNotFoundError):  # it has got its name, or somebody else removed it
                if draft.stat().st_mtime < before_s:
                    draft.unlink()


def new_database(path: Path, script: str) -> None:
    """An SQLite file of what `script` makes, where there is none; its directory must be there. It is whole
    from its first moment on: a process that ends in between leaves nobody a file without tables."""
    if path.exists():
        return
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(script)
        content = database.serialize()
    with _directory_lock(path.parent):
        if path.exists():  # somebody else was faster
            return
        remove_journals(path)
        with whole_file(path) as file:
            file.write(content)


def remove_journals(database: Path) -> None:
    """What an earlier database of this name left beside it, before another one takes the name: SQLite would
    carry it out on that one, whose pages are others (its document "How To Corrupt An SQLite Database")."""
    for suffix in JOURNALS:
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def put_database(draft: Path, place: Path) -> None:
    """A database that is whole and closed takes the name `place`; on disk when this returns. The one before
    must not lose its WAL and stay: who dies in the midst leaves it to `finish_database`."""
    os.replace(draft, _next(place))
    sync_directory(place.parent)
    finish_database(place)


def finish_database(place: Path) -> None:
    """Before a database is opened that `put_database` may replace: carries out what that had begun."""
    if _next(place).exists():
        remove_journals(place)
        os.replace(_next(place), place)
        sync_directory(place.parent)


def _next(place: Path) -> Path:
    return place.with_name(f"{place.name}.next")


@contextmanager
def _directory_lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def boot_id() -> str:
    """What the kernel calls this run of the machine (random(4)): another one after each start."""
    return _BOOT_ID.read_text(encoding="ascii").strip()
