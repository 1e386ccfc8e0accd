"""Files that were unlinked, or renamed over, while a program still has them open.

The drive itself keeps such a file alive for its handles. libfuse 2 does not let a program stat it, though:
fstat(2) comes from the kernel without the handle, and libfuse knows no path any more, so it says ENOENT
(its option hard_remove). Without that option libfuse renames the file to `.fuse_hidden…`, unlinks that at
the last close, and in between asks for attributes under the hidden name. Here that rename is taken for what
it stands for, an unlink, so nothing hidden ever stands in a directory, survives a crash or goes to Discord.

When libfuse is about to replace an open file by a rename, it hides the target first, by the very same call.
Nothing must be unlinked then: the rename that follows replaces it in one step. And a program may rename to
such a name itself. What the caller's system call asks for tells the three apart (`purpose_of`). Where the
kernel does not let us see that, an open file is taken to be unlinked: if it was being replaced, the name is
absent for the moment between the two steps.

What libfuse takes for open may have been closed here already, as it hears of that later. Such a file has
no handle to keep it, and is no less hidden.

Limits: fchmod, fchown, futimens and xattrs of an orphan are refused (ENOENT).
Threading: any thread; single dict and set operations only.
"""

from __future__ import annotations

import enum
import os
import platform
import re
from collections.abc import Callable

from discordfs.errors import FilesystemError, NoEntry
from discordfs.model import Attr, Filesystem

_HIDDEN = re.compile(rb"/\.fuse_hidden[0-9a-f]{16}\Z")
_PAGE = 4096

_RENAME_CALLS = {"x86_64": {82: 1, 264: 3, 316: 3}, "aarch64": {38: 3, 276: 3}}.get(platform.machine(), {})
"""The numbers of rename, renameat and renameat2 (the kernel's unistd.h); which argument is the new path."""

_UNLINK_CALLS = {"x86_64": {87, 263}, "aarch64": {35}}.get(platform.machine(), set())
"""The numbers of unlink and unlinkat."""


class Purpose(enum.Enum):
    """What a rename to a hidden name is about."""

    OWN = "the program renames to that name itself"
    REPLACING = "libfuse hides what the program's rename replaces"
    UNLINKING = "libfuse hides what the program unlinks"
    UNKNOWN = "the kernel does not say"


def purpose_of(thread: int, name: bytes) -> Purpose:
    """What the thread, whose call is being served, is about when libfuse renames to `name`."""
    try:
        with open(f"/proc/{thread}/syscall", encoding="ascii") as file:
            words = file.read().split()
        number = int(words[0])
        if number in _UNLINK_CALLS:
            return Purpose.UNLINKING
        if number not in _RENAME_CALLS:
            return Purpose.UNKNOWN
        wanted = _string_at(thread, int(words[1 + _RENAME_CALLS[number]], 16))
    except (OSError, ValueError):
        return Purpose.UNKNOWN
    return Purpose.OWN if os.path.basename(wanted.rstrip(b"/")) == name else Purpose.REPLACING


def _string_at(thread: int, address: int) -> bytes:
    """The path at an address of the thread's memory."""
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        text = memory.read(_PAGE - address % _PAGE)
        if b"\0" not in text:
            text += memory.read(_PAGE)
    return text.partition(b"\0")[0]


class Orphans:
    """`drive` is what lies below; `purpose` tells what the call being served is about, given the hidden
    name."""

    def __init__(self, drive: Filesystem, purpose: Callable[[bytes], Purpose]) -> None:
        self._drive = drive
        self._purpose = purpose
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
        purpose, is_open = self._purpose(os.path.basename(new)), self._is_open(old)
        if purpose is Purpose.OWN or (purpose is Purpose.UNKNOWN and not is_open):
            return False
        if is_open:
            self._hidden[new] = self._drive.open(old, os.O_RDONLY).handle
        if purpose is not Purpose.REPLACING:
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
