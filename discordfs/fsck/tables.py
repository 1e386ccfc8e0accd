"""Is the index a database, with the tables of this release and rows that a drive could have written?

Job: what must hold before anything else can be asked of it: SQLite's own check, tables and triggers, and of
each row types and ranges. Row by row only; what rows say of each other is for tree.py and bytesmap.py.

How a row that is none is mended: it goes, if the log or other rows can tell what it said; an inode keeps
what is sound in it; an extent that cannot be understood becomes lost (lost.py), never a hole, as a hole
would read as zeros. Limits: a pass over all tables. Threading: one thread.
"""

from __future__ import annotations

import re
import sqlite3
import stat
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

from discordfs import schema
from discordfs.codec import MAX_PLAIN, SEAL_OVERHEAD
from discordfs.errors import FormatError
from discordfs.fsck import lost
from discordfs.fsck.findings import Finding, Mend, Rebuild
from discordfs.fsck.local import Local
from discordfs.fsck.logtables import MOST_NUMBERS
from discordfs.model import BLOCK_SIZE, CHUNK_SIZE

_MOST = 2**63 - 1
_ID = 2**32 - 1
_KINDS = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
_NAMED = 20
_COMMENT = re.compile("--[^\n]*")


def _whole(column: str, least: int = 0, most: int = _MOST) -> str:
    return f"typeof({column}) = 'integer' AND {column} BETWEEN {least} AND {most}"


def _number(column: str) -> str:
    return _whole(column, 1, MOST_NUMBERS)


def _bytes(column: str, least: int, most: int) -> str:
    return f"typeof({column}) = 'blob' AND length({column}) BETWEEN {least} AND {most}"


def _name(column: str) -> str:
    return (
        f"{_bytes(column, 1, 255)} AND instr({column}, X'2F') = 0 AND instr({column}, X'00') = 0 "
        f"AND {column} NOT IN (X'2E', X'2E2E')"
    )


_HOME, _SEQ = _whole("home", 0, 2), _whole("seq", 0, 2**60)
_STAGED = f"{_whole('segment', 0, 2**60)} AND {_whole('segment_position', 0, 2**60)}"
_CHUNKED = f"{_whole('chunk', 0, 2**60)} AND {_whole('chunk_position', 0, 2**60)}"
_KIND = f"IN ({', '.join(map(str, _KINDS))})"
_INODE = {
    "mode": f"{_whole('mode', 0, 0xFFFF)} AND mode & {0o170000} {_KIND}",
    **{column: _whole(column, 0, _ID) for column in ("nlink", "uid", "gid")},
    **{column: _whole(column) for column in ("rdev", "size", "allocated")},
    **{column: f"typeof({column}) = 'integer'" for column in ("atime_ns", "mtime_ns", "ctime_ns")},
    "target": _bytes("target", 0, 4095),
}
_FALLBACK = {"mode": stat.S_IFREG | 0o600, "nlink": 1, "target": b""}
"""For what is unsound in an inode: what hurts least, and nobody else may read it. Else 0."""

