"""fsck of a drive that is not mounted: what a start would do first, then the checks, then the repair.

Job: look at an index that perhaps no drive could open; make it anew where it is beyond repair; mend its
rows before a drive opens it; and let the drive's own repair (repairing.py) do the rest. Limits: the parts'.
Errors: BusyError where another machine writes the volume, FormatError, OSError, Discord's answers.
Threading: one thread; whoever calls holds the state directory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from discordfs import powercut
from discordfs.chunkstore import ChunkStore
from discordfs.database import Database
from discordfs.disk import sync_files
from discordfs.errors import BusyError, ConfigError, Damaged, FormatError
from discordfs.fsck.checking import Checker, Premises, Told
from discordfs.fsck.findings import Finding, Mend, Rebuild, Report
from discordfs.fsck.local import Local, open_view
from discordfs.fsck.mending import keep_copy, mend_tables, stamp
from discordfs.fsck.rebuilding import Rebuilder, Source
from discordfs.fsck.repairing import Parts, Repairer
from discordfs.logbook import state_in
from discordfs.model import Caller, Clock

Opened = Callable[[], AbstractContextManager[Parts]]
"""Opens the drive as a mount would, and closes it. Raises as compose.open_drive does."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who repairs: the owner of what is made anew, who that is for people elsewhere, and the run of the
    machine (disk.boot_id)."""

    owner: Caller
    holder: str
    boot_id: str


class Offline:
    """fsck of the drive in these premises. `is_reachable`: Discord answered just now."""

    def __init__(
        self,
        premises: Premises,
        chunks: ChunkStore,
        clock: Clock,
        identity: Identity,
        told: Told = lambda text: None,
        is_reachable: bool = True,
    ) -> None:
        self._premises, self._chunks, self._clock, self._identity = premises, chunks, clock, identity
        self._told = told
        self._checker = Checker(premises, chunks, clock, told=told, is_reachable=is_reachable)

    def check(self, read_percent: float = 0.0) -> Report:
        """Changes nothing but what any start does: a crash is cleaned up after."""
        trouble = self._start()
        if trouble:
            return Report(tuple(trouble))
        return self._checker.check(read_percent)

    def repair(self, opened: Opened, read_percent: float = 0.0) -> Report:
        """Checks, mends, and checks again; `opened` opens the drive for what needs it."""
        before = self.check(read_percent)
        mended: list[Finding] = []
        if any(isinstance(finding.repair, Rebuild | Mend) for finding in before.findings):
            if before.undone:
                return replace(before, undone=(*before.undone, "so nothing was repaired"))
            mended = self._put_right(before)
        elif not any(finding.repair for finding in before.findings):
            return before
        if self._stranger():
            return replace(self.check(), mended=tuple(finding for finding in (*before.findings, *mended)))
        with opened() as parts:
            report = Repairer(self._premises, parts, self._told).repair(read_percent)
        said = {(finding.kind, finding.text) for finding in report.findings}
        gone = [it for it in (*before.findings, *mended, *report.mended) if it.is_damage]
        left = tuple(dict.fromkeys(it for it in gone if (it.kind, it.text) not in said))
        return replace(report, mended=left)

    # --- inside -----------------------------------------------------------------------------------

    def _start(self) -> list[Finding]:
        """What a start does before all else; what keeps the index from being opened at all."""
        premises = self._premises
        if not premises.index.exists():
            return [Finding("index", f"there is no index in {premises.index.parent}", repair=Rebuild())]
        try:
            powercut.mend(premises.index, premises.staging, self._identity.boot_id)
        except Damaged as error:
            self._told(str(error))
        except ConfigError as error:
            return [Finding("sqlite", str(error), repair=Rebuild())]
        return self._migrate()

    def _migrate(self) -> list[Finding]:
        try:
            with closing(Database(self._premises.index, self._identity.boot_id)) as database:
                database.before_sync(self._sync_staging)
        except FormatError:
            raise
        except (ConfigError, sqlite3.DatabaseError) as error:
            return [Finding("sqlite", f"the index cannot be opened: {error}", repair=Rebuild())]
        return []

    def _sync_staging(self, _segments: object) -> Callable[[], None]:
        sync_files(self._premises.staging)
        return lambda: None

    def _put_right(self, before: Report) -> list[Finding]:
        """Makes the index one that a drive can open."""
        self._refuse_unless_writer()
        causes = [finding.repair for finding in before.findings if isinstance(finding.repair, Rebuild)]
        if causes:
            source = Source.CHUNKS if any(cause.from_chunks for cause in causes) else Source.ANYTHING
            return self._rebuild(source)
        self._told(f"the index as it was lies in {keep_copy(self._premises.index, self._clock)}")
        with closing(Database(self._premises.index, self._identity.boot_id)) as database:
            database.before_sync(self._sync_staging)
            return mend_tables(self._checker, partial(_in_transaction, database), self._local)

    def _rebuild(self, source: Source) -> list[Finding]:
        aside = self._premises.index.with_name(f"damaged-{stamp(self._clock)}")
        rebuilder = Rebuilder(
            self._premises,
            self._chunks,
            self._clock,
            self._identity.owner,
            self._identity.holder,
            aside,
            self._told,
        )
        done = rebuilder.rebuild(source)
        for sentence in (*done.said, f"what was there lies in {aside}"):
            self._told(sentence)
        return list(done.mended)

    def _stranger(self) -> str:
        """Who else writes the volume, as far as the index can tell, unless the log knows better; "" when it
        is us, or nobody."""
        if not self._premises.index.exists():
            return ""
        try:
            with closing(open_view(self._premises.index)) as view:
                (me,) = view.execute("SELECT me FROM log").fetchone()
                known = state_in(view)
        except (sqlite3.DatabaseError, TypeError):
            return ""
        if not known.owner or known.owner == me or self._checker.is_writer(me, known):
            return ""
        return str(known.holder or "another machine")

    def _refuse_unless_writer(self) -> None:
        """Whoever follows another writer has nothing to mend: 'discordfs recover' builds the index anew."""
        holder = self._stranger()
        if holder:
            raise BusyError(
                f"{holder} writes this volume: only the writer can repair it. For an index that is sound, "
                "'discordfs recover' the volume into another state directory"
            )

    def _local(self, connection: sqlite3.Connection) -> Local:
        return Local(connection, self._premises.staging, self._premises.outbox)


def _in_transaction(
    database: Database, change: Callable[[sqlite3.Connection], list[Finding]]
) -> list[Finding]:
    with database.transaction() as connection:
        return change(connection)


def premises_of(state: Path, log_channel: int, channels: tuple[int, ...]) -> Premises:
    """Where a drive in this state directory lives."""
    return Premises(
        index=state / "index.sqlite",
        staging=state / "staging",
        outbox=state / "outbox",
        scratch=state / "fsck",
        log_channel=log_channel,
        channels=channels,
    )
