"""An archive's runs and media kept on the drive itself, and brought back from there.

They lie in PLACE in the drive's root as ordinary files: what is derived of them (views, catalogue) is made
anew. Each file is copied under a name that no reader looks at and renamed when it is whole; so an interrupted
copy goes on with the next. Of a run that has changed the drive gets the newest; bringing back overwrites
nothing that is there.
Limits: runs that were added in place stay where they are. Errors: those of the drive, OSError, sqlite3.Error.
Threading: one thread.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from discordfs.archived.mediafiles import DATABASE, MEDIA
from discordfs.archived.root import MAKING, own_runs
from discordfs.copying import Tree, copy, describe, has_same_contents
from discordfs.disk import DRAFT
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
_DATABASE = b"/" + os.fsencode(DATABASE)


@dataclass(frozen=True, slots=True)
class Copied:
    """`files` and `bytes` that were copied; what was there already does not count."""

    files: int = 0
    bytes: int = 0

    def with_file(self, size: int) -> Copied:
        return Copied(self.files + 1, self.bytes + size)


def keep(root: Path, drive: Tree, caller: Caller, tell: Told = lambda done, total: None) -> Copied:
    """Brings the drive's copy of the archive at `root` up to date; `caller` owns what is made there. It is on
    Discord once the drive says so of all that was closed before (its barrier)."""
    local = LocalTree(root)
    runs = [b"/" + os.fsencode(run.path.name) for run in own_runs(root)]
    folders = [*runs, *([_MEDIA] if exists(local, _MEDIA) else [])]
    entries = [found for folder in folders for found in walk(local, folder)]
    copied = Copied()
    _make(drive, PLACE, caller)
    for number, (path, is_folder) in enumerate(entries):
        tell(number + 1, len(entries))
        if is_folder:
            _make(drive, PLACE + path, caller)
            _sweep(local, path, drive)
        elif path != _MEDIA + _DATABASE and not _is_there(local, path, drive, PLACE + path):
            copied = copied.with_file(copy_whole(local, path, drive, PLACE + path, caller))
    if exists(local, _MEDIA + _DATABASE):
        copied = _keep_database(root / MEDIA / DATABASE, drive, caller, copied)
    drive.fsyncdir(PLACE)
    return copied


def bring_back(drive: Tree, root: Path, tell: Told = lambda done, total: None) -> Copied:
    """Copies what the drive has of an archive and `root` has not; the views are the caller's to make."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    local, me = LocalTree(root), Caller(os.geteuid(), os.getegid())
    copied, entries = Copied(), list(walk(drive, PLACE))[1:]
    for number, (path, is_folder) in enumerate(entries):
        tell(number + 1, len(entries))
        place = path.removeprefix(PLACE)
        if is_folder:
            _make(local, place, me)
        elif not exists(local, place):
            copied = copied.with_file(copy_whole(drive, path, local, place, me))
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


def _is_there(source: Tree, path: bytes, target: Tree, place: bytes) -> bool:
    """By size and time of change, as rsync has it: record files only grow, media never change."""
    if not exists(target, place):
        return False
    mine, other = source.getattr(path), target.getattr(place)
    return (mine.size, mine.mtime_ns) == (other.size, other.mtime_ns)


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


def _sweep(local: Tree, folder: bytes, drive: Tree) -> None:
    """What a run has no more (its state, once it has ended well), and what an interrupted copy left. Media
    stay."""
    names = {name for name, _ in _listed(local, folder)}
    for entry in drive.readdir(PLACE + folder):
        is_gone = entry.name not in names and not folder.startswith(_MEDIA)
        if stat.S_ISREG(entry.mode) and (is_gone or entry.name.startswith(_DRAFT)):
            drive.unlink(PLACE + folder + b"/" + entry.name)


def _keep_database(database: Path, drive: Tree, caller: Caller, copied: Copied) -> Copied:
    """As it is at one moment, whoever writes in it; last, so that it names no file that is not there."""
    place = PLACE + _MEDIA + _DATABASE
    with tempfile.TemporaryDirectory(prefix="discordfs-keep-") as folder:
        with (
            closing(sqlite3.connect(database)) as old,
            closing(sqlite3.connect(Path(folder, DATABASE))) as new,
        ):
            old.backup(new)
        snapshot = LocalTree(Path(folder))
        if exists(drive, place) and has_same_contents(snapshot, _DATABASE, drive, place):
            return copied
        return copied.with_file(copy_whole(snapshot, _DATABASE, drive, place, caller))
