"""The index's tables: what each column means, and what always holds.

The SQL is the manual: whoever reads the database by hand finds here what is in it. Migrations run in
order, each once, each in a transaction (sqlite-utils keeps the list). A database of a newer format is
refused untouched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import sqlite_utils
from sqlite_utils import Migrations

from discordfs.errors import FormatError

FORMAT = 2
"""Stands in PRAGMA user_version; raised when an older release could not read the tables any more."""

TABLES = """
-- One row a counter. `ceiling`: no value at or above it has ever been handed out, so that a number is
-- never used twice, also when the rows that used it are gone and the machine went down.
--   "inode"    next inode number          "commit"   next commit sequence number
--   "sync"     written by each sync of the index; its value has no other meaning
--   "snapshot" no snapshot below this place in the chain will do (the log lacks something)
--   "chunk"    next row of `chunks` for a record of another writer (replay.py)
CREATE TABLE counters (
    name     TEXT PRIMARY KEY,
    ceiling  INTEGER NOT NULL
) WITHOUT ROWID;

-- One row an inode. An inode with nlink = 0 is open but unlinked; such rows are removed at start.
CREATE TABLE inodes (
    ino       INTEGER PRIMARY KEY,        -- 1 is the root; never reused
    mode      INTEGER NOT NULL,           -- file type and permission bits (st_mode)
    nlink     INTEGER NOT NULL,           -- names; for a directory 2 + its subdirectories
    uid       INTEGER NOT NULL,
    gid       INTEGER NOT NULL,
    rdev      INTEGER NOT NULL,           -- device number of a device node, else 0
    size      INTEGER NOT NULL,           -- bytes; for a symlink the length of its target
    allocated INTEGER NOT NULL,           -- bytes in extents: size less the holes
    atime_ns  INTEGER NOT NULL,           -- epoch ns, may be negative
    mtime_ns  INTEGER NOT NULL,
    ctime_ns  INTEGER NOT NULL,
    target    BLOB NOT NULL               -- a symlink's target, else empty
);

