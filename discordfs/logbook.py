"""What the index remembers of the log: the chain's head, our records, what no record says yet.

Job: the tables records, log and changed_* (schema.py), and the transactions in which a record is intended and
accepted. What nothing refers to is garbage.py's. Each public method is one transaction unless it takes a
connection. Threading: any thread; the database's lock is the only one taken.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from discordfs.database import Database
from discordfs.fold import FoldState, LogEntry
from discordfs.garbage import Garbage, is_log_heavy
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
        self.garbage = Garbage(database)
        with database.reading() as connection:
            self.me: bytes = connection.execute("SELECT me FROM log").fetchone()[0]

    # --- the chain --------------------------------------------------------------------------------

    def state(self) -> FoldState:
        """The settled end of the chain, as far as it was read."""
        with self._database.reading() as connection:
            return state_in(connection)

    def save(self, connection: sqlite3.Connection, state: FoldState) -> None:
        save_state(connection, state)

    def is_lost(self) -> bool:
        """Whether another writer has taken the volume over while we had it."""
        with self._database.reading() as connection:
            return bool(connection.execute("SELECT lost FROM log").fetchone()[0])

    def set_lost(self, lost: bool) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE log SET lost = ?", (lost,))

    def become(self, me: bytes) -> None:
        """Another id (16 bytes): this state directory is a copy, and the other one writes as who we were."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE log SET me = ?", (me,))
        self.me = me

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

    def want_snapshot(self) -> None:
        """Something that was said is not to be read any more: no snapshot so far will do."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO counters SELECT 'snapshot', head_seq + 1 FROM log WHERE true "
                "ON CONFLICT (name) DO UPDATE SET ceiling = excluded.ceiling"
            )

    def is_snapshot_wanted(self) -> bool:
        """Whether there has been none since one was wanted."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT 1 FROM counters WHERE name = 'snapshot' AND ceiling > "
                "(SELECT COALESCE(MAX(seq), 0) FROM records WHERE state = 1 AND type = 2))"
            ).fetchone()
        return bool(row[0])

    def is_snapshot_due(self) -> bool:
        """Whether one is wanted, or the records since the last one have outgrown it, or carry too much that
        is dead."""
        if self.is_snapshot_wanted():
            return True
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
            is_heavy = is_log_heavy(connection)
        return is_heavy or count >= SNAPSHOT_RECORDS or size > max(SNAPSHOT_BYTES, last[1])

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
            self.garbage.name(connection, seq, plan.condemned)
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
            some_died = self._bury(connection, intent.id)
            connection.execute("UPDATE chunks SET state = 2 WHERE record = ? AND state = 1", (intent.id,))
            self.garbage.condemn(connection, intent.seq, snowflake_ns(message))
            connection.execute("UPDATE records SET state = 1, message = ? WHERE id = ?", (message, intent.id))
            self._note_parts(connection, intent.id, parts)
            if state is not None:
                self.save(connection, state)
            if some_died or intent.type is RecordType.SNAPSHOT:
                self.garbage.collect_log(connection)
            return self._ledger.recorded(connection, intent.id)

    def _bury(self, connection: sqlite3.Connection, record: int) -> bool:
        """The chunks that this record found dead go; whether there were any. Those that rode with other
        records are dead weight in their messages until these go."""
        connection.execute(
            "UPDATE records SET dead_bytes = dead_bytes + (SELECT SUM(stored_size) FROM chunks "
            "WHERE record = ?1 AND state = 3 AND chunks.message = records.message) "
            "WHERE message IN (SELECT message FROM chunks WHERE record = ?1 AND state = 3 AND message > 0)",
            (record,),
        )
        dead = connection.execute("DELETE FROM chunks WHERE record = ? AND state = 3", (record,))
        return dead.rowcount > 0

    def _note_parts(self, connection: sqlite3.Connection, record: int, parts: Iterable[int]) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO record_parts VALUES (?, ?)", ((record, message) for message in parts)
        )

    def abandon(self, intent: RecordIntent) -> None:
        """Our record will never count. What it was to say is still to be said."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE chunks SET state = 2 WHERE record = ? AND state = 3", (intent.id,))
            connection.execute("UPDATE chunks SET record = 0 WHERE record = ?", (intent.id,))
            self.garbage.unname(connection, intent.seq)
            connection.execute("DELETE FROM records WHERE id = ?", (intent.id,))

    def note_foreign(self, connection: sqlite3.Connection, entry: LogEntry, message: int, size: int) -> None:
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


def state_in(connection: sqlite3.Connection) -> FoldState:
    """The settled end of the chain, as the index behind a connection has it."""
    uid, seq, message, epoch, writer, holder, since, released, claim = connection.execute(
        "SELECT head_uid, head_seq, head_message, epoch, writer, holder, since, released, claim FROM log"
    ).fetchone()
    return FoldState(uid, seq, message, epoch, writer, holder, since, bool(released), claim)


def save_state(connection: sqlite3.Connection, state: FoldState) -> None:
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
