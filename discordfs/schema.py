"""The index's tables: what each column means, and what always holds.

The SQL is the manual: whoever reads the database by hand finds here what is in it. Migrations run in
order, each once, each in a transaction (sqlite-utils keeps the list). A database of a newer format is
refused untouched.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlite_utils
from sqlite_utils import Migrations

from discordfs.errors import FormatError

FORMAT = 1
"""Stands in PRAGMA user_version; raised when an older release could not read the tables any more."""

TABLES = """
-- One row a counter. `ceiling`: no value at or above it has ever been handed out, so that a number is
-- never used twice, also when the rows that used it are gone and the machine went down.
--   "inode"    next inode number          "commit"   next commit sequence number
--   "sync"     written by each sync of the index; its value has no other meaning
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

migrations = Migrations("discordfs")


@migrations()
def tables(database: sqlite_utils.Database) -> None:
    for statement in TABLES.split(";\n"):
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
    database = sqlite_utils.Database(connection)
    migrations.apply(database)
    if found < FORMAT:
        connection.execute(f"PRAGMA user_version = {FORMAT}")
