"""catalogue.sqlite: what the views were built of, the names they bear, and the full-text index.

Derived: it may be deleted at any time, and one that is damaged or of another format is made anew. Whoever
changes it holds the archive's lock (views.py). Errors: sqlite3.Error. Threading: one thread each Catalogue.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from discordfs.archived.observing import Mark
from discordfs.archived.ranges import Range
from discordfs.disk import remove_journals

_OUTPUT = 2
"""To be raised when the derived files are to look different: then all are made anew."""

_SCHEMA = """
CREATE TABLE name(
    id INTEGER PRIMARY KEY,         -- of a server, channel or thread
    directory TEXT NOT NULL         -- its name among the views, which stays when it is renamed
);
CREATE TABLE channel(
    id INTEGER PRIMARY KEY,
    directory TEXT NOT NULL,        -- below views/
    messages_size INTEGER NOT NULL, -- bytes of its three files when they were built
    history_size INTEGER NOT NULL,
    text_size INTEGER NOT NULL
);
CREATE TABLE source(                -- a record file that a channel's or server's views were built of
    channel INTEGER NOT NULL,       -- or server
    run TEXT NOT NULL,
    file TEXT NOT NULL,
    size INTEGER NOT NULL,          -- as it was then; another size or time means that it is read again
    mtime_ns INTEGER NOT NULL,
    low INTEGER NOT NULL,           -- the ids that it says anything of
    high INTEGER NOT NULL,
    begin_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    ranges TEXT NOT NULL,           -- JSON: what its pages cover
    marks TEXT NOT NULL,            -- JSON: where to begin reading it (observing.Mark)
    PRIMARY KEY (channel, run, file)
);
CREATE TABLE heard(                 -- a run's own file, looked through for the gateway's events of messages
    run TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    channels TEXT NOT NULL          -- JSON: [channel, server] of each that has some
);
CREATE TABLE month(                 -- where each month begins in a channel's files, and what is in it
    channel INTEGER NOT NULL,
    month TEXT NOT NULL,            -- 2024-10
    messages_at INTEGER NOT NULL,
    history_at INTEGER NOT NULL,
    text_at INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    edited INTEGER NOT NULL,
    newest_id INTEGER NOT NULL,
    PRIMARY KEY (channel, month)
);
CREATE TABLE picture(               -- a file that messages show; linked once the media store has it
    channel INTEGER NOT NULL,
    key TEXT NOT NULL,              -- the media store's (pictures.py)
    message INTEGER NOT NULL,       -- the first that shows it
    is_linked INTEGER NOT NULL,
    PRIMARY KEY (channel, key)
);
CREATE TABLE said(                  -- one row for each message in `words`, under the same number
    number INTEGER PRIMARY KEY,
    id INTEGER NOT NULL,            -- the message's: a thread's first has that of the one it began with
    channel INTEGER NOT NULL,
    author_id INTEGER NOT NULL,
    author TEXT NOT NULL,
    is_deleted INTEGER NOT NULL
);
CREATE UNIQUE INDEX said_message ON said(channel, id);
CREATE VIRTUAL TABLE words USING fts5(text, tokenize="unicode61 remove_diacritics 2");
"""

FORMAT = zlib.crc32(f"{_OUTPUT} {_SCHEMA}".encode()) >> 1
"""Another schema, or other derived files, are another format."""


@dataclass(frozen=True, slots=True)
class Read:
    """A file as it was read for a view. `ranges`, `low`, `high`: as observing.Seen has them."""

    run: str
    file: str
    size: int
    mtime_ns: int
    low: int
    high: int
    begin_ns: int
    end_ns: int
    ranges: tuple[Range, ...]
    marks: tuple[Mark, ...] = ()

    @property
    def key(self) -> tuple[str, str, int, int]:
        """Another one means that the file is to be read again."""
        return self.run, self.file, self.size, self.mtime_ns


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes, or offsets, in messages.jsonl, history.jsonl and messages.txt."""

    messages: int = 0
    history: int = 0
    text: int = 0


@dataclass(frozen=True, slots=True)
class Month:
    """`at`: where it begins in the files."""

    month: str
    at: Sizes
    messages: int = 0
    deleted: int = 0
    edited: int = 0
    newest_id: int = 0


@dataclass(frozen=True, slots=True)
class Words:
    """What is searched of a message."""

    id: int
    author_id: int
    author: str
    text: str
    is_deleted: bool


