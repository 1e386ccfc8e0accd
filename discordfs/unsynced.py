"""Checksums of staged bytes that no sync has covered yet.

Job: after a power cut the index may name bytes of staging that never reached the disk, as the kernel writes
pages back in any order. So every commit that brings staged bytes notes their checksums in the same
transaction, each sync of the index clears them, and the first start after the machine went down compares
them (powercut.py). Limits: xxh3 finds accidents, not malice; stretches of at most 4 MiB, so that a comparison
reads little. Threading: a `Sums` belongs to one file and is guarded by its lock; the functions are called
within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import xxhash

_LONGEST = 4 * 1024**2

_LIVE = """
SELECT segment, position, length, sum FROM unsynced WHERE EXISTS (
    SELECT 1 FROM extents WHERE home < 2 AND extents.segment = unsynced.segment
    AND segment_position >= position AND segment_position < position + unsynced.length
) OR position < (
    SELECT segment_position + extents.length FROM extents WHERE home < 2
    AND extents.segment = unsynced.segment AND segment_position < position
    ORDER BY segment_position DESC LIMIT 1
)
"""
"""Those that an extent still rests on: one that begins within, or the last one before it, reaching in."""


@dataclass(frozen=True, slots=True)
class Sum:
    """`length` bytes at `position` of a staging segment, and the xxh3_64 that they have (8 bytes)."""

    segment: int
    position: int
    length: int
    digest: bytes


@dataclass(slots=True)
class _Stretch:
    """`is_stale`: something in it was written again, so that it has to be read for its checksum."""

    segment: int
    position: int
    end: int
    hash: Any = field(default_factory=xxhash.xxh3_64)
    is_stale: bool = False

    @property
    def length(self) -> int:
        return self.end - self.position


class Sums:
    """What one file wrote to staging since its last commit. A file's writes go to ever higher places, so
    the stretches are in order."""

    __slots__ = ("_last", "_stretches")

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []
        self._last: _Stretch | None = None

    def add(self, segment: int, position: int, data: memoryview) -> None:
        """`data` was written there, for the first time."""
        last = self._last
        if last is None or last.end != position or last.segment != segment or last.length >= _LONGEST:
            last = self._last = _Stretch(segment, position, position)
            self._stretches.append(last)
        last.hash.update(data)
        last.end += len(data)

    def spoil(self, segment: int, position: int, length: int) -> None:
        """These bytes were written again."""
        first = bisect_right(
            self._stretches, (segment, position), key=lambda each: (each.segment, each.position)
        )
        for stretch in self._stretches[max(0, first - 1) :]:
            if (stretch.segment, stretch.position) >= (segment, position + length):
                break
            stretch.is_stale = True

    def totals(self, read: Callable[[int, int, int], bytes | None]) -> list[Sum]:
        """The checksums. `read` gives bytes of staging, None where they are gone (nothing refers to such)."""
        return [total for stretch in self._stretches if (total := _total(stretch, read)) is not None]

    def clear(self) -> None:
        self._stretches.clear()
        self._last = None


def _total(stretch: _Stretch, read: Callable[[int, int, int], bytes | None]) -> Sum | None:
    if not stretch.is_stale:
        return Sum(stretch.segment, stretch.position, stretch.length, stretch.hash.digest())
    data = read(stretch.segment, stretch.position, stretch.length)
    return None if data is None else Sum(stretch.segment, stretch.position, stretch.length, digest(data))


def digest(data: bytes | memoryview) -> bytes:
    return xxhash.xxh3_64_digest(data)


def note(connection: sqlite3.Connection, sums: Iterable[Sum]) -> None:
    """These stretches are named by the commit that is under way."""
    connection.executemany(
        "INSERT OR REPLACE INTO unsynced VALUES (?, ?, ?, ?)",
        [(each.segment, each.position, each.length, each.digest) for each in sums],
    )


def clear(connection: sqlite3.Connection) -> None:
    """All that has been committed so far is on disk."""
    connection.execute("DELETE FROM unsynced")


def live(connection: sqlite3.Connection) -> list[Sum]:
    """What a file rests on and no sync has covered, as the index has it."""
    return [Sum(*row) for row in connection.execute(_LIVE)]


def keys(connection: sqlite3.Connection) -> set[tuple[int, int]]:
    """Segment and position of every stretch that is noted."""
    return set(connection.execute("SELECT segment, position FROM unsynced").fetchall())
