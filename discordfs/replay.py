"""Records into the index: what the log says becomes what the index holds.

Job: apply the entries of one accepted record, whole or not at all, and save where the chain has got to with
it. For a machine that follows or recovers a volume; a writer's own records say what its index holds already.
Entries are states, so that applying one again changes nothing. Limits: entries stream through; memory for
the numbers of a record's chunks and the inodes it touched. Threading: the database's lock, held throughout.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import singledispatchmethod
from typing import Any

from discordfs.errors import Damaged
from discordfs.ledger import END
from discordfs.model import ROOT_INO, AttachmentRef, ChunkRef
from discordfs.records import (
    ChunkEntry,
    CondemnedEntry,
    CountersEntry,
    Entry,
    InodeEntry,
    InodeGone,
    NameEntry,
    NameGone,
    RangeEntry,
    VolumeEntry,
)
from discordfs.remote.base import snowflake_ns


class Replay:
    """One record's entries into the tables behind `connection`, in the caller's transaction.

    `message`: the record's own; `riders` are the chunks that its message carries, by uid."""

    def __init__(
        self, connection: sqlite3.Connection, seq: int, message: int, riders: Mapping[bytes, ChunkRef]
    ) -> None:
        self._connection = connection
        self._seq, self._message, self._riders = seq, message, riders
        self._numbers: dict[int, int] = {}
        self._next_row = _next_row(connection)
        self._early: set[int] = set()
        self.touched: set[int] = set()
        self.volume: VolumeEntry | None = None

    def clear(self) -> None:
        """Before a snapshot: nothing of what was is left."""
        for table in ("inodes", "dentries", "xattrs", "extents", "chunks", "garbage"):
            self._connection.execute(f"DELETE FROM {table}")

    def apply(self, entries: Iterable[Entry]) -> None:
        """Raises Damaged when the entries do not fit together."""
        for entry in entries:
            self._apply(entry)
        self._settle_chunks()
        self._keep_next_row()
        self._count_allocated()
        for kind in ("inodes", "names", "ranges"):
            self._connection.execute(f"DELETE FROM changed_{kind}")

    @singledispatchmethod
    def _apply(self, entry: Any) -> None:
        raise TypeError(f"an entry of type {type(entry).__name__}")

    @_apply.register
    def _(self, entry: InodeEntry) -> None:
        attr = entry.attr
        values = (attr.mode, attr.nlink, attr.uid, attr.gid, attr.rdev, attr.size)
        times = (attr.atime_ns, attr.mtime_ns, attr.ctime_ns)
        self._connection.execute(
            "INSERT INTO inodes VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "mode = excluded.mode, nlink = excluded.nlink, uid = excluded.uid, gid = excluded.gid, "
            "rdev = excluded.rdev, size = excluded.size, atime_ns = excluded.atime_ns, "
            "mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, target = excluded.target",
            (attr.ino, *values, *times, entry.target),
        )
        self._connection.execute("DELETE FROM xattrs WHERE ino = ?", (attr.ino,))
        self._connection.executemany(
            "INSERT INTO xattrs VALUES (?, ?, ?)", ((attr.ino, *pair) for pair in entry.xattrs)
        )
        self.touched.add(attr.ino)

    @_apply.register
    def _(self, entry: InodeGone) -> None:
        for table in ("inodes", "xattrs", "extents"):
            self._connection.execute(f"DELETE FROM {table} WHERE ino = ?", (entry.ino,))
        self.touched.add(entry.ino)

    @_apply.register
    def _(self, entry: NameEntry) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO dentries VALUES (?, ?, ?, ?)",
            (entry.parent, entry.name, entry.ino, entry.kind),
        )

    @_apply.register
    def _(self, entry: NameGone) -> None:
        self._connection.execute(
            "DELETE FROM dentries WHERE parent = ? AND name = ?", (entry.parent, entry.name)
        )

    @_apply.register
    def _(self, entry: RangeEntry) -> None:
        _punch(self._connection, entry.ino, entry.start, entry.end)
        for span in entry.spans:
            chunk = self._numbers.get(span.chunk)
            if chunk is None:
                self._early.add(span.chunk)
                chunk = -span.chunk
            self._connection.execute(
                "INSERT INTO extents VALUES (?, ?, ?, 2, 0, 0, ?, ?, ?)",
                (entry.ino, span.offset, span.length, chunk, span.position, span.seq),
            )
        self.touched.add(entry.ino)

    @_apply.register
    def _(self, entry: ChunkEntry) -> None:
        place = self._place(entry)
        packed = b"".join(struct.pack("<QQ", each.id, each.size) for each in place.attachments)
        row = self._row(entry.uid)
        self._connection.execute(
            "INSERT INTO chunks (id, uid, state, channel, message, attachments, plain_size, stored_size, "
            "blocks, sealed_ns) VALUES (?, ?, 2, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "state = 2, channel = excluded.channel, message = excluded.message, "
            "attachments = excluded.attachments",
            (
                row,
                entry.uid,
                place.channel,
                place.message,
                packed,
                entry.plain_size,
                entry.stored_size,
                entry.blocks,
                entry.sealed_ns,
            ),
        )
        self._numbers[entry.number] = row

    def _row(self, uid: bytes) -> int:
        """The chunk's row, or one for it that no chunk ever had: an open file may still know where its bytes
        lay before this record, and must not find another chunk there."""
        found = self._connection.execute("SELECT id FROM chunks WHERE uid = ?", (uid,)).fetchone()
        if found is not None:
            return int(found[0])
        self._next_row += 1
        return self._next_row - 1

    def _keep_next_row(self) -> None:
        self._connection.execute(
            "INSERT INTO counters VALUES ('chunk', ?1) ON CONFLICT (name) DO UPDATE SET ceiling = ?1",
            (self._next_row,),
        )

    def _place(self, entry: ChunkEntry) -> ChunkRef:
        if entry.message:
            refs: tuple[AttachmentRef, ...] = entry.attachments
            return ChunkRef(entry.uid, entry.channel, entry.message, refs, entry.plain_size, entry.blocks)
        if entry.uid not in self._riders:
            raise Damaged(f"message {self._message} lacks chunk {entry.uid.hex()}, which its record names")
        return self._riders[entry.uid]

    @_apply.register
    def _(self, entry: CountersEntry) -> None:
        self._connection.executemany(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) "
            "DO UPDATE SET ceiling = MAX(ceiling, excluded.ceiling)",
            (("inode", entry.next_ino), ("commit", entry.next_commit)),
        )

    @_apply.register
    def _(self, entry: CondemnedEntry) -> None:
        condemned_ns = snowflake_ns(self._message)
        self._connection.executemany(
            "INSERT OR REPLACE INTO garbage (channel, message, state, record, condemned_ns) "
            "VALUES (?, ?, 2, ?, ?)",
            ((entry.channel, message, self._seq, condemned_ns) for message in entry.messages),
        )

    @_apply.register
    def _(self, entry: VolumeEntry) -> None:
        self.volume = entry

    def _settle_chunks(self) -> None:
        """Spans that came before their chunk's entry."""
        for number in self._early:
            chunk = self._numbers.get(number)
            if chunk is None:
                raise Damaged(
                    f"record {self._seq} has bytes in chunk number {number}, which it does not name"
                )
            self._connection.execute("UPDATE extents SET chunk = ? WHERE chunk = ?", (chunk, -number))

    def _count_allocated(self) -> None:
        self._connection.executemany(
            "UPDATE inodes SET allocated = "
            "(SELECT COALESCE(SUM(length), 0) FROM extents WHERE extents.ino = inodes.ino) WHERE ino = ?",
            ((ino,) for ino in self.touched),
        )


