"""Following the log: another writer's records, replayed into this machine's index as they settle.

Job: what a read-only mount lives on, what a recovery builds, and what a machine does before it takes a volume
over. Each record is one transaction, with the place in the chain that it brings the index to, so that the
drive here always shows one state that the drive there had. Limits: the bytes of _AHEAD records in memory, and
those of the largest. An index that holds changes no record says is never touched. Errors: as Discord answers;
Damaged, MissingError and RemoteGone for a record that cannot be read whole. Threading: one thread at a time;
everything that asks Discord is asked before the transaction begins.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from discordfs.chunks import layout
from discordfs.errors import BusyError, Damaged, MissingError, RemoteGone
from discordfs.fold import FoldState, LogEntry
from discordfs.index import Index
from discordfs.logreading import LogReader, Look
from discordfs.logreading import when as when
from discordfs.model import ChunkRef, Kind, SealedChunk
from discordfs.records import ChunkEntry, Entry, RecordType, VolumeEntry, unpack_entries
from discordfs.remote.base import Message
from discordfs.replay import Replay, drop_dead_chunks

log = logging.getLogger(__name__)

_AHEAD = 8  # records whose bytes are on their way
_NOWHERE = Path()

UNREADABLE = (Damaged, MissingError, RemoteGone)
"""What a record raises of which Discord does not have all bytes (any more) as they were."""


@dataclass(frozen=True, slots=True)
class Step:
    """A settled record, where it lies, and the state of the chain that it makes."""

    entry: LogEntry
    message: Message
    state: FoldState

    def __str__(self) -> str:
        kind = "snapshot" if self.is_snapshot else "record"
        return f"{kind} {self.entry.header.seq} of {when(self.entry.message)}"

    @property
    def is_snapshot(self) -> bool:
        return self.entry.header.type is RecordType.SNAPSHOT


class Follower:
    """Keeps `index` as the log has it. `volume` is what the last snapshot said of the volume."""

    def __init__(self, index: Index, reader: LogReader) -> None:
        self._index, self._reader = index, reader
        self.volume: VolumeEntry | None = None

    def follow(self) -> Look:
        """Replays what has settled since the last time. BusyError when the index holds what no record says
        and would lose it."""
        look = self._reader.look(self._index.logbook.state())
        for text in look.unreadable:
            log.warning("%s", text)
        self.replay(look)
        return look

    def replay(self, look: Look) -> None:
        """What has settled in this look, one record after the other. Where one cannot be read, the next
        snapshot goes on, as it says everything; without one that is an error, and the index stays as it was
        before that record."""
        book = self._index.logbook
        steps = _steps(look, book.state())
        if steps and book.state().epoch and self._index.unrecorded():
            raise BusyError(
                "this machine has files that are not in the volume's log, so it cannot follow the log: "
                "save them with 'discordfs resubmit'"
            )
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="discordfs-replay") as readers:
            while steps:
                done, error = self._replay_all(steps, readers)
                if error is None:
                    return
                later = [n for n in range(done + 1, len(steps)) if steps[n].is_snapshot]
                if not later:
                    raise error
                log.warning("%s cannot be read, a later snapshot goes on: %s", steps[done], error)
                self._note_only(steps[done : later[0]])
                steps = steps[later[0] :]

    def rebuild(self, look: Look) -> list[str]:
        """The index from the newest snapshot that can be read on, whatever it holds. `look` is at the whole
        log. Says in sentences what had to be left out. MissingError where there is no snapshot to begin
        with."""
        steps = _steps(look, FoldState())
        end, said = len(steps), []
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="discordfs-replay") as readers:
            for first in reversed([n for n, step in enumerate(steps) if step.is_snapshot]):
                done, error = self._replay_all(steps[first:end], readers)
                if error is not None:
                    said.append(f"{steps[first + done]} cannot be read: {error}")
                if done:
                    self._note_only(steps[:first])
                    break
                end = first
            else:
                raise MissingError(
                    "the log holds no snapshot that can be read, so names and attributes are lost; "
                    "'discordfs fsck --repair' brings contents back from the chunks themselves"
                )
        return said + _left_out(steps, first + done)

    def skip(self, look: Look) -> None:
        """Takes what settled in this look for replayed though it cannot be read: it is lost. A snapshot is
        due then, so that nobody else has to read it."""
        steps = _steps(look, self._index.logbook.state())
        self._note_only(steps)
        with self._index.changing() as connection:
            connection.execute("DELETE FROM records WHERE type = ?", (int(RecordType.SNAPSHOT),))
            self._index.logbook.save(connection, look.fold.state())

    # --- inside -----------------------------------------------------------------------------------

    def _replay_all(
        self, steps: Sequence[Step], readers: ThreadPoolExecutor
    ) -> tuple[int, Damaged | MissingError | RemoteGone | None]:
        """How many could be replayed, and why it ended there."""
        for done, (step, runs) in enumerate(zip(steps, self._read_ahead(steps, readers), strict=True)):
            try:
                self._replay(step, runs.result())
            except UNREADABLE as error:
                return done, error
        return len(steps), None

    def _read_ahead(
        self, steps: Iterable[Step], readers: ThreadPoolExecutor
    ) -> Iterator[Future[list[bytes]]]:
        """The bytes of each record, asked for while those before it are replayed."""
        waiting: deque[Future[list[bytes]]] = deque()
        try:
            for step in steps:
                waiting.append(readers.submit(self._read, step))
                if len(waiting) == _AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()

    def _read(self, step: Step) -> list[bytes]:
        return list(self._reader.runs(step.entry, step.message))

    def _replay(self, step: Step, runs: list[bytes]) -> None:
        def change(connection: sqlite3.Connection) -> None:
            riders: dict[bytes, ChunkRef] = {}
            replay = Replay(connection, step.entry.header.seq, step.message.id, riders)
            if step.is_snapshot:
                replay.clear()
            replay.apply(_located(unpack_entries(runs), step.message, riders))
            drop_dead_chunks(connection)
            self.volume = replay.volume or self.volume
            self._note(connection, step)
            self._index.logbook.save(connection, step.state)

        self._index.replay(change)

    def _note_only(self, steps: Iterable[Step]) -> None:
        """Their messages are known as the log's; what they say is not replayed."""
        with self._index.changing() as connection:
            for step in steps:
                self._note(connection, step)

    def _note(self, connection: sqlite3.Connection, step: Step) -> None:
        size = self._reader.stored_size(step.entry, step.message)
        self._index.logbook.note_foreign(connection, step.entry, step.message.id, size)


