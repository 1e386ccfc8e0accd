"""Following the log: another writer's records, replayed into this machine's index as they settle.

Job: what a read-only mount lives on, and what a machine does before it takes a volume over. Each record is
one transaction, so that the drive here always shows one state that the drive there had. The gateway's hints
say when to look; the listing decides. Threading: `follow` on one thread at a time; everything that asks
Discord is asked before the transaction begins.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

from discordfs.errors import DiscordfsError, MissingError
from discordfs.fold import FoldState, LogEntry
from discordfs.index import Index
from discordfs.logreading import Look, LogReader
from discordfs.records import RecordType, VolumeEntry, unpack_entries
from discordfs.remote.base import Hint
from discordfs.replay import Replay, drop_dead_chunks

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
"""Seconds between two looks at the log when no hint comes: one request a minute."""


class Follower:
    """Keeps `index` as the log has it. `changed` hears which inodes a record touched."""

    def __init__(self, index: Index, reader: LogReader, changed: Callable[[set[int]], None]) -> None:
        self._index, self._reader, self._changed = index, reader, changed
        self.volume: VolumeEntry | None = None
        self.gap = ""

    def follow(self) -> Look:
        """Replays what has settled since the last time. Raises as Discord answers, Damaged, FormatError."""
        look = self._reader.look(self._index.logbook.state())
        for text in look.unreadable:
            log.warning("%s", text)
        self.replay(look)
        return look

    def replay(self, look: Look) -> None:
        """What has settled in this look, one record after the other. A snapshot that goes on where the
        index has got to says nothing new; any other is where the index begins anew."""
        for number, entry in enumerate(look.settled, 1):
            is_last = number == len(look.settled)
            is_known = entry.header.prev == self._index.logbook.newest_uid()
            self._replay(entry, look, look.fold.state() if is_last else None, is_known)

    def rebuild(self, look: Look) -> None:
        """The index from the newest settled snapshot on, whatever it holds. Raises MissingError where
        there is none."""
        snapshots = [n for n, entry in enumerate(look.settled) if entry.header.type is RecordType.SNAPSHOT]
        if not snapshots:
            raise MissingError("the log holds no snapshot that can be read: there is nothing to begin with")
        first = snapshots[-1]
        with self._index.changing() as connection:
            for entry in look.settled[:first]:
                self._note(connection, entry, look)
        for number, entry in enumerate(look.settled[first:], first + 1):
            state = look.fold.state() if number == len(look.settled) else None
            self._replay(entry, look, state, is_known=number > first + 1)

    def _note(self, connection: sqlite3.Connection, entry: LogEntry, look: Look) -> None:
        message = look.messages[entry.uid]
        size = self._reader.stored_size(entry, message)
        self._index.logbook.note_foreign(connection, entry, message.id, size)

    def _replay(self, entry: LogEntry, look: Look, state: FoldState | None, is_known: bool) -> None:
        message = look.messages[entry.uid]
        is_snapshot = entry.header.type is RecordType.SNAPSHOT
        skip = is_snapshot and is_known
        runs = [] if skip else list(self._reader.runs(entry, message))
        riders = {} if skip else self._reader.riders(message)
        touched: set[int] = set()

        def change(connection: sqlite3.Connection) -> None:
            replay = Replay(connection, entry.header.seq, message.id, riders)
            if is_snapshot and not skip:
                replay.clear()
            replay.apply(unpack_entries(runs))
            drop_dead_chunks(connection)
            touched.update(replay.touched)
            self.volume = replay.volume or self.volume
            self._note(connection, entry, look)
            if state is not None:
                self._index.logbook.save(connection, state)

        self._index.replay(change)
        self._changed(touched)


class FollowingThread:
    """Follows until it is stopped: at each hint, and every LOOK_EVERY_S."""

    def __init__(self, follower: Follower, failed: Callable[[str, Exception], None]) -> None:
        self._follower, self._failed = follower, failed
        self._hinted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discordfs-follow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hint(self, _hint: Hint) -> None:
        """Something happened in the log's channel."""
        self._hinted.set()

    def stop(self) -> None:
        self._stopping.set()
        self._hinted.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follower.follow()
            except (DiscordfsError, OSError) as error:
                self._failed("following the log", error)
            self._hinted.wait(LOOK_EVERY_S)
            self._hinted.clear()
