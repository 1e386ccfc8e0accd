"""Read-only trees grafted beside the drive: archive/, clips/. The drive knows nothing of them.

A view is shown in the root while it has content and the drive has no entry of its name: the drive's own is
never hidden. Writing in a view, and moving anything into or out of it, is ReadOnly. All else goes to the
drive as it came. Handles of views are told from the drive's by a bit. Errors: those of the drive and of the
views.
That the drive has no entry of a view's name is believed for FREE_S seconds; from here none can come while the
view is shown. Threading: any; the views are fixed, and what is believed is single dictionary operations.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from discordfs.errors import InvalidArgument, NoAttribute, NoEntry, NotSupported, ReadOnly
from discordfs.model import Attr, Caller, DirEntry, Filesystem, Opened, ReadOnlyTree, StatFs

FREE_S = 0.02
"""Programs ask for thousands of attributes, and each look into a view is one into the drive as well."""

_VIEW = 1 << 62
"""Set in the handles of views; below it a view's number stands above its own handle's 48 bits."""
_SHIFT = 48
_OWN = (1 << _SHIFT) - 1


@dataclass(frozen=True, slots=True)
class _Found:
    """A path within a view: `rest` as seen from there."""

    number: int
    view: ReadOnlyTree
    rest: bytes


class Grafted:
    """model.Filesystem: `drive` with `views` by name (one path component each) in its root. `monotonic`:
    seconds."""

    def __init__(
        self, drive: Filesystem, views: Mapping[bytes, ReadOnlyTree], monotonic: Callable[[], float]
    ) -> None:
        self._drive = drive
        self._monotonic = monotonic
        self._free_until: dict[bytes, float] = {}
        self._views = dict(views)
        self._by_number = list(views.values())
        self._numbers = {name: number for number, name in enumerate(views)}

    # --- which of them -----------------------------------------------------------------------------

    def _found(self, path: bytes) -> _Found | None:
        name, _, rest = path[1:].partition(b"/")
        view = self._views.get(name)
        if view is None or not self._is_shown(name, view):
            return None
        return _Found(self._numbers[name], view, b"/" + rest)

    def _is_shown(self, name: bytes, view: ReadOnlyTree) -> bool:
        return view.has_content and not self._is_taken(name)

    def _is_taken(self, name: bytes) -> bool:
        now = self._monotonic()
        if now < self._free_until.get(name, now):
            return False
        try:
            self._drive.getattr(b"/" + name)
        except NoEntry:
            self._free_until[name] = now + FREE_S
            return False
        return True

    def _opened(self, handle: int) -> tuple[ReadOnlyTree, int] | None:
        if not handle & _VIEW:
            return None
        return self._by_number[(handle ^ _VIEW) >> _SHIFT], handle & _OWN

    def _check_drive(self, *paths: bytes) -> None:
        for path in paths:
            if self._found(path) is not None:
                raise ReadOnly(f"{os.fsdecode(path)} is part of a view: nothing is written there")

    def standing(self) -> dict[str, str]:
        """For `status`: of each view whether it is shown, or why it is not."""
        return {os.fsdecode(name): self._standing(name, view) for name, view in self._views.items()}

    def _standing(self, name: bytes, view: ReadOnlyTree) -> str:
        if not view.has_content:
            return "empty"
        return "hidden: the drive has an entry of this name" if self._is_taken(name) else "shown"

    # --- looking -----------------------------------------------------------------------------------

    def getattr(self, path: bytes) -> Attr:
        found = self._found(path)
        return self._drive.getattr(path) if found is None else found.view.getattr(found.rest)

    def fgetattr(self, handle: int) -> Attr:
        opened = self._opened(handle)
        return self._drive.fgetattr(handle) if opened is None else opened[0].fgetattr(opened[1])

    def readdir(self, path: bytes) -> Sequence[DirEntry]:
        if path == b"/":
            return [*self._drive.readdir(path), *self._roots()]
        found = self._found(path)
        return self._drive.readdir(path) if found is None else found.view.readdir(found.rest)

    def _roots(self) -> list[DirEntry]:
        shown = [(name, view) for name, view in self._views.items() if self._is_shown(name, view)]
        return [DirEntry(name, view.getattr(b"/").ino, stat.S_IFDIR) for name, view in shown]

    def readlink(self, path: bytes) -> bytes:
        found = self._found(path)
        return self._drive.readlink(path) if found is None else found.view.readlink(found.rest)

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        found = self._found(path)
        if found is None:
            return self._drive.getxattr(path, name)
        found.view.getattr(found.rest)
        if name.startswith(b"system."):  # as on the drive; `ls -l` asks for ACLs no more after this
            raise NotSupported(os.fsdecode(name))
        raise NoAttribute(os.fsdecode(name))

    def listxattr(self, path: bytes) -> Sequence[bytes]:
        found = self._found(path)
        return self._drive.listxattr(path) if found is None else ()

    def statfs(self) -> StatFs:
        return self._drive.statfs()

    def time_ns(self) -> int:
        return self._drive.time_ns()

    # --- opening and reading -----------------------------------------------------------------------

    def open(self, path: bytes, flags: int) -> Opened:
        found = self._found(path)
        if found is None:
            return self._drive.open(path, flags)
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            raise ReadOnly(f"{os.fsdecode(path)} is part of a view: nothing is written there")
        opened = found.view.open(found.rest)
        return replace(opened, handle=_VIEW | found.number << _SHIFT | opened.handle)

    def read(self, handle: int, size: int, offset: int) -> bytes | memoryview:
        opened = self._opened(handle)
        return (
            self._drive.read(handle, size, offset)
            if opened is None
            else opened[0].read(opened[1], size, offset)
        )

    def flush(self, handle: int) -> None:
        if not handle & _VIEW:
            self._drive.flush(handle)

    def fsync(self, handle: int, datasync: bool) -> None:
        if not handle & _VIEW:
            self._drive.fsync(handle, datasync)

    def fsyncdir(self, path: bytes) -> None:
        if self._found(path) is None:
            self._drive.fsyncdir(path)

    def release(self, handle: int) -> None:
        opened = self._opened(handle)
        if opened is None:
            self._drive.release(handle)
        else:
            opened[0].release(opened[1])

    # --- changing: the drive alone -----------------------------------------------------------------

    def mkdir(self, path: bytes, mode: int, caller: Caller) -> None:
        self._check_drive(path)
        self._drive.mkdir(path, mode, caller)

    def mknod(self, path: bytes, mode: int, rdev: int, caller: Caller) -> None:
        self._check_drive(path)
        self._drive.mknod(path, mode, rdev, caller)

    def symlink(self, path: bytes, target: bytes, caller: Caller) -> None:
        self._check_drive(path)
        self._drive.symlink(path, target, caller)

    def link(self, source: bytes, path: bytes) -> None:
        self._check_drive(source, path)
        self._drive.link(source, path)

    def unlink(self, path: bytes) -> None:
        self._check_drive(path)
        self._drive.unlink(path)

    def rmdir(self, path: bytes) -> None:
        self._check_drive(path)
        self._drive.rmdir(path)

    def rename(self, old: bytes, new: bytes) -> None:
        self._check_drive(old, new)
        self._drive.rename(old, new)

    def chmod(self, path: bytes, mode: int) -> None:
        self._check_drive(path)
        self._drive.chmod(path, mode)

    def chown(self, path: bytes, uid: int | None, gid: int | None) -> None:
        self._check_drive(path)
        self._drive.chown(path, uid, gid)

    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        self._check_drive(path)
        self._drive.utimens(path, atime_ns, mtime_ns)

    def truncate(self, path: bytes, size: int) -> None:
        self._check_drive(path)
        self._drive.truncate(path, size)

    def ftruncate(self, handle: int, size: int) -> None:
        if handle & _VIEW:
            raise InvalidArgument("the file is not open for writing")
        self._drive.ftruncate(handle, size)

    def create(self, path: bytes, mode: int, flags: int, caller: Caller) -> Opened:
        self._check_drive(path)
        return self._drive.create(path, mode, flags, caller)

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        if handle & _VIEW:
            raise ReadOnly("a view's file is not written")
        return self._drive.write(handle, data, offset)

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        self._check_drive(path)
        self._drive.setxattr(path, name, value, flags)

    def removexattr(self, path: bytes, name: bytes) -> None:
        self._check_drive(path)
        self._drive.removexattr(path, name)
