"""Messages that nothing refers to, from being found to being deleted: the table `garbage`.

| state       | is                                     | becomes   | when                                |
|-------------|----------------------------------------|-----------|-------------------------------------|
| 0 found     | a message of ours that no table knows  | named     | the next record is sealed           |
| 1 named     | in a record of ours on its way         | condemned | that record settles                 |
| 1 named     |                                        | found     | that record will never count        |
| 2 condemned | in a record of the chain               | gone      | the grace time is over: gc deletes  |

What a settled record condemns is referred to by nobody ever again (fold.py). So whether something is still
referred to is asked where it is found, where it is condemned (cut.py), and once more before it is deleted.

Job: the tables' side of it; who looks and deletes is gc/. Each public method is one transaction unless it
takes a connection. Threading: any thread; the database's lock is the only one taken.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from discordfs.database import Database

DEAD_BYTES = 8 * 1024**2
"""Bytes of dead chunks in the messages of records that are always let be: more make a snapshot due, and two
snapshots later those messages go."""

UNREFERRED = """
NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.message = garbage.message AND chunks.message > 0)
AND NOT EXISTS (SELECT 1 FROM records WHERE records.message = garbage.message AND records.message > 0)
AND NOT EXISTS (SELECT 1 FROM record_parts WHERE record_parts.message = garbage.message)
"""
"""Of a row of `garbage`: no table refers to the message (ids of messages are unique across channels)."""

_DEAD = (
    "SELECT 1 FROM chunks WHERE state IN (1, 2) AND NOT EXISTS "
    "(SELECT 1 FROM extents WHERE extents.chunk = chunks.id AND home > 0) LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Stray:
    """A message with whole chunks of these uids, seen in a channel; `bytes` of its attachments."""

    message: int
    uids: tuple[bytes, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Condemned messages of one channel, oldest first."""

    channel: int
    messages: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Condemned messages that are not deleted yet, and when the newest of them was condemned (epoch ns of
    Discord's clock; 0 where there is none)."""

    messages: int
    bytes: int
    newest_ns: int


class Garbage:
    """The garbage of one index."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_log_channel(self, channel: int) -> None:
        """Where the log is: records are condemned there."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE log SET channel = ? WHERE channel <> ?1", (channel,))

    # --- finding ------------------------------------------------------------------------------------

    def horizon(self) -> int:
        """The oldest snapshot's message: what came with the chain from there on is needed."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT MIN(message) FROM records WHERE state = 1 AND type = 2"
            ).fetchone()
        return row[0] or 0

    def unknown(self, channel: int, strays: Iterable[Stray]) -> list[Stray]:
        """Those of them to which nothing refers. A chunk or record that is still on its way may be any of
        its copies; of a record all copies count as long as it does, as another reader may have taken
        another one; a copy in another channel than the chunk's is left to whoever made it."""
        with self._database.reading() as connection:
            return [stray for stray in strays if _is_unknown(connection, channel, stray)]

    def find(self, channel: int, strays: Iterable[Stray]) -> list[Stray]:
        """Notes those of them to which nothing refers: the next record condemns them."""
        with self._database.transaction() as connection:
            found = [stray for stray in strays if _is_unknown(connection, channel, stray)]
            connection.executemany(
                "INSERT OR IGNORE INTO garbage (channel, message, state, record, condemned_ns, bytes) "
                "VALUES (?, ?, 0, 0, 0, ?)",
                ((channel, stray.message, stray.bytes) for stray in found),
            )
        return found

    def is_any_to_condemn(self) -> bool:
        """Whether a record would condemn something though nobody changed the drive, or a snapshot would make
        room in the log."""
        with self._database.reading() as connection:
            found = connection.execute(f"SELECT 1 FROM garbage WHERE state = 0 AND {UNREFERRED} LIMIT 1")
            return bool(found.fetchone() or connection.execute(_DEAD).fetchone() or is_log_heavy(connection))

    # --- what records do ------------------------------------------------------------------------------

    def name(self, connection: sqlite3.Connection, seq: int, messages: Iterable[tuple[int, int]]) -> None:
        """A record of ours is going to condemn these (channel, message). What was found and is referred to by
        now is forgotten: it never was any, or died as a chunk and is among them."""
        connection.execute(f"DELETE FROM garbage WHERE state = 0 AND NOT ({UNREFERRED})")
        connection.executemany(
            "INSERT INTO garbage (channel, message, state, record, condemned_ns, bytes) "
            "SELECT ?1, ?2, 1, ?3, 0, COALESCE(SUM(stored_size), 0) FROM chunks WHERE message = ?2 "
            "ON CONFLICT DO UPDATE SET state = 1, record = excluded.record WHERE state < 2",
            ((channel, message, seq) for channel, message in messages),
        )

    def condemn(self, connection: sqlite3.Connection, seq: int, now_ns: int) -> None:
        """That record has settled."""
        connection.execute(
            "UPDATE garbage SET state = 2, condemned_ns = ? WHERE state = 1 AND record = ?", (now_ns, seq)
        )

    def unname(self, connection: sqlite3.Connection, seq: int) -> None:
        """That record will never count."""
        connection.execute("UPDATE garbage SET state = 0, record = 0 WHERE state = 1 AND record = ?", (seq,))

    def collect_log(self, connection: sqlite3.Connection) -> None:
        """Records before the last snapshot but one are of no use any more, unless a chunk that is alive
        rides in their message: the next record condemns them."""
        row = connection.execute(
            "SELECT seq FROM records WHERE state = 1 AND type = 2 ORDER BY seq DESC LIMIT 1 OFFSET 1"
        ).fetchone()
        if row is None:
            return
        old = connection.execute(
            "SELECT id, message, stored_size + dead_bytes FROM records WHERE state = 1 AND seq < ? "
            "AND NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.message = records.message)",
            row,
        ).fetchall()
        for record, message, size in old:
            parts = connection.execute("SELECT message, 0 FROM record_parts WHERE record = ?", (record,))
            connection.executemany(
                "INSERT OR IGNORE INTO garbage (channel, message, state, record, condemned_ns, bytes) "
                "SELECT channel, ?, 0, 0, 0, ? FROM log",
                [(message, size), *parts.fetchall()],
            )
            connection.execute("DELETE FROM record_parts WHERE record = ?", (record,))
            connection.execute("DELETE FROM records WHERE id = ?", (record,))

    # --- deleting -------------------------------------------------------------------------------------

    def next_batch(
        self, before_ns: int, log_before_ns: int, most: int, without: Iterable[int] = ()
    ) -> Batch | None:
        """Up to `most` messages of a channel, oldest first, condemned before that time (Discord's, epoch
        ns; another for the log's channel), in none of the channels `without`."""
        left_out = set(without)
        with self._database.reading() as connection:
            channels = connection.execute("SELECT DISTINCT channel FROM garbage WHERE state = 2").fetchall()
            (log_channel,) = connection.execute("SELECT channel FROM log").fetchone()
            for (channel,) in channels:
                limit_ns = log_before_ns if channel == log_channel else before_ns
                rows = connection.execute(
                    "SELECT message, bytes FROM garbage WHERE state = 2 AND channel = ? AND condemned_ns < ? "
                    f"AND {UNREFERRED} ORDER BY message LIMIT ?",
                    (channel, limit_ns, most),
                ).fetchall()
                if rows and channel not in left_out:
                    return Batch(channel, tuple(row[0] for row in rows), sum(row[1] for row in rows))
        return None

    def deleted(self, channel: int, messages: Sequence[int]) -> None:
        """They are gone from Discord."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM garbage WHERE channel = ? AND message = ?",
                ((channel, message) for message in messages),
            )

    def due(self, before_ns: int, log_before_ns: int) -> tuple[int, int]:
        """How many messages `next_batch` would give in all, and their bytes."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM garbage WHERE state = 2 AND condemned_ns < "
                f"CASE channel WHEN (SELECT channel FROM log) THEN ?2 ELSE ?1 END AND {UNREFERRED}",
                (before_ns, log_before_ns),
            ).fetchone()
        return row[0], row[1]

    def is_any_found(self) -> bool:
        """Whether something waits for a record that condemns it."""
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT 1 FROM garbage WHERE state < 2 AND {UNREFERRED} LIMIT 1")
            return row.fetchone() is not None

    def waiting(self) -> Waiting:
        """What waits for the end of the grace time."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(bytes), 0), COALESCE(MAX(condemned_ns), 0) "
                "FROM garbage WHERE state = 2"
            ).fetchone()
        return Waiting(*row)

    def contradictions(self) -> list[tuple[int, int]]:
        """Condemned messages (channel, message) that something refers to: there should be none, and they
        are not deleted."""
        with self._database.reading() as connection:
            return connection.execute(
                f"SELECT channel, message FROM garbage WHERE state = 2 AND NOT ({UNREFERRED})"
            ).fetchall()


def is_log_heavy(connection: sqlite3.Connection) -> bool:
    """Whether dead chunks in the messages of records have outgrown what is let be."""
    dead, snapshot = connection.execute(
        "SELECT COALESCE(SUM(dead_bytes), 0), COALESCE((SELECT stored_size FROM records "
        "WHERE state = 1 AND type = 2 ORDER BY seq DESC LIMIT 1), 0) FROM records WHERE state = 1"
    ).fetchone()
    return bool(dead > max(DEAD_BYTES, snapshot))


def _is_unknown(connection: sqlite3.Connection, channel: int, stray: Stray) -> bool:
    is_named = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM chunks WHERE message = ?1) "
        "OR EXISTS (SELECT 1 FROM records WHERE message = ?1) "
        "OR EXISTS (SELECT 1 FROM record_parts WHERE message = ?1) "
        "OR EXISTS (SELECT 1 FROM garbage WHERE channel = ?2 AND message = ?1)",
        (stray.message, channel),
    ).fetchone()[0]
    return not is_named and not any(_is_wanted(connection, channel, uid) for uid in stray.uids)


def _is_wanted(connection: sqlite3.Connection, channel: int, uid: bytes) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM records WHERE uid = ?1) "
        "OR EXISTS (SELECT 1 FROM chunks WHERE uid = ?1 AND (state = 0 OR channel <> ?2))",
        (uid, channel),
    ).fetchone()
    return bool(row[0])
