"""Putting the index's tables right, with the log beside them.

Job: mend rows that are none; take from the log what it knows better; mend what is left between the tables.
In this order, as the last step has to guess where the log can tell. Each step is one transaction; a copy of
the index is kept aside before the first. Limits: room on the disk for two more indexes. Errors: Discord's
answers, and then nothing has changed. Threading: one thread; asks Discord, so no lock may be held.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from discordfs.disk import sync_directory
from discordfs.fold import FoldState
from discordfs.fsck import indexcheck
from discordfs.fsck.checking import Checker
from discordfs.fsck.findings import Finding, Mend
from discordfs.fsck.local import Local, open_view
from discordfs.fsck.tables import sound
from discordfs.logbook import save_state, state_in
from discordfs.model import Clock

Change = Callable[[sqlite3.Connection], list[Finding]]
Apply = Callable[[Change], list[Finding]]
"""Carries a change of the tables out, in one transaction."""

_NOTED = ("changed_inodes", "changed_names", "changed_ranges")


def stamp(clock: Clock) -> str:
    """A time as part of a file's name."""
    return datetime.fromtimestamp(clock() / 1e9, UTC).strftime("%Y%m%dT%H%M%S")


def keep_copy(index: Path, clock: Clock) -> Path:
    """The index as it is, beside it, on disk when this returns. Raises OSError, sqlite3.Error."""
    place = index.with_name(f"{index.name}.before-fsck-{stamp(clock)}")
    place.unlink(missing_ok=True)
    with closing(open_view(index)) as view, closing(sqlite3.connect(place)) as copy:
        view.backup(copy)
    sync_directory(place.parent)
    return place


def mend_tables(
    checker: Checker,
    apply: Apply,
    local: Callable[[sqlite3.Connection], Local],
    is_adopted: bool = False,
) -> list[Finding]:
    """What was mended. `is_adopted`: an index that has forgotten where its log ends takes the log's word, as
    another writer than before. Raises Discord's answers before anything has changed."""
    with checker.log_copy() as copy:
        mended = apply(lambda connection: indexcheck.mend(local(connection), (indexcheck.LEANT_ON,)))
        mended += apply(partial(_apply, checker.wrong_state(copy)))
        if is_adopted and not copy.problem:
            apply(partial(_adopt, copy.state()))
        is_known = checker.can_compare(copy)
        mended += apply(partial(_mend_rows, local=local, is_noted=not is_known))
        mended += apply(partial(_apply, checker.differences(copy)))
    return mended + apply(lambda connection: indexcheck.mend(local(connection)))


def _mend_rows(
    connection: sqlite3.Connection, local: Callable[[sqlite3.Connection], Local], is_noted: bool
) -> list[Finding]:
    """`is_noted`: what was mended is noted for the next record. Else it is not, so that it still shows
    beside the log, which knows better."""
    if not is_noted:
        for table in _NOTED:
            connection.execute(
                f"CREATE TEMP TABLE kept_{table} AS SELECT * FROM {table} WHERE {sound(table)}"
            )
    mended = indexcheck.mend(local(connection), (indexcheck.ROWS, indexcheck.BLOCKS))
    if not is_noted:
        for table in _NOTED:
            connection.execute(f"DELETE FROM main.{table}")
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM kept_{table}")
            connection.execute(f"DROP TABLE kept_{table}")
    return mended


def _adopt(state: FoldState, connection: sqlite3.Connection) -> list[Finding]:
    if not state_in(connection).epoch:
        save_state(connection, state)
    return []


def _apply(findings: Iterable[Finding], connection: sqlite3.Connection) -> list[Finding]:
    applied = []
    for finding in findings:
        if isinstance(finding.repair, Mend):
            finding.repair.apply(connection)
            applied.append(finding)
    return applied
