"""What housekeeping asks the index, and where it has got to: chunks and files worth moving, checks, damage.

Job: SQL for gc/; it decides nothing. The large questions are put to a frozen view, so that nobody waits for
their answers. Each public method is one transaction. Limits: a list of the chunks that are worth moving, of
the ranges in them, and of the crowded ranges of files, in memory. Threading: any thread; the database's lock
is the only one taken. Times are epoch ns by Discord's clock.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from discordfs.database import Database
from discordfs.model import ROOT_INO
from discordfs.remote.base import snowflake_at, snowflake_ns

SMALL_CHUNK = 1024**2
"""Bytes as posted below which a chunk is small: many such are better one."""

WINDOW = 1024**2
MOST_EXTENTS = 16
"""Extents of a file in each WINDOW bytes of it beyond which it is crowded: each is a row of the index and of
every snapshot, and reading a range asks for a block for each."""

_WORTH_JOINING = 4  # extents less, or a window is let be: runs may be cut where a chunk or segment ends
_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Holding:
    """A chunk that is hardly used, or small (its row's id). `live`: bytes of its plaintext that files are
    in; `dead`: bytes of it as posted that moving these would free, about."""

    chunk: int
    plain_size: int
    stored_size: int
    live: int

    @property
    def is_wasteful(self) -> bool:
        """Whether less than half of it is in use."""
        return 2 * self.live < self.plain_size

    @property
    def dead(self) -> int:
        return self.stored_size - self.stored_size * self.live // self.plain_size


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """Bytes [start, end) of a file."""

    ino: int
    start: int
    end: int

    def steps(self, size: int) -> Iterator[Stretch]:
        """It in parts of at most so many bytes."""
        for start in range(self.start, self.end, size):
            yield Stretch(self.ino, start, min(self.end, start + size))


class Upkeep:
    """Housekeeping's side of one index."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- where it has got to --------------------------------------------------------------------------

    def mark(self, name: str) -> int:
        """A value of the table `upkeep`; 0 where there is none yet."""
        with self._database.reading() as connection:
            return _mark(connection, name)

    def set_marks(self, **values: int) -> None:
        with self._database.transaction() as connection:
            for name, value in values.items():
                _set_mark(connection, name, value)

    # --- what is worth moving ---------------------------------------------------------------------------

    def _frozen(self) -> closing[sqlite3.Connection]:
        return closing(self._database.freeze(lambda connection: None)[1])

    def holdings(self) -> list[Holding]:
        """The chunks that are hardly used or small, the least used first."""
        with self._frozen() as view:
            rows = view.execute(
                "SELECT id, plain_size, stored_size, live FROM chunks JOIN "
                "(SELECT chunk, SUM(length) AS live FROM extents WHERE home = 2 GROUP BY chunk) "
                "ON chunk = id WHERE state = 2 "
                "AND (2 * live < plain_size OR stored_size < ?) ORDER BY 1.0 * live / plain_size",
                (SMALL_CHUNK,),
            ).fetchall()
        return [Holding(*row) for row in rows]

    def stretches_in(self, chunks: Iterable[int]) -> list[Stretch]:
        """What files with names have in these chunks, by file and offset, neighbours joined."""
        found: list[Stretch] = []
        with self._database.reading() as connection:
            for chunk in chunks:
                rows = connection.execute(
                    "SELECT ino, offset, offset + length FROM extents JOIN inodes USING (ino) "
                    "WHERE chunk = ? AND home = 2 AND nlink > 0",
                    (chunk,),
                )
                found += [Stretch(*row) for row in rows]
        return joined(found)

    def bytes_in(self, stretch: Stretch) -> int:
        """How much of a stretch is on Discord: what it has of holes and of staged bytes is not."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT MAX(offset, ?2), MIN(offset + length, ?3) FROM extents "
                "WHERE ino = ?1 AND offset < ?3 AND offset + length > ?2 AND home = 2",
                (stretch.ino, stretch.start, stretch.end),
            ).fetchall()
        return sum(end - start for start, end in rows)

    def crowded(self) -> list[Stretch]:
        """The ranges of files with more than MOST_EXTENTS in a WINDOW, where moving makes them fewer."""
        with self._frozen() as view:
            rows = view.execute(
                "SELECT ino, offset, offset + length FROM extents WHERE home = 2 AND ino IN "
                "(SELECT ino FROM extents JOIN inodes USING (ino) WHERE home = 2 AND nlink > 0 "
                "GROUP BY ino HAVING COUNT(*) > ?) ORDER BY ino, offset",
                (MOST_EXTENTS,),
            )
            return joined(
                Stretch(ino, start, end)
                for ino, extents in groupby(rows, itemgetter(0))
                for start, end in crowded_windows((row[1], row[2]) for row in extents)
            )

    # --- checks -------------------------------------------------------------------------------------------

    def next_check(self, now_ns: int) -> int | None:
        """The chunk (its row's id) that was read last the longest ago, in a round that takes each chunk once
        that was there when it began. None when there is no chunk."""
        with self._database.transaction() as connection:
            begun = _mark(connection, "round")
            chunk = _oldest_check(connection, begun) if begun else None
            if chunk is None and (chunk := _oldest_check(connection, now_ns)) is not None:
                _set_mark(connection, "verified", begun)
                _set_mark(connection, "round", now_ns)
        return chunk

    def checked(self, chunk: int, now_ns: int, damaged: Sequence[tuple[int, int]]) -> bool:
        """All of the chunk was read: `damaged` are the ranges (position, length) of its plaintext that were
        not what was sealed. False when it is in use no more, and nothing was noted."""
        with self._database.transaction() as connection:
            is_there = connection.execute(
                "UPDATE chunks SET verified_ns = ? WHERE id = ? AND state = 2", (now_ns, chunk)
            ).rowcount
            connection.execute("DELETE FROM damage WHERE chunk = ?", (chunk,))
            if is_there:
                connection.executemany(
                    "INSERT INTO damage VALUES (?, ?, ?)", ((chunk, *damage) for damage in damaged)
                )
        return bool(is_there)

    def chunks(self) -> int:
        """Chunks that records name."""
        with self._database.reading() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM chunks WHERE state = 2").fetchone()[0])

    def is_check_due(self, now_ns: int, percent: float) -> bool:
        """Whether a chunk is to be read now, at so many percent of them a day. What a mount that was not
        there missed is made up for, but for no more than a day."""
        chunks = self.chunks()
        if not chunks or not percent:
            return False
        marked_ns, interval_ns = self.mark("next_check"), int(_DAY_NS / (chunks * percent / 100))
        due_ns = min(marked_ns or now_ns + interval_ns, now_ns + interval_ns)  # there may be more by now
        if due_ns > now_ns:
            if due_ns != marked_ns:
                self.set_marks(next_check=due_ns)
            return False
        self.set_marks(next_check=max(due_ns, now_ns - _DAY_NS) + interval_ns)
        return True

    def oldest_chunk_ns(self) -> int | None:
        """When the oldest chunk that is in use was posted; None when there is none."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT MIN(message) FROM chunks WHERE message > 0").fetchone()
        return None if row[0] is None else snowflake_ns(row[0])

    # --- damage -------------------------------------------------------------------------------------------

    def damaged(self, chunk: int | None = None) -> list[Stretch]:
        """Where files lie in ranges that were found damaged, of all chunks or of one."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT chunk, position, length FROM damage WHERE ?1 IS NULL OR chunk = ?1", (chunk,)
            ).fetchall()
            return joined(stretch for row in rows for stretch in _lying_in(connection, *row))

    def lying_in(self, chunk: int, position: int, length: int) -> list[Stretch]:
        """Where files lie in this range of a chunk's plaintext."""
        with self._database.reading() as connection:
            return joined(_lying_in(connection, chunk, position, length))

    def damaged_files(self, chunk: int | None = None) -> list[str]:
        """Paths of files with bytes that were found damaged, of all chunks or of one."""
        return [self.path(ino) for ino in dict.fromkeys(stretch.ino for stretch in self.damaged(chunk))]

    def path(self, ino: int) -> str:
        """One of the inode's paths, for people."""
        names: list[bytes] = []
        with self._database.reading() as connection:
            while ino != ROOT_INO:
                row = connection.execute(
                    "SELECT parent, name FROM dentries WHERE ino = ? LIMIT 1", (ino,)
                ).fetchone()
                if row is None:
                    return f"(inode {ino}, which has no name)"
                ino, name = row
                names.append(name)
        return os.fsdecode(b"/" + b"/".join(reversed(names)))


def crowded_windows(extents: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Of a file's extents (start, end) in order: the windows in which there are too many of them, with more
    than a few fewer to be had by joining neighbours."""
    counts: dict[int, list[int]] = {}
    last_end = -1
    for start, end in extents:
        first, last = start // WINDOW, (end - 1) // WINDOW
        for window in {first, last}:
            begins_run = start != last_end or window != first or start % WINDOW == 0
            found = counts.setdefault(window, [0, 0])
            found[0] += 1
            found[1] += begins_run
        last_end = end
    for window, (number, runs) in counts.items():
        if number > MOST_EXTENTS and number - runs >= _WORTH_JOINING:
            yield window * WINDOW, (window + 1) * WINDOW


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Stretches in order, those that touch made one."""
    found: list[Stretch] = []
    for stretch in sorted(stretches):
        last = found[-1] if found else None
        if last is not None and last.ino == stretch.ino and stretch.start <= last.end:
            found[-1] = Stretch(last.ino, last.start, max(last.end, stretch.end))
        else:
            found.append(stretch)
    return found


def _lying_in(connection: sqlite3.Connection, chunk: int, position: int, length: int) -> Iterator[Stretch]:
    rows = connection.execute(
        "SELECT ino, offset, length, chunk_position FROM extents WHERE chunk = ? AND home = 2 "
        "AND chunk_position < ? AND chunk_position + length > ?",
        (chunk, position + length, position),
    )
    for ino, offset, size, begin in rows:
        first, last = max(position - begin, 0), min(position + length - begin, size)
        yield Stretch(ino, offset + first, offset + last)


def _oldest_check(connection: sqlite3.Connection, begun_ns: int) -> int | None:
    row = connection.execute(
        "SELECT id FROM chunks WHERE state = 2 AND verified_ns < ? AND message < ? "
        "ORDER BY verified_ns, id LIMIT 1",
        (begun_ns, snowflake_at(begun_ns)),
    ).fetchone()
    return None if row is None else int(row[0])


def _mark(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM upkeep WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _set_mark(connection: sqlite3.Connection, name: str, value: int) -> None:
    connection.execute("INSERT OR REPLACE INTO upkeep VALUES (?, ?)", (name, value))
