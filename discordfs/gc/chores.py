"""What there is to do about garbage, each in one call, and all of it as `discordfs gc` asks for it.

Job: puts collecting.py, sweeping.py, compacting.py and checking.py together with the uploader, whose records
condemn what they find. Errors: those of theirs. Threading: one thread at a time; asks Discord, so no lock may
be held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Interrupted, ReadOnly, Unavailable
from discordfs.fs import Drive
from discordfs.garbage import Waiting
from discordfs.gc.checking import Checker
from discordfs.gc.collecting import Collector, Deleted
from discordfs.gc.compacting import Compactor, Moved, worth_moving
from discordfs.gc.sweeping import Found, Sweeper
from discordfs.index import Index
from discordfs.logreading import LogReader
from discordfs.model import QueueStatus
from discordfs.records import VolumeEntry
from discordfs.staging import Staging
from discordfs.uploader import Uploader

PATIENCE_S = 600.0
"""Seconds that a record which condemns is waited for."""

_POLL_S = 0.25

Cancelled = Callable[[], bool]
Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What `gc` did, or (`dry_run`) would do. `condemned_*` wait for the end of the grace time, the last of
    them until `deleted_after` (ISO 8601, or null); `found_*` of these nothing referred to. `older_*` are from
    before this machine wrote the volume, and stay, `foreign_messages` are of other volumes. Sizes in bytes,
    as far as they are known."""

    dry_run: bool
    deleted_messages: int
    deleted_bytes: int
    found_messages: int
    found_bytes: int
    moved_bytes: int
    moved_files: int
    condemned_messages: int
    condemned_bytes: int
    deleted_after: str | None
    older_messages: int
    older_bytes: int
    foreign_messages: int
    troubles: tuple[str, ...]