SOUND: dict[str, list[str]] = {
    "counters": ["typeof(name) = 'text'", _whole("ceiling", 0, MOST_NUMBERS + 2**32)],
    "inodes": [_number("ino"), *_INODE.values()],
    "dentries": [_number("parent"), _name("name"), _number("ino"), f"{_whole('kind')} AND kind {_KIND}"],
    "xattrs": [_number("ino"), _bytes("name", 1, 255), _bytes("value", 0, 65_536)],
    "extents": [
        _number("ino"),
        _whole("length", 1, 2**40),
        f"home = 0 OR length <= {MAX_PLAIN}",
        f"{_whole('offset')} AND offset <= {_MOST} - length",
        _HOME,
        _STAGED,
        _CHUNKED,
        _SEQ,
    ],
    "chunks": [
        _whole("id", 1, 2**60),
        _bytes("uid", 16, 16),
        _whole("state", 0, 3),
        *(_whole(column) for column in ("channel", "message", "sealed_ns", "record", "verified_ns")),
        _whole("plain_size", 1, MAX_PLAIN),
        _whole("stored_size", 1, CHUNK_SIZE),
        f"typeof(blocks) = 'blob' AND length(blocks) = (plain_size + {BLOCK_SIZE - 1}) / {BLOCK_SIZE} * 4",
        f"{_bytes('attachments', 0, 160)} AND length(attachments) % 16 = 0",
        "state = 0 OR (channel > 0 AND message > 0 AND length(attachments) > 0)",
    ],
    "changed_inodes": [_number("cut"), _number("ino")],
    "changed_names": [_number("cut"), _number("parent"), _name("name")],
    "changed_ranges": [_number("cut"), _number("ino"), _whole("start"), _whole("finish"), "start < finish"],
    "records": [
        _bytes("uid", 16, 16),
        _whole("state", 0, 1),
        _whole("type", 1, 5),
        _whole("seq", 1),
        _whole("cut", 0, MOST_NUMBERS),
        *(_whole(it) for it in ("message", "stored_size", "sealed_ns", "dead_bytes")),
        "state = 0 OR message > 0",
    ],
    "record_parts": [_whole("record", 1), _whole("message", 1)],
    "garbage": [
        *(_whole(it, 1) for it in ("channel", "message")),
        _whole("state", 0, 2),
        *(_whole(it) for it in ("record", "condemned_ns", "bytes")),
    ],
    "log": [
        "id = 1",
        *(_bytes(column, 16, 16) for column in ("me", "head_uid")),
        "typeof(writer) = 'blob' AND length(writer) IN (0, 16)",
        "typeof(holder) = 'text'",
        *(_whole(column, 0, 1) for column in ("lost", "released")),
        *(_whole(it) for it in ("epoch", "since", "claim", "head_seq", "head_message", "channel")),
    ],
    "unsynced": [_whole("segment", 1), _whole("position"), _whole("length", 1, 2**40), _bytes("sum", 8, 8)],
    "damage": [_whole("chunk", 1), _whole("position"), _whole("length", 1)],
    "upkeep": ["typeof(name) = 'text'", "typeof(value) = 'integer'"],
}
"""By table, what each column of a row must be, as SQL; NULL counts as no."""

# --- the database ---------------------------------------------------------------------------------


def check_integrity(local: Local) -> Iterator[Finding]:
    """SQLite's own check of pages and of indexes against tables."""
    try:
        rows = local.rows(f"PRAGMA integrity_check({_NAMED})")
        said = [str(row[0]) for row in rows if row[0] != "ok"]
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    if said:
        yield Finding("sqlite", f"the index is damaged as a database: {'; '.join(said)}", repair=Rebuild())


def check_schema(local: Local) -> Iterator[Finding]:
    """Tables, indexes and triggers as this release makes them; without a trigger a change would never
    reach the log."""
    (found,) = local.rows("PRAGMA user_version")
    if found[0] > schema.FORMAT:
        raise FormatError(f"the index is of format {found[0]}: a newer release is needed")
    there = _objects(local.connection)
    wrong = sorted(name for name, sql in _expected().items() if there.get(name) != sql)
    if wrong:
        yield Finding("schema", f"the index lacks {', '.join(wrong)}", repair=Rebuild())


@cache
def _expected() -> dict[str, str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        schema.prepare(fresh, Path("memory"))
        return _objects(fresh)


def _objects(connection: sqlite3.Connection) -> dict[str, str]:
    """What makes each table, index and trigger, less the comments. (Names with _ are sqlite-utils' own.)"""
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND substr(name, 1, 1) <> '_'"
    )
    return {name: " ".join(_COMMENT.sub("", sql).split()) for name, sql in rows.fetchall()}


# --- rows -----------------------------------------------------------------------------------------


