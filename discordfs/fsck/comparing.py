"""The index beside the log: where they differ though no change is noted, one of them is wrong.

Job: compare a view of the index with a copy built of the log alone (logcheck.py), attached as `log`. What
`changed_*` notes is left out: no record says it yet. How a difference is mended: a change always moves an
inode's ctime, and a byte's commit number; so whichever side has the later one counts. If it is the index, its
change was noted and the note was lost: it is noted again. Else the log counts, whose bytes are authenticated.
Names have no time of their own, but giving one moves the ctime of the inode and that of the directory: a
name of the index goes that neither can have got since. Else whatever either side has stays, and if one name
leads to two inodes, to the one in the index, unless nothing else would lead to the log's.

Limits: memory for what differs. Threading: one thread.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from discordfs.fsck import lost
from discordfs.fsck.findings import Finding, Mend
from discordfs.fsck.local import Local
from discordfs.ledger import END
from discordfs.schema import CUT

_ATTRIBUTES = ("mode", "nlink", "uid", "gid", "rdev", "size", "atime_ns", "mtime_ns", "ctime_ns", "target")
_PLACE = ("channel", "message", "attachments", "plain_size", "stored_size", "blocks")
_NOWHERE = 1  # lost.py

_INODES = f"""
SELECT ino FROM main.inodes AS mine LEFT JOIN log.inodes AS said USING (ino) WHERE mine.nlink > 0
AND (said.ino IS NULL OR {" OR ".join(f"mine.{it} IS NOT said.{it}" for it in _ATTRIBUTES)})
UNION SELECT ino FROM log.inodes WHERE ino NOT IN (SELECT ino FROM main.inodes WHERE nlink > 0)
UNION SELECT ino FROM (SELECT * FROM main.xattrs EXCEPT SELECT * FROM log.xattrs)
UNION SELECT ino FROM (SELECT * FROM log.xattrs EXCEPT SELECT * FROM main.xattrs)
EXCEPT SELECT ino FROM main.changed_inodes
UNION SELECT ino FROM log.inodes WHERE ino NOT IN (SELECT ino FROM main.inodes)
AND (ino IN (SELECT ino FROM main.dentries) OR ino IN (SELECT ino FROM main.extents))
"""
_NAMES = """
SELECT parent, name FROM (SELECT * FROM main.dentries EXCEPT SELECT * FROM log.dentries)
UNION SELECT parent, name FROM (SELECT * FROM log.dentries EXCEPT SELECT * FROM main.dentries)
EXCEPT SELECT parent, name FROM main.changed_names
"""
_MINE = (
    "SELECT ino, offset, length, chunks.uid, CASE WHEN home = 0 THEN NULL ELSE chunk_position END "
    "FROM main.extents LEFT JOIN main.chunks ON id = chunk AND home > 0 "
    "WHERE ino NOT IN (SELECT ino FROM main.inodes WHERE nlink = 0)"
)
_SAID = (
    "SELECT ino, offset, length, uid, chunk_position FROM log.extents JOIN log.chunks ON id = chunk "
    "WHERE ino IN (SELECT ino FROM main.inodes WHERE nlink > 0) "
    "OR ino NOT IN (SELECT ino FROM main.changed_inodes)"
)
_FILES = (
    f"SELECT ino FROM (SELECT * FROM ({_MINE}) EXCEPT SELECT * FROM ({_SAID})) "
    f"UNION SELECT ino FROM (SELECT * FROM ({_SAID}) EXCEPT SELECT * FROM ({_MINE}))"
)
_CHUNKS = f"""
SELECT mine.id, uid FROM main.chunks AS mine JOIN log.chunks AS said USING (uid)
WHERE (mine.state = 2 OR mine.message = {_NOWHERE})
AND ({" OR ".join(f"mine.{it} IS NOT said.{it}" for it in _PLACE)})
"""
_RENAMED = """
SELECT mine.id, mine.uid, said.uid FROM main.chunks AS mine JOIN log.chunks AS said
ON said.message = mine.message AND said.channel = mine.channel AND said.attachments = mine.attachments
WHERE mine.state > 0 AND mine.uid NOT IN (SELECT uid FROM log.chunks)
"""
_RECORDS = """
SELECT uid, type, seq, message, stored_size FROM log.records AS said
WHERE seq <= (SELECT head_seq FROM main.log)
AND seq >= COALESCE((SELECT seq FROM log.records WHERE type = 2 ORDER BY seq DESC LIMIT 1 OFFSET 1), 0)
AND NOT EXISTS (SELECT 1 FROM main.records AS mine WHERE mine.uid = said.uid AND (mine.state = 0
OR (mine.message, mine.seq, mine.type) = (said.message, said.seq, said.type)))
"""


def compare(local: Local) -> Iterator[Finding]:
    """What differs. `local.connection` has the copy of the log attached as `log`."""
    yield from _counters(local)
    for (ino,) in local.rows(_INODES):
        yield _inode(local, ino)
    for parent, name in local.rows(_NAMES):
        yield _name(local, parent, name)
    for row in local.rows(_RECORDS):
        yield _record(row)
    for chunk, mine, said in local.rows(_RENAMED):
        yield _renamed(local, chunk, mine, said)
    for chunk, uid in local.rows(_CHUNKS):
        yield _chunk(local, chunk, uid)
    for (ino,) in local.rows(_FILES):
        yield from _ranges(local, ino)


def _counters(local: Local) -> Iterator[Finding]:
    rows = local.rows(
        "SELECT name, mine.ceiling, said.ceiling FROM log.counters AS said "
        "JOIN main.counters AS mine USING (name) "
        "WHERE name IN ('inode', 'commit') AND mine.ceiling < said.ceiling"
    )
    for name, mine, said in rows:
        text = f"the counter of {name} numbers is at {mine}, in the log at {said}"
        yield Finding("counter", text, repair=Mend(partial(_raise_counter, name=name, to=said)))


def _raise_counter(connection: sqlite3.Connection, name: str, to: int) -> None:
    connection.execute("UPDATE counters SET ceiling = MAX(ceiling, ?) WHERE name = ?", (to, name))


# --- inodes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Inode:
    """An inode's row as the log has it, and its extended attributes."""

    row: tuple[Any, ...]
    xattrs: tuple[tuple[Any, ...], ...]


