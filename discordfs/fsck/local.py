"""What the local checks look at: one moment of the index, and the directories beside it.

Job: the index behind one connection, and what more than one check asks of it. Whoever calls sees to it that
the connection shows one moment. Limits: paths of an inode are looked up name by name; at most PATHS of them.
Errors: sqlite3.Error where the file is damaged. Threading: one thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from discordfs.model import ROOT_INO

PATHS = 16
"""Names of one inode that are told, at most."""

_DEEPEST = 4096


@dataclass(frozen=True, slots=True)
class Local:
    """`is_live`: a mount is at work on it, so that what lies in the directories may be newer than what the
    connection shows."""

    connection: sqlite3.Connection
    staging: Path
    outbox: Path
    is_live: bool = False

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, arguments).fetchall()

    def paths(self, inodes: Iterable[int]) -> tuple[str, ...]:
        """The paths of these inodes, sorted; "inode 12" for one without any."""
        return tuple(sorted({path for ino in inodes for path in paths_of(self.connection, ino)}))


def paths_of(connection: sqlite3.Connection, ino: int) -> list[str]:
    """An inode's paths from the root; where none leads there, its number."""
    if ino == ROOT_INO:
        return ["/"]
    names = connection.execute("SELECT parent, name FROM dentries WHERE ino = ? LIMIT ?", (ino, PATHS))
    found = [path for parent, name in names.fetchall() if (path := _path(connection, parent, name))]
    return found or [f"inode {ino}"]


def _path(connection: sqlite3.Connection, parent: int, name: object) -> str:
    """ "" when the way up does not end at the root."""
    parts, seen = [_shown(name)], {parent}
    while parent != ROOT_INO:
        row = connection.execute("SELECT parent, name FROM dentries WHERE ino = ?", (parent,)).fetchone()
        if row is None or row[0] in seen or len(seen) > _DEEPEST:
            return ""
        parent = row[0]
        seen.add(parent)
        parts.append(_shown(row[1]))
    return "/" + "/".join(reversed(parts))


def _shown(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, bytes) else repr(name)


def open_view(index: Path, log: Path | None = None) -> sqlite3.Connection:
    """The index at one moment, for reading only, whoever else has it open; and attached as `log` the index
    that was built of the log. Whoever calls closes it, soon. Raises sqlite3.Error."""
    view = sqlite3.connect(_uri(index), uri=True, isolation_level=None, check_same_thread=False)
    try:
        if log is not None:
            view.execute("ATTACH ? AS log", (_uri(log),))
        view.execute("BEGIN")
        view.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except BaseException:
        view.close()
        raise
    return view


def _uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"
