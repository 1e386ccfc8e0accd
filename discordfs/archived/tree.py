"""archive/ as a read-only tree: <root>/views/ and, under runs/, each run's own files to the byte.

Everything is a look at the directories as they are now: sizes are exact, a seek costs nothing, new runs
appear at once. Nothing leads out: links are not followed, and what is being written stays hidden until it has
its name. Runs that were added in place lie beside those of the root. Modes and owners are the files' own.
Errors: NoEntry, NotADirectory, IsADirectory, InvalidArgument, BadHandle; other OSErrors as they come.
Threading: any; one dictionary of open files, single operations each.
"""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

from discordfs.archived.names import RUNS
from discordfs.archived.root import MAKING, VIEWS, find_run, listed_runs
from discordfs.disk import DRAFT
from discordfs.errors import BadHandle, InvalidArgument, IsADirectory, NoEntry, NotADirectory
from discordfs.model import Attr, DirEntry, Opened

_HIDDEN = tuple(os.fsencode(start) for start in (DRAFT, MAKING))
_RUNS = os.fsencode(RUNS)
_OWN_INODES = 1 << 63
"""Set in all inode numbers here: the drive's have it clear."""


class ArchiveTree:
    """The archive at `root`, which need not be there yet."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._views = os.fsencode(root / VIEWS)
        self._descriptors: dict[int, int] = {}
        self._numbers = itertools.count(1)

    @property
    def has_content(self) -> bool:
        return self._has_views() or bool(listed_runs(self._root))

    def _has_views(self) -> bool:
        try:
            with os.scandir(self._views) as entries:
                return any(entry.is_dir(follow_symlinks=False) for entry in entries)
        except FileNotFoundError:
            return False

    # --- where things lie ------------------------------------------------------------------------------

    def _place(self, path: bytes) -> bytes:
        """Where an entry really is; empty for the two directories that are only here."""
        parts = [part for part in path.split(b"/") if part]
        if any(part.startswith(_HIDDEN) or part == b".." for part in parts):
            raise NoEntry(os.fsdecode(path))
        if not parts or parts == [_RUNS]:
            return b""
        if parts[0] != _RUNS:
            return _within(self._views, parts, path)
        run = find_run(self._root, os.fsdecode(parts[1]))
        if run is None:
            raise NoEntry(os.fsdecode(path))
        return _within(os.fsencode(run), parts[2:], path)

    # --- looking ---------------------------------------------------------------------------------------

    def getattr(self, path: bytes) -> Attr:
        place = self._place(path)
        if not place:
            return self._made_up(path)
        return _attr(_status(place, path))

    def _made_up(self, path: bytes) -> Attr:
        at = self._root if self._root.is_dir() else self._root.parent
        attr = _attr(os.stat(at))
        number = _OWN_INODES | (2 if path.strip(b"/") else 1)
        return Attr(number, *(getattr(attr, name) for name in _AFTER_INO))

    def readdir(self, path: bytes) -> list[DirEntry]:
        place = self._place(path)
        if place:
            return _listed(place, path)
        runs = listed_runs(self._root)
        if path.strip(b"/"):
            return [DirEntry(os.fsencode(run.name), _number(os.stat(run.path)), stat.S_IFDIR) for run in runs]
        shown = _listed(self._views, path) if self._has_views() else []
        return [*shown, *([DirEntry(_RUNS, _OWN_INODES | 2, stat.S_IFDIR)] if runs else [])]

    def readlink(self, path: bytes) -> bytes:
        place = self._place(path)
        if not place or not stat.S_ISLNK(_status(place, path).st_mode):
            raise InvalidArgument(f"{os.fsdecode(path)} is no symbolic link")
        return os.readlink(place)

    # --- reading ---------------------------------------------------------------------------------------

    def open(self, path: bytes) -> Opened:
        place = self._place(path)
        if not place or stat.S_ISDIR(_status(place, path).st_mode):
            raise IsADirectory(os.fsdecode(path))
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        number = next(self._numbers)
        self._descriptors[number] = descriptor
        return Opened(number)

    def fgetattr(self, handle: int) -> Attr:
        return _attr(os.fstat(self._descriptor(handle)))

    def read(self, handle: int, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor(handle), size, offset)

    def release(self, handle: int) -> None:
        descriptor = self._descriptors.pop(handle, None)
        if descriptor is not None:
            os.close(descriptor)

    def _descriptor(self, handle: int) -> int:
        try:
            return self._descriptors[handle]
        except KeyError:
            raise BadHandle(f"handle {handle} is not open") from None


_AFTER_INO = tuple(name for name in Attr.__slots__ if name != "ino")


def _within(base: bytes, parts: list[bytes], path: bytes) -> bytes:
    """`parts` below `base`; none of them but the last may be a link, which could lead anywhere."""
    for end in range(1, len(parts)):
        if os.path.islink(b"/".join([base, *parts[:end]])):
            raise NoEntry(os.fsdecode(path))
    return b"/".join([base, *parts])


def _status(place: bytes, path: bytes) -> os.stat_result:
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        raise NoEntry(os.fsdecode(path)) from None
    except NotADirectoryError:
        raise NotADirectory(os.fsdecode(path)) from None
    return found


def _listed(place: bytes, path: bytes) -> list[DirEntry]:
    try:
        with os.scandir(place) as entries:
            return [
                DirEntry(entry.name, _OWN_INODES | entry.inode(), _type(entry))
                for entry in entries
                if not entry.name.startswith(_HIDDEN)
            ]
    except FileNotFoundError:
        raise NoEntry(os.fsdecode(path)) from None
    except NotADirectoryError:
        raise NotADirectory(os.fsdecode(path)) from None


def _type(entry: os.DirEntry[bytes]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG


def _number(status: os.stat_result) -> int:
    return _OWN_INODES | status.st_ino


def _attr(status: os.stat_result) -> Attr:
    return Attr(
        ino=_number(status),
        mode=status.st_mode,
        nlink=status.st_nlink,
        uid=status.st_uid,
        gid=status.st_gid,
        rdev=status.st_rdev,
        size=status.st_size,
        blocks=status.st_blocks,
        atime_ns=status.st_atime_ns,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
    )