def _inode(local: Local, ino: int) -> Finding:
    columns = ", ".join(_ATTRIBUTES)
    mine = local.rows(f"SELECT {columns} FROM main.inodes WHERE ino = ? AND nlink > 0", ino)
    said = local.rows(f"SELECT {columns} FROM log.inodes WHERE ino = ?", ino)
    if not said:
        text = f"inode {ino} is not in the log, and no change of it is noted"
        return Finding("log-inode", text, local.paths([ino]), Mend(partial(_note_inode, ino=ino)))
    xattrs = tuple(local.rows("SELECT name, value FROM log.xattrs WHERE ino = ?", ino))
    kept = _Inode((ino, *local.rows("SELECT * FROM log.inodes WHERE ino = ?", ino)[0][1:]), xattrs)
    differs = [it for it, a, b in zip(_ATTRIBUTES, mine[0], said[0], strict=True) if a != b] if mine else []
    what = f"has another {', '.join(differs or ['extended attribute'])}" if mine else "is there"
    text = f"inode {ino} {what} in the log, and no change of it is noted"
    return Finding("log-inode", text, local.paths([ino]), Mend(partial(_restore_inode, ino=ino, said=kept)))


def _restore_inode(connection: sqlite3.Connection, ino: int, said: _Inode) -> None:
    mine = connection.execute("SELECT ctime_ns FROM inodes WHERE ino = ? AND nlink > 0", (ino,)).fetchone()
    is_noted = connection.execute("SELECT 1 FROM changed_inodes WHERE ino = ?", (ino,)).fetchone() is not None
    if is_noted and (mine is not None or not _is_referred_to(connection, ino)):
        return  # it has been changed since it was looked at
    if mine is not None and mine[0] > said.row[10]:
        _note_inode(connection, ino)
        return
    marks = ", ".join("?" * len(said.row))
    connection.execute(f"INSERT OR REPLACE INTO inodes VALUES ({marks})", said.row)
    connection.execute("DELETE FROM xattrs WHERE ino = ?", (ino,))
    connection.executemany("INSERT INTO xattrs VALUES (?, ?, ?)", ((ino, *pair) for pair in said.xattrs))
    _take_newer_contents(connection, ino)


def _is_referred_to(connection: sqlite3.Connection, ino: int) -> bool:
    return any(
        connection.execute(f"SELECT 1 FROM {table} WHERE ino = ? LIMIT 1", (ino,)).fetchone()
        for table in ("dentries", "extents")
    )