def _steps(look: Look, start: FoldState) -> list[Step]:
    """What settled in a look that began at `start`, with the state after each record. The last has the look's
    own; the others follow from it."""
    steps, state, final = [], start, look.fold.state()
    for entry in look.settled:
        header = entry.header
        goes_on = header.epoch == state.epoch
        claim = final.claim if header.epoch == final.epoch else state.claim if goes_on else 0
        state = FoldState(
            head_uid=entry.uid,
            head_seq=header.seq,
            head_message=entry.message,
            epoch=header.epoch,
            owner=header.owner,
            holder=header.holder,
            since=state.since if goes_on else entry.message,
            released=header.type is RecordType.RELEASE,
            claim=claim,
        )
        steps.append(Step(entry, look.messages[entry.uid], state))
    return [*steps[:-1], replace(steps[-1], state=final)] if steps else []


def _left_out(steps: Sequence[Step], end: int) -> list[str]:
    if end == len(steps):
        return []
    count = len(steps) - end
    return [f"the drive is as of {steps[end - 1]}: {count} newer record{'s' if count > 1 else ''} left out"]


def _located(entries: Iterable[Entry], message: Message, riders: dict[bytes, ChunkRef]) -> Iterator[Entry]:
    """The entries; chunks that are in the record's own message are found there as they come by. Their
    entries say all about them but where they lie, so that their footers need not be asked for."""
    for entry in entries:
        if isinstance(entry, ChunkEntry) and not entry.message:
            sealed = SealedChunk(
                entry.uid, _NOWHERE, entry.stored_size, entry.plain_size, entry.blocks, kind=Kind.DATA
            )
            found = layout.recognise(message, sealed)
            if found is not None:
                riders[entry.uid] = found
        yield entry
