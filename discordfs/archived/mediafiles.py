"""Which files of the media stores belong to a channel's messages, and their names beside its pages.

The store is media/<sha256[:2]>/<sha256> with media.sqlite (docs/FORMAT.md), filled by captures; here it is
read, and filled from other stores. A channel's media/ has hard links to its files, so they cost no room,
survive moves, and are right on the mount too. Errors: OSError, sqlite3.Error. Threading: one thread each.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Self

from discordfs.archived.names import media_named
from discordfs.archived.tails import new_file
from discordfs.disk import make_directory, new_database
from discordfs.errors import Damaged

log = logging.getLogger(__name__)

MEDIA, DATABASE = "media", "media.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS media (
    key          TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,      -- attachments, embeds, avatars, emojis, stickers
    sha256       TEXT NOT NULL,      -- '' while there is no file
    size         INTEGER NOT NULL,   -- bytes
    content_type TEXT NOT NULL,
    name         TEXT NOT NULL,      -- as Discord has it: not safe as a path
    url_path     TEXT NOT NULL,      -- of the address, without host and signature
    status       INTEGER NOT NULL,   -- of the last answer, 0 without one
    error        TEXT NOT NULL,      -- '' when there is a file
    at           TEXT NOT NULL,      -- when it was last tried, ISO 8601
    channel      INTEGER NOT NULL DEFAULT 0,  -- of the message that showed it last, 0: of none
    message      INTEGER NOT NULL DEFAULT 0,  -- who may give a fresh address; 0: nobody can
    refused      INTEGER NOT NULL DEFAULT 0   -- how many runs had a fresh address refused
);
"""
_LATER = ("channel", "message", "refused")
_SHA = re.compile(r"[0-9a-f]{64}")
_QUERY = "SELECT sha256, name FROM media WHERE key = ? AND sha256 != ''"


class MediaFiles:
    """The stores of these archives, the first first; as good as empty where there is none."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._stores = [
            (root / MEDIA, _opened(root / MEDIA / DATABASE))
            for root in roots
            if (root / MEDIA / DATABASE).is_file()
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for _, connection in self._stores:
            connection.close()

    def _found(self, key: str) -> tuple[Path, str] | None:
        for directory, connection in self._stores:
            row = connection.execute(_QUERY, (key,)).fetchone()
            path = None if row is None else file_of(directory, row[0])
            if path is not None:
                return path, row[1]
        return None

    def has(self, key: str) -> bool:
        return self._found(key) is not None

    def linked(self, key: str, folder: Path) -> str:
        """The name in `folder` of the file with this key (pictures.py), which is linked there if it was not;
        "" if the store lacks it."""
        found = self._found(key)
        if found is None:
            return ""
        path, name = found
        link = folder / media_named(key, name)
        if not link.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            _link(path, link)
        return link.name


def place_in(directory: Path, sha256: str) -> Path:
    """Where a store has the file of this hash, if it has it."""
    return directory / sha256[:2] / sha256


def file_of(directory: Path, digest: object) -> Path | None:
    """Where the store has the file with this SHA-256; None if it has none."""
    if not isinstance(digest, str) or not _SHA.fullmatch(digest):
        return None
    path = place_in(directory, digest)
    return path if path.is_file() else None


def _opened(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)


def open_store(database: Path) -> sqlite3.Connection:
    """A store's table, open; a power cut may take the last rows, which name nothing that is not there."""
    new_database(database, SCHEMA)
    connection = sqlite3.connect(database, isolation_level=None, timeout=60.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    _bring_up(connection)
    return connection


def _bring_up(connection: sqlite3.Connection) -> None:
    """Makes the table, or gives one of an earlier release the columns that it lacks."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(SCHEMA)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(media)")}
        for name in _LATER:
            if name not in columns:
                connection.execute(f"ALTER TABLE media ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def import_media(root: Path, source: Path) -> int:
    """Copies what the store of the archive at `source` has and that of `root` lacks; how many files that was.
    One that is not what its name says is left out."""
    store = source / MEDIA
    if not (store / DATABASE).is_file():
        return 0
    make_directory(root / MEDIA)
    count = 0
    with closing(_opened(store / DATABASE)) as old, closing(open_store(root / MEDIA / DATABASE)) as new:
        for columns, row in _known_files(old, new):
            digest = row[columns.index("sha256")]
            count += _taken(store, root / MEDIA, digest)
            if file_of(root / MEDIA, digest) is not None:
                _put_row(new, columns, row)
    return count


def add_rows(database: Path, other: Path) -> None:
    """Adds what only the table in `other` knows of files to that in `database`."""
    with closing(open_store(database)) as new, closing(_opened(other)) as old:
        for columns, row in _known_files(old, new):
            _put_row(new, columns, row)


def same_rows(database: Path, other: Path) -> bool:
    """Whether both tables say the same."""
    with closing(_opened(database)) as one, closing(_opened(other)) as two:
        rows = (each.execute("SELECT * FROM media ORDER BY key") for each in (one, two))
        return all(mine == its for mine, its in zip_longest(*rows))


def _known_files(
    old: sqlite3.Connection, new: sqlite3.Connection
) -> Iterator[tuple[list[str], tuple[object, ...]]]:
    """(names of columns that both have, their values) of each row that has a file."""
    known = {row[1] for row in new.execute("PRAGMA table_info(media)")}
    columns = [row[1] for row in old.execute("PRAGMA table_info(media)") if row[1] in known]
    for row in old.execute(f"SELECT {', '.join(columns)} FROM media WHERE sha256 != ''"):
        yield columns, row


def _put_row(new: sqlite3.Connection, columns: Sequence[str], row: Sequence[object]) -> None:
    """Where the table does not have it."""
    marks = ", ".join("?" * len(columns))
    new.execute("DELETE FROM media WHERE key = ? AND sha256 = ''", (row[columns.index("key")],))
    new.execute(f"INSERT OR IGNORE INTO media ({', '.join(columns)}) VALUES ({marks})", row)


def _taken(store: Path, target: Path, digest: object) -> bool:
    path = file_of(store, digest)
    if path is None or file_of(target, digest) is not None:
        return False
    place = place_in(target, path.name)
    make_directory(place.parent)
    try:
        with path.open("rb") as source, new_file(place) as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
            copy.seek(0)
            if hashlib.file_digest(copy, "sha256").hexdigest() != digest:
                raise Damaged(f"{path} is not what its name says")
    except Damaged as error:
        log.warning("%s: it is left out", error)
        return False
    return True


def _link(path: Path, link: Path) -> None:
    try:
        os.link(path, link)
    except OSError:  # too many links, or a disk that knows none: then a copy
        with path.open("rb") as source, new_file(link) as target:
            shutil.copyfileobj(source, target)
        shutil.copystat(path, link)
