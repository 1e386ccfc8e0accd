"""One SQLite connection in WAL mode, the lock around it, and when it goes to disk.

Job: transactions, counters that never repeat, sync and checkpoint. A commit survives a kill of the
process; `sync` makes all commits so far survive a power cut. Threading: every use of the connection is
inside `transaction()` or `reading()`, which hold one lock; nothing in here waits for the network.

The order that keeps power cuts harmless: no sync of the index before the sync of the staging bytes that it
names. So SQLite's own checkpoints are off, and `sync` and `checkpoint` sync staging first: `sync` once
outside the lock for the bulk, once inside for what commits have named meanwhile, so that a big file that is
being written holds up no other's close. Whatever an older state of the index may still need (segments,
sealed chunks) is deleted only once a newer one is on disk: `once_synced`. What the kernel writes to disk on
its own, before any sync, is for powercut.py to look at.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from discordfs import schema, unsynced
from discordfs.errors import BusyError, ConfigError, NoSpace
from discordfs.unsynced import Sum

T = TypeVar("T")
SyncStaging = Callable[[Set[int] | None], Callable[[], None]]
"""Brings these segments of staging to disk (None: all of them); gives what is to be called once the index is
on disk as well, for what may be deleted then."""
log = logging.getLogger(__name__)

_RESERVE = 4096
_LARGEST_WAL = 16 * 1024**2
_COMMITS_BETWEEN_LOOKS = 64
_BALLAST = 4 * 1024**2
_NUMBERS = ("inode", "commit")
"""Counters whose values stand on Discord as well."""
_MOST_LOST_NUMBERS = 1024**2
"""More numbers than are handed out between two syncs: a commit takes one or two of them, and the WAL of far
fewer commits is moved into the database, which syncs."""


class Database:
    """The index's file at `path`, made if absent. Raises FormatError, ConfigError.

    `boot_id` names this run of the machine; powercut.py has looked at the file before when it is another
    one than the file says. Without it power cuts are not thought of: that is for an index of no mount, and
    BusyError for one whose last mount did not end, as its close would wipe out what that mount noted."""

    def __init__(self, path: Path, boot_id: str = "") -> None:
        self.path = path
        self._lock = threading.RLock()
        self._counters: dict[str, tuple[int, int]] = {}
        self._rollback_callbacks: list[Callable[[], None]] = []
        self._connection = _connect(path)
        self._ballast = path.with_name(path.name + "-ballast")
        self._load_ballast()
        self._commits = 0
        self._synced_commits = -1
        self._is_wal_lost = False
        self._enough_wal = _LARGEST_WAL
        self._sync_staging: SyncStaging = lambda only: _nothing
        self._named: dict[int, int] = {}
        self._once_synced: list[Callable[[], None]] = []
        self._is_closed = False
        self._begin(boot_id)

    def _begin(self, boot_id: str) -> None:
        """Notes in which run of the machine the index is used, before anything else is. When the last one
        went down, commits may be gone whose numbers are in use elsewhere: those are left out."""
        with self.reading() as connection:
            (before,) = connection.execute("SELECT boot_id FROM machine").fetchone()
        if before and not boot_id:
            self._close_and_leave_wal()
            raise BusyError(
                f"{self.path} was not closed by its last mount: mount that drive once, and end it"
            )
        if before == boot_id:
            return
        with self._durably(), self.transaction() as connection:
            for name in _NUMBERS if before else ():
                self._load_counter(name)
                connection.execute(
                    "UPDATE counters SET ceiling = ceiling + ? WHERE name = ?", (_MOST_LOST_NUMBERS, name)
                )
            connection.execute("UPDATE machine SET boot_id = ?", (boot_id,))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. A full disk is NoSpace, and nothing has changed."""
        with self._lock:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._counters.clear()
                for callback in self._rollback_callbacks:
                    callback()
                if _is_full(error):
                    raise NoSpace(f"the disk of {self.path} is full") from error
                raise
            self._commits += 1
            if self._commits % _COMMITS_BETWEEN_LOOKS == 0 and self._wal_bytes() > self._enough_wal:
                self._try_checkpoint()

    def freeing(self, change: Callable[[], T]) -> T:
        """Runs a change that frees space, which a full disk must not prevent: it may use the room that is
        kept for this. Not inside a transaction."""
        try:
            return change()
        except NoSpace:
            if not self._ballast.exists():
                raise
            self._ballast.unlink()
            return change()

    def _load_ballast(self) -> None:
        """Room on the disk, kept for `freeing`: a file of no other use."""
        if self._ballast.exists():
            return
        try:
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, _BALLAST)
        except OSError as error:
            self._ballast.unlink(missing_ok=True)
            log.warning("the disk of %s is nearly full (%s): removing files may fail", self.path, error)

    def before_sync(self, sync_staging: SyncStaging) -> None:
        """What has to be on disk before any commit is: called ahead of each sync and checkpoint."""
        self._sync_staging = sync_staging

    def note(self, sums: Iterable[Sum]) -> None:
        """Inside a transaction: it names these staged bytes, which the next sync brings to disk before."""
        sums = list(sums)
        unsynced.note(self._connection, sums)
        self._named.update((each.segment, self._commits) for each in sums)

    def once_synced(self, action: Callable[[], None]) -> None:
        """Calls `action` after the next sync that covers all commits so far, on whatever thread that has:
        for deleting what an older state of the index may still need. It must be short, and may raise
        OSError. Not called when the process ends before."""
        with self._lock:
            self._once_synced.append(action)

    def on_rollback(self, callback: Callable[[], None]) -> None:
        """Called, under the lock, after each transaction that was undone: what was kept in memory beside
        the tables must be read anew."""
        self._rollback_callbacks.append(callback)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._connection

    def next(self, name: str) -> int:
        """The counter's next value, never given before. Only inside a transaction."""
        value, ceiling = self._counters.get(name) or self._load_counter(name)
        if value >= ceiling:
            ceiling = value + _RESERVE
            self._connection.execute("UPDATE counters SET ceiling = ? WHERE name = ?", (ceiling, name))
        self._counters[name] = (value + 1, ceiling)
        return value

    def _load_counter(self, name: str) -> tuple[int, int]:
        self._connection.execute("INSERT OR IGNORE INTO counters VALUES (?, 2)", (name,))
        row = self._connection.execute("SELECT ceiling FROM counters WHERE name = ?", (name,)).fetchone()
        return row[0], row[0]

    def forget_counters(self) -> None:
        """Inside a transaction that changed the counters' table: what was reserved is left out."""
        self._counters.clear()

    def sync(self) -> None:
        """Every commit so far, and the staging bytes they name, are on disk when this returns. Raises
        NoSpace, OSError."""
        with self._lock:
            begun = self._commits
        self._sync_staging(None)
        with self._lock:
            named = {segment for segment, commit in self._named.items() if commit >= begun}
            actions = self._sync_locked(named)
        _run(actions)

    @property
    def is_synced(self) -> bool:
        """Whether nothing was committed since the last sync (a look without the lock)."""
        return self._synced_commits == self._commits

    def _sync_locked(self, segments: Set[int] | None, is_last: bool = False) -> list[Callable[[], None]]:
        """`segments`: those of staging that are not on disk yet; None: perhaps all. Returns what is to be
        done afterwards."""
        actions, self._once_synced = self._once_synced, []
        try:
            actions.append(self._sync_staging(segments))
            if is_last or not self.is_synced:
                self._sync_commits(is_last)
        except BaseException:
            self._once_synced[:0] = actions
            raise
        return actions

    def _sync_commits(self, is_last: bool) -> None:
        try:
            self._commit_sync(is_last)
        except sqlite3.Error:
            self._is_wal_lost = True
            raise
        if self._is_wal_lost:
            self._leave_lost_wal()
        self._synced_commits = self._commits
        self._named.clear()

    def _commit_sync(self, is_last: bool) -> None:
        with self._durably(), self.transaction() as connection:
            connection.execute(
                "INSERT INTO counters VALUES ('sync', 0) "
                "ON CONFLICT (name) DO UPDATE SET ceiling = ceiling + 1"
            )
            unsynced.clear(connection)
            if is_last:
                connection.execute("UPDATE machine SET boot_id = ''")

    def _leave_lost_wal(self) -> None:
        """After an fsync that failed the kernel calls clean what it never wrote, and the next one lies: what
        is in the WAL counts as on disk once it has been moved into the database, and that was synced."""
        if self._empty_wal():
            raise OSError(f"the WAL of {self.path} could not be synced before, and is in use: try again")
        self._is_wal_lost = False

    @contextmanager
    def _durably(self) -> Iterator[None]:
        """Commits within are on disk when they return, and all before them."""
        with self._lock:
            self._connection.execute("PRAGMA synchronous = FULL")
            try:
                yield
            finally:
                self._connection.execute("PRAGMA synchronous = NORMAL")

    def checkpoint(self) -> None:
        """Syncs, and moves the WAL into the database. A frozen view keeps some of it where it is: that
        goes later. Raises sqlite3.Error, OSError, NoSpace; nothing is lost then."""
        self._checkpoint(is_last=False)

    def _checkpoint(self, is_last: bool) -> None:
        with self._lock:
            actions = self._sync_locked(None, is_last)
            try:
                is_busy = self._empty_wal()
                self._enough_wal = (self._wal_bytes() if is_busy else 0) + _LARGEST_WAL
                self._load_ballast()
            finally:
                _run(actions)

    def _empty_wal(self) -> bool:
        """As far as frozen views let it, without waiting for them; whether they were in the way."""
        (patience_ms,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            return bool(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {patience_ms}")

    def _try_checkpoint(self, is_last: bool = False) -> bool:
        """Ours to do now and then; what was committed stands all the same where it fails."""
        try:
            self._checkpoint(is_last)
        except (sqlite3.Error, OSError, NoSpace) as error:
            log.warning("the WAL of %s cannot be moved into it for now: %s", self.path, error)
            return False
        return True

    def freeze(self, change: Callable[[sqlite3.Connection], T]) -> tuple[T, sqlite3.Connection]:
        """Runs `change` in a transaction, and gives beside its result a connection that goes on seeing the
        index exactly as that transaction left it, whatever is committed later. Whoever calls closes it,
        soon: until then the WAL cannot be emptied. It reads only, for one thread at a time. Raises what
        `transaction` raises, and then nothing has changed."""
        view = self._view()
        try:
            view.execute("SELECT 1 FROM counters LIMIT 1").fetchall()
            with self._lock:
                with self.transaction() as connection:
                    result = change(connection)
                view.execute("BEGIN")
                view.execute("SELECT 1 FROM counters LIMIT 1").fetchall()
        except BaseException:
            view.close()
            raise
        return result, view

    def _view(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)

    def _wal_bytes(self) -> int:
        wal = self.path.with_name(self.path.name + "-wal")
        return wal.stat().st_size if wal.exists() else 0

    def close(self) -> None:
        """Also where the WAL cannot be moved into the database: the next start finds it beside it. Once
        more is nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._try_checkpoint(is_last=True):
                self._connection.close()
            else:
                self._close_and_leave_wal()

    def _close_and_leave_wal(self) -> None:
        """The last connection to close would checkpoint, with staging perhaps not on disk. One that only
        reads does not."""
        with closing(self._view()) as last:
            last.execute("SELECT 1 FROM counters LIMIT 1").fetchall()
            self._connection.close()


def _run(actions: Iterable[Callable[[], None]]) -> None:
    """Each deletes something: what stays is found by the next start."""
    for action in actions:
        try:
            action()
        except OSError as error:
            log.warning("something that is not needed any more cannot be deleted: %s", error)


def _nothing() -> None:
    """What is left to do when there is no staging."""


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, cached_statements=256)
    try:
        schema.prepare(connection, path)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA cache_size = -32768")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ConfigError(f"{path} is no index of a drive, or it is damaged: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _is_full(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL
