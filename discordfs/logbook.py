"""What the index remembers of the log: the chain's head, our records, what no record says yet, garbage.

Job: the tables records, garbage, log and changed_* (schema.py), and the transactions in which a record is
intended and accepted. Each public method is one transaction unless it takes a connection. Threading: any
thread; the database's lock is the only one taken.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from discordfs.database import Database
from discordfs.fold import FoldState, LogEntry
from discordfs.ledger import Ledger, Released
from discordfs.model import SealedChunk
from discordfs.records import NO_UID, RecordType
from discordfs.remote.base import snowflake_ns

SNAPSHOT_BYTES = 256 * 1024
"""Bytes of records after a snapshot that are always let be, however small the snapshot is."""

SNAPSHOT_RECORDS = 256
"""Records after a snapshot, at most: recovery reads each with a request of its own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a record of ours is going to do once it is accepted: the cut that it says, the chunks that it
    names, the dead ones and the other messages (channel, message) that it condemns."""

    cut: int
    named: frozenset[int] = frozenset()
    dead: frozenset[int] = frozenset()
    condemned: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RecordIntent:
    """A record of ours that is sealed and may be on Discord."""

    id: int
    uid: bytes
    type: RecordType
    seq: int
    sealed_ns: int


class Logbook:
    """The log's tables of one index. `me`: this state directory's id as a writer (16 bytes)."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        with database.reading() as connection:
            self.me: bytes = connection.execute("SELECT me FROM log").fetchone()[0]

    # --- the chain --------------------------------------------------------------------------------

    def state(self) -> FoldState:
        """The settled end of the chain, as far as it was read."""
        with self._database.reading() as connection:
            uid, seq, message, epoch, writer, holder, since, released, claim = connection.execute(
                "SELECT head_uid, head_seq, head_message, epoch, writer, holder, since, released, claim FROM log"
            ).fetchone()
        return FoldState(uid, seq, message, epoch, writer, holder, since, bool(released), claim)

    def save(self, connection: sqlite3.Connection, state: FoldState) -> None:
        connection.execute(
            "UPDATE log SET head_uid = ?, head_seq = ?, head_message = ?, epoch = ?, writer = ?, holder = ?, "
            "since = ?, released = ?, claim = ?",
            (
                state.head_uid,
                state.head_seq,
                state.head_message,
                state.epoch,
                state.owner,
                state.holder,
                state.since,
                state.released,
                state.claim,
            ),
        )

    def is_lost(self) -> bool:
        """Whether another writer has taken the volume over while we had it."""
        with self._database.reading() as connection:
            return bool(connection.execute("SELECT lost FROM log").fetchone()[0])

    def set_lost(self, lost: bool) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE log SET lost = ?", (lost,))

    # --- what no record says yet --------------------------------------------------------------------

    def oldest_change(self) -> int | None:
        """The oldest cut with something that no accepted record says; None when the log says it all."""
        with self._database.reading() as connection:
            found = [
                connection.execute(f"SELECT MIN(cut) FROM changed_{kind}").fetchone()[0]
                for kind in ("inodes", "names", "ranges")
            ]
        return min((cut for cut in found if cut is not None), default=None)

    def current_cut(self) -> int:
        """The cut that takes what is committed now."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT ceiling FROM counters WHERE name = 'cut'").fetchone()
            return int(row[0])

    def is_recorded(self, ino: int) -> bool:
        """Whether an accepted record says how this inode is."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT 1 FROM changed_inodes WHERE ino = ?1) "
                "OR EXISTS (SELECT 1 FROM changed_ranges WHERE ino = ?1)",
                (ino,),
            ).fetchone()
        return not row[0]

    def unrecorded_files(self) -> int:
        """Regular files of which the log does not say everything."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT COUNT(*) FROM (SELECT ino FROM changed_inodes UNION SELECT ino FROM changed_ranges) "
                "JOIN inodes USING (ino) WHERE nlink > 0 AND mode & 61440 = 32768"
            ).fetchone()
        return int(row[0])

    def is_snapshot_due(self) -> bool:
        """Whether the records since the last snapshot have outgrown it."""
        with self._database.reading() as connection:
            last = connection.execute(
                "SELECT seq, stored_size FROM records WHERE state = 1 AND type = 2 ORDER BY seq DESC LIMIT 1"
            ).fetchone()
            if last is None:
                return True
            count, size = connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(stored_size), 0) FROM records WHERE state = 1 AND seq > ?",
                (last[0],),
            ).fetchone()
        return count >= SNAPSHOT_RECORDS or size > max(SNAPSHOT_BYTES, last[1])

    # --- a record's way -----------------------------------------------------------------------------

    def intend(self, sealed: SealedChunk, kind: RecordType, seq: int, now_ns: int, plan: Plan) -> int:
        """Notes that this record is going to be posted, and what it will do; its row's id."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO records (uid, state, type, seq, message, stored_size, cut, sealed_ns) "
                "VALUES (?, 0, ?, ?, 0, ?, ?, ?)",
                (sealed.uid, int(kind), seq, sealed.stored_size, plan.cut, now_ns),
            )
            record = int(cursor.lastrowid or 0)
            connection.executemany(
                "UPDATE chunks SET record = ? WHERE id = ? AND state < 2",
                ((record, chunk) for chunk in plan.named),
            )
            connection.executemany(
                "UPDATE chunks SET record = ?, state = 3 WHERE id = ?",
                ((record, chunk) for chunk in plan.dead),
            )
            connection.executemany(
                "INSERT INTO garbage VALUES (?, ?, 1, ?, 0) "
                "ON CONFLICT DO UPDATE SET state = 1, record = excluded.record WHERE state < 2",
                ((channel, message, seq) for channel, message in plan.condemned),
            )
        return record

    def intents(self) -> list[RecordIntent]:
        """Our records that are not known to be accepted, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id, uid, type, seq, sealed_ns FROM records WHERE state = 0 ORDER BY id"
            ).fetchall()
        return [RecordIntent(row[0], row[1], RecordType(row[2]), *row[3:]) for row in rows]

    def chunk_with(self, record: int) -> int | None:
        """The chunk that is to be posted in the message of this record."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT id FROM chunks WHERE state = 0 AND record = ?", (record,)
            ).fetchone()
        return None if row is None else int(row[0])

    def accepted(
        self, intent: RecordIntent, message: int, parts: Iterable[int], state: FoldState | None
    ) -> tuple[list[int], list[Released]]:
        """Our record counts: what it says is on Discord from now on. The inodes that changed, and the
        staging that is free. `state` is saved with it: None as long as more of ours settled after it."""
        with self._database.transaction() as connection:
            (cut,) = connection.execute("SELECT cut FROM records WHERE id = ?", (intent.id,)).fetchone()
            for kind in ("inodes", "names", "ranges"):
                connection.execute(f"DELETE FROM changed_{kind} WHERE cut <= ?", (cut,))
            connection.execute("DELETE FROM chunks WHERE record = ? AND state = 3", (intent.id,))
            connection.execute(
                "UPDATE chunks SET state = 2 WHERE record = ? AND state = 1", (intent.id,)
            )
            connection.execute(
                "UPDATE garbage SET state = 2, condemned_ns = ? WHERE state = 1 AND record = ?",
                (snowflake_ns(message), intent.seq),
            )
            connection.execute(
                "UPDATE records SET state = 1, message = ? WHERE id = ?", (message, intent.id)
            )
            self._note_parts(connection, intent.id, parts)
            if state is not None:
                self.save(connection, state)
            if intent.type is RecordType.SNAPSHOT:
                self._collect_log(connection)
            return self._ledger.recorded(connection, intent.id)

    def _note_parts(self, connection: sqlite3.Connection, record: int, parts: Iterable[int]) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO record_parts VALUES (?, ?)", ((record, message) for message in parts)
        )

    def abandon(self, intent: RecordIntent) -> None:
        """Our record will never count. What it was to say is still to be said."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE chunks SET state = 2 WHERE record = ? AND state = 3", (intent.id,))
            connection.execute("UPDATE chunks SET record = 0 WHERE record = ?", (intent.id,))
            connection.execute(
                "UPDATE garbage SET state = 0, record = 0 WHERE state = 1 AND record = ?", (intent.seq,)
            )
            connection.execute("DELETE FROM records WHERE id = ?", (intent.id,))

    def note_foreign(
        self, connection: sqlite3.Connection, entry: LogEntry, message: int, size: int
    ) -> None:
        """Another writer's record that counts, in the transaction that replays it."""
        header = entry.header
        connection.execute(
            "INSERT OR IGNORE INTO records (uid, state, type, seq, message, stored_size, cut, sealed_ns) "
            "VALUES (?, 1, ?, ?, ?, ?, 0, 0)",
            (entry.uid, int(header.type), header.seq, message, size),
        )
        (row,) = connection.execute("SELECT id FROM records WHERE uid = ?", (entry.uid,)).fetchone()
        self._note_parts(connection, row, (part.message for part in header.parts))

    def newest_uid(self) -> bytes:
        """The uid of the newest accepted record; NO_UID before the first."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT uid FROM records WHERE state = 1 ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        return NO_UID if row is None else bytes(row[0])

    # --- garbage ------------------------------------------------------------------------------------

    def _collect_log(self, connection: sqlite3.Connection) -> None:
        """Records before the last snapshot but one are of no use any more, unless a chunk that is
        alive rides in their message."""
        row = connection.execute(
            "SELECT seq FROM records WHERE state = 1 AND type = 2 ORDER BY seq DESC LIMIT 1 OFFSET 1"
        ).fetchone()
        if row is None:
            return
        old = connection.execute(
            "SELECT id, message FROM records WHERE state = 1 AND seq < ? AND NOT EXISTS "
            "(SELECT 1 FROM chunks WHERE chunks.message = records.message)",
            row,
        ).fetchall()
        (channel,) = connection.execute("SELECT channel FROM log").fetchone()
        for record, message in old:
            parts = connection.execute("SELECT message FROM record_parts WHERE record = ?", (record,))
            self._found(connection, channel, [message, *(part for (part,) in parts.fetchall())])
            connection.execute("DELETE FROM record_parts WHERE record = ?", (record,))
            connection.execute("DELETE FROM records WHERE id = ?", (record,))

    def _found(self, connection: sqlite3.Connection, channel: int, messages: Iterable[int]) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO garbage VALUES (?, ?, 0, 0, 0)",
            ((channel, message) for message in messages),
        )

    def found_garbage(self, channel: int, messages: Iterable[int]) -> None:
        """Messages of ours that nothing refers to: the next record condemns them."""
        with self._database.transaction() as connection:
            self._found(connection, channel, messages)

    def has_found_garbage(self) -> bool:
        with self._database.reading() as connection:
            row = connection.execute("SELECT 1 FROM garbage WHERE state = 0 LIMIT 1").fetchone()
        return row is not None

    def condemned(self, before_ns: int) -> dict[int, list[int]]:
        """Messages by channel, oldest first, condemned before that time (Discord's, epoch ns)."""
        found: dict[int, list[int]] = {}
        with self._database.reading() as connection:
            for channel, message in connection.execute(
                "SELECT channel, message FROM garbage WHERE state = 2 AND condemned_ns < ? ORDER BY 1, 2",
                (before_ns,),
            ):
                found.setdefault(channel, []).append(message)
        return found

    def deleted(self, channel: int, messages: Sequence[int]) -> None:
        """They are gone from Discord."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM garbage WHERE channel = ? AND message = ?",
                ((channel, message) for message in messages),
            )
