"""Mending a drive that runs: tables, chunks, log, in this order, and then all checks again.

Job: what a report calls repairable is repaired. Tables by one transaction after the other (mending.py), lost
bytes by staging what is left of them anew (healing.py), a log with holes by a snapshot; all of it is on
Discord when this returns. Only the writer repairs, and only while Discord answers: without the log the tables
could only be guessed at. Limits: those of the parts. Errors: OSError, and Discord's answers: what was done
until then stands, and is sound. Threading: one thread; asks Discord, so no lock may be held.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from discordfs.chunkstore import ChunkStore
from discordfs.errors import BusyError, Interrupted, Unavailable
from discordfs.fsck import messages
from discordfs.fsck.checking import Checker, Premises, Told
from discordfs.fsck.findings import Finding, Heal, Mend, Rebuild, Report, Retell
from discordfs.fsck.healing import Healer, Mover
from discordfs.fsck.local import Local, open_view
from discordfs.fsck.mending import Change, keep_copy, mend_tables
from discordfs.index import Index
from discordfs.model import Clock, QueueStatus
from discordfs.staging import Staging
from discordfs.uploader import Uploader

PATIENCE_S = 3600.0
"""Seconds that uploads of what was mended are waited for."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a drive that runs."""

    index: Index
    staging: Staging
    chunks: ChunkStore
    uploader: Uploader
    drive: Mover
    clock: Clock


class Repairer:
    """Repairs a drive that runs. `cancelled` tells whether to stop; what was done until then stands."""

    def __init__(
        self,
        premises: Premises,
        parts: Parts,
        told: Told = lambda text: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._premises, self._parts, self._told, self._cancelled = premises, parts, told, cancelled
        self.checker = live_checker(premises, parts, told)

    def repair(self, read_percent: float = 0.0) -> Report:
        """Checks, mends, and checks again. Raises BusyError when another machine writes the volume."""
        before = self.checker.check(read_percent)
        if not _is_repairable(before):
            return before
        if self._parts.uploader.lost:
            raise BusyError(f"only the writer can repair a volume: {self._parts.uploader.lost}")
        if before.undone:
            return replace(before, undone=(*before.undone, "so nothing was repaired"))
        if any(isinstance(finding.repair, Rebuild) for finding in before.findings):
            return replace(
                before, undone=("the index has to be made anew: unmount the drive, and try again",)
            )
        self._keep_copy()
        mended = self._mend(before)
        self._flush()
        return self._after(before, mended)

    # --- step by step -----------------------------------------------------------------------------

    def _keep_copy(self) -> None:
        self._told(f"the index as it was lies in {keep_copy(self._premises.index, self._parts.clock)}")

    def _mend(self, before: Report) -> list[Finding]:
        mended: list[Finding] = []
        if any(isinstance(finding.repair, Mend) for finding in before.findings):
            self._told("mending the index")
            mended = mend_tables(self.checker, self._apply, self._local)
        now = [*self.checker.check().findings, *_of_contents(before)]
        mended += self._apply(lambda connection: _applied(now, connection))
        self._heal(now)
        if mended or any(isinstance(finding.repair, Retell) for finding in now):
            self._parts.uploader.ask_for_record(snapshot=True)
        return mended

    def _heal(self, findings: Iterable[Finding]) -> None:
        parts = self._parts
        healer = Healer(parts.index, parts.chunks, parts.drive, self._room, self._flush, self._cancelled)
        for finding in findings:
            if isinstance(finding.repair, Heal):
                self._told(f"looking for what is left of chunk {finding.repair.chunk}")
                healer.heal(finding.repair)
        parts.uploader.committed()

    def _after(self, before: Report, mended: Iterable[Finding]) -> Report:
        """What there is now, and what there is no more."""
        after = self.checker.check()
        left = [*after.findings, *self._still_hurt(before)]
        said = {(finding.kind, finding.text) for finding in left}
        gone = [it for it in (*before.findings, *mended) if it.is_damage and (it.kind, it.text) not in said]
        return Report(tuple(left), tuple(dict.fromkeys(gone)), after.undone, after.is_offline)

    def _still_hurt(self, before: Report) -> list[Finding]:
        """Damage in chunks that was found by reading them, as far as files still have bytes there."""
        left = []
        view = open_view(self._premises.index)
        try:
            local = self._local(view)
            for finding in _of_contents(before):
                assert isinstance(finding.repair, Heal)
                hurt = messages.hurt_by(local, finding.repair.chunk, finding.repair.ranges)
                if hurt:
                    left.append(replace(finding, paths=local.paths(hurt)))
        finally:
            view.close()
        return left

    # --- what the steps use -----------------------------------------------------------------------

    def _local(self, connection: sqlite3.Connection) -> Local:
        return Local(connection, self._premises.staging, self._premises.outbox, is_live=True)

    def _apply(self, change: Change) -> list[Finding]:
        applied = self._parts.index.repair(change)
        if applied:
            self._parts.uploader.committed()
        return applied

    def _room(self) -> int:
        staging = self._parts.staging
        return max(0, staging.quota // 2 - staging.used)

    def _flush(self) -> None:
        """Raises Interrupted, Unavailable, Lost."""

        def look(_status: QueueStatus) -> None:
            if self._cancelled():
                raise Interrupted("fsck was given up; what it mended goes on to Discord")

        self._told("sending what was mended")
        if not self._parts.uploader.barrier(PATIENCE_S, look):
            raise Unavailable("Discord does not take what was mended; it stays staged and goes on")


def live_checker(premises: Premises, parts: Parts, told: Told) -> Checker:
    """Checks a drive that runs."""
    upkeep, chunks = parts.index.upkeep, parts.chunks
    return Checker(
        premises,
        chunks,
        parts.clock,
        is_live=True,
        hold=parts.staging.hold,
        verified=lambda chunk, ranges: upkeep.checked(chunk, chunks.now_ns(), ranges),
        told=told,
    )


def _is_repairable(report: Report) -> bool:
    return any(finding.repair is not None for finding in report.findings)


def _of_contents(report: Report) -> list[Finding]:
    """What only reading the chunks could show."""
    return [finding for finding in report.findings if finding.kind in ("damaged-chunk", "damaged-footer")]


def _applied(findings: Iterable[Finding], connection: sqlite3.Connection) -> list[Finding]:
    """Mends what is left: chunks that lie elsewhere."""
    applied = []
    for finding in findings:
        if isinstance(finding.repair, Mend):
            finding.repair.apply(connection)
            applied.append(finding)
    return applied