def check_rows(local: Local, tables: Collection[str] = tuple(SOUND)) -> Iterator[Finding]:
    """Types and ranges of every row."""
    for table in tables:
        keys = _key(local.connection, table)
        for row in local.rows(f"SELECT {', '.join(keys)} FROM {table} WHERE NOT {sound(table)}"):
            yield _finding(local, table, dict(zip(keys, row, strict=True)))
    if "log" in tables and not local.rows("SELECT 1 FROM log WHERE id = 1"):
        yield Finding("row", "the index has lost what it knows of the log", repair=Mend(_remake_log))


def check_block_tables(local: Local) -> Iterator[Finding]:
    """No block of a chunk is longer than one can be, nor all of them than the chunk: who reads one would
    wait for what never comes."""
    for chunk, blocks, stored in local.rows("SELECT id, blocks, stored_size FROM chunks"):
        lengths = [length for (length,) in struct.iter_unpack("<I", blocks)]
        if max(lengths) > BLOCK_SIZE + SEAL_OVERHEAD + 1 or sum(lengths) > stored:
            text = f"chunk {chunk} has a block table that cannot be"
            inodes = _touched(local, "chunks", {"id": chunk})
            mend = Mend(partial(lost.misplace, chunk=chunk))
            yield Finding("row", text, local.paths(inodes), mend)


def sound(table: str, without: str = "") -> str:
    """What a sound row of this table fulfils, as SQL; but for what is asked of one column."""
    skipped = f"typeof({without})"
    conditions = (f"({it})" for it in SOUND[table] if not it.startswith(skipped))
    return f"COALESCE({' AND '.join(conditions)}, 0)"


def _key(connection: sqlite3.Connection, table: str) -> list[str]:
    columns = connection.execute("SELECT name, pk FROM pragma_table_info(?) WHERE pk > 0", (table,))
    return [name for name, place in sorted(columns.fetchall(), key=lambda column: int(column[1]))]


def _finding(local: Local, table: str, key: dict[str, int]) -> Finding:
    shown = ", ".join(f"{name} {value!r}" for name, value in key.items())
    text = f"a row of {table} ({shown}) is none that a drive could have written"
    mend = _MENDS.get(table, _delete)
    inodes = _touched(local, table, key)
    return Finding("row", text, local.paths(inodes), Mend(partial(mend, table=table, key=key)))


def _touched(local: Local, table: str, key: dict[str, int]) -> set[int]:
    if table == "chunks":
        return {
            row[0] for row in local.rows("SELECT ino FROM extents WHERE chunk = ? AND home > 0", key["id"])
        }
    ino = key.get("ino", key.get("parent", 0))
    return {ino} if isinstance(ino, int) and ino > 0 else set()


def _delete(connection: sqlite3.Connection, table: str, key: dict[str, int]) -> None:
    connection.execute(f"DELETE FROM {table} WHERE {_where(key)}", tuple(key.values()))


def _mend_attribute(connection: sqlite3.Connection, table: str, key: dict[str, Any]) -> None:
    """A row that belongs to no number goes as one of the root: the triggers can note nothing else."""
    if not isinstance(key["ino"], int):
        connection.execute(f"UPDATE OR REPLACE xattrs SET ino = 1 WHERE {_where(key)}", tuple(key.values()))
        key = {**key, "ino": 1}
    _delete(connection, table, key)


def _where(key: dict[str, int]) -> str:
    return " AND ".join(f"{name} IS ?" for name in key)


def _mend_inode(connection: sqlite3.Connection, table: str, key: dict[str, int]) -> None:
    if not 0 < key["ino"] <= MOST_NUMBERS:
        _delete(connection, table, key)
    for column, sound in _INODE.items():
        connection.execute(
            f"UPDATE inodes SET {column} = ? WHERE ino = ? AND NOT COALESCE({sound}, 0)",
            (_FALLBACK.get(column, 0), key["ino"]),
        )


