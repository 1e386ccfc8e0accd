"""Does each byte of each file lie where its extent says: in a chunk that there is, or in staging?

What cannot be had is lost (lost.py), which is said, and never a hole; what staging still holds is uploaded
again. Limits: files in staging are read only where a checksum is noted for them; what lies on Discord is for
messages.py. Threading: one thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from discordfs import unsynced
from discordfs.fsck import lost
from discordfs.fsck.findings import Finding, Mend, Severity
from discordfs.fsck.local import Local

_OVERLAPS = (
    "SELECT ino, offset, next FROM (SELECT ino, offset, length, "
    "LEAD(offset) OVER (PARTITION BY ino ORDER BY offset) AS next FROM extents) "
    "WHERE next < offset + length GROUP BY ino"
)
_SUMS = "SELECT ino, SUM(length) AS held FROM extents GROUP BY ino"


# --- extents of a file ----------------------------------------------------------------------------


def check_overlaps(local: Local) -> Iterator[Finding]:
    """Where two extents claim a byte, the later commit has it."""
    for ino, _, at in local.rows(_OVERLAPS):
        mend = Mend(partial(_part, ino=ino))
        yield Finding("overlap", f"inode {ino} has extents that overlap at {at}", local.paths([ino]), mend)


def check_strays(local: Local) -> Iterator[Finding]:
    """An extent beyond the end of a file that had no hole, and has one now, stood elsewhere."""
    rows = local.rows(
        f"SELECT ino, offset, size FROM extents JOIN inodes USING (ino) JOIN ({_SUMS}) USING (ino) "
        "WHERE offset >= size AND size = allocated AND held = allocated"
    )
    for ino, offset, size in rows:
        text = f"inode {ino} has bytes at {offset}, and ends at {size}: they stood elsewhere in it"
        yield Finding("stray", text, local.paths([ino]), Mend(partial(_lose_stray, ino=ino, offset=offset)))


def check_sizes(local: Local) -> Iterator[Finding]:
    """A file is at least as long as its extents reach."""
    rows = local.rows(
        "SELECT ino, size, MAX(offset + length) AS reach FROM extents JOIN inodes USING (ino) "
        "GROUP BY ino HAVING reach > size"
    )
    for ino, size, reach in rows:
        text = f"inode {ino} has a size of {size} bytes, and bytes up to {reach}"
        mend = Mend(partial(_set, ino=ino, column="size", value=reach))
        yield Finding("size", text, local.paths([ino]), mend)


def check_allocated(local: Local) -> Iterator[Finding]:
    """The bytes in extents are counted, so that an extent cannot get lost unnoticed."""
    rows = local.rows(
        f"SELECT ino, size, allocated, COALESCE(held, 0) FROM inodes LEFT JOIN ({_SUMS}) USING (ino) "
        "WHERE allocated != COALESCE(held, 0)"
    )
    for ino, size, allocated, held in rows:
        lacks = held < allocated == size
        mend = partial(lost.fill, ino=ino, start=0, end=size) if lacks else _count(ino, held)
        more = ": the others are lost" if lacks else ""
        text = f"inode {ino} had {allocated} bytes, its extents hold {held}{more}"
        yield Finding("allocated", text, local.paths([ino]), Mend(mend))


def _count(ino: int, held: int) -> partial[None]:
    return partial(_set, ino=ino, column="allocated", value=held)


# --- staging --------------------------------------------------------------------------------------


def check_segments(local: Local) -> Iterator[Finding]:
    """Staged bytes are in their segment."""
    sizes = {_number(path): path.stat().st_size for path in local.staging.glob("*.segment")}
    for ino, offset, length, _, segment, position, *_ in local.rows(
        f"SELECT {lost.ROW} FROM extents WHERE home < 2 ORDER BY ino"
    ):
        if position + length > sizes.get(segment, 0):
            text = f"inode {ino}: bytes at {offset} are not in staging (segment {segment:x}) any more"
            mend = Mend(partial(_without_staging, ino=ino, offset=offset, outbox=local.outbox))
            yield Finding("staging", text, local.paths([ino]), mend)
    if not local.is_live:
        yield from _unused(local, sizes)


def _unused(local: Local, sizes: dict[int, int]) -> Iterator[Finding]:
    named = {row[0] for row in local.rows("SELECT DISTINCT segment FROM extents WHERE home < 2")}
    for number in sorted(sizes.keys() - named):
        text = f"segment {number:x} of staging holds nothing, and is still there"
        yield Finding("unused-segment", text, severity=Severity.NOTE)


def _number(segment: Path) -> int:
    try:
        return int(segment.stem, 16)
    except ValueError:
        return -1


def check_sums(local: Local) -> Iterator[Finding]:
    """Staged bytes that no sync has covered are what they were when they were written."""
    for total in unsynced.live(local.connection):
        if _is_whole(local.staging, total):
            continue
        rows = local.rows(
            "SELECT ino, offset FROM extents WHERE home < 2 AND segment = ? AND segment_position < ? "
            "AND segment_position + length > ?",
            total.segment,
            total.position + total.length,
            total.position,
        )
        for ino, offset in rows:
            text = f"inode {ino}: staged bytes at {offset} are not what was written"
            mend = Mend(partial(_without_staging, ino=ino, offset=offset, outbox=local.outbox))
            yield Finding("staging", text, local.paths([ino]), mend)


def _is_whole(staging: Path, total: unsynced.Sum) -> bool:
    try:
        with (staging / f"{total.segment:016x}.segment").open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), total.length, total.position)
    except FileNotFoundError:
        return False
    return bool(unsynced.digest(data) == total.digest)


# --- chunks ---------------------------------------------------------------------------------------


def check_chunk_places(local: Local) -> Iterator[Finding]:
    """Sealed and remote bytes lie within a chunk that there is."""
    rows = local.rows(
        "SELECT ino, offset, home, extents.chunk, plain_size FROM extents "
        "LEFT JOIN chunks ON chunks.id = extents.chunk WHERE home > 0 "
        "AND (plain_size IS NULL OR chunk_position + length > plain_size)"
    )
    for ino, offset, home, chunk, plain_size in rows:
        what = "which the index does not have" if plain_size is None else "beyond its end"
        text = f"inode {ino}: bytes at {offset} are in chunk {chunk}, {what}"
        mend = _unseal if home == 1 else _lose
        yield Finding("chunk", text, local.paths([ino]), Mend(partial(mend, ino=ino, offset=offset)))


def check_chunk_states(local: Local) -> Iterator[Finding]:
    """Bytes that are remote are in a chunk that is on Discord, and nobody has condemned it."""
    rows = local.rows(
        "SELECT id, state, home, message FROM extents JOIN chunks ON chunks.id = extents.chunk "
        "WHERE (home = 1 AND state > 1) OR (home = 2 AND state IN (0, 3)) GROUP BY id"
    )
    for chunk, state, home, message in rows:
        if state == 0 and not message:  # its message is not known: the outbox has it, or nobody
            if is_in_outbox(local, chunk):
                continue
            mend = partial(_lose_chunk, chunk=chunk)
        else:
            mend = partial(_set_state, chunk=chunk, state=1)
        text = f"chunk {chunk} is in state {state}, with bytes of files that are in state {home}"
        yield Finding("chunk-state", text, local.paths(_inodes(local, chunk)), Mend(mend))


def _inodes(local: Local, chunk: int) -> list[int]:
    return [
        row[0] for row in local.rows("SELECT DISTINCT ino FROM extents WHERE chunk = ? AND home > 0", chunk)
    ]


def check_doubles(local: Local) -> Iterator[Finding]:
    """A message holds one chunk: if a row of another one died, a message with bytes of files would go."""
    rows = local.rows(
        "SELECT id, message FROM chunks AS dead WHERE state > 0 AND message > 0 "
        "AND NOT EXISTS (SELECT 1 FROM extents WHERE extents.chunk = dead.id AND home > 0) "
        "AND EXISTS (SELECT 1 FROM chunks AS other JOIN extents ON extents.chunk = other.id AND home > 0 "
        "WHERE other.message = dead.message AND other.channel = dead.channel AND other.id <> dead.id)"
    )
    for chunk, message in rows:
        text = f"chunk {chunk}, which nobody needs, is said to be in message {message}, where another one is"
        yield Finding("chunk-state", text, repair=Mend(partial(_lose_chunk, chunk=chunk)))


def check_outbox(local: Local) -> Iterator[Finding]:
    """What is sealed and on its way lies in the outbox, whole. (Of a mount at work it may just have gone.)"""
    if local.is_live:
        return
    for chunk, uid, size in local.rows("SELECT id, uid, stored_size FROM chunks WHERE state = 0"):
        if _outbox_size(local.outbox, uid) != size:
            text = f"chunk {chunk} is not in the outbox: its files are sealed anew"
            mend = Mend(partial(_forget_intent, chunk=chunk))
            yield Finding("outbox", text, local.paths(_inodes(local, chunk)), mend)
    for record, uid, size in local.rows("SELECT id, uid, stored_size FROM records WHERE state = 0"):
        if _outbox_size(local.outbox, uid) != size:
            text = f"record {record} is not in the outbox: it is made anew"
            yield Finding("outbox", text, repair=Mend(partial(forget_record, record=record)))


def is_in_outbox(local: Local, chunk: int) -> bool:
    ((uid, size),) = local.rows("SELECT uid, stored_size FROM chunks WHERE id = ?", chunk)
    return bool(_outbox_size(local.outbox, uid) == size)


def _outbox_size(outbox: Path, uid: bytes) -> int:
    path = outbox / f"{uid.hex()}.chunk"
    return path.stat().st_size if path.exists() else -1


def check_lost(local: Local) -> Iterator[Finding]:
    """Bytes that an earlier repair had to call lost."""
    rows = local.rows(
        "SELECT ino, SUM(length) FROM extents WHERE home = 2 "
        "AND chunk = (SELECT id FROM chunks WHERE uid = ?) GROUP BY ino",
        lost.UID,
    )
    for ino, length in rows:
        yield Finding("lost", f"{length} bytes of inode {ino} are lost", local.paths([ino]))


# --- mending --------------------------------------------------------------------------------------


def _set(connection: sqlite3.Connection, ino: int, column: str, value: int) -> None:
    connection.execute(f"UPDATE inodes SET {column} = ? WHERE ino = ?", (value, ino))


def _part(connection: sqlite3.Connection, ino: int) -> None:
    """Makes the extents of a file lie side by side: they are laid down again in the order of their commits,
    each over what was there."""
    rows = connection.execute(
        f"SELECT {lost.ROW} FROM extents WHERE ino = ? ORDER BY seq, offset", (ino,)
    ).fetchall()
    laid: list[tuple[Any, ...]] = []
    for row in rows:
        laid = [part for other in laid for part in lost.outside(other, row[1], row[1] + row[2])]
        laid.append(row)
    connection.execute("DELETE FROM extents WHERE ino = ?", (ino,))
    connection.executemany("INSERT INTO extents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", laid)
    lost.note(connection, ino, min(row[1] for row in rows), max(row[1] + row[2] for row in rows))


def _without_staging(connection: sqlite3.Connection, ino: int, offset: int, outbox: Path) -> None:
    """An extent whose staged bytes are gone: a chunk may have them, on Discord or on its way there."""
    row = connection.execute(
        "SELECT length, home, state, uid FROM extents LEFT JOIN chunks ON chunks.id = chunk AND home = 1 "
        "WHERE ino = ? AND offset = ?",
        (ino, offset),
    ).fetchone()
    if row is None:
        return
    length, _home, state, uid = row
    if state is None or (state == 0 and _outbox_size(outbox, uid) < 0):
        lost.replace(connection, ino, offset)
        return
    connection.execute(
        "UPDATE extents SET home = 2, segment = 0, segment_position = 0 WHERE ino = ? AND offset = ?",
        (ino, offset),
    )
    lost.note(connection, ino, offset, offset + length)


def _unseal(connection: sqlite3.Connection, ino: int, offset: int) -> None:
    """Staging still has these bytes: they are sealed again."""
    connection.execute(
        "UPDATE extents SET home = 0, chunk = 0, chunk_position = 0 WHERE ino = ? AND offset = ?",
        (ino, offset),
    )
    lost.note(connection, ino, offset, offset + lost.length(connection, ino, offset))


def _lose_stray(connection: sqlite3.Connection, ino: int, offset: int) -> None:
    connection.execute("DELETE FROM extents WHERE ino = ? AND offset = ?", (ino, offset))
    lost.fill(connection, ino, 0, lost.size(connection, ino))


def _lose(connection: sqlite3.Connection, ino: int, offset: int) -> None:
    lost.replace(connection, ino, offset)


def _lose_chunk(connection: sqlite3.Connection, chunk: int) -> None:
    lost.unseal(connection, chunk)
    rows = connection.execute(
        "SELECT ino, offset FROM extents WHERE chunk = ? AND home = 2", (chunk,)
    ).fetchall()
    for ino, offset in rows:
        lost.replace(connection, ino, offset)
    connection.execute("DELETE FROM chunks WHERE id = ?", (chunk,))


def _set_state(connection: sqlite3.Connection, chunk: int, state: int) -> None:
    connection.execute("UPDATE chunks SET state = ?, record = 0 WHERE id = ?", (state, chunk))
    rows = connection.execute(
        "SELECT ino, offset, length FROM extents WHERE chunk = ? AND home = 1", (chunk,)
    )
    for ino, offset, length in rows.fetchall():
        lost.note(connection, ino, offset, offset + length)


def _forget_intent(connection: sqlite3.Connection, chunk: int) -> None:
    _lose_chunk(connection, chunk)


def forget_record(connection: sqlite3.Connection, record: int) -> None:
    """As if it had never been sealed: what it was to say is still to be said."""
    connection.execute("UPDATE chunks SET state = 2 WHERE record = ? AND state = 3", (record,))
    connection.execute("UPDATE chunks SET record = 0 WHERE record = ? AND state < 2", (record,))
    connection.execute(
        "UPDATE garbage SET state = 0, record = 0 "
        "WHERE state = 1 AND record = (SELECT seq FROM records WHERE id = ?)",
        (record,),
    )
    connection.execute("DELETE FROM records WHERE id = ?", (record,))
