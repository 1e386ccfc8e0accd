"""The first start after the machine went down: is everything there that the index names?

Job: compare the staged bytes that no sync had covered with their checksums (unsynced.py), and when some are
not what they were, take the whole index back to the newest moment whose bytes are all there. That moment
exists: SQLite's WAL is a sequence of commits, and at the last sync everything named was on disk. So the
drive is as it was at one moment, and no file is zeros or a mixture.

    WAL   … commit ─ sync ─ commit ─ commit ─ commit ─ commit (newest that SQLite accepts)
                      │        └ the state to take        └ names bytes that are not there
                      └ never before this

Why the search finds the newest such moment: a stretch of staging is written once, so whatever is broken in a
later state is broken in each state that has it. Find, by bisection, the first commit with anything of what
is broken now; the one before is the next candidate; begin anew with it.

The states are looked at in a scratch folder: the database by a hard link, opened for reading only, beside a
WAL that is cut off after a commit (the format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
SQLite itself judges which frames are whole. In place only one thing happens: the WAL becomes shorter. It can
be cut off anywhere behind the last sync, as checkpoints move only what has been synced (database.py). What
was there before is kept beside the index until the first start after a clean end.

Limits: needs a disk that keeps what fsync promised. Threading: one thread, before the index is opened;
whoever calls holds the state directory.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from discordfs import unsynced
from discordfs.disk import sync_directory
from discordfs.errors import ConfigError, Damaged
from discordfs.unsynced import Sum

log = logging.getLogger(__name__)

_WAL_HEADER = Struct(">8I")  # magic, version, page size, checkpoint, two salts, two checksums
_FRAME_HEADER = Struct(">6I")  # page, size of the database after a commit (else 0), two salts, two checksums
_PATIENT_STEPS = 16
"""Searches for the newest good state, each behind the one before, until the last sync will do."""
_NAMED = 20


def mend(index: Path, staging: Path, boot_id: str) -> None:
    """Brings the index to a moment whose staged bytes are all there. Nothing to do when it was closed, or
    last used in this run of the machine (`boot_id`). Raises ConfigError, Damaged, OSError."""
    if not index.exists():
        return
    before = Before(index)
    try:
        used_in = _last_used_in(index)
        if not used_in:
            before.remove()
        elif used_in != boot_id:
            _mend(index, staging, before)
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{index} is no index of a drive, or it is damaged: {error}") from error


def _mend(index: Path, staging: Path, before: Before) -> None:
    with _History(index) as history:
        end = _newest_whole(history, staging)
        if end == history.ends[-1]:
            return
        before.keep()
        undone = _undone(history, end, before.path)
        history.cut(end)
    log.warning(
        "the machine went down before all of staging was on its disk: the drive is as it was a little "
        "earlier, which undoes changes that were not synced (%s); the index from before lies in %s",
        undone,
        before.path,
    )


@dataclass(frozen=True, slots=True)
class Before:
    """What the index at `index` was before it was taken back: a copy that SQLite opens."""

    index: Path

    @property
    def path(self) -> Path:
        return self.index.with_name(f"{self.index.name}.before-power-cut")

    def keep(self) -> None:
        self.remove()
        shutil.copyfile(self.index, self.path)
        shutil.copyfile(_wal(self.index), _wal(self.path))

    def remove(self) -> None:
        for path in (self.path, _wal(self.path), _shm(self.path)):
            path.unlink(missing_ok=True)


def _wal(index: Path) -> Path:
    return index.with_name(index.name + "-wal")


def _shm(index: Path) -> Path:
    return index.with_name(index.name + "-shm")


def _reading(index: Path) -> sqlite3.Connection:
    """Never writes, nor moves anything from the WAL into the database when it closes."""
    return sqlite3.connect(f"{index.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _last_used_in(index: Path) -> str:
    """The run of the machine in which the index was in use and not closed since; empty when there is none,
    or when a release made it that noted nothing which could be compared."""
    if not _wal(index).exists():
        return ""
    with closing(_reading(index)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'machine'").fetchone():
            return ""
        return str(connection.execute("SELECT boot_id FROM machine").fetchone()[0])


# --- states of the index -----------------------------------------------------------------------------------


class _History:
    """The states that an index has gone through since its WAL began. `ends`: for each the length of its
    WAL in bytes, oldest first; the last one is the index as found. `floor`: the one of the last sync, as a
    position in `ends`."""

    def __init__(self, index: Path) -> None:
        self._index = index
        self._scratch = index.with_name(f"{index.name}-rewind")

    def __enter__(self) -> _History:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(mode=0o700)
        self._commits = list(_commits(_wal(self._index)))
        self.ends = [0, *(commit.end for commit in self._commits)]
        self.floor = self._last_sync()
        return self

    def __exit__(self, *exc_info: object) -> None:
        shutil.rmtree(self._scratch)

    @contextmanager
    def at(self, end: int) -> Iterator[sqlite3.Connection]:
        """The index with so many bytes of its WAL. One at a time: to SQLite files with one inode number
        are one database."""
        with self.place(end) as place, closing(_reading(place)) as connection:
            yield connection

    @contextmanager
    def place(self, end: int) -> Iterator[Path]:
        """The same as a file."""
        place = self._scratch / "state" / "index.sqlite"
        place.parent.mkdir()
        try:
            _link(self._index, place)
            _copy_start(_wal(self._index), _wal(place), end)
            yield place
        finally:
            shutil.rmtree(place.parent)

    def _last_sync(self) -> int:
        """Each sync raises a counter in its commit: go back over the commits that touched the counters,
        as long as the counter has the value that it has now. (Its value alone would not do: a database
        that a checkpoint was moving the WAL into has the newest value in all states.)"""
        with self.at(self.ends[-1]) as connection:
            page = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'counters'"
            ).fetchone()[0]
            newest = _sync_count(connection)
        floor = 0
        for position in range(len(self._commits), 0, -1):
            if page not in self._commits[position - 1].pages:
                continue
            with self.at(self.ends[position]) as connection:
                if _sync_count(connection) != newest:
                    break
            floor = position
        return floor

    def cut(self, end: int) -> None:
        """The index becomes what it was then."""
        wal = _wal(self._index)
        with wal.open("r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())
        sync_directory(wal.parent)


def _sync_count(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT ceiling FROM counters WHERE name = 'sync'").fetchone()
    return -1 if row is None else int(row[0])


@dataclass(frozen=True, slots=True)
class _Commit:
    """A transaction in the WAL: where it ends (bytes), and the pages that it wrote."""

    end: int
    pages: frozenset[int]


def _commits(wal: Path) -> Iterator[_Commit]:
    """The transactions in a WAL. Those behind a torn frame may be among them: SQLite ignores them."""
    with wal.open("rb") as file:
        header = file.read(_WAL_HEADER.size)
        if len(header) < _WAL_HEADER.size:
            return
        _, _, page_size, _, *salts = _WAL_HEADER.unpack(header)[:6]
        pages = []
        while len(frame := file.read(_FRAME_HEADER.size)) == _FRAME_HEADER.size:
            page, size_after, *frame_salts = _FRAME_HEADER.unpack(frame)[:4]
            end = file.seek(page_size, os.SEEK_CUR)
            if frame_salts != salts:
                return
            pages.append(page)
            if size_after:
                yield _Commit(end, frozenset(pages))
                pages.clear()


def _link(source: Path, target: Path) -> None:
    """Two names of one file, or two files where the filesystem has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _copy_start(source: Path, target: Path, length: int) -> None:
    with source.open("rb") as file, target.open("wb") as copy:
        while length and (data := file.read(min(length, 1024**2))):
            copy.write(data)
            length -= len(data)


