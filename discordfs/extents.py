"""The extents of one file, in memory: a sorted map of file ranges to where their bytes are.

Job: insert over, cut out, look up, and join neighbours that lie side by side in staging. Limits: no I/O
and no lock; whoever owns a map guards it. Lookup is O(log n), insertion O(n) in the memmove of a list.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from discordfs.model import Extent, Home


class ExtentMap:
    """Extents that do not overlap, by file offset. `total` is the sum of their lengths in bytes."""

    __slots__ = ("_extents", "_starts", "total")

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        self._extents = sorted(extents, key=lambda extent: extent.offset)
        self._starts = [extent.offset for extent in self._extents]
        self.total = sum(extent.length for extent in self._extents)

    def __iter__(self) -> Iterator[Extent]:
        return iter(self._extents)

    def __len__(self) -> int:
        return len(self._extents)

    def __bool__(self) -> bool:
        return bool(self._extents)

    def find(self, start: int, end: int) -> list[Extent]:
        """The extents that overlap [start, end), whole, in order."""
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._extents[first].end <= start:
            first += 1
        return self._extents[first : bisect_left(self._starts, end, first)]

    def slice(self, start: int, end: int) -> list[Extent]:
        """The parts of extents within [start, end), in order."""
        found = self.find(start, end)
        if found:
            found[0] = found[0].cut(start, end)
            found[-1] = found[-1].cut(start, end)
        return found

    def remove(self, start: int, end: int) -> list[Extent]:
        """Makes [start, end) a hole; returns the parts that were there."""
        found = self.find(start, end)
        if not found:
            return []
        first = bisect_left(self._starts, found[0].offset)
        kept = []
        if found[0].offset < start:
            kept.append(found[0].cut(found[0].offset, start))
        if found[-1].end > end:
            kept.append(found[-1].cut(end, found[-1].end))
        self._splice(first, first + len(found), kept)
        removed = [extent.cut(start, end) for extent in found]
        self.total -= sum(extent.length for extent in removed)
        return removed

    def insert(self, extent: Extent) -> list[Extent]:
        """Puts `extent` over whatever is there; returns the parts it replaced."""
        replaced = [] if self._is_past_end(extent) else self.remove(extent.offset, extent.end)
        self.total += extent.length
        at = bisect_left(self._starts, extent.offset)
        if at and _joins(self._extents[at - 1], extent):
            before = self._extents[at - 1]
            self._extents[at - 1] = before.longer(extent.length)
        else:
            self._splice(at, at, [extent])
        return replaced

    def _is_past_end(self, extent: Extent) -> bool:
        return not self._extents or self._extents[-1].end <= extent.offset

    def _splice(self, first: int, last: int, extents: list[Extent]) -> None:
        self._extents[first:last] = extents
        self._starts[first:last] = [extent.offset for extent in extents]


def _joins(before: Extent, after: Extent) -> bool:
    """Whether two neighbours in the file are neighbours in staging as well (and only there: what is in a
    chunk keeps the shape it was sealed in)."""
    return (
        before.end == after.offset
        and before.home is Home.STAGED
        and after.home is Home.STAGED
        and before.segment == after.segment
        and before.segment_position + before.length == after.segment_position
    )
