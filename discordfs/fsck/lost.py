"""What is said of bytes that are nowhere any more: they are lost, which is neither a hole nor zeros.

Job: an extent whose bytes cannot be had points into one chunk that is on no message, the tomb: reading it
fails, for just these bytes, here and on every machine that follows the log; overwriting or removing the file
ends it. And the small moves of rows that repairs have in common. Everything within the caller's transaction;
each change is noted for the next record. Threading: that of the connection.
"""

from __future__ import annotations

import sqlite3
import struct
from typing import Any

from discordfs.codec import SEAL_OVERHEAD, TRAILER_SIZE
from discordfs.model import BLOCK_SIZE
from discordfs.schema import CUT

UID = b"discordfs: lost!"
"""The uid of the tomb."""

ROW = "ino, offset, length, home, segment, segment_position, chunk, chunk_position, seq"
"""The columns of an extent."""

MOST = 2**40
"""Bytes of a file that are lost at one place, at most: each 16 MiB of them take a row."""

_BLOCKS = 64
_SIZE = _BLOCKS * BLOCK_SIZE
_MESSAGE = 1
"""No message of Discord's has this id."""

_CHANNEL = (
    "SELECT COALESCE((SELECT channel FROM chunks "
    "WHERE typeof(channel) = 'integer' AND channel > 1 LIMIT 1), 1)"
)


def tomb(connection: sqlite3.Connection) -> int:
    """The row of the tomb, made when it is needed first."""
    found = connection.execute("SELECT id FROM chunks WHERE uid = ?", (UID,)).fetchone()
    if found is not None:
        return int(found[0])
    (channel,) = connection.execute(_CHANNEL).fetchone()
    cursor = connection.execute(
        "INSERT INTO chunks (uid, state, channel, message, attachments, plain_size, stored_size, blocks, "
        "sealed_ns) VALUES (?, 1, ?, ?, ?, ?, ?, ?, 0)",
        (UID, channel, _MESSAGE, *_place(_SIZE)),
    )
    return int(cursor.lastrowid or 0)


