"""What must hold in every index, whatever happened before: the product's own check, which each filesystem
test ends in."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from discordfs.fsck.indexcheck import inspect
from discordfs.fsck.local import Local


def problems(index: Path, staging: Path) -> list[str]:
    """Sentences about what is wrong; none when all is well."""
    with closing(sqlite3.connect(index)) as connection:
        found = inspect(Local(connection, staging, staging.with_name("outbox")))
    return [finding.text for finding in found]