def _take_newer_contents(connection: sqlite3.Connection, ino: int) -> None:
    """Bytes that were written since the record are counted as they are; cut off was what lies behind them if
    anything was."""
    (finish,) = connection.execute("SELECT MAX(finish) FROM changed_ranges WHERE ino = ?", (ino,)).fetchone()
    if finish is None:
        return
    held, end = connection.execute(
        "SELECT COALESCE(SUM(length), 0), COALESCE(MAX(offset + length), 0) FROM extents WHERE ino = ?",
        (ino,),
    ).fetchone()
    connection.execute("UPDATE inodes SET allocated = ? WHERE ino = ?", (held, ino))
    if finish == END:
        connection.execute("UPDATE inodes SET size = ? WHERE ino = ?", (end, ino))


def _note_inode(connection: sqlite3.Connection, ino: int) -> None:
    connection.execute(f"INSERT OR REPLACE INTO changed_inodes VALUES (?, {CUT})", (ino,))


# --- names ----------------------------------------------------------------------------------------


def _name(local: Local, parent: int, name: bytes) -> Finding:
    mine = local.rows("SELECT ino FROM main.dentries WHERE parent = ? AND name = ?", parent, name)
    said = local.rows("SELECT ino, kind FROM log.dentries WHERE parent = ? AND name = ?", parent, name)
    inodes = {row[0] for row in (*mine, *said)}
    where = "another inode" if mine and said else "nothing" if mine else "an inode"
    text = (
        f"the name {name!r} in directory {parent} leads to {where} in the log, and no change of it is noted"
    )
    entry = said[0] if said else None
    is_old = bool(mine) and not all(_has_changed(local, ino) for ino in (parent, mine[0][0]))
    mend = Mend(partial(_restore_name, parent=parent, name=name, said=entry, is_old=is_old))
    return Finding("log-name", text, local.paths(inodes), mend)


def _has_changed(local: Local, ino: int) -> bool:
    """Whether the index has another state of an inode than the log, and a later one."""
    said = local.rows("SELECT ctime_ns FROM log.inodes WHERE ino = ?", ino)
    mine = local.rows("SELECT ctime_ns FROM main.inodes WHERE ino = ?", ino)
    return not said or (bool(mine) and mine[0][0] > said[0][0])


def _restore_name(
    connection: sqlite3.Connection, parent: int, name: bytes, said: tuple[int, int] | None, is_old: bool
) -> None:
    """`is_old`: no change can have given the name that the index has."""
    if connection.execute(
        "SELECT 1 FROM changed_names WHERE parent = ? AND name = ?", (parent, name)
    ).fetchone():
        return
    if is_old:
        connection.execute("DELETE FROM dentries WHERE parent = ? AND name = ?", (parent, name))
    if said is not None and _counts(connection, parent, name, said[0]):
        connection.execute("INSERT OR REPLACE INTO dentries VALUES (?, ?, ?, ?)", (parent, name, *said))
    connection.execute(f"INSERT OR REPLACE INTO changed_names VALUES (?, ?, {CUT})", (parent, name))


def _counts(connection: sqlite3.Connection, parent: int, name: bytes, said: int) -> bool:
    """Whether the log's word on a name is taken."""
    mine = connection.execute(
        "SELECT ino FROM dentries WHERE parent = ? AND name = ?", (parent, name)
    ).fetchone()
    if mine is None or not connection.execute("SELECT 1 FROM inodes WHERE ino = ?", mine).fetchone():
        return True
    is_there = connection.execute("SELECT 1 FROM inodes WHERE ino = ?", (said,)).fetchone()
    has_name = connection.execute("SELECT 1 FROM dentries WHERE ino = ?", (said,)).fetchone()
    return is_there is not None and has_name is None


# --- records ----------------------------------------------------------------------------------------


def _record(said: tuple[Any, ...]) -> Finding:
    text = f"record {said[2]} of the log is not among those that the index has"
    return Finding("record", text, repair=Mend(partial(_restore_record, said=said)))