def _place(plain_size: int) -> tuple[bytes, int, int, bytes]:
    """Attachments, sizes and block table that are sound, and nowhere."""
    count = -(-plain_size // BLOCK_SIZE)
    blocks, stored = struct.pack("<I", SEAL_OVERHEAD + 1) * count, count * (SEAL_OVERHEAD + 1) + TRAILER_SIZE
    return struct.pack("<QQ", 1, stored), plain_size, stored, blocks


def size(connection: sqlite3.Connection, ino: int) -> int:
    """A file's size in bytes; 0 when there is no such inode."""
    row = connection.execute("SELECT size FROM inodes WHERE ino = ?", (ino,)).fetchone()
    return int(row[0]) if row else 0


def note(connection: sqlite3.Connection, ino: int, start: int, end: int) -> None:
    """The next record says how these bytes of a file are."""
    connection.execute(
        f"INSERT INTO changed_ranges VALUES (?, ?, ?, {CUT}) "
        "ON CONFLICT DO UPDATE SET finish = MAX(finish, excluded.finish), cut = excluded.cut",
        (ino, start, end),
    )


def fill(connection: sqlite3.Connection, ino: int, start: int, end: int) -> None:
    """What no extent covers of these bytes is lost. A gap that no file ever had (MOST) is one of a size or a
    place that is wrong: only its beginning is, and a file that ends with it is cut there."""
    for begin, stop in _gaps(connection, ino, start, end):
        bury(connection, ino, begin, min(stop, begin + MOST))
        if stop - begin > MOST and stop == size(connection, ino):
            connection.execute("UPDATE inodes SET size = ? WHERE ino = ?", (begin + MOST, ino))


def bury(connection: sqlite3.Connection, ino: int, start: int, end: int) -> None:
    """These bytes are lost; no extent covers any of them."""
    chunk = tomb(connection)
    connection.executemany(
        "INSERT INTO extents VALUES (?, ?, ?, 2, 0, 0, ?, 0, 0)",
        ((ino, at, min(_SIZE, end - at), chunk) for at in range(start, end, _SIZE)),
    )
    note(connection, ino, start, end)


def replace(connection: sqlite3.Connection, ino: int, offset: int) -> None:
    """The extent at this offset is lost, if there is one."""
    end = offset + length(connection, ino, offset)
    connection.execute("DELETE FROM extents WHERE ino = ? AND offset = ?", (ino, offset))
    if end > offset:
        bury(connection, ino, offset, end)


def length(connection: sqlite3.Connection, ino: int, offset: int) -> int:
    """Bytes of the extent at this offset; 0 when there is none."""
    row = connection.execute(
        "SELECT length FROM extents WHERE ino = ? AND offset = ?", (ino, offset)
    ).fetchone()
    return int(row[0]) if row else 0


def _gaps(connection: sqlite3.Connection, ino: int, start: int, end: int) -> list[tuple[int, int]]:
    """The holes of a file within [start, end)."""
    rows = connection.execute(
        "SELECT offset, offset + length FROM extents WHERE ino = ? AND offset < ? ORDER BY offset", (ino, end)
    ).fetchall()
    gaps, at = [], start
    for begin, stop in rows:
        if begin > at:
            gaps.append((at, begin))
        at = max(at, stop)
    return [*gaps, (at, end)] if at < end else gaps


def unseal(connection: sqlite3.Connection, chunk: int) -> None:
    """The bytes of this chunk that staging still holds wait there again, to be sealed into another."""
    rows = connection.execute(
        "SELECT ino, offset, length FROM extents WHERE chunk = ? AND home = 1", (chunk,)
    ).fetchall()
    for ino, offset, length in rows:
        note(connection, ino, offset, offset + length)
    connection.execute(
        "UPDATE extents SET home = 0, chunk = 0, chunk_position = 0 WHERE chunk = ? AND home = 1", (chunk,)
    )


def misplace(connection: sqlite3.Connection, chunk: int) -> None:
    """A chunk's row that says nothing sound: its bytes are taken from staging where they are, and else they
    are nowhere until the log, or the chunk's message, tells better."""
    unseal(connection, chunk)
    (needed,) = connection.execute(
        "SELECT MAX(chunk_position + length) FROM extents WHERE chunk = ? AND home = 2", (chunk,)
    ).fetchone()
    if needed is None:
        connection.execute("DELETE FROM chunks WHERE id = ?", (chunk,))
        return
    (channel,) = connection.execute(_CHANNEL).fetchone()
    attachments, plain, stored, blocks = _place(min(needed, 2**28))
    connection.execute(
        "UPDATE chunks SET uid = CASE WHEN typeof(uid) = 'blob' AND length(uid) = 16 THEN uid "
        "ELSE randomblob(16) END, state = 1, channel = ?, message = ?, attachments = ?, plain_size = ?, "
        "stored_size = ?, blocks = ?, sealed_ns = 0, record = 0, verified_ns = 0 WHERE id = ?",
        (channel, _MESSAGE, attachments, plain, stored, blocks, chunk),
    )


def punch(connection: sqlite3.Connection, ino: int, start: int, end: int) -> None:
    """Makes [start, end) of a file a hole, for whoever fills it at once."""
    rows = connection.execute(
        f"SELECT {ROW} FROM extents WHERE ino = ? AND offset < ? AND offset + length > ?", (ino, end, start)
    ).fetchall()
    connection.executemany(
        "DELETE FROM extents WHERE ino = ? AND offset = ?", ((ino, row[1]) for row in rows)
    )
    connection.executemany(
        "INSERT INTO extents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (part for row in rows for part in outside(row, start, end)),
    )


def outside(row: tuple[Any, ...], start: int, end: int) -> list[tuple[Any, ...]]:
    """What of an extent's row (ROW) is not within [start, end) of the file."""
    ino, offset, length, home, segment, segment_position, chunk, chunk_position, seq = row
    parts = []
    for begin, stop in ((offset, min(start, offset + length)), (max(end, offset), offset + length)):
        skip = begin - offset
        if begin < stop:
            staged = segment_position + skip if home < 2 else 0
            chunked = chunk_position + skip if home > 0 else 0
            parts.append((ino, begin, stop - begin, home, segment, staged, chunk, chunked, seq))
    return parts
