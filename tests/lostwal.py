"""What is left of an SQLite database when its file alone is lost."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path


def leave_wal(place: Path) -> None:
    """The WAL of a database that was never closed, without it. SQLite would carry it out on any database that
    gets the name: that would have the table `lost`, and none of its own."""
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name("aside")
    with closing(sqlite3.connect(place, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("CREATE TABLE lost(x)")
        database.executemany("INSERT INTO lost VALUES (?)", ((b"x" * 3000,) for _ in range(100)))
        shutil.copyfile(f"{place}-wal", aside)
    place.unlink()
    aside.rename(f"{place}-wal")
