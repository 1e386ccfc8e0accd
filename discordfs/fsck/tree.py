"""Do the names make one tree, with an inode behind each, and each inode's links counted right?

What has lost its name, or its way up to the root, is given a name in `lost+found`. What is named and is not
there is made again where something speaks for it: a directory has entries, a file has extents. Limits:
memory for the directories. Threading: one thread.
"""

from __future__ import annotations

import itertools
import sqlite3
import stat
from collections.abc import Iterator
from functools import partial

from discordfs.fsck import lost
from discordfs.fsck.findings import Finding, Mend
from discordfs.fsck.local import Local
from discordfs.model import ROOT_INO

LOST_AND_FOUND = b"lost+found"

_DIR, _REG, _LNK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK
_TYPE = 0o170000


def check_root(local: Local) -> Iterator[Finding]:
    row = local.rows("SELECT mode FROM inodes WHERE ino = ?", ROOT_INO)
    if not row:
        yield Finding("root", "there is no root directory", ("/",), Mend(partial(_revive, ino=1, kind=_DIR)))
    elif not stat.S_ISDIR(row[0][0]):
        yield Finding("root", "the root is no directory", ("/",), Mend(partial(_set_kind, ino=1, kind=_DIR)))


def check_missing_inodes(local: Local) -> Iterator[Finding]:
    """Numbers that names, entries or extents speak of, without an inode."""
    rows = local.rows(
        "SELECT ino, MAX(kind), MAX(above), MAX(bytes) FROM ("
        "SELECT ino, kind, 0 AS above, 0 AS bytes FROM dentries "
        "UNION ALL SELECT DISTINCT parent, 0, 1, 0 FROM dentries "
        "UNION ALL SELECT ino, 0, 0, 1 FROM (SELECT DISTINCT ino FROM extents)"
        ") WHERE ino NOT IN (SELECT ino FROM inodes) GROUP BY ino"
    )
    for ino, kind, is_above, has_bytes in rows:
        kind = _DIR if is_above else _REG if has_bytes else kind
        mend = partial(_revive if kind in (_DIR, _REG) else _forget, ino=ino, kind=kind)
        said = "there is no inode, but names or extents of it"
        yield Finding("missing-inode", f"{said}: number {ino}", local.paths([ino]), Mend(mend))


def check_kinds(local: Local) -> Iterator[Finding]:
    """A name repeats the type of its inode; what has entries is a directory."""
    rows = local.rows(
        f"SELECT DISTINCT ino, mode, kind, length(target) FROM dentries JOIN inodes USING (ino) "
        f"WHERE kind != mode & {_TYPE}"
    )
    for ino, mode, kind, target in rows:
        mend = partial(_set_kind, ino=ino, kind=_likely_kind(local.connection, ino, kind, target))
        text = f"inode {ino} is of type {stat.S_IFMT(mode):o}, its name says {kind:o}"
        yield Finding("kind", text, local.paths([ino]), Mend(mend))
    rows = local.rows(
        "SELECT DISTINCT parent FROM dentries JOIN inodes ON inodes.ino = parent "
        f"WHERE mode & {_TYPE} != {_DIR}"
    )
    for (ino,) in rows:
        text = f"inode {ino} has entries, and is no directory"
        mend = (
            partial(_empty, ino=ino) if _holds_bytes(local, ino) else partial(_set_kind, ino=ino, kind=_DIR)
        )
        yield Finding("kind", text, local.paths([ino]), Mend(mend))


def _holds_bytes(local: Local, ino: int) -> bool:
    """Whether extents and a name speak for a file: then it is the entries that are wrong."""
    return bool(
        local.rows(
            "SELECT 1 FROM extents JOIN dentries USING (ino) JOIN inodes USING (ino) "
            f"WHERE ino = ? AND kind = {_REG} AND mode & {_TYPE} = {_REG} LIMIT 1",
            ino,
        )
    )


def _likely_kind(connection: sqlite3.Connection, ino: int, named: int, target: int) -> int:
    if connection.execute("SELECT 1 FROM dentries WHERE parent = ? LIMIT 1", (ino,)).fetchone():
        return _DIR
    if connection.execute("SELECT 1 FROM extents WHERE ino = ? LIMIT 1", (ino,)).fetchone():
        return _REG
    return _LNK if target else named