class Catalogue:
    """Made when it is absent, and made anew when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = _opened(path)
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)
            remove_journals(path)
            self._connection = _opened(path)

    @property
    def is_empty(self) -> bool:
        """As one that was just made: views and search are to be built."""
        return self._connection.execute("SELECT 1 FROM channel LIMIT 1").fetchone() is None

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """All or nothing of what is done inside."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # --- names ---

    def names(self) -> dict[int, str]:
        return dict(self._connection.execute("SELECT id, directory FROM name"))

    def keep_names(self, names: Iterable[tuple[int, str]]) -> None:
        self._connection.executemany("INSERT OR IGNORE INTO name VALUES (?, ?)", names)

    # --- what was built of what ---

    def built(self) -> dict[int, str]:
        """The directory of each channel that has views."""
        return dict(self._connection.execute("SELECT id, directory FROM channel"))

    def sources(self, channel: int) -> dict[tuple[str, str], Read]:
        rows = self._connection.execute(
            "SELECT run, file, size, mtime_ns, low, high, begin_ns, end_ns, ranges, marks FROM source "
            "WHERE channel = ?",
            (channel,),
        )
        found = [_read(row) for row in rows]
        return {(each.run, each.file): each for each in found}

    def sizes(self, channel: int) -> Sizes | None:
        row = self._connection.execute(
            "SELECT messages_size, history_size, text_size FROM channel WHERE id = ?", (channel,)
        ).fetchone()
        return None if row is None else Sizes(*row)

    def months(self, channel: int) -> list[Month]:
        rows = self._connection.execute(
            "SELECT month, messages_at, history_at, text_at, messages, deleted, edited, newest_id FROM month "
            "WHERE channel = ? ORDER BY month",
            (channel,),
        )
        return [Month(row[0], Sizes(*row[1:4]), *row[4:]) for row in rows]

    def set_sources(self, channel: int, sources: Iterable[Read]) -> None:
        self._connection.execute("DELETE FROM source WHERE channel = ?", (channel,))
        rows = (
            (
                *(channel, each.run, each.file, each.size, each.mtime_ns, each.low, each.high),
                *(each.begin_ns, each.end_ns, json.dumps(each.ranges), json.dumps(each.marks)),
            )
            for each in sources
        )
        self._connection.executemany("INSERT INTO source VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)

    def set_built(self, channel: int, directory: str, sizes: Sizes) -> None:
        row = (channel, directory, sizes.messages, sizes.history, sizes.text)
        self._connection.execute("INSERT OR REPLACE INTO channel VALUES (?,?,?,?,?)", row)

    def add_months(self, channel: int, months: Iterable[Month]) -> None:
        rows = (
            (
                *(channel, each.month, each.at.messages, each.at.history, each.at.text),
                *(each.messages, each.deleted, each.edited, each.newest_id),
            )
            for each in months
        )
        self._connection.executemany("INSERT INTO month VALUES (?,?,?,?,?,?,?,?,?)", rows)

    def forget_from(self, channel: int, month: str, first_id: int) -> None:
        """What comes now is said anew from this month on."""
        run, key = self._connection.execute, (channel, first_id)
        run("DELETE FROM month WHERE channel = ? AND month >= ?", (channel, month))
        run("DELETE FROM picture WHERE channel = ? AND message >= ?", key)
        run("DELETE FROM words WHERE rowid IN (SELECT number FROM said WHERE channel = ? AND id >= ?)", key)
        run("DELETE FROM said WHERE channel = ? AND id >= ?", key)

    def forget(self, channel: int) -> None:
        self.forget_from(channel, "", 0)
        self._connection.execute("DELETE FROM source WHERE channel = ?", (channel,))
        self._connection.execute("DELETE FROM channel WHERE id = ?", (channel,))

    def heard(self, run: str, size: int, mtime_ns: int) -> dict[int, int] | None:
        """The channels, and their servers, of whose messages a run's own file tells; None if it was not
        looked through as it is."""
        row = self._connection.execute(
            "SELECT channels FROM heard WHERE run = ? AND size = ? AND mtime_ns = ?", (run, size, mtime_ns)
        ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def set_heard(self, run: str, size: int, mtime_ns: int, channels: dict[int, int]) -> None:
        row = (run, size, mtime_ns, json.dumps(list(channels.items())))
        self._connection.execute("INSERT OR REPLACE INTO heard VALUES (?,?,?,?)", row)

    # --- pictures and other files ---

    def add_pictures(self, channel: int, rows: Iterable[tuple[str, int, bool]]) -> None:
        """(key, message, whether its bytes are linked)."""
        self._connection.executemany(
            "INSERT INTO picture VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET"
            " message = min(message, excluded.message), is_linked = excluded.is_linked",
            ((channel, *row) for row in rows),
        )

    def unlinked(self, channel: int) -> list[tuple[str, int]]:
        """(key, first message) of those that were not in the media store."""
        found = self._connection.execute(
            "SELECT key, message FROM picture WHERE channel = ? AND NOT is_linked", (channel,)
        )
        return found.fetchall()

    # --- search ---

    def add_words(self, channel: int, words: Iterable[Words]) -> None:
        (last,) = self._connection.execute("SELECT coalesce(max(number), 0) FROM said").fetchone()
        batch = list(enumerate(words, last + 1))
        self._connection.executemany(
            "INSERT INTO said VALUES (?,?,?,?,?,?)",
            (
                (number, each.id, channel, each.author_id, each.author, each.is_deleted)
                for number, each in batch
            ),
        )
        self._connection.executemany(
            "INSERT INTO words(rowid, text) VALUES (?,?)", ((number, each.text) for number, each in batch)
        )

    def query(self, sql: str, parameters: Iterable[object]) -> Iterator[tuple[Any, ...]]:
        """For search.py."""
        return iter(self._connection.execute(sql, tuple(parameters)))


def _read(row: tuple[Any, ...]) -> Read:
    run, file, size, mtime_ns, low, high, begin_ns, end_ns, ranges, marks = row
    covered = tuple((first, last) for first, last in json.loads(ranges))
    places = tuple((offset, highest) for offset, highest in json.loads(marks))
    return Read(run, file, size, mtime_ns, low, high, begin_ns, end_ns, covered, places)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -16384")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif version != FORMAT:
            raise sqlite3.DatabaseError(f"format {version}")
        connection.execute("SELECT count(*) FROM channel").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
