"""The upload queue: what was committed becomes chunks and records on Discord, in the background.

Job: decide when there is enough to send. Full chunks go ahead as soon as there are bytes for one; a *cut*
(the drive at one moment, cut.py) takes the rest, and once all its bytes are on Discord its record is posted
(log.py). Only when the record has settled do extents point at Discord and is staging freed. The queue itself
is the index (extents.home < 2, changed_*), so a kill at any instant loses nothing of it.

Threading: one gathering thread (seals, cuts), one recording thread (at most one record on its way), and the
posting pool of posting.py. None holds a lock while it waits for Discord. A lost volume stops all three.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.cut import Cut, PieceQueue, condemnations
from discordfs.disk import make_directory
from discordfs.errors import DiscordfsError, Unauthorized
from discordfs.index import Index
from discordfs.log import Accepted, Log, Lost, Rider, Stopped
from discordfs.logbook import Plan
from discordfs.logreading import LogReader
from discordfs.model import CHUNK_SIZE, Clock, QueueStatus
from discordfs.posting import LONGEST_BACKOFF_S, Poster
from discordfs.records import Entry, RecordType, VolumeEntry, pack_entry
from discordfs.staging import Staging

log = logging.getLogger(__name__)

_MOST_PIECES = 65_536
_GATHER_BYTES = 4 * CHUNK_SIZE
_REFUSED_BACKOFF_S = 5.0  # with a token that is refused nothing is asked of Discord: a new one is soon seen
_NOTHING_TO_DO_S = 0.05  # staging is pressed by what only its users can take away
_RIDER_BYTES = 1024**2
"""Bytes as posted of a chunk that may ride in its record's message: within every server's limits."""


@dataclass(frozen=True, slots=True)
class Triggers:
    """When committed things are sent (seconds): bytes, once there is a chunk's worth; a cut, once nothing was
    committed for `quiet_s`, or once the oldest waits for `age_s`. A barrier sends at once."""

    bytes: int = CHUNK_SIZE
    quiet_s: float = 5.0
    age_s: float = 60.0


class Uploader:
    """Uploads what `index` says is staged or changed. `outbox`: directory of sealed things (made if absent).

    `start` resumes what an earlier process left. `clock` gives epoch ns, `monotonic` seconds. `volume` is
    what snapshots say of the volume; `holder` who writes, for people."""

    def __init__(
        self,
        *,
        index: Index,
        staging: Staging,
        chunks: ChunkStore,
        volume: VolumeEntry,
        holder: str,
        outbox: Path,
        clock: Clock,
        monotonic: Callable[[], float],
        parallel: int = 4,
        triggers: Triggers | None = None,
    ) -> None:
        self._index = index
        self._staging = staging
        self._chunks = chunks
        self._volume = volume
        self._outbox = outbox
        self._monotonic = monotonic
        self._triggers = triggers or Triggers()
        self._settle: Callable[[], None] = lambda: None
        self._landed: Callable[[Iterable[int]], None] = lambda inodes: None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._barriers = 0
        self._news = self._wants_record = False
        self._newest_commit = self._oldest_commit = monotonic() - self._triggers.age_s
        self._recording = True  # until the start has looked at the log
        self._finished = 0  # the newest cut of which nothing is left to do
        self._heard = (
            0  # the newest message of the log's channel that somebody told of, until it is looked for
        )
        self._poster = Poster(
            ledger=index.ledger,
            chunks=chunks,
            channels=volume.data_channels,
            outbox=outbox,
            changed=self._changed,
            stopping=self._stopping,
            failed=self._note_failure,
            landed=self._chunk_landed,
            parallel=parallel,
        )
        self.log = Log(
            chunks=chunks,
            reader=LogReader(chunks, volume.log_channel),
            book=index.logbook,
            ledger=index.ledger,
            outbox=outbox,
            holder=holder,
            clock=clock,
            wait=self._stopping.wait,
            failed=self._note_failure,
            sync=index.sync,
        )
        self._recorder = ThreadPoolExecutor(1, thread_name_prefix="discordfs-record")
        self._gatherer = threading.Thread(target=self._gather_for_ever, name="discordfs-gather", daemon=True)
        self.errors: deque[str] = deque(maxlen=20)
        self.has_begun = threading.Event()
        self.is_working = True
        self.lost = ""

    def attach(self, settle: Callable[[], None], landed: Callable[[Iterable[int]], None]) -> None:
        """`settle` commits what open files hold, under pressure; `landed` hears which inodes have bytes on
        Discord now, before their staging is freed."""
        self._settle = settle
        self._landed = landed

    def start(self) -> None:
        make_directory(self._outbox)
        self._staging.on_pressure(self._wake)
        self._index.logbook.garbage.set_log_channel(self._volume.log_channel)
        records = [intent.uid for intent in self._index.logbook.intents()]
        self._poster.resume(keep=records)
        self._recorder.submit(self._begin)
        self._gatherer.start()

    def stop(self) -> None:
        """Ends the threads. What is under way goes on at the next start. A post that hangs ends with
        the transport: close that first when nobody wants to wait for it."""
        self._stopping.set()
        self._wake()
        if self._gatherer.is_alive():
            self._gatherer.join()
        self._recorder.shutdown(wait=True, cancel_futures=True)
        self._poster.stop()

    def committed(self) -> None:
        """Something was committed that the log does not say: called after each such commit."""
        now = self._monotonic()
        with self._changed:
            is_first = not self._news
            if is_first:
                self._oldest_commit = now
            self._news = True
            self._newest_commit = now
            # Whoever gathers looks four times a second while there is news: waking it for each costs more.
            if is_first or self._index.ledger.staged_bytes >= self._triggers.bytes:
                self._changed.notify_all()

    def quiet_s(self) -> float:
        """Seconds since something was last committed that somebody changed."""
        return self._monotonic() - self._newest_commit

    def ask_for_record(self, snapshot: bool = False) -> None:
        """A record is wanted soon though nobody changed the drive: there is something to condemn, or
        (`snapshot`) the log lacks something, so that all has to be said again."""
        if snapshot:
            self._index.logbook.want_snapshot()
        with self._changed:
            self._wants_record = True
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # --- waiting for it ---------------------------------------------------------------------------

    def barrier(self, timeout_s: float | None, progress: Callable[[QueueStatus], None]) -> bool:
        """Waits until all that was committed before the call is in a settled record; False at the timeout.
        `progress` is called about four times a second. Raises Lost when another writer took the volume."""
        target = self._index.logbook.current_cut()
        deadline = None if timeout_s is None else self._monotonic() + timeout_s
        with self._changed:
            self._barriers += 1
            self._changed.notify_all()
        try:
            while self._is_behind(target):
                if self.lost:
                    raise Lost(self.lost)
                if self._stopping.is_set() or (deadline is not None and self._monotonic() >= deadline):
                    return False
                progress(self.status())
                with self._changed:
                    self._changed.wait(timeout=0.25)
            self._index.sync()
            return True
        finally:
            with self._changed:
                self._barriers -= 1

    def _is_behind(self, target: int) -> bool:
        oldest = self._index.logbook.oldest_change()
        is_told = oldest is None or oldest > target
        wants = self._index.logbook.is_snapshot_wanted()
        return not is_told or wants or (self._recording and self._finished < target)

    def _has_changes(self) -> bool:
        """Whether the log does not say everything (any more)."""
        book = self._index.logbook
        return book.oldest_change() is not None or book.is_snapshot_wanted()

    def status(self) -> QueueStatus:
        ledger = self._index.ledger
        staged = ledger.staged_bytes + ledger.sealed_bytes
        return QueueStatus(self._index.logbook.unrecorded_files(), staged, ledger.sealed_bytes)

    # --- gathering --------------------------------------------------------------------------------

    def _gather_for_ever(self) -> None:
        backoff = 0.0
        while not self._stopping.is_set():
            try:
                self._wait_until_due()
                if not self._stopping.is_set() and not self.lost:
                    self._gather()
                    backoff = 0.0
            except Stopped:
                return
            except Exception as error:
                if not isinstance(error, DiscordfsError | OSError):  # such as an index that is damaged
                    log.exception("gathering failed in a way that nobody foresaw")
                backoff = self._note_failure("gathering", error, backoff)
                self._stopping.wait(backoff)

    def _wait_until_due(self) -> None:
        with self._changed:
            while not self._stopping.is_set():
                if not self.lost and (
                    (self._poster.has_room() and self._is_chunk_due()) or self._is_cut_due()
                ):
                    return
                busy = not self.lost and (self._news or self._barriers or self._index.ledger.staged_bytes > 0)
                self._changed.wait(timeout=0.25 if busy else None)

    def _is_chunk_due(self) -> bool:
        staged = self._index.ledger.staged_bytes
        return staged >= self._triggers.bytes or (self._staging.is_pressed() and staged >= _RIDER_BYTES)

    def _is_cut_due(self) -> bool:
        if self._recording:
            return False
        if self._staging.is_pressed():
            return self._index.ledger.sealed_bytes >= self._staging.quota // 8 or self._poster.is_idle()
        if self._wants_record:
            return True
        if self._barriers:
            return self._has_changes()
        now = self._monotonic()
        return self._news and (
            now - self._newest_commit >= self._triggers.quiet_s
            or now - self._oldest_commit >= self._triggers.age_s
        )

    def _gather(self) -> None:
        """A chunk's worth goes out, or a cut is made."""
        if self._staging.is_pressed():
            self._settle()
        if self._is_cut_due():
            self._cut()
        elif self._is_chunk_due():
            self._send_ahead()

    def _send_ahead(self) -> None:
        """A chunk of the oldest staged bytes, as the index has them now. Staging is held, so that an extent
        overwritten meanwhile can still be read."""
        with self._staging.hold():
            pieces = self._index.ledger.queued(_GATHER_BYTES, _MOST_PIECES)
            if pieces:
                self._poster.send(self._chunks.seal(pieces, self._staging.read, self._outbox))

    # --- cutting ----------------------------------------------------------------------------------

    def _cut(self) -> None:
        """The drive as it is now becomes the next record: its bytes are sealed and sent, its entries
        written down, and the recording thread does the rest."""
        with self._changed:
            is_wanted = self._wants_record
            self._news = self._wants_record = False
        self._index.sync()
        garbage = self._index.logbook.garbage
        if not (self._has_changes() or (is_wanted and garbage.is_any_to_condemn())):
            self._stopping.wait(_NOTHING_TO_DO_S)
            return
        try:
            self._make_record()
        except BaseException:
            self.committed()
            raise

    def _make_record(self) -> None:
        book, draft = self._index.logbook, self._outbox / "entries.tmp"
        with self._staging.hold():
            cut = self._index.cut()
            try:
                kind = RecordType.SNAPSHOT if book.is_snapshot_due() else RecordType.RECORD
                sent, rider = self._seal_staged(cut, may_ride=kind is RecordType.RECORD)
                plan = self._write_entries(cut, kind, sent, draft)
            finally:
                cut.close()
        with self._changed:
            self._recording = True
        self._recorder.submit(self._record, kind, draft, plan, rider)

    def _seal_staged(self, cut: Cut, may_ride: bool) -> tuple[set[int], Rider | None]:
        """Sends the staged bytes of a cut in full chunks; a small last one is left to ride with the record
        (a snapshot goes alone, so that it can be deleted once it is old). The chunks' rows, and the rider."""
        sent: set[int] = set()
        pieces = PieceQueue(cut.staged())
        while pieces:
            self._wait_for_room()
            sealed = self._chunks.seal(pieces, self._staging.read, self._outbox)
            pieces.took(sealed.pieces)
            if may_ride and not pieces and sealed.stored_size <= _RIDER_BYTES:
                row = self._index.ledger.intend(sealed, self._volume.log_channel, self._chunks.now_ns())
                cut.placed(row, sealed)
                return sent | {row}, Rider(row, sealed)
            row = self._poster.send(sealed)
            cut.placed(row, sealed)
            sent.add(row)
        return sent, None

    def _wait_for_room(self) -> None:
        with self._changed:
            while not self._poster.has_room():
                if self._stopping.is_set() or self.lost:
                    raise Stopped("the mount ends")
                self._changed.wait(timeout=0.25)

    def _write_entries(self, cut: Cut, kind: RecordType, sent: set[int], draft: Path) -> Plan:
        """All that the record says, but where its chunks are."""
        dead = cut.dead_chunks()
        condemned = [*filter(None, dead.values()), *cut.found_garbage()]
        with draft.open("wb") as file:
            for entry in self._entries(cut, kind, condemned):
                file.write(pack_entry(entry))
        named = frozenset(cut.named | cut.sealed() | sent)
        return Plan(cut.number, named, frozenset(dead), tuple(condemned))

    def _entries(self, cut: Cut, kind: RecordType, condemned: Iterable[tuple[int, int]]) -> Iterator[Entry]:
        if kind is RecordType.SNAPSHOT:
            yield self._volume
            yield from cut.everything()
        else:
            yield from cut.changes()
        yield from condemnations(condemned)

    # --- recording --------------------------------------------------------------------------------

    def _begin(self) -> None:
        """What an earlier process left of the log's side."""
        try:
            self._guarded(self._catch_up)
        finally:
            self.has_begun.set()

    def _catch_up(self) -> None:
        riders = [intent.id for intent in self._index.ledger.intents() if intent.record]
        try:
            self._release(self.log.catch_up())
            self._release(self.log.resume())
            self._release(self.log.go_on())
        finally:
            self._poster.send_left_over(riders)

    def look(self, message: int) -> None:
        """The log's channel has this message: if it is news, it is looked at soon, as another machine may
        have taken the volume over."""
        with self._changed:
            is_queued, self._heard = self._heard > 0, max(self._heard, message)
        if not is_queued and not self.lost and not self._stopping.is_set():
            self._recorder.submit(self._look)

    def _look(self) -> None:
        with self._changed:
            message, self._heard = self._heard, 0
        if self.lost or message <= self._index.logbook.state().head_message:
            return
        try:
            self._release(self.log.catch_up())
            self.is_working = True
        except Lost as error:
            self._lose(error)
        except (DiscordfsError, OSError) as error:
            self._note_failure("reading the log", error, 0.0)

    def _record(self, kind: RecordType, draft: Path, plan: Plan, rider: Rider | None) -> None:
        self._guarded(lambda: self._release(self._write_record(kind, draft, plan, rider)), plan.cut)

    def _write_record(self, kind: RecordType, draft: Path, plan: Plan, rider: Rider | None) -> Accepted:
        ledger = self._index.ledger
        riding = {rider.id} if rider else set()
        try:
            self._wait_for_chunks(plan.named - riding)
            with draft.open("ab") as file:
                for chunk in sorted(plan.named):
                    file.write(pack_entry(ledger.entry(chunk, rides=chunk in riding)))
            return self.log.write(kind, draft, plan, rider)
        finally:
            draft.unlink()
            self._poster.send_left_over(riding)

    def _wait_for_chunks(self, chunks: Iterable[int]) -> None:
        waiting = set(chunks)
        with self._changed:
            while not self._index.ledger.are_there(waiting):
                if self._stopping.is_set() or self.lost:
                    raise Stopped("the mount ends")
                self._changed.wait(timeout=0.5)

    def _guarded(self, work: Callable[[], object], cut: int = 0) -> None:
        """Carries out work of the recording thread: that of a cut once, as a new one is made after a
        failure; the beginning (0) until it is done. A lost volume stops all."""
        backoff = 0.0
        try:
            while not self._stopping.is_set():
                try:
                    work()
                    self.is_working = True
                    self._finished = max(self._finished, cut)
                    return
                except Lost as error:
                    self._lose(error)
                    return
                except Stopped:
                    return
                except (DiscordfsError, OSError) as error:
                    backoff = self._note_failure("writing the log", error, backoff)
                except Exception as error:
                    log.exception("writing the log failed in a way that nobody foresaw")
                    backoff = self._note_failure("writing the log", error, LONGEST_BACKOFF_S)
                self._stopping.wait(backoff)
                if cut:
                    return
        finally:
            with self._changed:
                self._recording = False
                self._news = self._news or self._has_changes()
                self._changed.notify_all()

    def _release(self, accepted: Accepted) -> None:
        """Whoever has the file open first, then staging."""
        self._landed(accepted.inodes)
        self._staging.release(accepted.released)

    def _lose(self, error: Lost) -> None:
        self.lost = str(error)
        self.is_working = False
        self.errors.append(self.lost)
        log.error("the drive is read-only from here on: %s", error)

    def _chunk_landed(self) -> None:
        self.is_working = True
        self._staging.progressed()

    def _note_failure(self, doing: str, error: Exception, backoff: float) -> float:
        """Says it once in the log and in `status`; returns how long to wait (seconds)."""
        self.is_working = False
        text = f"{doing}: {error or type(error).__name__}"
        if not self.errors or self.errors[-1] != text:
            self.errors.append(text)
            log.warning("%s", text)
        longest = _REFUSED_BACKOFF_S if isinstance(error, Unauthorized) else LONGEST_BACKOFF_S
        return min(longest, max(1.0, backoff * 2))