def check_directories(local: Local) -> Iterator[Finding]:
    """Each directory has one name, and a way up to the root."""
    entries = local.rows(f"SELECT parent, name, ino FROM dentries WHERE kind = {_DIR} ORDER BY parent, name")
    below: dict[int, list[tuple[bytes, int]]] = {}
    above: dict[int, int] = {}
    for parent, name, ino in entries:
        below.setdefault(parent, []).append((name, ino))
        above[ino] = parent
    reached, more = _reach(below)
    for parent, name, ino in more:
        drop = partial(_drop_name, parent=parent, name=name)
        text = f"directory {ino} has more than one name"
        yield Finding("directory", text, local.paths([ino]), Mend(drop))
    for ino in _circles(above, reached):
        drop = partial(_drop_name, parent=above[ino], name=None, ino=ino)
        text = f"directory {ino} is within itself, and no way leads there"
        yield Finding("directory", text, local.paths([ino]), Mend(drop))


def _reach(below: dict[int, list[tuple[bytes, int]]]) -> tuple[set[int], list[tuple[int, bytes, int]]]:
    """The directories that can be reached from the root, and the names that lead to one of them again."""
    reached, again, waiting = {ROOT_INO}, [], [ROOT_INO]
    while waiting:
        parent = waiting.pop()
        for name, ino in below.get(parent, ()):
            if ino in reached:
                again.append((parent, name, ino))
            else:
                reached.add(ino)
                waiting.append(ino)
    return reached, again


def _circles(above: dict[int, int], reached: set[int]) -> Iterator[int]:
    """One directory of each circle."""
    done = set(reached)
    for start in sorted(above):
        way: list[int] = []
        at = start
        while at not in done and at in above:
            done.add(at)
            way.append(at)
            at = above[at]
        if at in way:
            yield min(way[way.index(at) :])


def check_orphans(local: Local) -> Iterator[Finding]:
    """What no name leads to. (Without links it is open and unlinked, and goes by itself.)"""
    rows = local.rows(
        "SELECT ino, mode, size FROM inodes WHERE nlink > 0 AND ino != ? "
        "AND NOT EXISTS (SELECT 1 FROM dentries WHERE dentries.ino = inodes.ino)",
        ROOT_INO,
    )
    for ino, mode, size in rows:
        mend = Mend(partial(_attach, ino=ino, kind=stat.S_IFMT(mode)))
        yield Finding("orphan", f"inode {ino} ({size} bytes) has no name", local.paths([ino]), mend)


def check_links(local: Local) -> Iterator[Finding]:
    """Names of an inode; of a directory 2 and its subdirectories."""
    rows = local.rows(
        "SELECT ino, nlink, names FROM (SELECT ino, nlink, "
        f"CASE WHEN mode & {_TYPE} = {_DIR} "
        f"THEN 2 + (SELECT COUNT(*) FROM dentries WHERE parent = inodes.ino AND kind = {_DIR}) "
        "ELSE (SELECT COUNT(*) FROM dentries WHERE dentries.ino = inodes.ino) END AS names FROM inodes) "
        "WHERE nlink != names"
    )
    for ino, nlink, names in rows:
        mend = Mend(partial(_set, ino=ino, column="nlink", value=names))
        yield Finding("nlink", f"inode {ino} has nlink {nlink}, not {names}", local.paths([ino]), mend)


def check_attributes(local: Local) -> Iterator[Finding]:
    """Attributes belong to an inode; a symbolic link is as long as its target."""
    for (ino,) in local.rows("SELECT DISTINCT ino FROM xattrs WHERE ino NOT IN (SELECT ino FROM inodes)"):
        text = f"extended attributes of inode {ino}, which does not exist"
        yield Finding("xattr", text, repair=Mend(partial(_drop_attributes, ino=ino)))
    links = f"SELECT ino, length(target) FROM inodes WHERE mode & {_TYPE} = {_LNK} AND size != length(target)"
    for ino, length in local.rows(links):
        mend = Mend(partial(_set, ino=ino, column="size", value=length))
        yield Finding("size", f"symbolic link {ino} is not as long as it says", local.paths([ino]), mend)


# --- mending --------------------------------------------------------------------------------------


def _set(connection: sqlite3.Connection, ino: int, column: str, value: int) -> None:
    connection.execute(f"UPDATE inodes SET {column} = ? WHERE ino = ?", (value, ino))


