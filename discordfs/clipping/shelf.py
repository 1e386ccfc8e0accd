"""The catalogue as the clips/ tree reads it: what is in each directory, and which state of it that was.

The catalogue may appear, go and be replaced while the tree is mounted; without one there is nothing. Only
clips that are there, or of which a copy is kept, are told.
Limits: a directory's rows are in memory while it is asked for. Errors: sqlite3.Error; `version` has none.
Threading: any; one connection, whose lock is held for queries of this local file. (A connection for each
thread would outlive the threads, of which the face has any number.)
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from discordfs.clipping.model import Clip, Poster
from discordfs.clipping.schema import FIELDS, FORMAT, SHOWN, clip_of

Version = tuple[int, int]
"""Another one after each change; NOTHING without a catalogue."""

NOTHING: Version = (0, 0)

FRESH_S = 0.02
"""Seconds that a version serves without being looked up again: programs ask for thousands of attributes."""

_log = logging.getLogger(__name__)


class ClipRow(NamedTuple):
    """A clip as its directory shows it; `place` and `guild` are directories, `size` is in bytes."""

    id: int
    name: str
    size: int
    posted_ns: int
    guild: str = ""
    place: str = ""


class Shelf:
    """The catalogue at `path`, read only. `monotonic`: seconds."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._known: tuple[float, Version] = (-1.0, NOTHING)
        self.changed_ns = 0
        """When the catalogue was last written to, epoch ns, as `version` saw it; 0 without one."""
        self._guard = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file = 0
        self._said = ""

    def close(self) -> None:
        with self._guard:
            self._close_locked()

    def version(self) -> Version:
        """Cheap, and at most FRESH_S old. A catalogue that cannot be read, which the log says once, is as
        none."""
        until, version = self._known
        now = self._monotonic()
        if now >= until:
            version = self._looked_up()
            self.changed_ns = self._written_ns()
            self._known = (now + FRESH_S, version)
        return version

    def _looked_up(self) -> Version:
        try:
            rows = self._rows("SELECT value FROM counter", ())
        except (sqlite3.Error, OSError) as error:
            self.complain(error)
            return NOTHING
        return (self._file, int(rows[0][0]) + 1) if rows else NOTHING

    def complain(self, error: Exception) -> None:
        """Says in the log why there are no clips, once for each reason."""
        text = f"the catalogue of clips cannot be read, clips/ stays away: {error}"
        if text != self._said:
            self._said = text
            _log.warning("%s", text)

    def _written_ns(self) -> int:
        times = [0]
        for path in (self._path, self._path.with_name(f"{self._path.name}-wal")):
            try:
                times.append(path.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
        return max(times)

    # --- what is in it ----------------------------------------------------------------------------------

    def guilds(self) -> list[tuple[int, str]]:
        """(id, directory) of the servers that have clips to show."""
        return self._rows(
            "SELECT id, directory FROM guild WHERE EXISTS (SELECT 1 FROM place JOIN clip USING (channel)"
            f" WHERE place.guild = guild.id AND {SHOWN}) ORDER BY directory",
            (),
        )

    def places(self, guild: int) -> list[tuple[int, str]]:
        """(channel, directory) of its channels and threads that have clips to show."""
        return self._rows(
            "SELECT channel, directory FROM place WHERE guild = ?"
            f" AND EXISTS (SELECT 1 FROM clip WHERE clip.channel = place.channel AND {SHOWN})"
            " ORDER BY directory",
            (guild,),
        )

    def clips(self, channel: int) -> list[ClipRow]:
        """The oldest first."""
        query = f"SELECT id, name, size, posted_ns FROM clip WHERE channel = ? AND {SHOWN}"
        return [ClipRow(*row) for row in self._rows(f"{query} ORDER BY posted_ns, id", (channel,))]

    def clips_by(self, poster: int) -> list[ClipRow]:
        """The oldest first, with their directories."""
        query = (
            "SELECT clip.id, clip.name, size, posted_ns, guild.directory, place.directory FROM clip"
            " JOIN place USING (channel) JOIN guild ON guild.id = place.guild"
            f" WHERE poster = ? AND {SHOWN} ORDER BY posted_ns, clip.id"
        )
        return [ClipRow(*row) for row in self._rows(query, (poster,))]

    def posters(self) -> list[tuple[Poster, str]]:
        """Those with clips to show, and their directories."""
        rows = self._rows(
            "SELECT id, name, display, icon, directory FROM poster"
            f" WHERE id IN (SELECT poster FROM clip WHERE {SHOWN}) ORDER BY directory",
            (),
        )
        return [(Poster(*row[:-1]), row[-1]) for row in rows]

    def ids(self) -> list[int]:
        """Of all clips to show."""
        return [row[0] for row in self._rows(f"SELECT id FROM clip WHERE {SHOWN}", ())]

    def clip(self, id_: int) -> Clip | None:
        """None also when it is not to be shown any more."""
        rows = self._rows(f"SELECT {FIELDS} FROM clip WHERE id = ? AND {SHOWN}", (id_,))
        return clip_of(rows[0]) if rows else None

    # --- inside; names with _locked need the guard --------------------------------------------------------

    def _rows(self, query: str, values: Sequence[int | str]) -> list[Any]:
        with self._guard:
            db = self._open_locked()
            return db.execute(query, values).fetchall() if db is not None else []

    def _open_locked(self) -> sqlite3.Connection | None:
        """The connection to the file that has the name now."""
        try:
            found = os.stat(self._path).st_ino
        except FileNotFoundError:
            found = 0
        if found != self._file or self._db is None:
            self._close_locked()
            self._db = self._connected() if found else None
            self._file = found
        return self._db

    def _connected(self) -> sqlite3.Connection | None:
        name = f"{self._path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(name, uri=True, isolation_level=None, timeout=10.0, check_same_thread=False)
        try:
            found = db.execute("PRAGMA user_version").fetchone()[0]
        except BaseException:
            db.close()
            raise
        if found == FORMAT:
            return db
        db.close()
        if found:
            raise sqlite3.DatabaseError(f"it is of format {found}: take a newer discordfs")
        return None  # it is just being made

    def _close_locked(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db, self._file = None, 0