def _mend_extent(connection: sqlite3.Connection, table: str, key: dict[str, int]) -> None:
    """Where its bytes are it must say itself; what is of no meaning there may be 0."""
    for change, condition in (
        (
            "home = 0, chunk = 0, chunk_position = 0",
            f"home = 1 AND segment > 0 AND {_STAGED} AND NOT COALESCE({_CHUNKED}, 0)",
        ),
        (
            "home = 2, segment = 0, segment_position = 0",
            f"home = 1 AND chunk > 0 AND {_CHUNKED} AND NOT COALESCE({_STAGED}, 0)",
        ),
        ("segment = 0, segment_position = 0", "home = 2 AND chunk > 0"),
        ("chunk = 0, chunk_position = 0", "home = 0 AND segment > 0"),
        ("seq = 0", f"NOT COALESCE({_SEQ}, 0)"),
        (
            "home = CASE WHEN segment = 0 THEN 2 WHEN chunk = 0 THEN 0 ELSE 1 END",
            f"{sound('extents', without='home')} AND NOT COALESCE({_HOME}, 0) AND (segment > 0 OR chunk > 0)",
        ),
    ):
        connection.execute(
            f"UPDATE extents SET {change} WHERE {_where(key)} AND {condition}", tuple(key.values())
        )
    kept = connection.execute(
        f"SELECT ino, offset, offset + length FROM extents WHERE {_where(key)} AND {sound('extents')}",
        tuple(key.values()),
    ).fetchone()
    if kept is not None:
        lost.note(connection, *kept)
        return
    row = connection.execute(
        f"SELECT ino, offset, length FROM extents WHERE {_where(key)}", tuple(key.values())
    ).fetchone()
    _delete(connection, table, key)
    if row is None or type(row[0]) is not int or row[0] < 1:
        return
    ino, offset, length = row
    if type(offset) is int and type(length) is int and 0 <= offset < offset + length <= _MOST:
        lost.fill(connection, ino, offset, min(offset + length, lost.size(connection, ino)))
    else:
        lost.fill(connection, ino, 0, lost.size(connection, ino))


def _mend_chunk(connection: sqlite3.Connection, table: str, key: dict[str, int]) -> None:
    """What a chunk's place does not hang on may be told anew."""
    for column in ("sealed_ns", "record", "verified_ns"):
        connection.execute(
            f"UPDATE chunks SET {column} = 0 WHERE id = ? AND NOT COALESCE({_whole(column)}, 0)", (key["id"],)
        )
    connection.execute(
        f"UPDATE chunks SET state = 1, record = 0 WHERE id = ? AND {sound('chunks', without='state')} "
        f"AND NOT COALESCE({_whole('state', 0, 3)}, 0)",
        (key["id"],),
    )
    query = f"SELECT 1 FROM chunks WHERE id = ? AND {sound('chunks')}"
    if not connection.execute(query, (key["id"],)).fetchone():
        lost.misplace(connection, key["id"])


def _mend_log(connection: sqlite3.Connection, table: str, key: dict[str, int]) -> None:
    """Who we are stays, if it can be told; what the log's end is, the log tells (logcheck.py)."""
    (me,) = connection.execute("SELECT me FROM log LIMIT 1").fetchone()
    _remake_log(connection)
    if isinstance(me, bytes) and len(me) == 16:
        connection.execute("UPDATE log SET me = ?", (me,))


def _remake_log(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM log")
    connection.execute(
        "INSERT INTO log (id, me, lost, writer, holder, epoch, since, released, claim, head_uid, head_seq, "
        "head_message, channel) VALUES (1, randomblob(16), 0, X'', '', 0, 0, 0, 0, zeroblob(16), 0, 0, 0)"
    )


_MENDS: dict[str, Callable[..., None]] = {
    "inodes": _mend_inode,
    "xattrs": _mend_attribute,
    "extents": _mend_extent,
    "chunks": _mend_chunk,
    "log": _mend_log,
}