def drop_dead_chunks(connection: sqlite3.Connection) -> None:
    """Chunks that nothing refers to: a machine that only follows has no use for their rows."""
    connection.execute(
        "DELETE FROM chunks WHERE NOT EXISTS "
        "(SELECT 1 FROM extents WHERE extents.chunk = chunks.id AND home > 0)"
    )


def _next_row(connection: sqlite3.Connection) -> int:
    (row,) = connection.execute(
        "SELECT MAX(COALESCE((SELECT ceiling FROM counters WHERE name = 'chunk'), 1), "
        "COALESCE((SELECT MAX(id) + 1 FROM chunks), 1))"
    ).fetchone()
    return int(row)


def has_root(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM inodes WHERE ino = ?", (ROOT_INO,)).fetchone() is not None


def _punch(connection: sqlite3.Connection, ino: int, start: int, end: int) -> None:
    """Makes [start, end) a hole among a file's recorded extents."""
    before = connection.execute(
        "SELECT offset, length, chunk, chunk_position, seq FROM extents "
        "WHERE ino = ? AND offset < ? ORDER BY offset DESC LIMIT 1",
        (ino, start),
    ).fetchone()
    last = None
    if end < END:
        last = connection.execute(
            "SELECT offset, length, chunk, chunk_position, seq FROM extents "
            "WHERE ino = ? AND offset < ? ORDER BY offset DESC LIMIT 1",
            (ino, end),
        ).fetchone()
    connection.execute("DELETE FROM extents WHERE ino = ? AND offset >= ? AND offset < ?", (ino, start, end))
    if before is not None and before[0] + before[1] > start:
        connection.execute(
            "UPDATE extents SET length = ? WHERE ino = ? AND offset = ?", (start - before[0], ino, before[0])
        )
    if last is not None and last[0] + last[1] > end:
        skip = end - last[0]
        connection.execute(
            "INSERT INTO extents VALUES (?, ?, ?, 2, 0, 0, ?, ?, ?)",
            (ino, end, last[1] - skip, last[2], last[3] + skip, last[4]),
        )


Observer = Callable[[set[int]], None]
"""Told which inodes a record touched, after its transaction."""
