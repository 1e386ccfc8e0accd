"""An inode in use: its contents as the open file sees them, committed or not.

Job: what one inode's lock guards. A write goes to staging and into the map of dirty extents; `commit`
hands those to the index in one transaction. The size and times of an uncommitted write live here; all
else about the inode is asked of the index, so that there is one truth for it. Limits: regular files and
the attributes of anything; knows neither names nor handles. Threading: whoever calls holds `lock`, except
for `attr` (a look at a moment).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from discordfs.errors import NoEntry
from discordfs.extents import ExtentMap
from discordfs.index import Index
from discordfs.ledger import END, Released
from discordfs.model import Attr, ChunkRef, Extent, Home
from discordfs.staging import Run, Staging
from discordfs.unsynced import Sum


class Node:
    """Inode `ino` in use; `is_foreign`: another machine may change and remove it. `users` is guarded by the
    table that keeps the nodes, not by `lock`."""

    __slots__ = (
        "_changed",
        "_chunks",
        "_ctime_ns",
        "_cut_from",
        "_dirty",
        "_index",
        "_is_foreign",
        "_last_attr",
        "_map",
        "_mtime_ns",
        "_replayed",
        "_run",
        "_staging",
        "ino",
        "lock",
        "size",
        "users",
    )

    def __init__(self, ino: int, index: Index, staging: Staging, is_foreign: bool = False) -> None:
        attr = index.attr(ino)
        self.ino = ino
        self.lock = threading.Lock()
        self.users = 0
        self.size = attr.size
        self._index = index
        self._staging = staging
        self._changed = False
        self._mtime_ns = attr.mtime_ns
        self._ctime_ns = attr.ctime_ns
        self._dirty = ExtentMap()
        self._cut_from = END
        self._map: ExtentMap | None = None
        self._replayed = 0
        self._chunks: Mapping[int, ChunkRef] = {}
        self._last_attr = attr
        self._is_foreign = is_foreign
        self._run = Run()
        if is_foreign:
            self._load()

    def attr(self) -> Attr:
        """As of the last write, committed or not."""
        if self._is_foreign:
            self.extents()
            return self._last_attr
        attr = self._index.attr(self.ino)
        if not self._changed:
            return attr
        return replace(
            attr,
            size=self.size,
            blocks=_blocks(self.extents().total),
            mtime_ns=self._mtime_ns,
            ctime_ns=max(self._ctime_ns, attr.ctime_ns),
        )

    @property
    def is_changed(self) -> bool:
        """Whether something is not committed yet."""
        return self._changed

    def extents(self) -> ExtentMap:
        """Where the contents are: committed extents, and the dirty ones over them. Looked up again, together
        with the size, once another writer's record has come in. Raises NoEntry when the inode is gone; not
        where another machine removes files, as whoever has them open reads on what they were."""
        if self._map is None or self._replayed != self._index.replayed:
            return self._load()
        return self._map

    def _load(self) -> ExtentMap:
        try:
            found = self._index.contents(self.ino, with_chunks=self._is_foreign)
        except NoEntry:
            if self._map is None or not self._is_foreign:
                raise
            self._last_attr, self._replayed = replace(self._last_attr, nlink=0), self._index.replayed
            return self._map
        self._last_attr, self._replayed, self._chunks = found.attr, found.replayed, found.chunks
        self.size = self.size if self._changed else found.attr.size
        extents = ExtentMap(found.extents)
        if self._cut_from < END:
            extents.remove(self._cut_from, END)
        for extent in self._dirty:
            extents.insert(extent)
        self._map = extents
        return extents

    def chunk(self, row: int) -> ChunkRef:
        """The chunk that an extent lies in. Raises Damaged when nobody knows it."""
        return self._chunks.get(row) or self._index.ledger.chunk(row)

    def reload(self) -> None:
        """The committed extents may be elsewhere by now: looked up again when they are needed."""
        self._replayed = -1

    # --- changing contents ----------------------------------------------------------------------

    def write(self, data: bytes | memoryview, offset: int, now_ns: int) -> None:
        """Beyond the end leaves a hole between."""
        end = offset + len(data)
        inside = self._dirty_around(offset, end)
        if inside is not None:
            position = inside.segment_position + offset - inside.offset
            self._staging.overwrite(self._run, inside.segment, position, data)
        else:
            self._write_fresh(data, offset)
        self.size = max(self.size, end)
        self._touch(now_ns)

    def _dirty_around(self, start: int, end: int) -> Extent | None:
        found = self._dirty.find(start, end)
        if len(found) == 1 and found[0].offset <= start and end <= found[0].end:
            return found[0]
        return None

    def _write_fresh(self, data: bytes | memoryview, offset: int) -> None:
        extents = self.extents()
        for placed in self._staging.write(self._run, data):
            extent = Extent(offset, placed.length, Home.STAGED, placed.segment, placed.position)
            extents.insert(extent)
            self._free(self._dirty.insert(extent))
            offset += placed.length

    def truncate(self, size: int, now_ns: int) -> None:
        """Shorter: what lies beyond is gone. Longer: a hole."""
        if size < self.size:
            self.extents().remove(size, END)
            self._free(self._dirty.remove(size, END))
            self._cut_from = min(self._cut_from, size)
        self.size = size
        self._touch(now_ns)

    def _touch(self, now_ns: int) -> None:
        self._changed = True
        self._mtime_ns = self._ctime_ns = now_ns

    def _free(self, dropped: Iterable[Extent]) -> None:
        freed = [Released(extent.segment, extent.length) for extent in dropped]
        if freed:
            self._staging.release(freed)

    # --- committing -------------------------------------------------------------------------------

    def commit(self) -> bool:
        """What was written is in the index when this returns; whether there was anything. Raises NoSpace,
        and then it stays uncommitted here."""
        if not self._changed:
            return False
        self._commit(self.attr())
        return True

    def set_attr(self, attr: Attr) -> None:
        """Commits new attributes, and with them whatever was written: a size never goes into the index
        before the bytes it counts."""
        if self._changed:
            self._commit(attr)
        else:
            self._index.set_attr(attr)

    def _commit(self, attr: Attr) -> None:
        sums = self._staging.sums(self._run)
        released = self._index.commit(attr, self.extents().total, self._cut_from, list(self._dirty), sums)
        self._run.sums.clear()
        self._dirty = ExtentMap()
        self._cut_from = END
        self._changed = False
        self._staging.release(released)

    def relocate(self, found: Sequence[Extent], staged: Sequence[Extent], sums: Iterable[Sum]) -> bool:
        """Puts `staged` in the place of `found`, the same bytes on Discord, and commits that. False when
        something is not committed yet, or the file has something else there by now."""
        if self._changed or not self._index.relocate(self.ino, found, staged, sums):
            return False
        self.reload()
        return True

    def rest(self) -> None:
        """No write is expected soon: gives back what was reserved in staging."""
        self._staging.close_run(self._run)

    def abandon(self) -> None:
        """What was written and could not be committed goes."""
        self._free(self._dirty)
        self._run.sums.clear()
        self._dirty = ExtentMap()
        self._changed = False


def _blocks(allocated: int) -> int:
    return (allocated + 511) // 512