def _set_kind(connection: sqlite3.Connection, ino: int, kind: int) -> None:
    connection.execute("UPDATE inodes SET mode = (mode & 4095) | ? WHERE ino = ?", (kind, ino))
    connection.execute("UPDATE dentries SET kind = ? WHERE ino = ?", (kind, ino))


def _revive(connection: sqlite3.Connection, ino: int, kind: int) -> None:
    """An inode of which all is lost but its number, and that it was there. It belongs to the root's owner.
    Whether a file had holes is lost as well: what no extent covers may have been bytes."""
    owner = connection.execute("SELECT uid, gid FROM inodes WHERE ino = ?", (ROOT_INO,)).fetchone() or (0, 0)
    (size,) = connection.execute(
        "SELECT COALESCE(MAX(offset + length), 0) FROM extents WHERE ino = ?", (ino,)
    ).fetchone()
    mode = kind | (0o755 if ino == ROOT_INO else 0o700 if kind == _DIR else 0o600)
    connection.execute(
        "INSERT INTO inodes VALUES (?, ?, 1, ?, ?, 0, ?, 0, 0, 0, 0, X'')", (ino, mode, *owner, size)
    )
    connection.execute("UPDATE dentries SET kind = ? WHERE ino = ?", (kind, ino))
    if kind == _REG:
        lost.fill(connection, ino, 0, size)


def _forget(connection: sqlite3.Connection, ino: int, kind: int) -> None:
    """A link or a special file: nothing says where it led."""
    connection.execute("DELETE FROM dentries WHERE ino = ?", (ino,))


def _drop_name(connection: sqlite3.Connection, parent: int, name: bytes | None, ino: int = 0) -> None:
    connection.execute(
        "DELETE FROM dentries WHERE parent = ?1 AND CASE WHEN ?2 IS NULL THEN ino = ?3 ELSE name = ?2 END",
        (parent, name, ino),
    )


def _empty(connection: sqlite3.Connection, ino: int) -> None:
    connection.execute("DELETE FROM dentries WHERE parent = ?", (ino,))


def _drop_attributes(connection: sqlite3.Connection, ino: int) -> None:
    connection.execute("DELETE FROM xattrs WHERE ino = ?", (ino,))


def _attach(connection: sqlite3.Connection, ino: int, kind: int) -> None:
    add_name(connection, lost_and_found(connection), b"#%d" % ino, ino, kind)


def add_name(connection: sqlite3.Connection, parent: int, name: bytes, ino: int, kind: int) -> bytes:
    """A name for an inode in a directory: this one, or one like it that is free."""
    free = name
    for number in itertools.count(ino):
        row = connection.execute(
            "SELECT 1 FROM dentries WHERE parent = ? AND name = ?", (parent, free)
        ).fetchone()
        if row is None:
            break
        free = b"%s.%d" % (name[:230], number)
    connection.execute("INSERT INTO dentries VALUES (?, ?, ?, ?)", (parent, free, ino, kind))
    return free


def lost_and_found(connection: sqlite3.Connection) -> int:
    """The directory in the root for what has lost its place; made when it is needed first. Links are
    counted later."""
    found = connection.execute(
        "SELECT dentries.ino FROM dentries JOIN inodes ON inodes.ino = dentries.ino WHERE parent = ? "
        f"AND substr(name, 1, 10) = ? AND mode & {_TYPE} = {_DIR} ORDER BY name LIMIT 1",
        (ROOT_INO, LOST_AND_FOUND),
    ).fetchone()
    if found is not None:
        return int(found[0])
    ino = new_number(connection)
    _revive(connection, ino, _DIR)
    add_name(connection, ROOT_INO, LOST_AND_FOUND, ino, _DIR)
    return ino


def new_number(connection: sqlite3.Connection) -> int:
    """An inode number that was never used."""
    (number,) = connection.execute(
        "SELECT MAX(COALESCE((SELECT ceiling FROM counters WHERE name = 'inode'), 2), "
        "COALESCE((SELECT MAX(ino) FROM inodes), 1) + 1)"
    ).fetchone()
    connection.execute(
        "INSERT INTO counters VALUES ('inode', ?) "
        "ON CONFLICT (name) DO UPDATE SET ceiling = excluded.ceiling",
        (number + 1,),
    )
    return int(number)
