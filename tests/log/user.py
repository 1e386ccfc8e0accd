"""A user who does all that one can do to a drive, by a seed, one commit at a time; what the drive looked like
after each is kept."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fs.conftest import CALLER, House
from tests.log.conftest import seen
from tests.log.picture import Picture

MIB = 1024**2
DIRECTORIES = (b"", b"/d", b"/d/e")
NAMES = (b"a", b"b", b"\xffc", b"d\n")


@dataclass
class User:
    """`history`: the drive's pictures, the first before anything was done, then one after each commit."""

    house: House
    seed: int
    history: list[Picture] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.history.append(seen(self.house))
        for directory in DIRECTORIES[1:]:
            if not self._there(directory):
                self._done(self.house.drive.mkdir, directory, 0o755, CALLER)

    def act(self, steps: int) -> None:
        for _ in range(steps):
            self.random.choices(self._ways(), weights=[weight for _, weight in self._WAYS])[0]()

    def _done(self, change: Callable[..., object], *arguments: object) -> None:
        """One call, and what it leaves; a call that changes nothing leaves the same picture twice."""
        change(*arguments)
        self.history.append(seen(self.house))

    def put(self, path: bytes, data: bytes) -> None:
        """A new file: empty first, then with its bytes."""
        self._done(self.house.drive.mknod, path, stat.S_IFREG | 0o644, 0, CALLER)
        self._done(self.write, path, os.O_RDWR, 0, data)

    def rename_to(self, old: bytes, new: bytes) -> None:
        self._done(self.house.drive.rename, old, new)

    def label(self, path: bytes, size: int) -> None:
        """An extended attribute of so many bytes, new ones each time."""
        self._done(self.house.drive.setxattr, path, b"user.label", self.random.randbytes(size), 0)

    # --- what there is to work with -----------------------------------------------------------------

    def _new_path(self) -> bytes:
        return self.random.choice(DIRECTORIES) + b"/" + self.random.choice(NAMES)

    def _there(self, path: bytes) -> bool:
        return path in self.history[-1]

    def _file(self) -> bytes | None:
        files = [path for path, sight in self.history[-1].items() if stat.S_ISREG(sight.mode)]
        return self.random.choice(files) if files else None

    def _data(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 100, 4096, 30_000)))

    # --- ways to change a drive -----------------------------------------------------------------------

    def _ways(self) -> list[Callable[[], None]]:
        return [getattr(self, name) for name, _ in self._WAYS]

    def make(self) -> None:
        path = self._new_path()
        if self._there(path):
            return
        how = self.random.randrange(5)
        drive = self.house.drive
        if how == 0:
            self._done(drive.symlink, path, self.random.randbytes(20).replace(b"\0", b"0"), CALLER)
        elif how == 1:
            self._done(drive.mknod, path, stat.S_IFIFO | 0o600, 0, CALLER)
        else:
            self.put(path, self._data())

    def write(self, path: bytes, flags: int, offset: int, data: bytes) -> None:
        """Opens, writes, closes: one commit."""
        handle = self.house.drive.open(path, flags).handle
        for at in range(0, len(data), MIB):
            self.house.drive.write(handle, data[at : at + MIB], offset + at)
        self.house.drive.flush(handle)
        self.house.drive.release(handle)

    def overwrite(self) -> None:
        path = self._file()
        if path is not None:
            at = self.random.choice((0, 5, 4096, 50_000))
            self._done(self.write, path, os.O_RDWR, at, self._data() or b"x")

    def rewrite(self) -> None:
        path = self._file()
        if path is not None:
            self._done(self.write, path, os.O_RDWR | os.O_TRUNC, 0, self._data() or b"y")

    def truncate(self) -> None:
        path = self._file()
        if path is not None:
            self._done(self.house.drive.truncate, path, self.random.choice((0, 3, 5000, 60_000)))

    def rename(self) -> None:
        old, new = self._file(), self._new_path()
        above = self.history[-1].get(new)
        if old is not None and not (above and stat.S_ISDIR(above.mode)):
            self._done(self.house.drive.rename, old, new)

    def link(self) -> None:
        old, new = self._file(), self._new_path()
        if old is not None and not self._there(new):
            self._done(self.house.drive.link, old, new)

    def unlink(self) -> None:
        path = self._file()
        if path is not None:
            self._done(self.house.drive.unlink, path)

    def move_directory(self) -> None:
        """There and back: everything below is elsewhere for a moment."""
        self._done(self.house.drive.rename, b"/d", b"/moved")
        self._done(self.house.drive.rename, b"/moved", b"/d")

    def set_attributes(self) -> None:
        path = self.random.choice(sorted(self.history[-1]))
        drive, number = self.house.drive, self.random.randrange(1, 4096)
        self._done(drive.chmod, path, number)
        self._done(drive.chown, path, number, None)
        self._done(drive.utimens, path, -number, number * 10**15 + 1)

    def set_xattr(self) -> None:
        path = self._file()
        if path is not None:
            name = self.random.choice((b"user.x", b"user.\xff"))
            self._done(self.house.drive.setxattr, path, name, self._data(), 0)

    def remove_xattr(self) -> None:
        path = self._file()
        if path is not None and self.history[-1][path].xattrs:
            name = self.history[-1][path].xattrs[0][0]
            self._done(self.house.drive.removexattr, path, name)

    _WAYS = (
        ("make", 6),
        ("overwrite", 4),
        ("rewrite", 2),
        ("truncate", 2),
        ("rename", 3),
        ("link", 2),
        ("unlink", 2),
        ("move_directory", 1),
        ("set_attributes", 1),
        ("set_xattr", 1),
        ("remove_xattr", 1),
    )
