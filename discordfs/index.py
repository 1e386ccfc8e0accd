"""The index: inodes, names, extended attributes; and through `ledger`, extents and chunks.

Job: the tree as of the last commit. Each public method that changes something is one transaction: it
happened whole or not at all, and survives a kill of the process once it returned (a power cut: after
`sync`). Times are epoch ns and given by the caller; names are bytes already checked by fs.py.

Threading: any thread. Attributes and names are remembered in RAM and dropped or replaced inside the
transaction that changes them, so that the hot lookups take no lock and no SQL.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from discordfs import powercut
from discordfs.cut import Cut
from discordfs.database import Database, SyncStaging
from discordfs.disk import sync_files
from discordfs.errors import NoAttribute, NoEntry
from discordfs.ledger import Ledger, Released
from discordfs.logbook import Logbook
from discordfs.model import ROOT_INO, Attr, Caller, ChunkRef, DirEntry, Extent, Home
from discordfs.unsynced import Sum
from discordfs.upkeep import Upkeep

T = TypeVar("T")

_REMEMBERED = 100_000
"""Inodes, and names, whose attributes stay in RAM: some 80 MB at most; then it begins anew."""
_ATTR = "ino, mode, nlink, uid, gid, rdev, size, (allocated + 511) / 512, atime_ns, mtime_ns, ctime_ns"


@dataclass(frozen=True, slots=True)
class Inventory:
    """A file at one moment: `replayed` as the index had it, its extents by offset, and, if asked for, the
    chunks that these are in, by row."""

    replayed: int
    attr: Attr
    extents: list[Extent]
    chunks: Mapping[int, ChunkRef]


class Index:
    """The index in the file at `path`; made with an empty root directory (owned by `owner`) if absent.

    `boot_id` names this run of the machine (disk.boot_id) and `staging` is the directory of segments: when
    the machine has gone down since, the index is first brought to a moment whose bytes are all there. Both
    left out: nobody looks. Raises FormatError for a newer format, ConfigError for a file that is no index.
    """

    def __init__(
        self, path: Path, now_ns: int, owner: Caller, boot_id: str = "", staging: Path | None = None
    ) -> None:
        if staging is not None:
            powercut.mend(path, staging, boot_id)
        self._database = Database(path, boot_id)
        if staging is not None:
            self._database.before_sync(partial(_sync_all, staging))
        self._attrs: dict[int, Attr] = {}
        self._names: dict[tuple[int, bytes], int] = {}
        self._database.on_rollback(self._forget_all)
        self.ledger = Ledger(self._database)
        self.logbook = Logbook(self._database, self.ledger)
        self.upkeep = Upkeep(self._database)
        self.inodes = 0
        self.replayed = 0
        self._make_root(now_ns, owner)
        self._remove_orphans()
        self.inodes = self._count_inodes()

    def _make_root(self, now_ns: int, owner: Caller) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO inodes VALUES (?, ?, 2, ?, ?, 0, 0, 0, ?, ?, ?, X'')",
                (ROOT_INO, stat.S_IFDIR | 0o755, owner.uid, owner.gid, now_ns, now_ns, now_ns),
            )

    def _remove_orphans(self) -> None:
        """Files that were unlinked while open, and whose process never closed them."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT ino FROM inodes WHERE nlink = 0").fetchall()
            for (ino,) in rows:
                self._delete_inode(connection, ino)

    def _count_inodes(self) -> int:
        with self._database.reading() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM inodes").fetchone()[0])

    def _forget_all(self) -> None:
        self._attrs.clear()
        self._names.clear()

    # --- looking ----------------------------------------------------------------------------------

    def attr(self, ino: int) -> Attr:
        """Raises NoEntry when there is no such inode (any more)."""
        found = self._attrs.get(ino)
        return found if found is not None else self._load_attr(ino)

    def _load_attr(self, ino: int) -> Attr:
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {_ATTR} FROM inodes WHERE ino = ?", (ino,)).fetchone()
            if row is None:
                raise NoEntry(f"inode {ino}")
            return self._remember(Attr(*row))

    def _remember(self, attr: Attr) -> Attr:
        if len(self._attrs) >= _REMEMBERED:
            self._attrs.clear()
        self._attrs[attr.ino] = attr
        return attr

    def lookup(self, parent: int, name: bytes) -> int | None:
        """The inode behind a name, or None."""
        found = self._names.get((parent, name))
        return found if found is not None else self._load_name(parent, name)

    def _load_name(self, parent: int, name: bytes) -> int | None:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT ino FROM dentries WHERE parent = ? AND name = ?", (parent, name)
            ).fetchone()
            if row is None:
                return None
            self._remember_name(parent, name, row[0])
            return int(row[0])

    def _remember_name(self, parent: int, name: bytes, ino: int) -> None:
        if len(self._names) >= _REMEMBERED:
            self._names.clear()
        self._names[parent, name] = ino

    def entries(self, parent: int) -> list[DirEntry]:
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT name, ino, kind FROM dentries WHERE parent = ? ORDER BY name", (parent,)
            ).fetchall()
        return [DirEntry(*row) for row in rows]

    def is_empty(self, parent: int) -> bool:
        with self._database.reading() as connection:
            row = connection.execute("SELECT 1 FROM dentries WHERE parent = ? LIMIT 1", (parent,)).fetchone()
            return row is None

    def contents(self, ino: int, with_chunks: bool = False) -> Inventory:
        """Where a file's bytes are. Raises NoEntry."""
        with self._database.reading():
            extents = self.ledger.extents(ino)
            rows = {each.chunk for each in extents if each.home is Home.REMOTE} if with_chunks else ()
            chunks = {row: self.ledger.chunk(row) for row in rows}
            return Inventory(self.replayed, self.attr(ino), extents, chunks)

    def target(self, ino: int) -> bytes:
        """A symlink's target."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT target FROM inodes WHERE ino = ?", (ino,)).fetchone()
        if row is None:
            raise NoEntry(f"inode {ino}")
        return bytes(row[0])

    # --- names ------------------------------------------------------------------------------------

    def create(self, parent: int, name: bytes, attr: Attr, target: bytes = b"") -> Attr:
        """A new inode under a name that is free; `attr.ino` is ignored. Returns it with its number."""
        with self._database.transaction() as connection:
            attr = replace(attr, ino=self._database.next("inode"))
            connection.execute(
                "INSERT INTO inodes VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
                (
                    attr.ino,
                    attr.mode,
                    attr.nlink,
                    attr.uid,
                    attr.gid,
                    attr.rdev,
                    attr.size,
                    attr.atime_ns,
                    attr.mtime_ns,
                    attr.ctime_ns,
                    target,
                ),
            )
            self._add_name(connection, parent, name, attr.ino, attr.mode, attr.ctime_ns)
            self._remember(attr)
        self.inodes += 1
        return attr

    def link(self, parent: int, name: bytes, ino: int, now_ns: int) -> None:
        """Another name for an inode."""
        with self._database.transaction() as connection:
            attr = self.attr(ino)
            self._store(connection, replace(attr, nlink=attr.nlink + 1, ctime_ns=now_ns))
            self._add_name(connection, parent, name, ino, attr.mode, now_ns)

    def unlink(self, parent: int, name: bytes, ino: int, now_ns: int, is_open: bool) -> list[Released]:
        """Removes a name, and with the last one the inode, unless it is open (then `forget` does). Works
        on a full disk."""
        return self._database.freeing(lambda: self._unlink(parent, name, ino, now_ns, is_open))

    def _unlink(self, parent: int, name: bytes, ino: int, now_ns: int, is_open: bool) -> list[Released]:
        with self._database.transaction() as connection:
            self._remove_name(connection, parent, name, ino, now_ns)
            return self._drop_link(connection, ino, now_ns, is_open)

    def rename(
        self,
        old: tuple[int, bytes],
        new: tuple[int, bytes],
        ino: int,
        replaced: int | None,
        now_ns: int,
        replaced_is_open: bool,
    ) -> list[Released]:
        """Moves a name; what it replaces loses that name in the same transaction."""
        released: list[Released] = []
        with self._database.transaction() as connection:
            if replaced is not None:
                self._remove_name(connection, *new, replaced, now_ns)
                released = self._drop_link(connection, replaced, now_ns, replaced_is_open)
            self._remove_name(connection, *old, ino, now_ns)
            attr = self.attr(ino)
            self._add_name(connection, *new, ino, attr.mode, now_ns)
            self._store(connection, replace(attr, ctime_ns=now_ns))
        return released

    def forget(self, ino: int) -> list[Released]:
        """The last handle of an unlinked inode is closed: it goes. Works on a full disk."""
        return self._database.freeing(lambda: self._forget(ino))

    def _forget(self, ino: int) -> list[Released]:
        with self._database.transaction() as connection:
            return self._delete_inode(connection, ino)

    def _add_name(
        self, connection: sqlite3.Connection, parent: int, name: bytes, ino: int, mode: int, now_ns: int
    ) -> None:
        kind = stat.S_IFMT(mode)
        connection.execute("INSERT INTO dentries VALUES (?, ?, ?, ?)", (parent, name, ino, kind))
        self._remember_name(parent, name, ino)
        self._touch_parent(connection, parent, now_ns, int(stat.S_ISDIR(mode)))

    def _remove_name(
        self, connection: sqlite3.Connection, parent: int, name: bytes, ino: int, now_ns: int
    ) -> None:
        connection.execute("DELETE FROM dentries WHERE parent = ? AND name = ?", (parent, name))
        self._names.pop((parent, name), None)
        self._touch_parent(connection, parent, now_ns, -int(self.attr(ino).is_dir))

    def _touch_parent(
        self, connection: sqlite3.Connection, parent: int, now_ns: int, subdirectories: int
    ) -> None:
        attr = self.attr(parent)
        nlink = attr.nlink + subdirectories
        self._store(connection, replace(attr, nlink=nlink, mtime_ns=now_ns, ctime_ns=now_ns))

    def _drop_link(
        self, connection: sqlite3.Connection, ino: int, now_ns: int, is_open: bool
    ) -> list[Released]:
        attr = self.attr(ino)
        left = 0 if attr.is_dir else attr.nlink - 1
        if left or is_open:
            self._store(connection, replace(attr, nlink=left, ctime_ns=now_ns))
            return []
        return self._delete_inode(connection, ino)

    def _delete_inode(self, connection: sqlite3.Connection, ino: int) -> list[Released]:
        released = self.ledger.drop(connection, ino)
        connection.execute("DELETE FROM xattrs WHERE ino = ?", (ino,))
        deleted = connection.execute("DELETE FROM inodes WHERE ino = ?", (ino,)).rowcount
        self._attrs.pop(ino, None)
        self.inodes -= deleted
        return released

    # --- attributes and contents --------------------------------------------------------------------

    def set_attr(self, attr: Attr) -> None:
        """Mode, owners and times of an inode (its links, size and blocks are kept in step elsewhere)."""
        with self._database.transaction() as connection:
            self._store(connection, attr)

    def _store(self, connection: sqlite3.Connection, attr: Attr) -> None:
        connection.execute(
            "UPDATE inodes SET mode = ?, nlink = ?, uid = ?, gid = ?, size = ?, atime_ns = ?, mtime_ns = ?, "
            "ctime_ns = ? WHERE ino = ?",
            (
                attr.mode,
                attr.nlink,
                attr.uid,
                attr.gid,
                attr.size,
                attr.atime_ns,
                attr.mtime_ns,
                attr.ctime_ns,
                attr.ino,
            ),
        )
        self._remember(attr)

    def commit(
        self, attr: Attr, allocated: int, cut_from: int, extents: Sequence[Extent], sums: Iterable[Sum] = ()
    ) -> list[Released]:
        """A file's new attributes and contents, at once: everything from `cut_from` on goes (END:
        nothing), then each staged extent takes its place. `allocated`: bytes in extents afterwards;
        `sums`: the checksums of the staged bytes."""
        with self._database.transaction() as connection:
            self._database.note(sums)
            released = self.ledger.replace(connection, attr.ino, cut_from, extents)
            connection.execute("UPDATE inodes SET allocated = ? WHERE ino = ?", (allocated, attr.ino))
            self._store(connection, attr)
        return released

    def relocate(
        self, ino: int, found: Sequence[Extent], staged: Sequence[Extent], sums: Iterable[Sum]
    ) -> bool:
        """The same bytes, staged anew, take the place of what is on Discord; nothing else of the inode
        changes. False when the file has something else there by now."""
        with self._database.transaction() as connection:
            if not self.ledger.relocate(connection, ino, found, staged):
                return False
            self._database.note(sums)
            return True

    def xattr(self, ino: int, name: bytes) -> bytes:
        """Raises NoAttribute."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT value FROM xattrs WHERE ino = ? AND name = ?", (ino, name)
            ).fetchone()
        if row is None:
            raise NoAttribute(f"inode {ino} has no such attribute")
        return bytes(row[0])

    def xattrs(self, ino: int) -> list[bytes]:
        with self._database.reading() as connection:
            rows = connection.execute("SELECT name FROM xattrs WHERE ino = ? ORDER BY name", (ino,))
            return [bytes(name) for (name,) in rows]

    def set_xattr(self, attr: Attr, name: bytes, value: bytes) -> None:
        """`attr` carries the new ctime."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO xattrs VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                (attr.ino, name, value),
            )
            self._store(connection, attr)

    def remove_xattr(self, attr: Attr, name: bytes) -> None:
        """Raises NoAttribute. `attr` carries the new ctime."""
        with self._database.transaction() as connection:
            gone = connection.execute("DELETE FROM xattrs WHERE ino = ? AND name = ?", (attr.ino, name))
            if not gone.rowcount:
                raise NoAttribute(f"inode {attr.ino} has no such attribute")
            self._store(connection, attr)

    # --- for the log ----------------------------------------------------------------------------------

    def cut(self) -> Cut:
        """The drive at this moment, held still; changes from now on belong to the next cut."""
        number, view = self._database.freeze(_next_cut)
        return Cut(number, view)

    def unrecorded(self) -> list[tuple[int, DirEntry]]:
        """Names (directory, entry) of which no accepted record says all: those of files with anything new,
        and of new or moved directories that are empty. The others tell nothing that their files do not."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT parent, name, ino, kind FROM dentries WHERE kind != ?1 AND ino IN "
                "(SELECT ino FROM changed_inodes UNION SELECT ino FROM changed_ranges) "
                "UNION SELECT parent, name, ino, kind FROM changed_names JOIN dentries USING (parent, name) "
                "WHERE kind = ?1 AND NOT EXISTS (SELECT 1 FROM dentries AS inside WHERE inside.parent = "
                "dentries.ino) ORDER BY parent, name",
                (stat.S_IFDIR,),
            ).fetchall()
        return [(row[0], DirEntry(*row[1:])) for row in rows]

    def path(self, parent: int, name: bytes) -> bytes:
        """The path of an entry of that directory, from the root, without a slash before it."""
        parts = [name]
        with self._database.reading() as connection:
            while parent != ROOT_INO:
                row = connection.execute("SELECT parent, name FROM dentries WHERE ino = ?", (parent,))
                found = row.fetchone()
                if found is None:
                    raise NoEntry(f"directory {parent} has no name")
                parent = found[0]
                parts.append(found[1])
        return b"/".join(reversed(parts))

    def changing(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction over several tables, for whoever repairs or rebuilds them."""
        return self._database.transaction()

    def replay(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Another writer's record: `change` puts it into the tables, in one transaction. `replayed` counts up
        before anybody can see it: what was looked up at another count is old."""
        with self._database.transaction() as connection:
            change(connection)
            self.replayed += 1
            self._forget_all()
            self.ledger.forget_chunks()
        self.ledger.recount()
        self.inodes = self._count_inodes()

    def repair(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """`change` puts any of the tables right, counters too, in one transaction."""
        result: list[T] = []

        def repair(connection: sqlite3.Connection) -> None:
            result.append(change(connection))
            self._database.forget_counters()

        self.replay(repair)
        return result[0]

    # --- to disk --------------------------------------------------------------------------------------

    def before_sync(self, sync_staging: SyncStaging) -> None:
        """Staging's sync: always called before any commit that may name staged bytes goes to disk; what it
        gives is called after. Until this is called all of the staging directory is synced."""
        self._database.before_sync(sync_staging)

    def once_synced(self, action: Callable[[], None]) -> None:
        """`action` deletes something that an older state of the index may still need: it is called after
        the next sync."""
        self._database.once_synced(action)

    @property
    def is_synced(self) -> bool:
        """Whether nothing was committed since the last sync."""
        return self._database.is_synced

    def sync(self) -> None:
        """All commits so far, and the staging bytes they name, survive a power cut when this returns."""
        self._database.sync()

    def close(self) -> None:
        self._database.close()


def _sync_all(staging: Path, only: object) -> Callable[[], None]:
    sync_files(staging)
    return lambda: None


def _next_cut(connection: sqlite3.Connection) -> int:
    """The number of the cut that takes everything so far."""
    (number,) = connection.execute("SELECT ceiling FROM counters WHERE name = 'cut'").fetchone()
    connection.execute("UPDATE counters SET ceiling = ceiling + 1 WHERE name = 'cut'")
    return int(number)
