"""An archive's runs and media kept on the drive itself, and brought back from there.

They lie in PLACE in the drive's root as ordinary files: what is derived of them (views, catalogue) is made
anew. Each file is copied under a name that no reader looks at and renamed when it is whole; so an interrupted
copy goes on with the next. Of a run that goes on (it has a STATE, which is there first and goes last) the
drive gets the newest. Nothing else there is ever overwritten or removed: a run that is over and media do not
change, so if they have changed here, this disk is at fault. Bringing back overwrites nothing either.
Limits: runs that were added in place stay where they are. Errors: those of the drive, OSError, sqlite3.Error.
Threading: one thread.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from discordfs.archived.mediafiles import DATABASE, MEDIA, add_rows, same_rows
from discordfs.archived.root import MAKING, own_runs
from discordfs.archived.runs import COVERAGE, STATE
from discordfs.copying import Tree, copy, describe
from discordfs.disk import DRAFT, remove_journals
from discordfs.errors import EntryExists, NoEntry
from discordfs.localtree import LocalTree
from discordfs.model import Caller

PLACE = b"/.archive"
"""Where the drive has it."""

Told = Callable[[int, int], None]
"""Hears how many files are done, of how many."""

_DRAFT = os.fsencode(DRAFT)
_UNFINISHED = (_DRAFT, os.fsencode(MAKING))
_MEDIA = b"/" + os.fsencode(MEDIA)
_STATE, _COVERAGE = b"/" + os.fsencode(STATE), b"/" + os.fsencode(COVERAGE)
_DATABASE = b"/" + os.fsencode(DATABASE)


@dataclass(frozen=True, slots=True)
class Copied:
    """`files` and `bytes` that were copied; what was there already does not count. `others`: files, by their
    names in the archive, that are not as the drive has them and should be: there they were left as they
    are."""

    files: int = 0
    bytes: int = 0
    others: tuple[str, ...] = ()

    def with_file(self, size: int) -> Copied:
        return replace(self, files=self.files + 1, bytes=self.bytes + size)

    def with_other(self, name: str) -> Copied:
        return replace(self, others=(*self.others, name))


def keep(root: Path, drive: Tree, caller: Caller, tell: Told = lambda done, total: None) -> Copied:
    """Brings the drive's copy of the archive at `root` up to date; `caller` owns what is made there. It is on
    Discord once the drive says so of all that was closed before (its barrier)."""
    local = LocalTree(root)
    runs = [b"/" + os.fsencode(run.path.name) for run in own_runs(root)]
    folders = [*runs, *([_MEDIA] if exists(local, _MEDIA) else [])]
    entries = [found for folder in folders for found in walk(local, folder)]
    _make(drive, PLACE, caller)
    copied = Copied()
    unfinished = [run for run in runs if exists(local, run + _STATE)]
    for run in unfinished:
        copied = _begin(local, run, drive, caller, copied)
    going_on = {run for run in runs if exists(drive, PLACE + run + _STATE)}
    for number, (path, is_folder) in enumerate(entries):
        tell(number + 1, len(entries))
        if is_folder:
            _make(drive, PLACE + path, caller)
            _sweep(drive, PLACE + path)
        elif path != _MEDIA + _DATABASE:
            copied = _keep_file(local, path, drive, caller, copied, may_change=_run_of(path) in going_on)
    if exists(local, _MEDIA + _DATABASE):
        copied = _keep_database(root / MEDIA / DATABASE, drive, caller, copied)
    for run in going_on.difference(unfinished):
        _end(local, run, drive)
    drive.fsyncdir(PLACE)
    return copied


def bring_back(drive: Tree, root: Path, tell: Told = lambda done, total: None) -> Copied:
    """Copies what the drive has of an archive and `root` has not; the views are the caller's to make. A table
    of media that is here learns what the drive's knows."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    local, me = LocalTree(root), Caller(os.geteuid(), os.getegid())
    copied, entries = Copied(), list(walk(drive, PLACE))[1:]
    for number, (path, is_folder) in enumerate(entries):
        tell(number + 1, len(entries))
        place = path.removeprefix(PLACE)
        if is_folder:
            _make(local, place, me)
        elif not exists(local, place):
            if place == _MEDIA + _DATABASE:
                remove_journals(root / MEDIA / DATABASE)
            copied = copied.with_file(copy_whole(drive, path, local, place, me))
        elif place == _MEDIA + _DATABASE:
            with _fetched(drive, path) as other:
                add_rows(root / MEDIA / DATABASE, other)
    return copied


# --- which files -------------------------------------------------------------------------------------------


