"""What was done to a directory, and what the disk may hold after any part of it.

`Journal.state_after(k, into)` builds the directory as it was after the first k operations: what another
process finds after a `kill -9`. `Journal.power_cut(k, seed, into)` builds what a disk may hold when the power
goes at that moment, drawn by `seed`:

- A file's bytes: what its last fsync covered is there. Each page of 4 KiB that was changed since may be on
  disk in any of the versions it has had since, and so may the file's size; a page that is within the size
  and never came to the disk is zeros. So later writes may be there without earlier ones, or a size without
  its bytes: ext4 keeps some of this in order, other filesystems do not.
- Names: by half of the seeds as POSIX has it, where a directory's entries are on disk only once that
  directory was fsynced, and each directory loses an end of its changes, of its own length; by the other half
  as ext4 does, where one journal has all changes of names in order and any fsync brings it to the disk. In
  both, changes of one directory keep their order, and a rename happens in both directories or in neither.
- Modes are those of the moment.

Some draws lose everything that may be lost, some nothing, some a little of it: mostly what was done last is
what matters. Threading: one thread.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

PAGE = 4096
ROOT_ID = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """`kind` as recorder.py names it, and its arguments."""

    kind: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        shown = [f"{len(each)} bytes" if len(each) > 80 else each for each in map(_sized, self.arguments)]
        return f"{self.kind} {' '.join(map(str, shown))}"


def _sized(argument: Any) -> Any:
    return argument if isinstance(argument, bytes | str) else str(argument)


@dataclass(frozen=True, slots=True)
class Mark:
    """`text` was noted when `at` operations had been done."""

    at: int
    text: str


class Journal:
    """Operations, and the marks between them. Moments are counts of operations: 0 is before the first."""

    def __init__(self, operations: Sequence[Operation], marks: Sequence[Mark]) -> None:
        self.operations = operations
        self.marks = marks
        self._disks: dict[bool, tuple[int, _Disk]] = {}

    @classmethod
    def load(cls, path: Path) -> Journal:
        operations: list[Operation] = []
        marks: list[Mark] = []
        with path.open("rb") as file:
            for kind, *arguments in msgpack.Unpacker(file, max_buffer_size=2**31 - 1):
                if kind == "mark":
                    marks.append(Mark(len(operations), arguments[0].decode()))
                else:
                    operations.append(Operation(kind, tuple(arguments)))
        return cls(operations, marks)

    def __len__(self) -> int:
        return len(self.operations)

    def at(self, text: str) -> int:
        """The moment of the only mark with this text."""
        (moment,) = [mark.at for mark in self.marks if mark.text == text]
        return moment

    def syncs(self) -> list[int]:
        """The moments right after an fsync."""
        return [
            number + 1 for number, each in enumerate(self.operations) if each.kind in ("fsync", "fsyncdir")
        ]

    def state_after(self, k: int, into: Path) -> None:
        """Makes `into`, as the directory was after k operations."""
        disk = self._disk(k, is_ordered=True)
        _build(disk.names, disk, _File.now, into)

    def power_cut(self, k: int, seed: int, into: Path) -> None:
        """Makes `into`, as the disk may be when the power goes after k operations."""
        chance = random.Random(f"{k} {seed}")
        disk = self._disk(k, is_ordered=chance.random() < 0.5)
        kept = chance.choice((0.0, 0.5, 0.9, 0.99, 1.0))
        names = disk.names_after_cut(kept, chance)
        _build(names, disk, lambda file: file.after_cut(kept, chance), into)

    def _disk(self, k: int, is_ordered: bool) -> _Disk:
        """As after k operations; goes on from where it was left, if that is not behind."""
        done, disk = self._disks.get(is_ordered, (0, _Disk(is_ordered)))
        if done > k:
            done, disk = 0, _Disk(is_ordered)
        for operation in self.operations[done:k]:
            disk.apply(operation)
        self._disks[is_ordered] = k, disk
        return disk


# --- one file -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    """`synced`: the bytes of the last fsync; `pending`: what was done since, as an offset and bytes, or a
    new size and None."""

    mode: int
    target: bytes | None = None
    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.pending:
            _change(self.synced, *change)
        self.pending.clear()

    def now(self) -> bytearray:
        content = bytearray(self.synced)
        for change in self.pending:
            _change(content, *change)
        return content

    def after_cut(self, kept: float, chance: random.Random) -> bytearray:
        """Each page, and the size, is the newest by the chance `kept`, else any version before."""
        content, sizes = bytearray(self.synced), [len(self.synced)]
        versions: dict[int, list[bytes]] = {}
        for at, data in self.pending:
            touched = _pages(at, at + len(data)) if data is not None else _pages(*sorted((at, len(content))))
            for page in touched:
                versions.setdefault(page, [_page(content, page)])
            _change(content, at, data)
            for page in touched:
                versions[page].append(_page(content, page))
            sizes.append(len(content))
        size = _drawn(sizes, kept, chance)
        content = content[:size].ljust(size, b"\0")
        for page, texts in versions.items():
            start = page * PAGE
            content[start : start + PAGE] = _drawn(texts, kept, chance)[: max(0, size - start)]
        return content


def _drawn(versions: Sequence[Any], kept: float, chance: random.Random) -> Any:
    return versions[-1] if chance.random() < kept else chance.choice(versions)


def _pages(start: int, end: int) -> range:
    return range(start // PAGE, -(-end // PAGE))


def _page(content: bytearray, page: int) -> bytes:
    return bytes(content[page * PAGE : (page + 1) * PAGE]).ljust(PAGE, b"\0")


def _change(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        del content[at:]
        content.extend(bytes(at - len(content)))
    else:
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data


# --- all of them -----------------------------------------------------------------------------------------

Names = dict[int, dict[bytes, int]]
"""By directory: its entries."""


@dataclass(frozen=True, slots=True)
class _NameChange:
    """Entries that are set (or, with None, removed) in one step."""

    entries: tuple[tuple[int, bytes, int | None], ...]

    @property
    def directories(self) -> set[int]:
        return {entry[0] for entry in self.entries}

    def apply(self, names: Names) -> None:
        for directory, name, number in self.entries:
            if number is None:
                names[directory].pop(name, None)
            else:
                names.setdefault(directory, {})[name] = number


class _Disk:
    """`names` as programs see them; those on disk, and the changes since. `is_ordered`: any fsync brings
    every change of names so far to the disk."""

    def __init__(self, is_ordered: bool) -> None:
        self.names: Names = {ROOT_ID: {}}
        self.files: dict[int, _File] = {}
        self.modes: dict[int, int] = {ROOT_ID: 0o700}
        self._is_ordered = is_ordered
        self._synced: Names = {ROOT_ID: {}}
        self._pending: list[_NameChange] = []

    def apply(self, operation: Operation) -> None:
        getattr(self, f"_{operation.kind}")(*operation.arguments)

    def _place(self, path: bytes) -> tuple[int, bytes]:
        *parents, name = path.strip(b"/").split(b"/")
        directory = ROOT_ID
        for parent in parents:
            directory = self.names[directory][parent]
        return directory, name

    def _set(self, *entries: tuple[int, bytes, int | None]) -> None:
        change = _NameChange(entries)
        change.apply(self.names)
        self._pending.append(change)

    def _create(self, path: bytes, number: int, mode: int) -> None:
        self.files[number] = _File(mode)
        self._set((*self._place(path), number))

    def _symlink(self, path: bytes, number: int, target: bytes) -> None:
        self.files[number] = _File(0o777, target)
        self._set((*self._place(path), number))

    def _mkdir(self, path: bytes, number: int, mode: int) -> None:
        self.names[number], self._synced[number], self.modes[number] = {}, {}, mode
        self._set((*self._place(path), number))

    def _link(self, path: bytes, number: int) -> None:
        self._set((*self._place(path), number))

    def _unlink(self, path: bytes) -> None:
        self._set((*self._place(path), None))

    _rmdir = _unlink

    def _rename(self, old: bytes, new: bytes) -> None:
        directory, name = self._place(old)
        number = self.names[directory][name]
        self._set((directory, name, None), (*self._place(new), number))

    def _write(self, number: int, offset: int, data: bytes) -> None:
        self.files[number].pending.append((offset, data))

    def _truncate(self, number: int, size: int) -> None:
        self.files[number].pending.append((size, None))

    def _chmod(self, number: int, mode: int) -> None:
        if number in self.files:
            self.files[number].mode = mode
        else:
            self.modes[number] = mode

    def _fsync(self, number: int) -> None:
        self.files[number].sync()
        if self._is_ordered:
            self._sync_names(lambda change: True)

    def _fsyncdir(self, number: int) -> None:
        """A rename into another directory takes what was done there before along."""
        wanted = {number}
        for change in reversed(self._pending):
            if change.directories & wanted:
                wanted |= change.directories
        self._sync_names(lambda change: self._is_ordered or bool(change.directories & wanted))

    def _sync_names(self, counts: Callable[[_NameChange], bool]) -> None:
        for change in self._pending:
            if counts(change):
                change.apply(self._synced)
        self._pending = [change for change in self._pending if not counts(change)]

    def names_after_cut(self, kept: float, chance: random.Random) -> Names:
        names = {directory: dict(entries) for directory, entries in self._synced.items()}
        ended: set[int] = set()
        for change in self._surviving(kept, chance):
            if change.directories & ended:
                ended |= change.directories
            elif self._is_ordered or chance.random() < max(kept, 0.8):
                change.apply(names)
            else:
                ended |= change.directories
        return names

    def _surviving(self, kept: float, chance: random.Random) -> Iterable[_NameChange]:
        """Of an ordered disk's changes the first ones, as many as the chance has it."""
        if kept in (0.0, 1.0):
            return self._pending if kept else ()
        return self._pending[: chance.randint(0, len(self._pending))] if self._is_ordered else self._pending


def _build(names: Names, disk: _Disk, content: Callable[[_File], bytearray], into: Path) -> None:
    """Puts all that has a name under `into`, which is made, each file with its `content`."""
    places: dict[int, Path] = {}
    into.mkdir(parents=True)
    for number, path in _walk(names, ROOT_ID, into):
        if number in places:
            os.link(places[number], path)
        elif number in disk.files:
            _put(disk.files[number], content(disk.files[number]), path)
            places[number] = path
        else:
            path.mkdir(mode=disk.modes[number])


def _walk(names: Names, directory: int, path: Path) -> Iterator[tuple[int, Path]]:
    """Everything below, directories before what is in them."""
    for name, number in names.get(directory, {}).items():
        inner = path / os.fsdecode(name)
        yield number, inner
        if number in names:
            yield from _walk(names, number, inner)


def _put(file: _File, content: bytearray, path: Path) -> None:
    if file.target is not None:
        path.symlink_to(os.fsdecode(file.target))
        return
    with path.open("wb") as target:
        for start in range(0, len(content), 64 * PAGE):
            part = content[start : start + 64 * PAGE]
            if part.count(0) != len(part):
                target.seek(start)
                target.write(part)
        target.truncate(len(content))
    path.chmod(file.mode)
