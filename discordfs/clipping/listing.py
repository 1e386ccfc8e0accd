"""Directories of clips/ in memory: what names stand for, and listings that are kept while they are new.

A listing is made by one query and serves every look at its entries until the catalogue has changed. While it
changes all the time (a history is being fetched) a listing serves for a while longer: fifty times as long as
it took to make, so that looking at a large directory stays cheap.
Limits: listings with together ENTRIES entries are kept, or a larger one alone. Threading: any; a lock guards
the table, not the making: two may make the same listing at once.
"""

from __future__ import annotations

import enum
import stat
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from cachetools import LRUCache

from discordfs.model import Attr

ENTRIES = 100_000
"""Entries of all kept listings together: some 40 MB."""

_OWN_INODES = 3 << 62
"""Set in all inode numbers here: the drive's have the upper bit clear, the archive's the second one."""
_UNIT = 512
_PATIENCE = 50.0
_LONGEST_S = 60.0


class Kind(enum.Enum):
    """What a name may stand for. The value is part of inode numbers."""

    TOP = b"top"  # clips/ itself, and the directories beside its servers
    GUILD = b"guild"
    PLACE = b"place"
    POSTER = b"poster"
    CLIP = b"clip"
    LINK = b"link"
    THUMB = b"thumb"
    ICON = b"icon"
    CARD = b"card"
    MADE = b"made"  # files made of the catalogue as a whole
    PAGE = b"page"  # and files of this package


DIRECTORIES = frozenset({Kind.TOP, Kind.GUILD, Kind.PLACE, Kind.POSTER})


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for. `id` is unique within its kind. A clip has `size` (bytes) and `mtime_ns`, a
    link its target as `data`, a file on the local disk `path` (its own attributes are shown), any other file
    its contents as `data`."""

    kind: Kind
    id: int
    size: int = 0
    mtime_ns: int = 0
    data: bytes = b""
    path: Path | None = None
    nlink: int = 1

    @property
    def ino(self) -> int:
        digest = blake2b(self.kind.value + self.id.to_bytes(8, "little"), digest_size=8).digest()
        return _OWN_INODES | int.from_bytes(digest, "little") >> 2

    @property
    def mode(self) -> int:
        if self.kind in DIRECTORIES:
            return stat.S_IFDIR | 0o555
        return stat.S_IFLNK | 0o777 if self.kind is Kind.LINK else stat.S_IFREG | 0o444


Listing = dict[bytes, Entry]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose the entries are."""

    uid: int
    gid: int

    def attr(self, entry: Entry, size: int, mtime_ns: int) -> Attr:
        return Attr(
            ino=entry.ino,
            mode=entry.mode,
            nlink=entry.nlink,
            uid=self.uid,
            gid=self.gid,
            rdev=0,
            size=size,
            blocks=-(-size // _UNIT),
            atime_ns=mtime_ns,
            mtime_ns=mtime_ns,
            ctime_ns=mtime_ns,
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    listing: Listing
    version: Hashable
    until: float


class Listings:
    """Listings by directory. `monotonic`: seconds."""

    def __init__(self, monotonic: Callable[[], float], entries: int = ENTRIES) -> None:
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._kept: LRUCache[Hashable, _Kept] = LRUCache(
            entries, getsizeof=lambda kept: min(entries, len(kept.listing) + 1)
        )

    def get(self, key: Hashable, version: Hashable, make: Callable[[], Listing]) -> Listing:
        """The listing of this version, or one that was made a moment ago."""
        with self._guard:
            kept = self._kept.get(key)
        began = self._monotonic()
        if kept is not None and (kept.version == version or began < kept.until):
            return kept.listing
        listing = make()
        now = self._monotonic()
        new = _Kept(listing, version, now + min(_LONGEST_S, (now - began) * _PATIENCE))
        with self._guard:
            self._kept[key] = new
        return listing
