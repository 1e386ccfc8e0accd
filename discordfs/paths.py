"""Paths to inode numbers, name by name.

Job: what a path leads to, and which error it is where it leads nowhere. Symbolic links are the kernel's to
follow. Errors: NoEntry, NotADirectory, NameTooLong, InvalidArgument. Threading: any thread; nothing is kept,
so whoever needs the answer to stay true holds the tree's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from discordfs.errors import (
    DiscordfsError,
    FilesystemError,
    InvalidArgument,
    NameTooLong,
    NoEntry,
    NotADirectory,
)
from discordfs.index import Index
from discordfs.model import NAME_MAX, ROOT_INO

T = TypeVar("T")


class Paths:
    """The paths of the drive in an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def resolve(self, path: bytes) -> int:
        """The inode number at an absolute path."""
        ino = ROOT_INO
        for name in path.split(b"/"):
            if name:
                found = self._index.lookup(ino, name)
                if found is None:
                    raise self._no_entry(path, ino, name)
                ino = found
        return ino

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """The directory in which the path's last name stands, or is to stand, and that name."""
        head, _, name = path.rpartition(b"/")
        if not name:
            raise InvalidArgument("the root itself has no name")
        if len(name) > NAME_MAX:
            raise NameTooLong(os.fsdecode(path))
        parent = self.resolve(head)
        if not self._index.attr(parent).is_dir:
            raise NotADirectory(os.fsdecode(path))
        return parent, name

    def looked_up(self, look: Callable[[], T]) -> T:
        """A look by a path that another writer's record may come between: then it is taken again."""
        while True:
            replayed = self._index.replayed
            try:
                return look()
            except FilesystemError:
                if replayed == self._index.replayed:
                    raise

    def _no_entry(self, path: bytes, parent: int, name: bytes) -> DiscordfsError:
        if len(name) > NAME_MAX:
            return NameTooLong(os.fsdecode(path))
        if not self._index.attr(parent).is_dir:
            return NotADirectory(os.fsdecode(path))
        return NoEntry(os.fsdecode(path))
