"""Files that were unlinked, or renamed over, while a program still has them open.

The drive itself keeps such a file alive for its handles. libfuse 2 does not let a program stat it, though:
fstat(2) comes from the kernel without the handle, and libfuse knows no path any more, so it says ENOENT
(its option hard_remove). Without that option libfuse renames the file to `.fuse_hidden…`, unlinks that at
the last close, and in between asks for attributes under the hidden name. Here that rename is taken for what
it stands for, an unlink, so nothing hidden ever stands in a directory, survives a crash or goes to Discord.

When libfuse is about to replace an open file by a rename, it hides the target first, by the very same call.
Nothing must be unlinked then: the rename that follows replaces it in one step. `replacing` tells the two
apart as well as it can; where it cannot tell, the name is absent for the moment between the two steps.

Limits: fchmod, fchown, futimens and xattrs of an orphan are refused (ENOENT).
Threading: any thread; single dict and set operations only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from discordfs.errors import FilesystemError, NoEntry
from discordfs.model import Attr, Filesystem

_HIDDEN = re.compile(rb"/\.fuse_hidden[0-9a-f]{16}\Z")


class Orphans:
    """`drive` is what lies below; `replacing` says whether the call being served is a rename."""

    def __init__(self, drive: Filesystem, replacing: Callable[[], bool]) -> None:
        self._drive = drive
        self._replacing = replacing
        self._open: set[int] = set()
        self._hidden: dict[bytes, int] = {}

    def opened(self, handle: int) -> None:
        self._open.add(handle)

    def closed(self, handle: int) -> None:
        self._open.discard(handle)

    def hide(self, old: bytes, new: bytes) -> bool:
        """Whether rename(old, new) was libfuse hiding an open file, and has been dealt with."""
        if not _HIDDEN.search(new) or os.path.dirname(old) != os.path.dirname(new):
            return False
        if not self._is_open(old):
            return False
        handle = self._drive.open(old, os.O_RDONLY).handle
        self._hidden[new] = handle
        if not self._replacing():
            self._drive.unlink(old)
        return True

    def _is_open(self, path: bytes) -> bool:
        """A name like libfuse's may also come from a program; it means a file that nobody has open."""
        ino = self._drive.getattr(path).ino
        return any(self._ino(handle) == ino for handle in tuple(self._open))

    def _ino(self, handle: int) -> int:
        try:
            return self._drive.fgetattr(handle).ino
        except FilesystemError:  # closed since the set was copied
            return 0

    def getattr(self, path: bytes) -> Attr:
        """The attributes of the orphan that libfuse knows as `path`; raises NoEntry when there is none."""
        handle = self._hidden.get(path)
        if handle is None:
            raise NoEntry(os.fsdecode(path))
        return self._drive.fgetattr(handle)

    def forget(self, path: bytes) -> bool:
        """Whether unlink(path) was libfuse dropping an orphan after its last close, and has been done."""
        handle = self._hidden.pop(path, None)
        if handle is None:
            return False
        self._drive.release(handle)
        return True
