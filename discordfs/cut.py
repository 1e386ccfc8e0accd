"""A cut: the drive as it was at one moment, held still while its record is made.

Job: read, from a frozen view of the index, what changed since the last record (or everything, for a
snapshot), as entries of records.py. The view is a second connection's read transaction, so that writers go
on meanwhile. Staged bytes of the cut must be held in staging until they are sealed; where they went is told
by `placed`. Limits: memory for the staged pieces, and for the chunks' numbers. Threading: one thread.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from discordfs.garbage import UNREFERRED
from discordfs.ledger import END
from discordfs.model import Attr, Extent, Home, Piece, SealedChunk
from discordfs.records import (
    CondemnedEntry,
    CountersEntry,
    Entry,
    InodeEntry,
    InodeGone,
    NameEntry,
    NameGone,
    RangeEntry,
    Span,
)

_ATTR = "inodes.ino, mode, nlink, uid, gid, rdev, size, 0, atime_ns, mtime_ns, ctime_ns, target"
_PAGE = 1000


class _Placed(NamedTuple):
    """Bytes of a file that were staged at the cut: where they lie in a chunk."""

    offset: int
    length: int
    chunk: int
    position: int


class Cut:
    """The cut of this number, over a frozen view that it owns."""

    def __init__(self, number: int, view: sqlite3.Connection) -> None:
        self.number = number
        self._view = view
        self._placed: dict[tuple[int, int], list[_Placed]] = {}
        self.named: set[int] = set()

    def close(self) -> None:
        self._view.close()

    # --- bytes that have to go first --------------------------------------------------------------

    def staged(self) -> Iterator[Piece]:
        """The pieces that are in no chunk yet, in the order of their commits."""
        rows = self._view.execute(
            "SELECT ino, offset, length, seq, segment, segment_position, "
            "(SELECT name FROM dentries WHERE dentries.ino = extents.ino LIMIT 1) "
            "FROM extents WHERE home = 0 ORDER BY seq, ino, offset"
        )
        for ino, offset, length, seq, segment, position, name in rows:
            yield Piece(ino, offset, length, seq, name or b"", segment, position)

    def sealed(self) -> set[int]:
        """Chunks with bytes of this cut of which the view does not know that a record names them."""
        rows = self._view.execute(
            "SELECT id FROM chunks WHERE state IN (0, 1) AND EXISTS "
            "(SELECT 1 FROM extents WHERE extents.chunk = chunks.id AND home > 0)"
        )
        return {row[0] for row in rows}

    def placed(self, chunk: int, sealed: SealedChunk) -> None:
        """Staged pieces went into this chunk (its row's id)."""
        position = 0
        for piece in sealed.pieces:
            home = self._placed.setdefault((piece.segment, _origin(piece)), [])
            home.append(_Placed(piece.offset, piece.length, chunk, position))
            home.sort()
            position += piece.length

    # --- what the record says ---------------------------------------------------------------------

    def changes(self) -> Iterator[Entry]:
        """What changed since the last record, as it is at the cut. Chunks are numbered by their rows' ids,
        which `named` collects."""
        yield from self._changed_inodes()
        yield from self._changed_names()
        yield from self._changed_ranges()
        yield self._counters()

    def everything(self) -> Iterator[Entry]:
        """The whole index, as it is at the cut."""
        for row in self._view.execute(f"SELECT {_ATTR} FROM inodes WHERE nlink > 0 ORDER BY ino"):
            yield self._inode(row)
        for parent, name, ino, kind in self._view.execute("SELECT parent, name, ino, kind FROM dentries"):
            yield NameEntry(parent, name, ino, kind)
        rows = self._view.execute(
            "SELECT DISTINCT ino FROM extents JOIN inodes USING (ino) WHERE nlink > 0 ORDER BY ino"
        ).fetchall()
        for (ino,) in rows:
            yield from self._range(ino, 0, END)
        yield self._counters()

    def dead_chunks(self) -> dict[int, tuple[int, int] | None]:
        """Chunks to which nothing refers at the cut: row id -> (channel, message), or None where the
        message is a record's as well, and goes when that does; or, in an index that is damaged, another
        chunk's."""
        rows = self._view.execute(
            "SELECT id, channel, message, "
            "EXISTS (SELECT 1 FROM records WHERE records.message = chunks.message AND records.message > 0) "
            "OR EXISTS (SELECT 1 FROM chunks AS other "
            "WHERE other.message = chunks.message AND other.message > 0 AND other.id <> chunks.id) "
            "FROM chunks WHERE state IN (1, 2) AND NOT EXISTS "
            "(SELECT 1 FROM extents WHERE extents.chunk = chunks.id AND home > 0)"
        )
        return {row[0]: None if row[3] else (row[1], row[2]) for row in rows}

    def found_garbage(self) -> list[tuple[int, int]]:
        """Other messages (channel, message) to condemn."""
        return self._view.execute(
            f"SELECT channel, message FROM garbage WHERE state = 0 AND {UNREFERRED}"
        ).fetchall()

    # --- inside -----------------------------------------------------------------------------------

    def _changed_inodes(self) -> Iterator[Entry]:
        rows = self._view.execute(
            f"SELECT changed.ino, {_ATTR} FROM (SELECT DISTINCT ino FROM changed_inodes WHERE cut <= ?) "
            "AS changed LEFT JOIN inodes ON inodes.ino = changed.ino ORDER BY changed.ino",
            (self.number,),
        )
        for row in rows:
            is_there = row[1] is not None and row[3] > 0
            yield self._inode(row[1:]) if is_there else InodeGone(row[0])

    def _inode(self, row: tuple[int, ...]) -> InodeEntry:
        attr, target = Attr(*row[:11]), row[11]
        xattrs = self._view.execute("SELECT name, value FROM xattrs WHERE ino = ? ORDER BY name", (attr.ino,))
        return InodeEntry(attr, target, tuple(xattrs.fetchall()))  # type: ignore[arg-type]

    def _changed_names(self) -> Iterator[Entry]:
        rows = self._view.execute(
            "SELECT changed.parent, changed.name, ino, kind FROM "
            "(SELECT DISTINCT parent, name FROM changed_names WHERE cut <= ?) AS changed "
            "LEFT JOIN dentries ON dentries.parent = changed.parent AND dentries.name = changed.name",
            (self.number,),
        )
        for parent, name, ino, kind in rows:
            yield NameGone(parent, name) if ino is None else NameEntry(parent, name, ino, kind)

    def _changed_ranges(self) -> Iterator[Entry]:
        rows = self._view.execute(
            "SELECT ino, start, finish FROM changed_ranges JOIN inodes USING (ino) "
            "WHERE cut <= ? AND nlink > 0 ORDER BY ino, start",
            (self.number,),
        ).fetchall()
        for ino, start, finish in _merged(rows):
            yield from self._range(ino, start, finish)

    def _range(self, ino: int, start: int, finish: int) -> Iterator[RangeEntry]:
        """In pieces of so many spans that none is too long for memory."""
        spans: list[Span] = []
        for extent, seq in self._extents(ino, start, finish):
            for span in self._spans(ino, extent.cut(start, finish), seq):
                spans.append(span)
                if len(spans) == _PAGE:
                    end = span.offset + span.length
                    yield RangeEntry(ino, start, end, tuple(spans))
                    start, spans = end, []
        if start < finish:
            yield RangeEntry(ino, start, finish, tuple(spans))

    def _extents(self, ino: int, start: int, finish: int) -> Iterator[tuple[Extent, int]]:
        rows = self._view.execute(
            "SELECT offset, length, home, segment, segment_position, chunk, chunk_position, seq "
            "FROM extents WHERE ino = ?1 AND offset < ?3 AND offset >= "
            "COALESCE((SELECT MAX(offset) FROM extents WHERE ino = ?1 AND offset <= ?2), ?2) ORDER BY offset",
            (ino, start, finish),
        )
        for offset, length, home, *places, seq in rows:
            if offset + length > start:
                yield Extent(offset, length, Home(home), *places), seq

    def _spans(self, ino: int, extent: Extent, seq: int) -> Iterator[Span]:
        if extent.home is not Home.STAGED:
            self.named.add(extent.chunk)
            yield Span(extent.offset, extent.length, extent.chunk, extent.chunk_position, seq)
            return
        done = extent.offset
        for place in self._placed.get((extent.segment, extent.segment_position - extent.offset), ()):
            begin, end = max(done, place.offset), min(extent.end, place.offset + place.length)
            if begin < end:
                self.named.add(place.chunk)
                yield Span(begin, end - begin, place.chunk, place.position + begin - place.offset, seq)
                done = end
        if done != extent.end:
            raise RuntimeError(f"inode {ino}: bytes from {done} on are in no chunk, and yet to be recorded")

    def _counters(self) -> CountersEntry:
        ceilings = dict(self._view.execute("SELECT name, ceiling FROM counters").fetchall())
        return CountersEntry(ceilings.get("inode", 2), ceilings.get("commit", 2))


class PieceQueue:
    """Pieces on their way into chunks: iterated over as far as one chunk has room, `took` says how far that
    was, and the next iteration goes on there. True while there are any left."""

    def __init__(self, source: Iterator[Piece]) -> None:
        self._source = source
        self._waiting: deque[Piece] = deque()
        self._offered: list[Piece] = []

    def __bool__(self) -> bool:
        if not self._waiting:
            self._waiting.extend(islice(self._source, 1))
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Piece]:
        self._offered = []
        while self:
            self._offered.append(self._waiting.popleft())
            yield self._offered[-1]

    def took(self, taken: Sequence[Piece]) -> None:
        """These went in: the last may be the beginning of what was offered."""
        left = self._offered[len(taken) :]
        last, whole = taken[-1], self._offered[len(taken) - 1]
        if last.length < whole.length:
            left.insert(0, _rest(whole, last.length))
        self._waiting.extendleft(reversed(left))


def _rest(piece: Piece, taken: int) -> Piece:
    return replace(
        piece,
        offset=piece.offset + taken,
        length=piece.length - taken,
        segment_position=piece.segment_position + taken,
    )


def condemnations(messages: Iterable[tuple[int, int]]) -> Iterator[CondemnedEntry]:
    """(channel, message) pairs as entries."""
    by_channel: dict[int, list[int]] = {}
    for channel, message in messages:
        by_channel.setdefault(channel, []).append(message)
    for channel, found in by_channel.items():
        found.sort()
        for begin in range(0, len(found), _PAGE):
            yield CondemnedEntry(channel, tuple(found[begin : begin + _PAGE]))


def _origin(piece: Piece) -> int:
    """What all parts of one staged run have in common: position in its segment less offset in its file."""
    return piece.segment_position - piece.offset


def _merged(ranges: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Sorted ranges (ino, start, finish), joined where they touch."""
    held: tuple[int, int, int] | None = None
    for ino, start, finish in ranges:
        if held is not None and held[0] == ino and start <= held[2]:
            held = (ino, held[1], max(held[2], finish))
            continue
        if held is not None:
            yield held
        held = (ino, start, finish)
    if held is not None:
        yield held