def _restore_record(connection: sqlite3.Connection, said: tuple[Any, ...]) -> None:
    """A message of the log that no table knew for one would go with the chunk that lies in it."""
    uid, _, _, message, _ = said
    row = connection.execute(
        "SELECT id, state FROM records WHERE uid = ? OR message = ? ORDER BY uid = ? DESC",
        (uid, message, uid),
    ).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO records (uid, state, type, seq, message, stored_size, cut, sealed_ns) "
            "VALUES (?, 1, ?, ?, ?, ?, 0, 0)",
            said,
        )
    elif row[1] == 1:
        connection.execute(
            "UPDATE OR REPLACE records SET uid = ?, type = ?, seq = ?, message = ?, stored_size = ? "
            "WHERE id = ?",
            (*said, row[0]),
        )


# --- chunks and ranges ----------------------------------------------------------------------------


def _chunk(local: Local, chunk: int, uid: bytes) -> Finding:
    columns = ", ".join(_PLACE)
    (said,) = local.rows(f"SELECT {columns} FROM log.chunks WHERE uid = ?", uid)
    inodes = local.rows("SELECT DISTINCT ino FROM main.extents WHERE chunk = ? AND home > 0", chunk)
    text = f"chunk {uid.hex()} lies elsewhere in the log, or is another one"
    mend = Mend(partial(_restore_chunk, uid=uid, said=said))
    return Finding("log-chunk", text, local.paths(row[0] for row in inodes), mend)


def _restore_chunk(connection: sqlite3.Connection, uid: bytes, said: tuple[Any, ...]) -> None:
    columns = ", ".join(f"{column} = ?" for column in _PLACE)
    connection.execute(f"UPDATE chunks SET state = 2, {columns} WHERE uid = ? AND state <> 0", (*said, uid))


def _renamed(local: Local, chunk: int, mine: bytes, said: bytes) -> Finding:
    inodes = local.rows("SELECT DISTINCT ino FROM main.extents WHERE chunk = ? AND home > 0", chunk)
    text = f"chunk {mine.hex()} is chunk {said.hex()} in the log, in the same message"
    (place,) = local.rows(f"SELECT {', '.join(_PLACE)} FROM log.chunks WHERE uid = ?", said)
    mend = Mend(partial(_rename_chunk, chunk=chunk, mine=mine, said=said, place=place))
    return Finding("log-chunk", text, local.paths(row[0] for row in inodes), mend)


def _rename_chunk(
    connection: sqlite3.Connection, chunk: int, mine: bytes, said: bytes, place: tuple[Any, ...]
) -> None:
    """Two rows must never be one message: when one of them died, it would be deleted."""
    other = connection.execute("SELECT id FROM chunks WHERE uid = ?", (said,)).fetchone()
    if other is None:
        connection.execute("UPDATE chunks SET uid = ? WHERE id = ? AND uid = ?", (said, chunk, mine))
        _restore_chunk(connection, said, place)
        return
    connection.execute("UPDATE extents SET chunk = ? WHERE chunk = ? AND home > 0", (other[0], chunk))
    connection.execute("DELETE FROM chunks WHERE id = ? AND uid = ?", (chunk, mine))


@dataclass(frozen=True, slots=True)
class _Run:
    """Bytes [start, end) of a file, at byte (start + base) of the plaintext of the chunk of this uid (b"":
    staged, or in a chunk that there is not: then it is not `is_known`); `seq` the commit that wrote them."""

    start: int
    end: int
    uid: bytes
    base: int
    seq: int
    is_known: bool

    def same_place(self, other: _Run | None) -> bool:
        return other is not None and (self.uid, self.base) == (other.uid, other.base)


def _ranges(local: Local, ino: int) -> Iterator[Finding]:
    """The ranges of one file that differ."""
    noted = local.rows("SELECT start, finish FROM main.changed_ranges WHERE ino = ?", ino)
    mine, said = _runs(local, "main", ino), _runs(local, "log", ino)
    is_known = bool(local.rows("SELECT 1 FROM log.inodes WHERE ino = ?", ino))
    for start, end in _differing(mine, said, noted):
        spans = [run for run in said if run.start < end and run.end > start]
        chunks = {run.uid: _chunk_row(local, run.uid) for run in spans}
        counts = _is_newer(local, ino, [run for run in mine if run.start < end and run.end > start])
        text = f"bytes {start} to {end} of inode {ino} lie elsewhere in the log, and no change is noted"
        mend = partial(_restore_range, ino=ino, start=start, end=end, said=spans, chunks=chunks)
        if counts:
            mend = partial(lost.note, ino=ino, start=start, end=end)
        elif not is_known:  # it lies nowhere in the log, so these are not its bytes
            mend = partial(_lose_range, ino=ino, start=start, end=end)
        yield Finding("log-range", text, local.paths([ino]), Mend(mend))