def walk(tree: Tree, folder: bytes) -> Iterator[tuple[bytes, bool]]:
    """(path, whether it is a directory): the directory itself, then what is below."""
    yield folder, True
    for name, is_folder in _listed(tree, folder):
        path = folder + b"/" + name
        if is_folder:
            yield from walk(tree, path)
        else:
            yield path, False


def _listed(tree: Tree, folder: bytes) -> list[tuple[bytes, bool]]:
    """(name, whether it is a directory) of directories and of plain files that are whole, by name."""
    found = []
    for entry in tree.readdir(folder):
        kind = stat.S_IFMT(entry.mode)
        is_side = entry.name.startswith(_DATABASE[1:] + b"-")  # what SQLite has beside a database
        if kind in (stat.S_IFDIR, stat.S_IFREG) and not is_side and not entry.name.startswith(_UNFINISHED):
            found.append((entry.name, kind == stat.S_IFDIR))
    return sorted(found)


def exists(tree: Tree, path: bytes) -> bool:
    """Whether there is an entry of this name."""
    try:
        tree.getattr(path)
    except NoEntry:
        return False
    return True


# --- copying ------------------------------------------------------------------------------------------------


def _make(tree: Tree, folder: bytes, caller: Caller) -> None:
    with suppress(EntryExists):
        tree.mkdir(folder, 0o700, caller)


def copy_whole(source: Tree, path: bytes, target: Tree, place: bytes, caller: Caller) -> int:
    """Copies a file under a name that `walk` passes over, and renames it when it is whole. Its bytes."""
    folder, _, name = place.rpartition(b"/")
    draft = folder + b"/" + _DRAFT + name[:200]
    if exists(target, draft):
        target.unlink(draft)
    said = describe(source, path)
    attr = replace(said.attr, uid=caller.uid, gid=caller.gid)
    copy(source, path, target, draft, replace(said, attr=attr, xattrs={}))
    target.rename(draft, place)
    return attr.size


def _run_of(path: bytes) -> bytes:
    return b"/" + path.split(b"/", 2)[1]


def _begin(local: Tree, run: bytes, drive: Tree, caller: Caller, copied: Copied) -> Copied:
    """Where nothing is there of an unfinished run, its directory is made, with its state first."""
    _make(drive, PLACE + run, caller)
    if _listed(drive, PLACE + run):
        return copied
    return copied.with_file(copy_whole(local, run + _STATE, drive, PLACE + run + _STATE, caller))


def _keep_file(
    local: Tree, path: bytes, drive: Tree, caller: Caller, copied: Copied, *, may_change: bool
) -> Copied:
    """Of a run that goes on it is there by size and time of change, as rsync has it; any other by size."""
    place = PLACE + path
    if exists(drive, place):
        mine, other = local.getattr(path), drive.getattr(place)
        if (mine.size, mine.mtime_ns) == (other.size, other.mtime_ns):
            return copied
        if not may_change:
            return copied if mine.size == other.size else copied.with_other(os.fsdecode(path[1:]))
    return copied.with_file(copy_whole(local, path, drive, place, caller))


def _end(local: Tree, run: bytes, drive: Tree) -> None:
    """What a run has no more once it has ended well, its state last."""
    for name in (_COVERAGE, _STATE):
        if exists(drive, PLACE + run + name) and not exists(local, run + name):
            drive.unlink(PLACE + run + name)


def _sweep(drive: Tree, folder: bytes) -> None:
    """What an interrupted copy left."""
    for entry in drive.readdir(folder):
        if stat.S_ISREG(entry.mode) and entry.name.startswith(_DRAFT):
            drive.unlink(folder + b"/" + entry.name)


def _keep_database(database: Path, drive: Tree, caller: Caller, copied: Copied) -> Copied:
    """As it is at one moment, whoever writes in it, with what only the drive knows; last, so that it names no
    file that is not there."""
    place = PLACE + _MEDIA + _DATABASE
    with tempfile.TemporaryDirectory(prefix="discordfs-keep-") as folder:
        new = Path(folder, DATABASE)
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(new)) as target:
            source.backup(target)
        if exists(drive, place):
            with _fetched(drive, place) as old:
                add_rows(new, old)
                if same_rows(new, old):
                    return copied
        with closing(sqlite3.connect(new)) as target:
            target.execute("PRAGMA journal_mode = DELETE")  # a file by itself
        return copied.with_file(copy_whole(LocalTree(Path(folder)), _DATABASE, drive, place, caller))


@contextmanager
def _fetched(drive: Tree, path: bytes) -> Iterator[Path]:
    """A file of the drive as one of this disk, for a while."""
    with tempfile.TemporaryDirectory(prefix="discordfs-keep-") as folder:
        copy_whole(drive, path, LocalTree(Path(folder)), b"/fetched", Caller(os.geteuid(), os.getegid()))
        yield Path(folder, "fetched")
