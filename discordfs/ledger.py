"""Where every byte is: the extents and chunks tables.

Job: replace a file's ranges, hand out the upload queue, move extents through staged -> sealed -> remote
(the table in staging.py), remember chunks. Each public method is one transaction. Threading: any thread;
the database's lock is the only one taken.

Whatever stops referring to staging is returned as `Released`, so that staging is freed after the commit,
never before.
"""

from __future__ import annotations

import sqlite3
import struct
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cachetools import LRUCache

from discordfs.database import Database
from discordfs.errors import Damaged
from discordfs.model import AttachmentRef, ChunkRef, Extent, Home, Piece, SealedChunk
from discordfs.records import ChunkEntry
from discordfs.schema import CUT

END = 2**63 - 1

_COLUMNS = "offset, length, home, segment, segment_position, chunk, chunk_position"


@dataclass(frozen=True, slots=True)
class Released:
    """`length` bytes of a staging segment that nothing refers to any more."""

    segment: int
    length: int


@dataclass(frozen=True, slots=True)
class Intent:
    """A sealed chunk that is to be posted, or has been without our knowing. `record`: the record (row id)
    in whose message it goes, 0 for a message of its own."""

    id: int
    uid: bytes
    channel: int
    stored_size: int
    sealed_ns: int
    record: int