def _is_newer(local: Local, ino: int, mine: Sequence[_Run]) -> bool:
    """Whether the index has bytes there that were committed after all that the log tells of; or a hole, and a
    file that has changed since without anything of it being noted."""
    if mine:
        ((newest,),) = local.rows("SELECT COALESCE(MAX(seq), 0) FROM log.extents")
        return all(run.seq > newest and run.is_known for run in mine)
    return bool(
        local.rows(
            "SELECT 1 FROM main.inodes AS mine JOIN log.inodes AS said USING (ino) WHERE ino = ? "
            "AND mine.ctime_ns > said.ctime_ns AND ino NOT IN (SELECT ino FROM main.changed_inodes)",
            ino,
        )
    )


def _runs(local: Local, schema: str, ino: int) -> list[_Run]:
    rows = local.rows(
        "SELECT offset, length, CASE WHEN home = 0 THEN X'' ELSE COALESCE(uid, X'') END, chunk_position, "
        f"seq, home = 0 OR uid IS NOT NULL FROM {schema}.extents LEFT JOIN {schema}.chunks ON id = chunk "
        "WHERE ino = ? ORDER BY offset",
        ino,
    )
    return [_Run(at, at + length, uid, position - at, *rest) for at, length, uid, position, *rest in rows]


def _chunk_row(local: Local, uid: bytes) -> tuple[Any, ...]:
    ((*row,),) = local.rows(f"SELECT {', '.join(_PLACE)}, sealed_ns FROM log.chunks WHERE uid = ?", uid)
    return tuple(row)


def _differing(
    mine: Sequence[_Run], said: Sequence[_Run], noted: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    left_out = list(noted)
    places = {place for run in (*mine, *said) for place in (run.start, run.end)}
    places |= {place for both in left_out for place in both}
    edges = sorted(places)
    found: list[tuple[int, int]] = []
    for start, end in pairwise(edges):
        if any(begin <= start and end <= stop for begin, stop in left_out):
            continue
        here, there = _at(mine, start), _at(said, start)
        if here is there is None or (here is not None and here.same_place(there)):
            continue
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _at(runs: Sequence[_Run], place: int) -> _Run | None:
    index = bisect_right(runs, place, key=lambda run: run.start) - 1
    return runs[index] if index >= 0 and place < runs[index].end else None


def _lose_range(connection: sqlite3.Connection, ino: int, start: int, end: int) -> None:
    if not _is_noted(connection, ino, start, end):
        lost.punch(connection, ino, start, end)
        lost.bury(connection, ino, start, end)


def _is_noted(connection: sqlite3.Connection, ino: int, start: int, end: int) -> bool:
    """Whether any of it has been written since it was looked at."""
    query = "SELECT 1 FROM changed_ranges WHERE ino = ? AND start < ? AND finish > ?"
    return connection.execute(query, (ino, end, start)).fetchone() is not None


def _restore_range(
    connection: sqlite3.Connection,
    ino: int,
    start: int,
    end: int,
    said: Sequence[_Run],
    chunks: dict[bytes, tuple[Any, ...]],
) -> None:
    if _is_noted(connection, ino, start, end):
        return
    lost.punch(connection, ino, start, end)
    for run in said:
        begin, stop = max(run.start, start), min(run.end, end)
        row = (
            ino,
            begin,
            stop - begin,
            _row_of(connection, run.uid, chunks[run.uid]),
            begin + run.base,
            run.seq,
        )
        connection.execute("INSERT INTO extents VALUES (?, ?, ?, 2, 0, 0, ?, ?, ?)", row)
    lost.note(connection, ino, start, end)


def _row_of(connection: sqlite3.Connection, uid: bytes, said: tuple[Any, ...]) -> int:
    connection.execute(
        f"INSERT OR IGNORE INTO chunks (uid, state, {', '.join(_PLACE)}, sealed_ns) "
        "VALUES (?, 2, ?, ?, ?, ?, ?, ?, ?)",
        (uid, *said),
    )
    (row,) = connection.execute("SELECT id FROM chunks WHERE uid = ?", (uid,)).fetchone()
    return int(row)
