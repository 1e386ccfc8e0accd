"""What a user can see of a drive, as a value: two drives are the same when their pictures are equal."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from discordfs.errors import DiscordfsError
from discordfs.fs import Drive
from discordfs.index import Index

UNREADABLE = "unreadable"
"""Stands for the contents of a file when reading it is an error."""

_STEP = 128 * 1024


@dataclass(frozen=True, slots=True)
class Sight:
    """One path. `links`: all paths of the same inode; `contents`: SHA-256 of all bytes, b"" for what has
    none, or UNREADABLE; `data`: the runs [start, end) that are no holes."""

    ino: int
    mode: int
    uid: int
    gid: int
    rdev: int
    size: int
    nlink: int
    times_ns: tuple[int, int, int]
    links: tuple[bytes, ...]
    target: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]
    data: tuple[tuple[int, int], ...]
    contents: str


Picture = dict[bytes, Sight]
"""By path; the root is b"/"."""


def picture(drive: Drive, index: Index) -> Picture:
    """Everything there is, with every byte read. Files must not be open with uncommitted writes."""
    paths = list(_paths(drive, b"/"))
    names: dict[int, list[bytes]] = defaultdict(list)
    for path in paths:
        names[drive.getattr(path).ino].append(path)
    seen: dict[int, str] = {}
    return {path: _sight(drive, index, path, names, seen) for path in paths}


def _paths(drive: Drive, above: bytes) -> Iterator[bytes]:
    yield above
    for entry in drive.readdir(above):
        path = above.rstrip(b"/") + b"/" + entry.name
        if stat.S_ISDIR(entry.mode):
            yield from _paths(drive, path)
        else:
            yield path


def _sight(
    drive: Drive, index: Index, path: bytes, names: dict[int, list[bytes]], seen: dict[int, str]
) -> Sight:
    attr = drive.getattr(path)
    if attr.is_regular and attr.ino not in seen:
        seen[attr.ino] = contents(drive, path)
    xattrs = tuple((name, drive.getxattr(path, name)) for name in drive.listxattr(path))
    return Sight(
        attr.ino,
        attr.mode,
        attr.uid,
        attr.gid,
        attr.rdev,
        attr.size,
        attr.nlink,
        (attr.atime_ns, attr.mtime_ns, attr.ctime_ns),
        tuple(sorted(names[attr.ino])),
        drive.readlink(path) if stat.S_ISLNK(attr.mode) else b"",
        xattrs,
        _data_runs(index, attr.ino),
        seen.get(attr.ino, ""),
    )


def contents(drive: Drive, path: bytes) -> str:
    opened = drive.open(path, os.O_RDONLY)
    digest = hashlib.sha256()
    try:
        for start, end in _runs_to_read(drive, opened.handle):
            for at in range(start, end, _STEP):
                digest.update(drive.read(opened.handle, min(_STEP, end - at), at))
        return digest.hexdigest()
    except DiscordfsError:
        return UNREADABLE
    finally:
        drive.release(opened.handle)


def _runs_to_read(drive: Drive, handle: int) -> list[tuple[int, int]]:
    """All of it; of a file too large to read, both ends."""
    size = drive.fgetattr(handle).size
    if size <= 2**30:
        return [(0, size)]
    return [(0, 2**20), (size - 2**20, size)]


def _data_runs(index: Index, ino: int) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for extent in index.ledger.extents(ino):
        if runs and runs[-1][1] == extent.offset:
            runs[-1] = (runs[-1][0], extent.end)
        else:
            runs.append((extent.offset, extent.end))
    return tuple(runs)


def differences(one: Picture, other: Picture) -> list[str]:
    """In sentences, for a test that fails."""
    found = [f"{path!r} is missing" for path in sorted(one.keys() - other.keys())]
    found += [f"{path!r} is too much" for path in sorted(other.keys() - one.keys())]
    for path in sorted(one.keys() & other.keys()):
        for name in Sight.__slots__:
            here, there = getattr(one[path], name), getattr(other[path], name)
            if here != there:
                found.append(f"{path!r}: {name} was {here!r}, is {there!r}")
    return found
