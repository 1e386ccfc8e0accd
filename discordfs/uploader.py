"""The upload queue: staged extents become chunks on Discord, in the background.

Job: decide when there is enough to send, gather it in the order of its commits, have it sealed once, note
the intent, post, and only then point the index at the chunk and free staging. The queue itself is the
index (extents.home = 0, chunks.state = 0), so a kill at any instant loses nothing of it.

Threading: one gathering thread, and `parallel` posting threads; each waits for Discord with no lock held.
A post whose answer was lost is looked for in the channel before anything is posted again.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Damaged, DiscordfsError, FormatError, OutcomeUnknown, TimedOut
from discordfs.index import Index
from discordfs.ledger import Intent
from discordfs.model import CHUNK_SIZE, ChunkRef, Clock, QueueStatus, SealedChunk
from discordfs.staging import Staging

log = logging.getLogger(__name__)

_MOST_PIECES = 65_536
_GATHER_BYTES = 4 * CHUNK_SIZE
_LONGEST_BACKOFF_S = 60.0


@dataclass(frozen=True, slots=True)
class Triggers:
    """When staged bytes are sent (seconds): once there is a chunk's worth, once nothing was closed for
    `quiet_s`, or once the oldest waits for `age_s`. A barrier or pressure on staging sends at once."""

    bytes: int = CHUNK_SIZE
    quiet_s: float = 5.0
    age_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Job:
    chunk: int
    sealed: SealedChunk
    channel: int
    sealed_ns: int
    may_have_landed: bool


class Uploader:
    """Uploads what `index` says is staged. `outbox`: directory of sealed chunks (made if absent).

    `start` resumes what an earlier process left. `clock` gives epoch ns, `monotonic` seconds."""

    def __init__(
        self,
        *,
        index: Index,
        staging: Staging,
        chunks: ChunkStore,
        channels: Sequence[int],
        outbox: Path,
        clock: Clock,
        monotonic: Callable[[], float],
        parallel: int = 4,
        triggers: Triggers | None = None,
    ) -> None:
        self._index = index
        self._staging = staging
        self._chunks = chunks
        self._channels = tuple(channels)
        self._outbox = outbox
        self._clock = clock
        self._monotonic = monotonic
        self._triggers = triggers or Triggers()
        self._settle: Callable[[], None] = lambda: None
        self._landed: Callable[[Iterable[int]], None] = lambda inodes: None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._barriers = 0
        self._news = False
        self._newest_commit = self._oldest_commit = monotonic() - self._triggers.age_s
        self._parallel = parallel
        self._under_way = 0
        self._unfinished = 0
        self._in_flight: Counter[int] = Counter()
        self._used: Counter[int] = Counter()
        self._posters = ThreadPoolExecutor(parallel, thread_name_prefix="discordfs-post")
        self._gatherer = threading.Thread(target=self._gather_for_ever, name="discordfs-gather", daemon=True)
        self.errors: deque[str] = deque(maxlen=20)
        self.is_working = True

    def attach(self, settle: Callable[[], None], landed: Callable[[Iterable[int]], None]) -> None:
        """`settle` commits what open files hold, under pressure; `landed` hears which inodes have bytes on
        Discord now, before their staging is freed."""
        self._settle = settle
        self._landed = landed

    def start(self) -> None:
        self._outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._staging.on_pressure(self._wake)
        intents = self._index.ledger.intents()
        self._clear_outbox(intents)
        for intent in intents:
            self._resume(intent)
        self._gatherer.start()

    def stop(self) -> None:
        """Ends the threads. What is under way goes on at the next start. A post that hangs ends with
        the transport: close that first when nobody wants to wait for it."""
        self._stopping.set()
        self._wake()
        if self._gatherer.is_alive():
            self._gatherer.join()
        self._posters.shutdown(wait=True, cancel_futures=True)

    def committed(self) -> None:
        """A file's bytes were committed: called after each commit that staged some."""
        now = self._monotonic()
        with self._changed:
            if not self._news:
                self._oldest_commit = now
            self._news = True
            self._newest_commit = now
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # --- waiting for it ---------------------------------------------------------------------------

    def barrier(self, timeout_s: float | None, progress: Callable[[QueueStatus], None]) -> bool:
        """Waits until all that was committed before the call is on Discord; False at the timeout.
        `progress` is called about four times a second."""
        target = self._index.ledger.last_commit()
        deadline = None if timeout_s is None else self._monotonic() + timeout_s
        with self._changed:
            self._barriers += 1
            self._changed.notify_all()
        try:
            while self._index.ledger.oldest_waiting() <= target or self._unfinished:
                if self._stopping.is_set() or (deadline is not None and self._monotonic() >= deadline):
                    return False
                progress(self.status())
                with self._changed:
                    self._changed.wait(timeout=0.25)
            return True
        finally:
            with self._changed:
                self._barriers -= 1

    def status(self) -> QueueStatus:
        return self._index.ledger.queue_status()

    # --- gathering --------------------------------------------------------------------------------

    def _gather_for_ever(self) -> None:
        backoff = 0.0
        while not self._stopping.is_set():
            try:
                self._wait_until_due()
                if not self._stopping.is_set():
                    self._gather()
                    backoff = 0.0
            except (DiscordfsError, OSError) as error:
                backoff = self._note_failure("gathering", error, backoff)
                self._stopping.wait(backoff)

    def _wait_until_due(self) -> None:
        with self._changed:
            while not self._stopping.is_set() and not (self._under_way < self._parallel and self._is_due()):
                self._changed.wait(timeout=0.25 if self._has_staged() else None)

    def _has_staged(self) -> bool:
        return self._index.ledger.staged_bytes > 0

    def _is_due(self) -> bool:
        if self._staging.is_pressed():
            return True
        if not self._has_staged():
            return False
        now = self._monotonic()
        return (
            self._barriers > 0
            or self._index.ledger.staged_bytes >= self._triggers.bytes
            or now - self._newest_commit >= self._triggers.quiet_s
            or now - self._oldest_commit >= self._triggers.age_s
        )

    def _gather(self) -> None:
        """One chunk's worth goes out."""
        if self._staging.is_pressed():
            self._settle()
        with self._changed:
            self._news = False
        job = self._seal() if self._has_staged() else None
        if job is not None:
            self._dispatch(job)
        else:
            self._stopping.wait(0.05)

    def _seal(self) -> _Job | None:
        """Seals the oldest staged extents and notes the intent; None when there were none. Staging is
        held, so that an extent overwritten meanwhile can still be read."""
        ledger = self._index.ledger
        with self._staging.hold():
            pieces = ledger.queued(_GATHER_BYTES, _MOST_PIECES)
            if not pieces:
                return None
            sealed = self._chunks.seal(pieces, self._staging.read, self._outbox)
        channel = self._least_busy_channel()
        now = self._clock()
        chunk = ledger.intend(sealed, channel, now)
        return _Job(chunk, sealed, channel, now, may_have_landed=False)

    def _least_busy_channel(self) -> int:
        with self._changed:
            return min(self._channels, key=lambda channel: (self._in_flight[channel], self._used[channel]))

    # --- posting ----------------------------------------------------------------------------------

    def _dispatch(self, job: _Job) -> None:
        with self._changed:
            self._under_way += 1
            self._in_flight[job.channel] += 1
            self._used[job.channel] += 1
        self._posters.submit(self._run, job)

    def _run(self, job: _Job) -> None:
        try:
            self._post_until_landed(job)
        finally:
            with self._changed:
                self._under_way -= 1
                self._in_flight[job.channel] -= 1
                self._changed.notify_all()

    def _post_until_landed(self, job: _Job) -> None:
        may_have_landed, backoff = job.may_have_landed, 0.0
        doing = f"uploading to channel {job.channel}"
        while not self._stopping.is_set():
            try:
                ref = self._find(job) if may_have_landed else None
                self._finish(job, ref or self._chunks.post(job.sealed, job.channel))
                return
            except (DiscordfsError, OSError) as error:
                may_have_landed = may_have_landed or isinstance(error, OutcomeUnknown | TimedOut)
                backoff = self._note_failure(doing, error, backoff)
            except Exception as error:
                log.exception("%s failed in a way that nobody foresaw", doing)
                may_have_landed, backoff = True, self._note_failure(doing, error, _LONGEST_BACKOFF_S)
            self._stopping.wait(backoff)

    def _find(self, job: _Job) -> ChunkRef | None:
        return self._chunks.find(job.sealed, job.channel, job.sealed_ns)

    def _finish(self, job: _Job, ref: ChunkRef) -> None:
        """References after data: the index first, then whoever has the file open, then staging."""
        self.is_working = True
        self._chunks.seed(job.sealed)
        with self._finishing():
            inodes, released = self._index.ledger.landed(job.chunk, ref)
            self._landed(inodes)
            self._staging.release(released)
            job.sealed.path.unlink(missing_ok=True)

    @contextmanager
    def _finishing(self) -> Iterator[None]:
        """What a barrier waits for beside the index: that staging has been freed as well."""
        with self._changed:
            self._unfinished += 1
        try:
            yield
        finally:
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()

    def _note_failure(self, doing: str, error: Exception, backoff: float) -> float:
        """Says it once in the log and in `status`; returns how long to wait (seconds)."""
        self.is_working = False
        text = f"{doing}: {error or type(error).__name__}"
        if not self.errors or self.errors[-1] != text:
            self.errors.append(text)
            log.warning("%s", text)
        return min(_LONGEST_BACKOFF_S, max(1.0, backoff * 2))

    # --- after a restart --------------------------------------------------------------------------

    def _clear_outbox(self, intents: Iterable[Intent]) -> None:
        """Sealed bytes that no intent names were never posted: they are sealed again from staging."""
        wanted = {_sealed_name(intent.uid) for intent in intents}
        for path in self._outbox.iterdir():
            if path.name not in wanted:
                path.unlink()

    def _resume(self, intent: Intent) -> None:
        path = self._outbox / _sealed_name(intent.uid)
        try:
            sealed = self._chunks.reopen(path)
        except (OSError, Damaged, FormatError) as error:
            log.warning("%s cannot be used (%s): its files are sealed anew", path, error)
            self._index.ledger.unseal(intent.id)
            return
        self._dispatch(_Job(intent.id, sealed, intent.channel, intent.sealed_ns, may_have_landed=True))


def _sealed_name(uid: bytes) -> str:
    return f"{uid.hex()}.chunk"
