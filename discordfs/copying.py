"""Copying single entries between trees: the drive, and directories of this machine.

Job: one entry with all that belongs to it; whether two are the same. Limits: contents pass through memory a
MiB at a time; runs of zeros become holes. A copy has its name from the start: whoever copies in an
interruptible way looks with `is_same` before. Errors: those of both trees. Threading: one thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from discordfs.model import Attr, Caller, DirEntry, Opened

_RUN = 1024**2
_ZEROS = bytes(_RUN)


class Tree(Protocol):
    """What copying needs of model.Filesystem."""

    def getattr(self, path: bytes) -> Attr: ...
    def readdir(self, path: bytes) -> Sequence[DirEntry]: ...
    def readlink(self, path: bytes) -> bytes: ...
    def listxattr(self, path: bytes) -> Sequence[bytes]: ...
    def getxattr(self, path: bytes, name: bytes) -> bytes: ...
    def mkdir(self, path: bytes, mode: int, caller: Caller) -> None: ...
    def mknod(self, path: bytes, mode: int, rdev: int, caller: Caller) -> None: ...
    def symlink(self, path: bytes, target: bytes, caller: Caller) -> None: ...
    def link(self, source: bytes, path: bytes) -> None: ...
    def unlink(self, path: bytes) -> None: ...
    def rename(self, old: bytes, new: bytes) -> None: ...
    def chmod(self, path: bytes, mode: int) -> None: ...
    def chown(self, path: bytes, uid: int | None, gid: int | None) -> None: ...
    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None: ...
    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None: ...
    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> Opened: ...
    def open(self, path: bytes, flags: int) -> Opened: ...
    def read(self, handle: int, size: int, offset: int) -> bytes | memoryview: ...
    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int: ...
    def ftruncate(self, handle: int, size: int) -> None: ...
    def fsync(self, handle: int, datasync: bool) -> None: ...
    def fsyncdir(self, path: bytes) -> None: ...
    def release(self, handle: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Description:
    """All that an entry is but its contents: attributes, a symlink's target, extended attributes."""

    attr: Attr
    target: bytes
    xattrs: Mapping[bytes, bytes]


def describe(tree: Tree, path: bytes) -> Description:
    attr = tree.getattr(path)
    target = tree.readlink(path) if stat.S_ISLNK(attr.mode) else b""
    return Description(attr, target, {name: tree.getxattr(path, name) for name in tree.listxattr(path)})


def copy(source: Tree, path: bytes, target: Tree, place: bytes, said: Description) -> None:
    """Makes the entry at `place`, where nothing is, as `said` describes it, with the contents of the source's
    `path`. On disk when this returns, as far as the target's fsync says so."""
    attr = said.attr
    caller, kind = Caller(attr.uid, attr.gid), stat.S_IFMT(attr.mode)
    if kind == stat.S_IFREG:
        _copy_file(source, path, target, place, caller)
    elif kind == stat.S_IFDIR:
        target.mkdir(place, 0o700, caller)
    elif kind == stat.S_IFLNK:
        target.symlink(place, said.target, caller)
    else:
        target.mknod(place, attr.mode, attr.rdev, caller)
    dress(target, place, said)


def dress(target: Tree, place: bytes, said: Description) -> None:
    """Gives an entry its owner, mode, extended attributes and times, in the order in which none undoes
    another."""
    attr = said.attr
    target.chown(place, attr.uid, attr.gid)
    if not stat.S_ISLNK(attr.mode):
        target.chmod(place, stat.S_IMODE(attr.mode))
    for name, value in said.xattrs.items():
        target.setxattr(place, name, value, 0)
    target.utimens(place, attr.atime_ns, attr.mtime_ns)


def _copy_file(source: Tree, path: bytes, target: Tree, place: bytes, caller: Caller) -> None:
    made = target.create(place, 0o600, os.O_WRONLY, caller).handle
    try:
        offset = 0
        for run in _runs(source, path):
            if run != _ZEROS[: len(run)]:
                target.write(made, run, offset)
            offset += len(run)
        target.ftruncate(made, offset)
        target.fsync(made, False)
    finally:
        target.release(made)


def _runs(tree: Tree, path: bytes) -> Iterator[bytes | memoryview]:
    handle = tree.open(path, os.O_RDONLY).handle
    try:
        offset = 0
        while run := tree.read(handle, _RUN, offset):
            yield run
            offset += len(run)
    finally:
        tree.release(handle)


def is_same(
    source: Tree, path: bytes, target: Tree, place: bytes, said: Description, strictly: bool = True
) -> bool:
    """Whether the entry at `place` is what `said` describes, with the contents of the source's `path`: all
    but access times, and for a directory its time of change, which its entries make. Not `strictly`: owners
    and extended attributes do not count, as the target may not be able to keep them."""
    there = describe(target, place)
    mine, other = said.attr, there.attr
    if strictly and ((mine.uid, mine.gid), dict(said.xattrs)) != ((other.uid, other.gid), dict(there.xattrs)):
        return False
    if (mine.mode, mine.rdev, said.target) != (other.mode, other.rdev, there.target):
        return False
    if mine.is_dir:
        return True
    if mine.mtime_ns != other.mtime_ns:
        return False
    return not mine.is_regular or has_same_contents(source, path, target, place)


def has_same_contents(source: Tree, path: bytes, target: Tree, place: bytes) -> bool:
    if source.getattr(path).size != target.getattr(place).size:
        return False
    pairs = zip(_runs(source, path), _runs(target, place), strict=False)
    return all(mine == other for mine, other in pairs)
