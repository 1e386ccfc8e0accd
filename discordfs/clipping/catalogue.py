"""catalogue.sqlite: the clips that are known, where and by whom they were posted, and how far each channel is
covered.

Knowledge only grows: what is seen again is merged, and nothing once known is lost. Names of files and
directories are given once and stay. `changed` of a row is larger with each change, `written` that of the
change which the store has (writer.py): so what is still to be written survives a kill.
Limits: a row is in memory only while it is looked at. Errors: sqlite3.Error, FormatError. Threading: any;
each thread has a connection of its own, and writers take turns (WAL).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from discordfs.archived.ranges import Range, joined
from discordfs.clipping.merging import merged, merged_facts
from discordfs.clipping.model import Clip, Facts, Found, Look, Named, Place, Poster
from discordfs.clipping.naming import Names, clip_name, directory_name
from discordfs.clipping.schema import FIELDS, FORMAT, SHOWN, TABLES, clip_of, row_of
from discordfs.disk import new_database
from discordfs.errors import FormatError

__all__ = ["Catalogue", "Found", "Named"]

_BATCH = 256


class Catalogue:
    """The catalogue at `path`, made where there is none. `is_reader`: nothing is ever written.

    Raises FormatError for one of a newer release; MissingError never: a reader of none sees it empty."""

    def __init__(self, path: Path, *, is_reader: bool = False) -> None:
        self._path = path
        self._is_reader = is_reader
        self._local = threading.local()
        self._guard = threading.Lock()
        self._all: list[sqlite3.Connection] = []
        if not is_reader:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make()

    def close(self) -> None:
        """Also the connections of threads that have ended."""
        with self._guard:
            connections, self._all = self._all, []
        for connection in connections:
            connection.close()
        self._local = threading.local()

    @property
    def exists(self) -> bool:
        return not self._is_reader or self._path.exists()

    # --- taking in ----------------------------------------------------------------------------------

    def merge(self, found: Sequence[Found]) -> int:
        """Clips as they were met, any number of times in any order; how many were new."""
        with self._writing() as db:
            return self._merge_all(db, found)

    def take_in(self, other: Catalogue) -> None:
        """All that another catalogue knows of clips, posters and places."""
        found = other.found(with_hidden=True)
        while batch := list(islice(found, _BATCH)):
            self.merge(batch)

    def _merge_all(self, db: sqlite3.Connection, found: Sequence[Found]) -> int:
        for place in {each.place: None for each in found}:
            self._put_place(db, place)
        for poster in {each.poster: None for each in found}:
            self._put_poster(db, poster)
        known = self._known(db, {each.clip.id for each in found})
        return sum(self._merge(db, each, known) for each in found)

    def _known(self, db: sqlite3.Connection, ids: Collection[int]) -> dict[int, Clip]:
        query = f"SELECT {FIELDS} FROM clip WHERE id IN (SELECT value FROM json_each(?))"
        return {row[0]: clip_of(row) for row in db.execute(query, (json.dumps(sorted(ids)),))}

    def _merge(self, db: sqlite3.Connection, found: Found, known: dict[int, Clip]) -> bool:
        """`known` has the clips of now, and then this one too."""
        clip, old = found.clip, known.get(found.clip.id)
        known[clip.id] = clip if old is None else merged(old, clip)
        if old is not None:
            self._update(db, old, known[clip.id])
            return False
        query = "SELECT 1 FROM clip WHERE channel = ? AND name = ?"
        names = Names(lambda name: bool(db.execute(query, (clip.channel, name)).fetchone()))
        name = names.free(clip_name(clip, found.poster), clip.id)
        marks = ",".join("?" * 26)
        db.execute(f"INSERT INTO clip VALUES ({marks})", (*row_of(clip), name, self._next(), 0))
        return True

    def _update(self, db: sqlite3.Connection, old: Clip, new: Clip) -> None:
        if new == old:
            return
        sets = ", ".join(f"{name.strip()} = ?" for name in FIELDS.split(","))
        values = (*row_of(new), self._next(), new.id)
        db.execute(f"UPDATE clip SET {sets}, changed = ? WHERE id = ?", values)

    def _put_place(self, db: sqlite3.Connection, place: Place) -> None:
        self._put_guild(db, place.guild, place.guild_name)
        known = db.execute("SELECT name FROM place WHERE channel = ?", (place.channel,)).fetchone()
        if known is not None:
            if place.name and known[0] != place.name:
                db.execute("UPDATE place SET name = ? WHERE channel = ?", (place.name, place.channel))
            return
        query = "SELECT 1 FROM place WHERE guild = ? AND directory = ?"
        names = Names(lambda name: bool(db.execute(query, (place.guild, name)).fetchone()))
        directory = names.free(directory_name(place.name), place.channel)
        row = (place.channel, place.guild, place.parent, place.name, directory)
        db.execute("INSERT INTO place VALUES (?,?,?,?,?)", row)

    def _put_guild(self, db: sqlite3.Connection, guild: int, name: str) -> None:
        known = db.execute("SELECT name FROM guild WHERE id = ?", (guild,)).fetchone()
        if known is not None:
            if name and known[0] != name:
                db.execute("UPDATE guild SET name = ? WHERE id = ?", (name, guild))
            return
        query = "SELECT 1 FROM guild WHERE directory = ?"
        names = Names(lambda name: bool(db.execute(query, (name,)).fetchone()), is_top=True)
        directory = names.free(directory_name(name), guild)
        db.execute("INSERT INTO guild VALUES (?,?,?)", (guild, name, directory))

    def _put_poster(self, db: sqlite3.Connection, poster: Poster) -> None:
        new = (poster.name, poster.display, poster.icon)
        known = db.execute("SELECT name, display, icon FROM poster WHERE id = ?", (poster.id,)).fetchone()
        if known is None:
            query = "SELECT 1 FROM poster WHERE directory = ?"
            names = Names(lambda name: bool(db.execute(query, (name,)).fetchone()))
            directory = names.free(directory_name(poster.name), poster.id)
            row = (poster.id, *new, directory, self._next(), 0)
            db.execute("INSERT INTO poster VALUES (?,?,?,?,?,?,?)", row)
        elif known != new and poster.name:
            query = "UPDATE poster SET name = ?, display = ?, icon = ?, changed = ? WHERE id = ?"
            db.execute(query, (*new, self._next(), poster.id))

    # --- what happens to known clips ------------------------------------------------------------------

    def edited(self, channel: int, message: int, description: str, edited_ns: int) -> int:
        """A message's text is another one since `edited_ns`; older news than what is known changes nothing.
        How many clips were told."""
        with self._writing() as db:
            query = "SELECT id FROM clip WHERE channel = ? AND message = ? AND edited_ns < ?"
            ids = [row[0] for row in db.execute(query, (channel, message, edited_ns))]
            for id_ in ids:
                query = "UPDATE clip SET description = ?, edited_ns = ?, changed = ? WHERE id = ?"
                db.execute(query, (description, edited_ns, self._next(), id_))
            return len(ids)

    def deleted(self, channel: int, messages: Iterable[int], at_ns: int) -> int:
        """These messages are gone. How many clips went with them."""
        with self._writing() as db:
            query = "SELECT id FROM clip WHERE channel = ? AND message = ?"
            rows = [row for message in messages for row in db.execute(query, (channel, message))]
            return sum(self._mark_gone(db, id_, at_ns) for (id_,) in rows)

    def attachment_gone(self, clip: int, at_ns: int) -> None:
        """The message is there, this attachment is not any more."""
        with self._writing() as db:
            self._mark_gone(db, clip, at_ns)

    def _mark_gone(self, db: sqlite3.Connection, clip: int, at_ns: int) -> int:
        """How many that were there."""
        query = "UPDATE clip SET deleted_ns = ?, changed = ? WHERE id = ? AND deleted_ns = 0"
        return db.execute(query, (at_ns, self._next(), clip)).rowcount

    def renewed(self, links: Iterable[tuple[int, str, int]]) -> None:
        """(clip, link, expiry in epoch ns): newer links; one that ends earlier than the known changes
        nothing."""
        with self._writing() as db:
            for clip, url, expires_ns in links:
                query = "UPDATE clip SET url = ?, expires_ns = ?, changed = ? WHERE id = ? AND expires_ns < ?"
                db.execute(query, (url, expires_ns, self._next(), clip, expires_ns))

    def sized(self, clip: int, size: int) -> None:
        """Its size in bytes, where that was not known."""
        self._change(clip, lambda old: replace(old, size=old.size or size))

    def doubt(self, clips: Sequence[int] | None = None) -> int:
        """The links of these clips, or of all, count as ended: whoever renews takes them first. Of how many
        clips that are there."""
        with self._writing() as db:
            query = "UPDATE clip SET expires_ns = 0 WHERE deleted_ns = 0"
            if clips is None:
                return db.execute(query).rowcount
            return sum(db.execute(f"{query} AND id = ?", (id_,)).rowcount for id_ in clips)

    def looked(self, clip: int, facts: Facts) -> None:
        """What the frames told; nothing that was known becomes unknown."""
        self._change(clip, lambda old: replace(old, facts=merged_facts(old.facts, facts), look=Look.DONE))

    def lasts(self, clip: int, seconds: float) -> None:
        """How long it is, as somebody said; frames, once looked at, know better."""
        said = Facts(runtime=seconds)
        self._change(clip, lambda old: replace(old, facts=merged_facts(said, old.facts)))

    def look_failed(self, clip: int, reason: str) -> None:
        """It is no video that can be read: not tried again."""
        self._change(clip, lambda old: replace(old, look=Look.FAILED, look_error=reason))

    def kept(self, clip: int, sha256: str) -> None:
        """A copy of the video is kept under this hash."""
        self._change(clip, lambda old: replace(old, kept=sha256))

    def icon_changed(self, poster: int) -> None:
        """Their picture is another one."""
        with self._writing() as db:
            db.execute("UPDATE poster SET changed = ? WHERE id = ?", (self._next(), poster))

    def _change(self, clip: int, change: Callable[[Clip], Clip]) -> None:
        with self._writing() as db:
            row = db.execute(f"SELECT {FIELDS} FROM clip WHERE id = ?", (clip,)).fetchone()
            if row is not None:
                self._update(db, clip_of(row), change(clip_of(row)))

    # --- what is left to do ---------------------------------------------------------------------------

    def due(self, before_ns: int, limit: int) -> list[Clip]:
        """Clips whose links end before this time, those that end first before others; deleted ones never."""
        where = "deleted_ns = 0 AND expires_ns < ? ORDER BY expires_ns, id LIMIT ?"
        return self._clips(where, (before_ns, limit))

    def next_expiry(self) -> int | None:
        """When the next link ends, epoch ns; None without clips."""
        row = self._db().execute("SELECT min(expires_ns) FROM clip WHERE deleted_ns = 0").fetchone()
        return None if row is None else row[0]

    def waiting(self, after: int, limit: int) -> list[Clip]:
        """Clips with larger ids than `after` that have not been looked at, in the order of ids."""
        where = "look = 'waiting' AND deleted_ns = 0 AND id > ? ORDER BY id LIMIT ?"
        return self._clips(where, (after, limit))

    def unkept(self, after: int, limit: int) -> list[Clip]:
        """Clips with larger ids than `after` that have been looked at and of which no copy is kept, in the
        order of ids."""
        where = "kept = '' AND deleted_ns = 0 AND look != 'waiting' AND id > ? ORDER BY id LIMIT ?"
        return self._clips(where, (after, limit))

    def backup(self, path: Path) -> None:
        """The whole catalogue as it is at one moment, as a file."""
        with closing(sqlite3.connect(path)) as copy:
            self._db().backup(copy)

    def unwritten(self, limit: int) -> list[tuple[Clip, int]]:
        """Clips that the store does not have as they are, the oldest change first, each with the number of
        its last change."""
        query = f"SELECT {FIELDS}, changed FROM clip WHERE changed != written ORDER BY changed LIMIT ?"
        return [(clip_of(row[:-1]), row[-1]) for row in self._rows(query, (limit,))]

    def has_unwritten(self) -> bool:
        """Whether there is anything that the store does not have as it is."""
        query = "SELECT EXISTS (SELECT 1 FROM {0} WHERE changed != written)"
        return any(row[0] for table in ("clip", "poster") for row in self._rows(query.format(table), ()))

    def unwritten_posters(self, limit: int) -> list[tuple[Poster, int]]:
        query = "SELECT id, name, display, icon, changed FROM poster WHERE changed != written"
        rows = self._rows(f"{query} ORDER BY changed LIMIT ?", (limit,))
        return [(Poster(*row[:-1]), row[-1]) for row in rows]

    def written(self, clips: Iterable[tuple[int, int]], posters: Iterable[tuple[int, int]] = ()) -> None:
        """The store has them as they were at these changes; what changed since is still to be written."""
        with self._writing() as db:
            db.executemany(
                "UPDATE clip SET written = ? WHERE id = ?", [(change, id_) for id_, change in clips]
            )
            rows = [(change, id_) for id_, change in posters]
            db.executemany("UPDATE poster SET written = ? WHERE id = ?", rows)

    # --- settings that go with it -----------------------------------------------------------------------

    def setting(self, key: str) -> str:
        """ "" where it was never set."""
        rows = self._rows("SELECT value FROM setting WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else ""

    def set(self, key: str, value: str) -> None:
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO setting VALUES (?,?)", (key, value))

    def write_to(self, store: str) -> None:
        """The store from now on; another one than before has nothing yet."""
        if self.setting("store") != store:
            with self._writing() as db:
                db.execute("INSERT OR REPLACE INTO setting VALUES ('store', ?)", (store,))
                db.execute("UPDATE clip SET written = 0")
                db.execute("UPDATE poster SET written = 0")

    # --- channels -------------------------------------------------------------------------------------

    def choose(self, channels: Iterable[int], guilds: Iterable[int]) -> None:
        """What is watched from now on, instead of what was."""
        with self._writing() as db:
            db.execute("DELETE FROM chosen")
            rows = [*(("channel", id_) for id_ in channels), *(("guild", id_) for id_ in guilds)]
            db.executemany("INSERT OR IGNORE INTO chosen VALUES (?,?)", rows)

    def chosen(self) -> tuple[frozenset[int], frozenset[int]]:
        """(channels, servers) that are watched."""
        rows = self._rows("SELECT kind, id FROM chosen", ())
        return (
            frozenset(id_ for kind, id_ in rows if kind == "channel"),
            frozenset(id_ for kind, id_ in rows if kind == "guild"),
        )

    def cover(self, channel: int, first: int, last: int, found: Sequence[Found] = ()) -> int:
        """Pages have shown all messages of [first, last], and in them these clips: both or neither. How many
        clips were new."""
        with self._writing() as db:
            count = self._merge_all(db, found)
            if first <= last:
                ranges = joined([*self._covered(db, channel), (first, last)])
                db.execute("DELETE FROM covered WHERE channel = ?", (channel,))
                rows = [(channel, *each) for each in ranges]
                db.executemany("INSERT INTO covered VALUES (?,?,?)", rows)
            return count

    def cover_anew(self) -> None:
        """What pages have shown counts no more, but for where it ends: something else is looked for now."""
        with self._writing() as db:
            newest = "SELECT channel, max(last) FROM covered GROUP BY channel"
            db.execute(f"DELETE FROM covered WHERE (channel, last) NOT IN ({newest})")
            db.execute("UPDATE covered SET first = last")

    def covered(self, channel: int) -> tuple[Range, ...]:
        return self._covered(self._db(), channel) if self.exists else ()

    def _covered(self, db: sqlite3.Connection, channel: int) -> tuple[Range, ...]:
        query = "SELECT first, last FROM covered WHERE channel = ? ORDER BY first"
        return tuple((first, last) for first, last in db.execute(query, (channel,)))

    def present(self, channel: int, first: int, last: int) -> dict[int, list[int]]:
        """Clips that are there, as far as is known, by their messages within [first, last], in order."""
        query = (
            "SELECT message, id FROM clip WHERE channel = ? AND message BETWEEN ? AND ?"
            " AND deleted_ns = 0 ORDER BY message"
        )
        found: dict[int, list[int]] = {}
        for message, clip in self._rows(query, (channel, first, last)):
            found.setdefault(message, []).append(clip)
        return found

    def next_present(self, channel: int, first: int) -> int | None:
        """The first message from `first` on that has a clip which is there."""
        query = "SELECT min(message) FROM clip WHERE channel = ? AND message >= ? AND deleted_ns = 0"
        rows = self._rows(query, (channel, first))
        return rows[0][0] if rows else None

    def channel_gone(self, channel: int, at_ns: int) -> int:
        """The channel is deleted, and with it its threads and all that was in them. How many clips went."""
        query = (
            "SELECT id FROM clip WHERE deleted_ns = 0 AND channel IN"
            " (SELECT channel FROM place WHERE ? IN (channel, parent))"
        )
        with self._writing() as db:
            rows = db.execute(query, (channel,)).fetchall()
            return sum(self._mark_gone(db, id_, at_ns) for (id_,) in rows)

    # --- reading: the tree, lists, exports --------------------------------------------------------------

    def version(self) -> int:
        """Another one after each change of a clip or poster: what was derived of an older one is old."""
        rows = self._rows("SELECT value FROM counter", ())
        return int(rows[0][0]) if rows else 0

    def counts(self) -> dict[str, int]:
        """For `status`: clips, deleted, waiting, failed, unwritten, kept."""
        query = (
            "SELECT count(*), sum(deleted_ns != 0), sum(look = 'waiting' AND deleted_ns = 0),"
            " sum(look = 'failed'), sum(changed != written), sum(kept != '') FROM clip"
        )
        rows = self._rows(query, ())
        names = ("clips", "deleted", "waiting", "failed", "unwritten", "kept")
        return dict(zip(names, (value or 0 for value in rows[0] if rows), strict=False)) if rows else {}

    def posters(self) -> list[tuple[Poster, str]]:
        """Posters with clips to show, and their directories."""
        query = (
            "SELECT id, name, display, icon, directory FROM poster WHERE EXISTS (SELECT 1 FROM clip"
            f" WHERE clip.poster = poster.id AND {SHOWN}) ORDER BY directory"
        )
        return [(Poster(*row[:-1]), row[-1]) for row in self._rows(query, ())]

    def clips(
        self, *, channel: int | None = None, poster: int | None = None, with_hidden: bool = False
    ) -> Iterator[Named]:
        """Clips to show (`with_hidden`: deleted ones too), the oldest first, a few hundred in memory."""
        fields = ", ".join(f"clip.{name.strip()}" for name in FIELDS.split(","))
        query = (
            f"SELECT {fields}, guild.directory, place.directory, clip.name, poster.directory FROM clip"
            " JOIN place USING (channel) JOIN guild ON guild.id = place.guild"
            " JOIN poster ON poster.id = clip.poster"
        )
        terms = [] if with_hidden else [SHOWN]
        values: list[int] = []
        for name, value in (("channel", channel), ("poster", poster)):
            if value is not None:
                terms.append(f"clip.{name} = ?")
                values.append(value)
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        if not self.exists:
            return
        cursor = self._db().execute(f"{query}{where} ORDER BY clip.posted_ns, clip.id", values)
        while rows := cursor.fetchmany(256):
            for row in rows:
                yield Named(clip_of(row[:-4]), *row[-4:])

    def found(self, *, with_hidden: bool = False) -> Iterator[Found]:
        """The same, each with its poster and place."""
        posters, places = cache(self.poster), cache(self.place)
        for each in self.clips(with_hidden=with_hidden):
            poster, place = posters(each.clip.poster), places(each.clip.channel)
            if poster is not None and place is not None:
                yield Found(each.clip, poster, place)

    def clip(self, id_: int) -> Clip | None:
        found = self._clips("id = ?", (id_,))
        return found[0] if found else None

    def by_alias(self, alias: str) -> list[Clip]:
        """Several where the predecessor's ids collide."""
        return self._clips("alias = ? ORDER BY id", (alias,))

    def poster(self, id_: int) -> Poster | None:
        rows = self._rows("SELECT id, name, display, icon FROM poster WHERE id = ?", (id_,))
        return Poster(*rows[0]) if rows else None

    def poster_called(self, name: str) -> int | None:
        """The id of a poster whose user name this is."""
        rows = self._rows("SELECT id FROM poster WHERE name = ? ORDER BY id DESC", (name,))
        return rows[0][0] if name and rows else None

    def place(self, channel: int) -> Place | None:
        query = (
            "SELECT place.channel, place.name, guild.id, guild.name, place.parent FROM place"
            " JOIN guild ON guild.id = place.guild WHERE place.channel = ?"
        )
        rows = self._rows(query, (channel,))
        return Place(*rows[0]) if rows else None

    # --- inside ---------------------------------------------------------------------------------------

    def _clips(self, where: str, values: Sequence[int | str]) -> list[Clip]:
        return [clip_of(row) for row in self._rows(f"SELECT {FIELDS} FROM clip WHERE {where}", values)]

    def _rows(self, query: str, values: Sequence[int | str]) -> list[tuple[Any, ...]]:
        return self._db().execute(query, values).fetchall() if self.exists else []

    def _make(self) -> None:
        whole = f"{TABLES} PRAGMA user_version = {FORMAT};"
        new_database(self._path, whole)
        db = self._db()
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found > FORMAT:
            raise FormatError(
                f"{self._path} is of format {found}, and this release knows {FORMAT}: take a newer discordfs"
            )
        if found == 0:
            db.executescript(f"BEGIN IMMEDIATE; {whole} COMMIT;")

    def _db(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "db", None)
        if found is not None:
            return found
        name = f"{self._path.absolute().as_uri()}{'?mode=ro' if self._is_reader else ''}"
        db = sqlite3.connect(name, uri=True, isolation_level=None, timeout=60.0, check_same_thread=False)
        if not self._is_reader:
            db.execute("PRAGMA journal_mode = WAL")
        with self._guard:
            self._all.append(db)
        self._local.db = db
        return db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            before = self._local.value = int(db.execute("SELECT value FROM counter").fetchone()[0])
            yield db
            if self._local.value != before:
                db.execute("UPDATE counter SET value = ?", (self._local.value,))
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _next(self) -> int:
        """The number of another change, within a transaction."""
        self._local.value += 1
        return int(self._local.value)