-- One row a name. Bytes, case-sensitive, not normalised, 1 to 255 of them, no "/" and no NUL.
CREATE TABLE dentries (
    parent INTEGER NOT NULL,              -- a directory's inode
    name   BLOB NOT NULL,
    ino    INTEGER NOT NULL,
    kind   INTEGER NOT NULL,              -- the file type bits of the inode's mode (never change)
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE INDEX dentries_ino ON dentries (ino);

CREATE TABLE xattrs (
    ino   INTEGER NOT NULL,
    name  BLOB NOT NULL,                  -- with its namespace, "user.…"
    value BLOB NOT NULL,
    PRIMARY KEY (ino, name)
) WITHOUT ROWID;

-- One row a run of a file's bytes. Rows of one inode do not overlap; what no row covers is a hole.
CREATE TABLE extents (
    ino              INTEGER NOT NULL,
    offset           INTEGER NOT NULL,    -- bytes from the file's start
    length           INTEGER NOT NULL,    -- bytes, at least 1
    home             INTEGER NOT NULL,    -- 0 staged, 1 sealed, 2 remote (the table in staging.py)
    segment          INTEGER NOT NULL,    -- staged, sealed: number of the staging segment; else 0
    segment_position INTEGER NOT NULL,    -- staged, sealed: bytes from that segment's start; else 0
    chunk            INTEGER NOT NULL,    -- sealed, remote: chunks.id; else 0
    chunk_position   INTEGER NOT NULL,    -- sealed, remote: bytes from the chunk's plaintext start; else 0
    seq              INTEGER NOT NULL,    -- the commit that wrote it; the order of the upload queue
    PRIMARY KEY (ino, offset)
) WITHOUT ROWID;
CREATE INDEX extents_queue   ON extents (seq, ino, offset) WHERE home = 0;
CREATE INDEX extents_segment ON extents (segment, segment_position) WHERE home < 2;
CREATE INDEX extents_chunk   ON extents (chunk) WHERE home > 0;

-- One row a chunk: from the moment its sealed bytes are on disk and it is to be posted.
CREATE TABLE chunks (
    id          INTEGER PRIMARY KEY,
    uid         BLOB NOT NULL UNIQUE,     -- 16 random bytes: chunk id, upload id, in nonce and file names
    state       INTEGER NOT NULL,         -- 0 intended: sealed, may or may not be on Discord; 1 remote
    channel     INTEGER NOT NULL,         -- where it is, or where it was last meant to be posted
    message     INTEGER NOT NULL,         -- remote: the message's id; else 0
    attachments BLOB NOT NULL,            -- remote: per attachment id and size in bytes (2 x u64 LE)
    plain_size  INTEGER NOT NULL,         -- bytes of plaintext
    stored_size INTEGER NOT NULL,         -- bytes as posted
    blocks      BLOB NOT NULL,            -- sealed length of each block (u32 LE), in order
    sealed_ns   INTEGER NOT NULL          -- epoch ns; listings that look for it begin before this
);
CREATE INDEX chunks_intended ON chunks (id) WHERE state = 0;
"""

LOG_TABLES = """
-- What no accepted record says yet: inodes, names, and ranges of files that are not as the log has them.
-- `cut` is the number of the cut whose record will say it (counters, "cut"): an accepted record of cut n
-- clears what stands under n and below; what changes again meanwhile goes over to the next. Inodes and names
-- are noted by the triggers below, ranges by the ledger, as moving bytes to Discord is no change of theirs.
CREATE TABLE changed_inodes (
    ino INTEGER PRIMARY KEY,
    cut INTEGER NOT NULL
);
CREATE TABLE changed_names (
    parent INTEGER NOT NULL,
    name   BLOB NOT NULL,
    cut    INTEGER NOT NULL,
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE TABLE changed_ranges (
    ino     INTEGER NOT NULL,
    start   INTEGER NOT NULL,             -- bytes [start, finish) of the file
    finish  INTEGER NOT NULL,
    cut     INTEGER NOT NULL,
    PRIMARY KEY (ino, start)
) WITHOUT ROWID;

-- One row a record of ours on its way, and each accepted one that is still on Discord.
CREATE TABLE records (
    id          INTEGER PRIMARY KEY,
    uid         BLOB NOT NULL UNIQUE,     -- 16 random bytes
    state       INTEGER NOT NULL,         -- 0 intended: sealed in outbox/, may be posted; 1 accepted
    type        INTEGER NOT NULL,         -- records.RecordType
    seq         INTEGER NOT NULL,         -- its place in the chain
    message     INTEGER NOT NULL,         -- accepted: its message in the log's channel; else 0
    stored_size INTEGER NOT NULL,         -- bytes as posted, parts included
    cut         INTEGER NOT NULL,         -- ours: the cut it says; another writer's: 0
    sealed_ns   INTEGER NOT NULL          -- epoch ns by Discord's clock: listings for it begin before this
);
-- The messages with the earlier parts of a record that spans several.
CREATE TABLE record_parts (
    record  INTEGER NOT NULL,             -- records.id
    message INTEGER NOT NULL,
    PRIMARY KEY (record, message)
) WITHOUT ROWID;

-- Messages that nothing refers to. Found, then condemned by a record, then, after the grace time, deleted.
CREATE TABLE garbage (
    channel      INTEGER NOT NULL,
    message      INTEGER NOT NULL,
    state        INTEGER NOT NULL,        -- 0 found; 1 named by a record on its way; 2 condemned
    record       INTEGER NOT NULL,        -- named, condemned: the record's seq; else 0
    condemned_ns INTEGER NOT NULL,        -- condemned: epoch ns of that record's message; else 0
    PRIMARY KEY (channel, message)
) WITHOUT ROWID;

-- One row: who writes the volume, as far as the log has been read and settled (fold.py).
CREATE TABLE log (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    me           BLOB NOT NULL,           -- this state directory as a writer: 16 random bytes
    lost         INTEGER NOT NULL,        -- 1: another writer has taken the volume over from us
    writer       BLOB NOT NULL,           -- who writes; empty as long as there is no record
    holder       TEXT NOT NULL,           -- who that is, for people
    epoch        INTEGER NOT NULL,        -- 0 as long as there is no record
    since        INTEGER NOT NULL,        -- message id of the record that began the epoch
    released     INTEGER NOT NULL,        -- 1: the writer has said that it ended
    claim        INTEGER NOT NULL,        -- message of the last claim of this epoch that lapsed; 0: none
    head_uid     BLOB NOT NULL,           -- the newest settled record; 16 zero bytes before the first
    head_seq     INTEGER NOT NULL,
    head_message INTEGER NOT NULL,
    channel      INTEGER NOT NULL         -- where the log is; 0 until it is known
);
INSERT OR IGNORE INTO log VALUES (1, randomblob(16), 0, X'', '', 0, 0, 0, 0, zeroblob(16), 0, 0, 0);
INSERT OR IGNORE INTO counters VALUES ('cut', 1);

-- state 1 now means: on Discord, named by no accepted record; 2: named by one; 3: condemned by a record on
-- its way. `record`: states 2 and 3, the records.id of that record; in state 1 the one on its way; else 0.
ALTER TABLE chunks ADD COLUMN record INTEGER NOT NULL DEFAULT 0;
CREATE INDEX chunks_record ON chunks (record) WHERE record > 0;
"""

CUT = "(SELECT ceiling FROM counters WHERE name = 'cut')"


def _noting(table: str, event: str, row: str, target: str, columns: Sequence[str]) -> str:
    """A trigger that notes a change. NOT EXISTS, so that no conflict can arise in it: OR IGNORE would yield
    to the conflict clause of the statement that fires it (SQLite's documents, CREATE TRIGGER)."""
    key = " AND ".join(f"{column} = {row}.{column}" for column in columns)
    values = ", ".join(f"{row}.{column}" for column in columns)
    return (
        f"CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table} BEGIN "
        f"UPDATE {target} SET cut = {CUT} WHERE {key} AND cut < {CUT}; "
        f"INSERT INTO {target} SELECT {values}, {CUT} "
        f"WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE {key}); END"
    )


LOG_TRIGGERS = [
    _noting(table, event, row, target, columns)
    for table, target, columns in (
        ("inodes", "changed_inodes", ("ino",)),
        ("xattrs", "changed_inodes", ("ino",)),
        ("dentries", "changed_names", ("parent", "name")),
    )
    for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
]

POWER_TABLES = """
-- Staged bytes that commits name and no sync has covered yet, with what they are to be. Emptied by each
-- sync; compared with staging when the machine has gone down (unsynced.py, powercut.py).
CREATE TABLE unsynced (
    segment  INTEGER NOT NULL,            -- number of the staging segment
    position INTEGER NOT NULL,            -- bytes from its start
    length   INTEGER NOT NULL,            -- bytes
    sum      BLOB NOT NULL,               -- their xxh3_64, 8 bytes, big-endian
    PRIMARY KEY (segment, position)
) WITHOUT ROWID;

-- One row: the run of the machine in which the index was opened last.
CREATE TABLE machine (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    boot_id TEXT NOT NULL                 -- /proc/sys/kernel/random/boot_id; empty: closed, all of it on disk
);
INSERT INTO machine VALUES (1, '');
"""

UPKEEP_TABLES = """
-- The row of a chunk is never given to another, not even when the newest one goes: a read that is under way
-- may still know its bytes by it. So the table is made anew, with AUTOINCREMENT.
ALTER TABLE chunks RENAME TO chunks_before;
CREATE TABLE chunks (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    uid         BLOB NOT NULL UNIQUE,     -- as above
    state       INTEGER NOT NULL,
    channel     INTEGER NOT NULL,
    message     INTEGER NOT NULL,
    attachments BLOB NOT NULL,
    plain_size  INTEGER NOT NULL,
    stored_size INTEGER NOT NULL,
    blocks      BLOB NOT NULL,
    sealed_ns   INTEGER NOT NULL,
    record      INTEGER NOT NULL DEFAULT 0,
    verified_ns INTEGER NOT NULL DEFAULT 0 -- epoch ns (Discord's) when it was read and checked; 0: never
);
INSERT INTO chunks (id, uid, state, channel, message, attachments, plain_size, stored_size, blocks, sealed_ns,
    record) SELECT id, uid, state, channel, message, attachments, plain_size, stored_size, blocks, sealed_ns,
    record FROM chunks_before;
DROP TABLE chunks_before;
CREATE INDEX chunks_intended ON chunks (id) WHERE state = 0;
CREATE INDEX chunks_record   ON chunks (record) WHERE record > 0;
CREATE INDEX chunks_message  ON chunks (message) WHERE message > 0;
CREATE INDEX chunks_verified ON chunks (verified_ns, id) WHERE state = 2;
CREATE INDEX records_message ON records (message) WHERE message > 0;
CREATE INDEX record_parts_message ON record_parts (message);

-- Bytes, as posted, of chunks that rode in this record's message and are dead: they go when it goes.
ALTER TABLE records ADD COLUMN dead_bytes INTEGER NOT NULL DEFAULT 0;
-- Bytes of the message's attachments, as far as they are known.
ALTER TABLE garbage ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;

-- Ranges of a chunk's plaintext that its last verification found damaged or missing.
CREATE TABLE damage (
    chunk    INTEGER NOT NULL,            -- chunks.id
    position INTEGER NOT NULL,            -- bytes from the plaintext's start
    length   INTEGER NOT NULL,
    PRIMARY KEY (chunk, position)
) WITHOUT ROWID;
CREATE TRIGGER chunks_gone AFTER DELETE ON chunks BEGIN
    DELETE FROM damage WHERE chunk = OLD.id; END;

-- Where housekeeping has got to (upkeep.py); times are epoch ns by Discord's clock, 0: never.
--   "swept"       when the last complete look through the channels began
--   "swept_head"  log.head_seq then
--   "round"       when the present round of checks began: each chunk is read once in a round
--   "verified"    when the last complete round began
--   "next_check"  when the next chunk is due
--   "running"     1 from start to a clean end
CREATE TABLE upkeep (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
"""

migrations = Migrations("discordfs")


@migrations()
def tables(database: sqlite_utils.Database) -> None:
    _run(database, TABLES)


@migrations()
def log(database: sqlite_utils.Database) -> None:
    _run(database, LOG_TABLES)
    for trigger in LOG_TRIGGERS:
        database.execute(trigger)


@migrations()
def power(database: sqlite_utils.Database) -> None:
    _run(database, POWER_TABLES)


@migrations()
def upkeep(database: sqlite_utils.Database) -> None:
    _run(database, UPKEEP_TABLES)


def _run(database: sqlite_utils.Database, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            database.execute(statement)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Brings the tables to this release's form. Raises FormatError for a newer one, before any write."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > FORMAT:
        raise FormatError(
            f"{path} is of format {found}; this release knows formats up to {FORMAT}. "
            "Use the release that wrote it, or a newer one."
        )
    if 0 < found < FORMAT:
        _keep_copy(connection, path.with_name(f"{path.name}.format-{found}"))
    database = sqlite_utils.Database(connection)
    migrations.apply(database)
    if found < FORMAT:
        connection.execute(f"PRAGMA user_version = {FORMAT}")


def _keep_copy(connection: sqlite3.Connection, place: Path) -> None:
    """The index as the older release had it, for whoever wants to go back."""
    place.unlink(missing_ok=True)
    copy = sqlite3.connect(place)
    try:
        connection.backup(copy)
    finally:
        copy.close()
