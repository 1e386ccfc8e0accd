"""The index in itself: all checks that need nothing but this machine, and the repair of what they find.

`inspect` looks and changes nothing; `mend` carries the repairs out, check by check in the same order, until
none finds anything more. Limits: passes over all tables. Errors: FormatError for a newer release's index.
Threading: one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial

from discordfs.fsck.bytesmap import (
    check_allocated,
    check_chunk_places,
    check_chunk_states,
    check_doubles,
    check_lost,
    check_outbox,
    check_overlaps,
    check_segments,
    check_sizes,
    check_strays,
    check_sums,
)
from discordfs.fsck.findings import Finding, Mend, Rebuild
from discordfs.fsck.local import Local
from discordfs.fsck.logtables import check_changes, check_counters, check_cut, check_garbage
from discordfs.fsck.tables import SOUND, check_block_tables, check_integrity, check_rows, check_schema
from discordfs.fsck.tree import (
    check_attributes,
    check_directories,
    check_kinds,
    check_links,
    check_missing_inodes,
    check_orphans,
    check_root,
)

Check = Callable[[Local], Iterator[Finding]]

DATABASE: tuple[Check, ...] = (check_integrity, check_schema)
_FIRST = ("log", "counters", "records")
LEANT_ON: tuple[Check, ...] = (partial(check_rows, tables=_FIRST), check_cut)
"""Rows that must be sound before any other is mended: the triggers that note changes lean on them, and
whoever asks the log."""

ROWS: tuple[Check, ...] = (
    *LEANT_ON,
    partial(check_rows, tables=[it for it in SOUND if it not in _FIRST]),
)
BLOCKS: tuple[Check, ...] = (check_block_tables,)
MEANING: tuple[Check, ...] = (
    check_counters,
    check_root,
    check_missing_inodes,
    check_kinds,
    check_directories,
    check_orphans,
    check_links,
    check_attributes,
    check_chunk_places,
    check_overlaps,
    check_strays,
    check_sizes,
    check_segments,
    check_sums,
    check_chunk_states,
    check_doubles,
    check_outbox,
    check_allocated,
    check_changes,
    check_garbage,
    check_lost,
)
STAGES = (DATABASE, ROWS, BLOCKS, MEANING)
"""What a later stage asks is only of use once an earlier one finds nothing."""

_ROUNDS = 12


def inspect(local: Local) -> list[Finding]:
    """All that is wrong, as far as it can be told before it is mended."""
    found: list[Finding] = []
    for stage in STAGES:
        found += _run(stage, local)
        if any(finding.is_damage for finding in found):
            break
    return found


def _run(stage: tuple[Check, ...], local: Local) -> list[Finding]:
    try:
        return [finding for check in stage for finding in check(local)]
    except sqlite3.DatabaseError as error:
        return [Finding("sqlite", f"the index cannot be read: {error}", repair=Rebuild())]


def mend(local: Local, stages: tuple[tuple[Check, ...], ...] = (ROWS, BLOCKS, MEANING)) -> list[Finding]:
    """Mends the tables within the caller's transaction; what was mended. Raises sqlite3.DatabaseError where
    the database itself is damaged."""
    mended: list[Finding] = []
    for _ in range(_ROUNDS):
        before = len(mended)
        for stage in stages:
            for check in stage:
                mended += _apply(local, list(check(local)))
        if len(mended) == before:
            break
    return mended


def _apply(local: Local, findings: list[Finding]) -> list[Finding]:
    applied = []
    for finding in findings:
        if isinstance(finding.repair, Mend):
            finding.repair.apply(local.connection)
            applied.append(finding)
    return applied
