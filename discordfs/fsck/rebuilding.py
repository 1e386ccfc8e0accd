"""The index made anew: from what can be read of a damaged one, from the log, or from the chunks alone.

Job: build an index beside the place where it is to be, and put it there by a rename; what was there is kept
in a folder of its own, with everything in staging and outbox that the new index does not know of, as a mount
would throw that away. An interrupted attempt leaves the old index where it was. Limits: room on the disk for
two more indexes, memory as recovery.py and scavenging.py. Errors: Discord's answers, ConfigError, OSError.
Threading: one thread, before anything is opened; asks Discord. Whoever calls holds the state directory.
"""

from __future__ import annotations

import enum
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.database import Database
from discordfs.disk import make_directory, put_database, sync_directory, sync_files
from discordfs.errors import ConfigError, Damaged, DiscordfsError, FormatError
from discordfs.fsck import indexcheck, scavenging
from discordfs.fsck.checking import Checker, Premises, Told
from discordfs.fsck.findings import Finding
from discordfs.fsck.local import Local
from discordfs.fsck.logcheck import LogCopy
from discordfs.fsck.mending import mend_tables
from discordfs.fsck.tables import SOUND
from discordfs.index import Index
from discordfs.model import Caller, Clock, Kind, SealedChunk

log = logging.getLogger(__name__)

_LAST = ("changed_inodes", "changed_names", "changed_ranges")
"""Carried over after all else, whose triggers write into them."""

_ONE_ROW = ("log", "counters")


class Source(enum.Enum):
    """What an index may be made of: of what is left of the old one, and else of the log, and else of the
    chunks; not of the old one; of the chunks alone."""

    ANYTHING = enum.auto()
    LOG = enum.auto()
    CHUNKS = enum.auto()


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done, in sentences; what was mended on the way."""

    said: tuple[str, ...]
    mended: tuple[Finding, ...] = ()


class Rebuilder:
    """Makes the index of a drive that is not open anew. `aside`: a folder that takes what was there."""

    def __init__(
        self,
        premises: Premises,
        chunks: ChunkStore,
        clock: Clock,
        owner: Caller,
        holder: str,
        aside: Path,
        told: Told = lambda text: None,
    ) -> None:
        self._premises, self._chunks, self._clock = premises, chunks, clock
        self._owner, self._holder, self._aside, self._told = owner, holder, aside, told
        self._draft = premises.index.with_name(f"{premises.index.name}.rebuilding")

    def rebuild(self, source: Source = Source.ANYTHING) -> Rebuilt:
        """The index stands in its place when this returns."""
        sync_files(self._premises.staging)
        self._keep()
        _remove(self._draft)
        checker = Checker(
            replace(self._premises, index=self._draft), self._chunks, self._clock, told=self._told
        )
        said: list[str] = []
        mended: list[Finding] = []
        try:
            if source is Source.ANYTHING and self._carry_over():
                said.append("what could be read of the index was carried over")
                mended = self._mend(checker)
            else:
                with checker.log_copy() as copy:
                    is_told = source is not Source.CHUNKS and not copy.problem
                    said += self._from_log(copy) if is_told else self._from_chunks()
            said += self._keep_unknown()
            self._put()
        finally:
            _remove(self._draft)
        return Rebuilt(tuple(said), tuple(mended))

    # --- what was there ---------------------------------------------------------------------------

    def _keep(self) -> None:
        """A copy of the index as it is, with its WAL."""
        make_directory(self._aside)
        for suffix in ("", "-wal"):
            path = _beside(self._premises.index, suffix)
            if path.exists():
                shutil.copyfile(path, self._aside / path.name)
        sync_files(self._aside)

    def _keep_unknown(self) -> list[str]:
        """Segments and sealed chunks of which the new index knows nothing: a mount would delete them."""
        with closing(sqlite3.connect(self._draft)) as connection:
            segments = {
                row[0] for row in connection.execute("SELECT DISTINCT segment FROM extents WHERE home < 2")
            }
            sealed = {
                row[0] for row in connection.execute("SELECT uid FROM chunks UNION SELECT uid FROM records")
            }
        unknown = [
            *(it for it in _files(self._premises.staging, ".segment") if _number(it) not in segments),
            *(it for it in _files(self._premises.outbox, ".chunk") if _uid(it) not in sealed),
        ]
        for path in unknown:
            os.replace(path, self._aside / path.name)
        if unknown:
            sync_directory(self._aside)
        return [
            f"{len(unknown)} files of staging that nothing tells of any more lie in {self._aside}"
        ] * bool(unknown)

    # --- three ways -------------------------------------------------------------------------------

    def _carry_over(self) -> bool:
        """Whether anything of use could be read of the old index."""
        source = self._aside / self._premises.index.name
        if not source.exists():
            return False
        scratch = self._draft.with_name(f"{self._draft.name}-source")
        with Carried(source, scratch) as old, closing(Database(self._draft)) as new, new.transaction() as to:
            to.execute("DELETE FROM log")
            to.execute("DELETE FROM counters")
            for table in (*(name for name in SOUND if name not in _LAST), *_LAST):
                _copy_table(old, to, table)
            (inodes,) = to.execute("SELECT COUNT(*) FROM inodes").fetchone()
        if not inodes:
            _remove(self._draft)
        return bool(inodes)

    def _mend(self, checker: Checker) -> list[Finding]:
        with closing(Database(self._draft)) as database:

            def apply(change: Callable[[sqlite3.Connection], list[Finding]]) -> list[Finding]:
                with database.transaction() as connection:
                    return change(connection)

            return mend_tables(checker, apply, self._local, is_adopted=True)

    def _from_log(self, copy: LogCopy) -> list[str]:
        """As a machine that has nothing but Discord; another writer than before."""
        said = ["the index was built from the log", *copy.left_out]
        copy.keep(self._draft)
        with closing(Database(self._draft)) as database, database.transaction() as connection:
            connection.execute(
                "UPDATE counters SET ceiling = ceiling + ? WHERE name IN ('inode', 'commit')", (2**20,)
            )
            said += self._take_outbox(connection)
            indexcheck.mend(self._local(connection))
        if copy.state().owner:
            said.append("this state directory is another writer now: mount with --take-over to write")
        return said

    def _from_chunks(self) -> list[str]:
        """Contents by the footers of the chunks, for a new chain."""
        self._told("looking for chunks, as the log cannot be read")
        loot = scavenging.search(self._chunks, self._premises.all_channels(), self._told)
        end = scavenging.end_of_chain(self._chunks, self._premises.log_channel)
        Index(self._draft, self._clock(), self._owner).close()
        with closing(Database(self._draft)) as database, database.transaction() as connection:
            names = scavenging.bring_back(connection, loot, end, self._holder)
            said = self._take_outbox(connection)
            indexcheck.mend(self._local(connection))
        found = f"{len(names)} files came back from {len(loot.chunks)} chunks, in lost+found"
        return [found, *loot.unreadable, *said]

    def _take_outbox(self, connection: sqlite3.Connection) -> list[str]:
        """Sealed chunks that may never have been posted: they hold what is nowhere else."""
        known = {row[0] for row in connection.execute("SELECT uid FROM chunks")}
        sealed = [it for it in self._sealed() if it.kind is Kind.DATA and it.uid not in known]
        channel = self._premises.channels[0]
        names = scavenging.from_outbox(connection, sealed, channel, self._chunks.now_ns())
        return [f"{len(names)} files from the outbox are in lost+found"] * bool(names)

    def _sealed(self) -> Iterator[SealedChunk]:
        for path in _files(self._premises.outbox, ".chunk"):
            try:
                yield self._chunks.reopen(path)
            except (Damaged, FormatError, ConfigError, OSError) as error:
                log.warning("%s cannot be used: %s", path, error)

    def _local(self, connection: sqlite3.Connection) -> Local:
        return Local(connection, self._premises.staging, self._premises.outbox)

    def _put(self) -> None:
        if _beside(self._draft, "-wal").exists():
            raise DiscordfsError(f"{self._draft} cannot be brought to disk: see whether the disk is full")
        put_database(self._draft, self._premises.index)


# --- reading a damaged database -------------------------------------------------------------------


class Carried:
    """A damaged index, open as far as it can be, in a scratch copy: SQLite may write when it opens one."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self._source, self._scratch = source, scratch

    def __enter__(self) -> sqlite3.Connection:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(mode=0o700)
        for suffix in ("", "-wal"):
            if _beside(self._source, suffix).exists():
                shutil.copyfile(_beside(self._source, suffix), self._scratch / f"old{suffix}")
        self._connection = sqlite3.connect(self._scratch / "old", isolation_level=None)
        self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    """The rows of a table that can be read: from its beginning as far as it goes, and from its end."""
    columns = [name for name, _ in _columns(new, table) if name in {it for it, _ in _columns(old, table)}]
    if not columns:
        return
    verb = "INSERT OR REPLACE" if table in _ONE_ROW else "INSERT OR IGNORE"
    if table in _LAST:
        new.execute(f"DELETE FROM {table}")
    statement = f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    order = ", ".join(name for name, is_key in _columns(new, table) if is_key)
    for direction in ("ASC", "DESC"):
        ordered = ", ".join(f"{name} {direction}" for name in order.split(", "))
        if _copy_rows(old, new, f"SELECT {', '.join(columns)} FROM {table} ORDER BY {ordered}", statement):
            return


def _copy_rows(old: sqlite3.Connection, new: sqlite3.Connection, query: str, statement: str) -> bool:
    """Whether all could be read."""
    try:
        for row in old.execute(query):
            try:
                new.execute(statement, row)
            except sqlite3.IntegrityError:
                continue  # a row that the table would never have taken
    except sqlite3.DatabaseError as error:
        log.info("the damaged index: %s", error)
        return False
    return True


def _columns(connection: sqlite3.Connection, table: str) -> Sequence[tuple[str, bool]]:
    try:
        rows = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
    except sqlite3.DatabaseError:
        return []
    return [(name, bool(place)) for name, place in rows]


# --- files ----------------------------------------------------------------------------------------


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(draft: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-ballast"):
        _beside(draft, suffix).unlink(missing_ok=True)


def _files(folder: Path, suffix: str) -> Iterable[Path]:
    return sorted(folder.glob(f"*{suffix}")) if folder.is_dir() else []


def _number(segment: Path) -> int:
    try:
        return int(segment.stem, 16)
    except ValueError:
        return -1


def _uid(chunk: Path) -> bytes:
    try:
        return bytes.fromhex(chunk.stem)
    except ValueError:
        return b""
