"""Which files of the media store belong to a channel's messages, and their names beside its pages.

The store is media/<sha256[:2]>/<sha256> with media.sqlite (docs/FORMAT.md), written by captures; here it is
only read. A channel's media/ has hard links to its files, so they cost no room, survive moves, and are right
on the mount too. Errors: OSError, sqlite3.Error. Threading: one thread each.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from discordfs.archived.names import file_named
from discordfs.archived.tails import new_file

_SHA = re.compile(r"[0-9a-f]{64}")
_QUERY = "SELECT sha256, name FROM media WHERE key = ? AND sha256 != ''"


class MediaFiles:
    """The store of the archive at `root`; as good as empty when there is none."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "media"
        database = self._directory / "media.sqlite"
        self._connection: sqlite3.Connection | None = None
        if database.is_file():
            self._connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def _found(self, attachment: int) -> tuple[Path, str] | None:
        if self._connection is None:
            return None
        row = self._connection.execute(_QUERY, (f"attachment:{attachment}",)).fetchone()
        if row is None or not _SHA.fullmatch(row[0]):
            return None
        path = self._directory / row[0][:2] / row[0]
        return (path, row[1]) if path.is_file() else None

    def has_any(self, attachments: Iterable[int]) -> bool:
        return any(self._found(each) for each in attachments)

    def linked(self, attachment: int, folder: Path) -> str:
        """The attachment's name in `folder`, where it is linked if it was not; "" if the store lacks it."""
        found = self._found(attachment)
        if found is None:
            return ""
        path, name = found
        link = folder / file_named(name, attachment)
        if not link.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            _link(path, link)
        return link.name


def _link(path: Path, link: Path) -> None:
    try:
        os.link(path, link)
    except OSError:  # too many links, or a disk that knows none: then a copy
        with path.open("rb") as source, new_file(link) as target:
            shutil.copyfileobj(source, target)
        shutil.copystat(path, link)