class Ledger:
    """The extents and chunks of one index. `live_bytes`, `staged_bytes` and `sealed_bytes` are kept as
    sums over the committed extents (readable without a lock: each is one integer)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chunks: LRUCache[int, ChunkRef] = LRUCache(4096)
        self._chunks_lock = threading.Lock()
        self.live_bytes = 0
        self.staged_bytes = 0
        self.sealed_bytes = 0
        database.on_rollback(self.recount)
        self.recount()

    def recount(self) -> None:
        """The sums, anew from the table: at the start, and after a transaction that was rolled back."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT home, SUM(length) FROM extents GROUP BY home").fetchall()
        sums: dict[int, int] = dict(rows)
        self.live_bytes = sum(sums.values())
        self.staged_bytes = sums.get(Home.STAGED, 0)
        self.sealed_bytes = sums.get(Home.SEALED, 0)

    # --- files ---------------------------------------------------------------------------------

    def extents(self, ino: int) -> list[Extent]:
        """A file's extents by offset."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM extents WHERE ino = ? ORDER BY offset", (ino,)
            ).fetchall()
        return [_extent(row) for row in rows]

    def replace(
        self, connection: sqlite3.Connection, ino: int, cut_from: int, extents: Iterable[Extent]
    ) -> list[Released]:
        """Within the caller's transaction: first everything from `cut_from` on goes (END: nothing), then
        each staged extent takes the place of what it covers."""
        changed = [(cut_from, END)] if cut_from < END else []
        dropped = self._punch(connection, ino, cut_from, END) if cut_from < END else []
        seq = self._database.next("commit")
        for extent in extents:
            dropped += self._punch(connection, ino, extent.offset, extent.end)
            self._insert(connection, ino, extent, seq)
            changed.append((extent.offset, extent.end))
        connection.executemany(
            f"INSERT INTO changed_ranges VALUES (?, ?, ?, {CUT}) "
            "ON CONFLICT DO UPDATE SET finish = MAX(finish, excluded.finish), cut = excluded.cut",
            ((ino, start, end) for start, end in _joined(changed)),
        )
        return _released(dropped)

    def relocate(
        self, connection: sqlite3.Connection, ino: int, found: Sequence[Extent], staged: Sequence[Extent]
    ) -> bool:
        """Within the caller's transaction: `staged`, the same bytes, take the place of `found`. False when
        the file has something else there by now; then nothing has changed."""
        for extent in found:
            overlapping = _overlapping(connection, ino, extent.offset, extent.end)
            if [there.cut(extent.offset, extent.end) for there, _ in overlapping] != [extent]:
                return False
        self.replace(connection, ino, END, staged)
        return True

    def drop(self, connection: sqlite3.Connection, ino: int) -> list[Released]:
        """Within the caller's transaction: all of a file's extents."""
        return _released(self._punch(connection, ino, 0, END))

    def is_remote(self, ino: int) -> bool:
        """Whether no byte of the file waits for its upload."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT 1 FROM extents WHERE ino = ? AND home < 2 LIMIT 1", (ino,))
            return row.fetchone() is None

    def _punch(self, connection: sqlite3.Connection, ino: int, start: int, end: int) -> list[Extent]:
        """Makes [start, end) a hole; returns what was there."""
        dropped = []
        for extent, seq in _overlapping(connection, ino, start, end):
            connection.execute("DELETE FROM extents WHERE ino = ? AND offset = ?", (ino, extent.offset))
            self._tally(extent, -1)
            if extent.offset < start:
                self._insert(connection, ino, extent.cut(extent.offset, start), seq)
            if extent.end > end:
                self._insert(connection, ino, extent.cut(end, extent.end), seq)
            dropped.append(extent.cut(start, end))
        return dropped

    def _insert(self, connection: sqlite3.Connection, ino: int, extent: Extent, seq: int) -> None:
        connection.execute(
            "INSERT INTO extents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                ino,
                extent.offset,
                extent.length,
                int(extent.home),
                extent.segment,
                extent.segment_position,
                extent.chunk,
                extent.chunk_position,
                seq,
            ),
        )
        self._tally(extent, 1)

    def _tally(self, extent: Extent, sign: int) -> None:
        self.live_bytes += sign * extent.length
        if extent.home is Home.STAGED:
            self.staged_bytes += sign * extent.length
        elif extent.home is Home.SEALED:
            self.sealed_bytes += sign * extent.length

    # --- the upload queue ----------------------------------------------------------------------

    def queued(self, enough_bytes: int, enough_pieces: int) -> list[Piece]:
        """The oldest staged extents in the order of their commits, until there is enough."""
        pieces: list[Piece] = []
        total = 0
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT ino, offset, length, seq, segment, segment_position, "
                "(SELECT name FROM dentries WHERE dentries.ino = extents.ino LIMIT 1) "
                "FROM extents WHERE home = 0 ORDER BY seq, ino, offset LIMIT ?",
                (enough_pieces,),
            )
            for ino, offset, length, seq, segment, position, name in rows:
                pieces.append(Piece(ino, offset, length, seq, name or b"", segment, position))
                total += length
                if total >= enough_bytes:
                    break
        return pieces

    def staged_by_segment(self) -> dict[int, int]:
        """Bytes that extents refer to in each staging segment."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT segment, SUM(length) FROM extents WHERE home < 2 GROUP BY 1")
            return dict(rows.fetchall())

    # --- chunks --------------------------------------------------------------------------------

    def intend(self, sealed: SealedChunk, channel: int, now_ns: int) -> int:
        """Notes that this chunk is going to be posted, and marks what it holds as sealed. Extents that
        were overwritten or removed since they were gathered are left alone: the chunk just carries some
        dead bytes. `now_ns`: by Discord's clock."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO chunks (uid, state, channel, message, attachments, plain_size, stored_size, "
                "blocks, sealed_ns) VALUES (?, 0, ?, 0, X'', ?, ?, ?, ?)",
                (sealed.uid, channel, sealed.plain_size, sealed.stored_size, sealed.blocks, now_ns),
            )
            chunk = int(cursor.lastrowid or 0)
            position = 0
            for piece in sealed.pieces:
                self._mark_sealed(connection, piece, chunk, position)
                position += piece.length
        return chunk

    def _mark_sealed(self, connection: sqlite3.Connection, piece: Piece, chunk: int, position: int) -> None:
        end = piece.offset + piece.length
        for extent, seq in _overlapping(connection, piece.ino, piece.offset, end):
            if not _holds(extent, piece):
                continue
            inside = extent.cut(piece.offset, end)
            sealed = replace(
                inside,
                home=Home.SEALED,
                chunk=chunk,
                chunk_position=position + inside.offset - piece.offset,
            )
            self._punch(connection, piece.ino, inside.offset, inside.end)
            self._insert(connection, piece.ino, sealed, seq)

    def retarget(self, chunk: int, channel: int) -> None:
        """An intended chunk is going to another channel."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE chunks SET channel = ? WHERE id = ?", (channel, chunk))

    def landed(self, chunk: int, ref: ChunkRef) -> None:
        """The chunk is on Discord. Its extents stay sealed, and staging keeps them, until a record that
        names the chunk is accepted."""
        attachments = b"".join(struct.pack("<QQ", each.id, each.size) for each in ref.attachments)
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE chunks SET state = 1, channel = ?, message = ?, attachments = ? "
                "WHERE id = ? AND state = 0",
                (ref.channel, ref.message, attachments, chunk),
            )
        self._remember(chunk, ref)

    def recorded(self, connection: sqlite3.Connection, record: int) -> tuple[list[int], list[Released]]:
        """Within the caller's transaction: a record (its row's id) that names chunks is accepted, so their
        extents point there from now on. Returns the inodes that changed and the staging that is free."""
        rows = connection.execute(
            "SELECT ino, segment, length FROM extents WHERE home = 1 AND chunk IN "
            "(SELECT id FROM chunks WHERE record = ? AND state = 2)",
            (record,),
        ).fetchall()
        connection.execute(
            "UPDATE extents SET home = 2, segment = 0, segment_position = 0 WHERE home = 1 AND chunk IN "
            "(SELECT id FROM chunks WHERE record = ? AND state = 2)",
            (record,),
        )
        self.sealed_bytes -= sum(length for _, _, length in rows)
        return sorted({row[0] for row in rows}), [Released(segment, length) for _, segment, length in rows]

    def are_there(self, chunks: Iterable[int]) -> bool:
        """Whether all of these are on Discord."""
        with self._database.reading() as connection:
            for chunk in chunks:
                row = connection.execute("SELECT state FROM chunks WHERE id = ?", (chunk,)).fetchone()
                if row is None or row[0] == 0:
                    return False
        return True

    def unseal(self, chunk: int) -> None:
        """An intended chunk whose sealed bytes are lost or damaged: its extents wait in staging again."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT SUM(length) FROM extents WHERE chunk = ? AND home = 1", (chunk,)
            ).fetchone()
            connection.execute(
                "UPDATE extents SET home = 0, chunk = 0, chunk_position = 0 WHERE chunk = ? AND home = 1",
                (chunk,),
            )
            connection.execute("DELETE FROM chunks WHERE id = ? AND state = 0", (chunk,))
            moved = row[0] or 0
            self.staged_bytes += moved
            self.sealed_bytes -= moved

    def intents(self) -> list[Intent]:
        """Chunks sealed but not known to be on Discord, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id, uid, channel, stored_size, sealed_ns, record FROM chunks "
                "WHERE state = 0 ORDER BY id"
            ).fetchall()
        return [Intent(*row) for row in rows]

    def chunk(self, chunk: int) -> ChunkRef:
        """A chunk on Discord. Raises Damaged when the index does not know it."""
        with self._chunks_lock:
            found = self._chunks.get(chunk)
        if found is not None:
            return found
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT uid, channel, message, attachments, plain_size, blocks FROM chunks "
                "WHERE id = ? AND state > 0",
                (chunk,),
            ).fetchone()
            if row is None:
                raise Damaged(f"the index names chunk {chunk}, but has no such chunk")
            uid, channel, message, attachments, plain_size, blocks = row
            refs = tuple(AttachmentRef(*pair) for pair in struct.iter_unpack("<QQ", attachments))
            ref = ChunkRef(uid, channel, message, refs, plain_size, blocks)
            self._remember(chunk, ref)
            return ref

    def named_since(self, message: int) -> list[tuple[int, ChunkRef]]:
        """The chunks (row, place) in messages after this one that an accepted record names."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id FROM chunks WHERE state = 2 AND message > ? ORDER BY id", (message,)
            ).fetchall()
        return [(row[0], self.chunk(row[0])) for row in rows]

    def forget_chunks(self) -> None:
        """What is remembered of chunks beside the table may be old: it is read anew."""
        with self._chunks_lock:
            self._chunks.clear()

    def _remember(self, chunk: int, ref: ChunkRef) -> None:
        with self._chunks_lock:
            self._chunks[chunk] = ref

    def entry(self, chunk: int, rides: bool) -> ChunkEntry:
        """A chunk as a record tells of it, numbered by its row's id; `rides`: in that record's message."""
        with self._database.reading() as connection:
            uid, *sizes, blocks, sealed_ns = connection.execute(
                "SELECT uid, plain_size, stored_size, blocks, sealed_ns FROM chunks WHERE id = ?", (chunk,)
            ).fetchone()
        if rides:
            return ChunkEntry(chunk, uid, 0, 0, (), sizes[0], sizes[1], blocks, sealed_ns)
        ref = self.chunk(chunk)
        place = (ref.channel, ref.message, ref.attachments)
        return ChunkEntry(chunk, uid, *place, sizes[0], sizes[1], blocks, sealed_ns)

    def remote_bytes(self) -> int:
        """Bytes as posted of all chunks on Discord."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT SUM(stored_size) FROM chunks WHERE state > 0").fetchone()
        return row[0] or 0


def _overlapping(connection: sqlite3.Connection, ino: int, start: int, end: int) -> list[tuple[Extent, int]]:
    """The extents that overlap [start, end), whole, with the commits that wrote them."""
    rows = connection.execute(
        f"SELECT {_COLUMNS}, seq FROM extents WHERE ino = ?1 AND offset < ?3 AND offset >= "
        "COALESCE((SELECT MAX(offset) FROM extents WHERE ino = ?1 AND offset <= ?2), ?2)",
        (ino, start, end),
    ).fetchall()
    found = [(_extent(row), row[-1]) for row in rows]
    return [(extent, seq) for extent, seq in found if extent.end > start]


def _holds(extent: Extent, piece: Piece) -> bool:
    """Whether these are still the very bytes that were gathered: same place in staging for each offset."""
    return (
        extent.home is Home.STAGED
        and extent.segment == piece.segment
        and extent.segment_position - extent.offset == piece.segment_position - piece.offset
    )


def _extent(row: Sequence[int]) -> Extent:
    offset, length, home, segment, segment_position, chunk, chunk_position = row[:7]
    return Extent(offset, length, Home(home), segment, segment_position, chunk, chunk_position)


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges, sorted, those that touch made one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _released(extents: Iterable[Extent]) -> list[Released]:
    return [Released(each.segment, each.length) for each in extents if each.home is not Home.REMOTE]