class Chores:
    """The chores of one drive. `monotonic` gives seconds."""

    def __init__(
        self,
        *,
        index: Index,
        staging: Staging,
        chunks: ChunkStore,
        uploader: Uploader,
        drive: Drive,
        volume: VolumeEntry,
        outbox: Path,
        grace_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._index, self._chunks, self._uploader = index, chunks, uploader
        self._grace_s, self._monotonic = grace_s, monotonic
        self._pause = threading.Event()
        reader = LogReader(chunks, volume.log_channel)
        self.collector = Collector(chunks, reader, index.logbook, grace_s)
        self.sweeper = Sweeper(chunks, index.logbook, volume, grace_s)
        self.compactor = Compactor(index, staging, drive, monotonic)
        self.checker = Checker(
            index=index,
            chunks=chunks,
            drive=drive,
            outbox=outbox,
            room=self.compactor.room,
            flush=self.flush,
        )

    # --- one by one -----------------------------------------------------------------------------------

    def sweep(self, since_ns: int, cancelled: Cancelled, takes_older: bool = False) -> Found:
        """Looks for strays since that time (Discord's, epoch ns), and has a record condemn them."""
        now, head = self._chunks.now_ns(), self._index.logbook.state().head_seq
        found = self.sweeper.sweep(since_ns, cancelled, takes_older)
        if self.sweeper.note(found)[0]:
            self._uploader.ask_for_record()
        if found.is_complete:
            self._index.upkeep.set_marks(swept=now, swept_head=head)
        return found

    def flush(self, cancelled: Cancelled) -> None:
        """Waits until what was staged is on Discord and what died is condemned. Raises Interrupted when
        `cancelled` or at the end of the mount, Unavailable when nothing came of it for long, BusyError when
        another machine writes the volume."""

        def look(_status: QueueStatus) -> None:
            if cancelled():
                raise Interrupted("it was given up while its record was waited for")

        if not self._uploader.barrier(PATIENCE_S, look):
            raise Unavailable("Discord did not take a record: what was found stays noted for the next one")
        deadline = self._monotonic() + PATIENCE_S
        while self._is_condemning() and self._monotonic() < deadline:
            look(self._uploader.status())
            if self._uploader.lost:
                raise ReadOnly(self._uploader.lost)
            self._pause.wait(_POLL_S)

    def _is_condemning(self) -> bool:
        garbage = self._index.logbook.garbage
        if garbage.is_any_to_condemn():
            self._uploader.ask_for_record()
            return True
        return garbage.is_any_found()

    # --- all of it ------------------------------------------------------------------------------------

    def clean(self, cancelled: Cancelled, tell: Tell, takes_older: bool = False) -> Cleaned:
        """Deletes, looks, moves, condemns, and deletes once more what that made due. `takes_older`: also what
        is from before this machine wrote the volume. Interruptible at any point: what is done stands. Raises
        Interrupted, Unavailable, ReadOnly, and Discord's other answers."""
        if self._uploader.lost:
            raise ReadOnly(self._uploader.lost)
        before = self._collect(cancelled, tell)
        tell({"doing": "looking for messages that nothing refers to"})
        found = self.sweep(0, cancelled, takes_older)
        moved = self._move_all(cancelled, tell)
        tell({"doing": "waiting for Discord"})
        self.flush(cancelled)
        after = self._collect(cancelled, tell)
        if cancelled():
            raise Interrupted("gc was given up; what it did stands")
        deleted = Deleted(
            before.messages + after.messages,
            before.bytes + after.bytes,
            tuple(dict.fromkeys(before.troubles + after.troubles)),
        )
        waiting = self._index.logbook.garbage.waiting()
        return _cleaned(waiting, self._grace_s, False, deleted, found, moved)

    def look(self, cancelled: Cancelled, tell: Tell, takes_older: bool = False) -> Cleaned:
        """What `clean` would do. Changes nothing, here or on Discord."""
        sweeper, collector = self.sweeper, self.collector
        return preview(self._index, sweeper, collector, self._grace_s, cancelled, tell, takes_older)

    def _collect(self, cancelled: Cancelled, tell: Tell) -> Deleted:
        tell({"doing": "deleting what was condemned"})
        return self.collector.collect(cancelled)

    def _move_all(self, cancelled: Cancelled, tell: Tell) -> Moved:
        """Batch by batch, as long as that leads anywhere."""
        moved = Moved()
        while not cancelled() and (stretches := self.compactor.plan(is_asked=True)):
            tell({"doing": "moving what is hardly used", "moved_bytes": moved.bytes})
            if self.compactor.room() < self.compactor.step:
                self.flush(cancelled)
            batch = self.compactor.move(stretches, self.compactor.room(), cancelled)
            moved.add(batch)
            if batch.bytes:
                tell({"doing": "waiting for Discord", "moved_bytes": moved.bytes})
                self.flush(cancelled)
        return moved


def preview(
    index: Index,
    sweeper: Sweeper,
    collector: Collector,
    grace_s: float,
    cancelled: Cancelled,
    tell: Tell,
    takes_older: bool,
) -> Cleaned:
    """What gc would do in this volume. Changes nothing. Raises Discord's answers."""
    tell({"doing": "looking for messages that nothing refers to"})
    found = sweeper.sweep(0, cancelled, takes_older)
    stretches = worth_moving(index.upkeep, is_asked=True)
    moved = Moved(
        sum(index.upkeep.bytes_in(stretch) for stretch in stretches),
        {stretch.ino for stretch in stretches},
    )
    return _cleaned(index.logbook.garbage.waiting(), grace_s, True, Deleted(*collector.due()), found, moved)


def preview_of(
    index: Index, chunks: ChunkStore, volume: VolumeEntry, grace_s: float, tell: Tell, takes_older: bool
) -> Cleaned:
    """The same of a volume that nobody has mounted."""
    reader = LogReader(chunks, volume.log_channel)
    collector = Collector(chunks, reader, index.logbook, grace_s)
    sweeper = Sweeper(chunks, index.logbook, volume, grace_s)
    return preview(index, sweeper, collector, grace_s, lambda: False, tell, takes_older)


def _cleaned(
    waiting: Waiting, grace_s: float, is_dry: bool, deleted: Deleted, found: Found, moved: Moved
) -> Cleaned:
    due_ns = waiting.newest_ns + int(grace_s * 1e9)
    return Cleaned(
        dry_run=is_dry,
        deleted_messages=deleted.messages,
        deleted_bytes=deleted.bytes,
        found_messages=found.counts()[0],
        found_bytes=found.counts()[1],
        moved_bytes=moved.bytes,
        moved_files=len(moved.files),
        condemned_messages=waiting.messages,
        condemned_bytes=waiting.bytes,
        deleted_after=iso(due_ns) if waiting.messages else None,
        older_messages=len(found.older),
        older_bytes=sum(stray.bytes for stray in found.older),
        foreign_messages=found.foreign,
        troubles=(*deleted.troubles, *found.troubles, *moved.troubles),
    )


def iso(epoch_ns: int) -> str:
    """A time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(epoch_ns // 10**9, UTC).isoformat()