# --- which one ---------------------------------------------------------------------------------------------


def _newest_whole(history: _History, staging: Path) -> int:
    """The length of the WAL (bytes) of the newest state whose staged bytes are all there."""
    known: dict[Sum, bool] = {}
    position = len(history.ends) - 1
    for patience in range(_PATIENT_STEPS, -1, -1):
        broken = _broken(history, position, staging, known)
        if not broken:
            return history.ends[position]
        position = _before_any_of(history, position, broken) if patience > 1 else history.floor
    raise Damaged(
        f"{staging} holds what the index names at no moment since its last sync: the disk has lost what was "
        "synced, or something else than a mount has written to the index. `discordfs recover` makes the "
        "drive of what Discord has"
    )


def _broken(history: _History, position: int, staging: Path, known: dict[Sum, bool]) -> set[tuple[int, int]]:
    with history.at(history.ends[position]) as connection:
        found = unsynced.live(connection)
    for each in found:
        if each not in known:
            known[each] = _is_whole(each, staging)
    return {(each.segment, each.position) for each in found if not known[each]}


def _before_any_of(history: _History, position: int, broken: set[tuple[int, int]]) -> int:
    """The newest state from the last sync on in which nothing of `broken` was noted yet."""

    def has_any(end: int) -> bool:
        with history.at(end) as connection:
            return not broken.isdisjoint(unsynced.keys(connection))

    first = bisect_left(history.ends, True, history.floor, position, key=has_any)
    return max(history.floor, first - 1)


def _is_whole(total: Sum, staging: Path) -> bool:
    try:
        with (staging / f"{total.segment:016x}.segment").open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), total.length, total.position)
    except FileNotFoundError:
        return False
    return unsynced.digest(data) == total.digest


# --- what it costs -----------------------------------------------------------------------------------------

_CHANGED = """
SELECT ino FROM (SELECT * FROM new.inodes EXCEPT SELECT * FROM old.inodes) WHERE mode & 61440 != 16384
UNION SELECT ino FROM (SELECT * FROM old.dentries EXCEPT SELECT * FROM new.dentries)
UNION SELECT ino FROM (SELECT * FROM new.dentries EXCEPT SELECT * FROM old.dentries)
"""
"""Inodes that differ, and those with a name more or less (a directory only for its own name)."""


def _undone(history: _History, end: int, found: Path) -> str:
    """What is other than in `found`, for people: paths, the first ones of many."""
    with history.place(end) as place, closing(sqlite3.connect(":memory:", uri=True)) as both:
        for name, path in (("new", found), ("old", place)):
            both.execute(f"ATTACH ? AS {name}", (f"{path.absolute().as_uri()}?mode=ro",))
        changed = [row[0] for row in both.execute(_CHANGED)]
        names = {_path(both, ino) for ino in changed[:_NAMED]}
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return _listed(names) + more


def _listed(names: Iterable[bytes]) -> str:
    return ", ".join(sorted(os.fsdecode(name) for name in names)) or "(nothing that has a name)"


def _path(both: sqlite3.Connection, ino: int) -> bytes:
    """One of an inode's paths, as it was last, or else as it is again."""
    parts: list[bytes] = []
    at = ino
    while row := (
        both.execute("SELECT parent, name FROM new.dentries WHERE ino = ?", (at,)).fetchone()
        or both.execute("SELECT parent, name FROM old.dentries WHERE ino = ?", (at,)).fetchone()
    ):
        at, name = row
        parts.insert(0, bytes(name))
    return b"/" + b"/".join(parts) if parts else b"inode %d" % ino
