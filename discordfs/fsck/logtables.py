"""Counters, what no record says yet, and garbage: do they agree with the rest of the index?

A counter must be above every number in use, or one would be given twice; a message that a file lies in must
never be among those to delete. Limits: none. Threading: one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial

from discordfs.fsck.findings import Finding, Mend
from discordfs.fsck.local import Local

SLACK = 1024**2
"""By how much a counter is raised that had fallen behind: numbers may have been used of which nothing is
left here."""

MOST_NUMBERS = 2**61
"""No inode, commit or cut has a number above it: so counting on never leaves what fits a column."""

_USED = {
    "inode": "SELECT MAX(ino) FROM (SELECT MAX(ino) AS ino FROM inodes UNION SELECT MAX(ino) FROM dentries "
    "UNION SELECT MAX(parent) FROM dentries UNION SELECT MAX(ino) FROM extents "
    "UNION SELECT MAX(ino) FROM changed_inodes)",
    "commit": "SELECT MAX(seq) FROM extents",
}


def check_cut(local: Local) -> Iterator[Finding]:
    """The counter of cuts is above that of each record on its way. Without it no change can be noted, as the
    triggers lean on it: so it is looked at before rows are mended, and other rows may be anything."""
    ((used,),) = local.rows(
        "SELECT COALESCE(MAX(cut), 0) FROM records WHERE state IS 0 AND typeof(cut) = 'integer' "
        f"AND cut BETWEEN 0 AND {MOST_NUMBERS}"
    )
    ceilings = local.rows("SELECT ceiling FROM counters WHERE name = 'cut' AND typeof(ceiling) = 'integer'")
    ceiling = ceilings[0][0] if ceilings else 0
    if ceiling <= used:
        text = f"the counter of cut numbers is at {ceiling}, and {used} is in use"
        yield Finding("counter", text, repair=Mend(partial(_raise, name="cut", to=used + 1)))


def check_counters(local: Local) -> Iterator[Finding]:
    """Of numbers that stand on Discord as well."""
    ceilings = dict(local.rows("SELECT name, ceiling FROM counters"))
    for name, query in _USED.items():
        ((used,),) = local.rows(query)
        ceiling = ceilings.get(name, 2)
        if ceiling <= (used or 0):
            text = f"the counter of {name} numbers is at {ceiling}, and {used or 0} is in use"
            yield Finding("counter", text, repair=Mend(partial(_raise, name=name, to=(used or 0) + SLACK)))


def check_changes(local: Local) -> Iterator[Finding]:
    """What is noted for a record belongs to this cut or an earlier one: else it would wait for ever."""
    for kind in ("inodes", "names", "ranges"):
        ((count,),) = local.rows(
            f"SELECT COUNT(*) FROM changed_{kind} "
            "WHERE cut > (SELECT ceiling FROM counters WHERE name = 'cut')"
        )
        if count:
            text = f"{count} changes of {kind} are noted for a record that is not due for long"
            yield Finding("changes", text, repair=Mend(partial(_bring_back, kind=kind)))


def check_garbage(local: Local) -> Iterator[Finding]:
    """No message that is to be deleted holds bytes of a file, or a record that counts from."""
    rows = local.rows(
        "SELECT garbage.channel, garbage.message, chunks.id FROM garbage "
        "JOIN chunks ON chunks.message = garbage.message AND chunks.channel = garbage.channel "
        "WHERE EXISTS (SELECT 1 FROM extents WHERE extents.chunk = chunks.id AND home > 0)"
    )
    for channel, message, chunk in rows:
        inodes = local.rows("SELECT DISTINCT ino FROM extents WHERE chunk = ? AND home > 0", chunk)
        text = f"message {message} of channel {channel} is to be deleted, and holds bytes of files"
        mend = Mend(partial(_spare, channel=channel, message=message))
        yield Finding("garbage", text, local.paths(row[0] for row in inodes), mend)


# --- mending --------------------------------------------------------------------------------------


def _raise(connection: sqlite3.Connection, name: str, to: int) -> None:
    connection.execute(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) "
        "DO UPDATE SET ceiling = MAX(ceiling, excluded.ceiling)",
        (name, to),
    )


def _bring_back(connection: sqlite3.Connection, kind: str) -> None:
    connection.execute(
        f"UPDATE OR REPLACE changed_{kind} SET cut = (SELECT ceiling FROM counters WHERE name = 'cut') "
        "WHERE cut > (SELECT ceiling FROM counters WHERE name = 'cut')"
    )


def _spare(connection: sqlite3.Connection, channel: int, message: int) -> None:
    connection.execute("DELETE FROM garbage WHERE channel = ? AND message = ?", (channel, message))
