"""A user whose every step is written down: what the drive held before and after it, and what was synced.

`History.allowed(journal, k)` are then the trees that the drive may hold after a crash at moment k: as it was
at one moment, not before the last sync that had returned, and not after the step that was under way.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from discordfs.fs import Drive
from tests.crash.journal import Journal
from tests.crash.recorder import Recording
from tests.fs.conftest import CALLER, House

Tree = dict[bytes, bytes | None]
"""Paths with their contents; None for a directory."""

PAGE = 4096


@dataclass(slots=True)
class History:
    """`trees[n]`: the tree after step n (0: before the first); `synced[n]`: whether step n ended in a sync;
    `numbers[n]`: inode and commit numbers below which all were in use by the end of step n."""

    trees: list[Tree] = field(default_factory=lambda: [{}])
    synced: list[bool] = field(default_factory=lambda: [True])
    numbers: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])

    def allowed(self, journal: Journal, k: int) -> range:
        """The steps after any of which a crash at moment k may have left the drive."""
        begun = sum(mark.at < k for mark in journal.marks if mark.text.startswith("begin "))
        ended = sum(mark.at <= k for mark in journal.marks if mark.text.startswith("end "))
        first = max(step for step in range(ended + 1) if self.synced[step])
        return range(first, max(begun, ended) + 1)


class User:
    """Does things to a house, and keeps its history."""

    def __init__(self, house: House, recording: Recording, seed: int) -> None:
        self.history = History()
        self._house = house
        self._drive = house.drive
        self._recording = recording
        self._chance = random.Random(seed)
        self._tree: Tree = {}
        self._names = 0

    def _step(self, call: Callable[[], object], synced: bool = False) -> None:
        """`call` commits once; the tree is what it is to be afterwards."""
        number = len(self.history.trees)
        self._recording.mark(f"begin {number}")
        call()
        self._recording.mark(f"end {number}")
        self.history.trees.append(dict(self._tree))
        self.history.synced.append(synced)
        with self._house.index._database.transaction():
            database = self._house.index._database
            self.history.numbers.append((database.next("inode"), database.next("commit")))

    def _bytes(self) -> bytes:
        """No two pages alike, none of zeros."""
        return self._chance.randbytes(self._chance.choice((100, PAGE, 3 * PAGE + 7, 50_000, 200_000)))

    def _files(self) -> list[bytes]:
        return [path for path, content in self._tree.items() if content is not None]

    def _fresh_path(self) -> bytes:
        self._names += 1
        directories = [b"", *(path for path, content in self._tree.items() if content is None)]
        return self._chance.choice(directories) + b"/%d" % self._names

    def live(self, steps: int) -> None:
        """So many things, one after the other, drawn by the seed."""
        deeds = [self.write_new] * 4 + [self.rewrite] * 2 + [self.edit] * 3 + [self.replace] * 2
        deeds += [self.rename, self.cut, self.remove, self.remove, self.make_directory, self.upload]
        for _ in range(steps):
            self._chance.choice(deeds)()

    # --- what a user does ------------------------------------------------------------------------------

    def write_new(self) -> None:
        path = self._fresh_path()
        self._tree[path] = b""
        opened: list[int] = []
        self._step(lambda: opened.append(self._drive.create(path, 0o644, os.O_RDWR, CALLER).handle))
        self._fill(path, opened[0], self._bytes())

    def rewrite(self) -> None:
        """As cp and editors do: emptied and written anew through one open."""
        for path in self._some_file():
            handle = self._drive.open(path, os.O_RDWR | os.O_TRUNC).handle
            self._tree[path] = b""
            self._fill(path, handle, self._bytes())

    def edit(self) -> None:
        """Some ranges of a file, partly the same ones again."""
        for path in self._some_file():
            handle = self._drive.open(path, os.O_RDWR).handle
            for _ in range(self._chance.randint(1, 4)):
                self._write(path, handle, self._bytes(), self._chance.randrange(60_000))
            self._close(handle)

    def replace(self) -> None:
        """As careful programs do: a new file, perhaps synced, renamed over the old one."""
        for path in self._some_file():
            draft = path + b".new"
            self._tree[draft] = b""
            opened: list[int] = []
            self._step(lambda: opened.append(self._drive.create(draft, 0o644, os.O_RDWR, CALLER).handle))  # noqa: B023
            self._fill(draft, opened[0], self._bytes())
            self._tree[path] = self._tree.pop(draft)
            self._step(lambda: self._drive.rename(draft, path))  # noqa: B023

    def rename(self) -> None:
        for path in self._some_file():
            new = self._fresh_path()
            self._tree[new] = self._tree.pop(path)
            self._step(lambda: self._drive.rename(path, new))  # noqa: B023

    def cut(self) -> None:
        for path in self._some_file():
            size = self._chance.choice((0, 1, PAGE, 30_000, 100_000))
            self._tree[path] = (self._tree[path] or b"")[:size].ljust(size, b"\0")
            self._step(lambda: self._drive.truncate(path, size))  # noqa: B023

    def remove(self) -> None:
        for path in self._some_file():
            del self._tree[path]
            self._step(lambda: self._drive.unlink(path))  # noqa: B023

    def make_directory(self) -> None:
        path = self._fresh_path()
        self._tree[path] = None
        self._step(lambda: self._drive.mkdir(path, 0o755, CALLER))

    def sync(self) -> None:
        self._step(lambda: self._drive.fsyncdir(b"/"), synced=True)

    def upload(self) -> None:
        self._step(self._house.barrier, synced=True)

    # --- its parts ---------------------------------------------------------------------------------------

    def _some_file(self) -> list[bytes]:
        files = self._files()
        return [self._chance.choice(files)] if files else []

    def _fill(self, path: bytes, handle: int, data: bytes) -> None:
        for at in range(0, len(data), 70_000):
            self._write(path, handle, data[at : at + 70_000], at)
        if self._chance.random() < 0.3:
            self._write(path, handle, self._bytes()[:5000], self._chance.randrange(len(data)))
        self._close(handle)

    def _write(self, path: bytes, handle: int, data: bytes, offset: int) -> None:
        old = self._tree[path] or b""
        self._tree[path] = old[:offset].ljust(offset, b"\0") + data + old[offset + len(data) :]
        self._drive.write(handle, data, offset)

    def _close(self, handle: int) -> None:
        if self._chance.random() < 0.15:
            self._step(lambda: self._drive.fsync(handle, datasync=False), synced=True)
        else:
            self._step(lambda: self._drive.flush(handle))
        self._drive.release(handle)


def tree_of(house: House) -> Tree:
    """All that a house's drive holds, read through it."""
    return tree_in(house.drive)


def tree_in(drive: Drive) -> Tree:
    """All that a drive holds, read through it."""
    found: Tree = {}

    def read(directory: bytes) -> None:
        for entry in drive.readdir(directory or b"/"):
            path = directory + b"/" + entry.name
            is_dir = drive.getattr(path).is_dir
            found[path] = None if is_dir else _content(drive, path)
            if is_dir:
                read(path)

    read(b"")
    return found


def _content(drive: Drive, path: bytes) -> bytes:
    handle = drive.open(path, os.O_RDONLY).handle
    try:
        return bytes(drive.read(handle, drive.fgetattr(handle).size, 0))
    finally:
        drive.release(handle)
