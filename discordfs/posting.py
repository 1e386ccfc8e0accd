"""Sealed chunks on their way to Discord: a pool that posts each until it has landed.

Job: note the intent, post, check, take note of the landing; after a restart, go on. A post whose answer was
lost is looked for in the channel before anything is posted again. What landed is on Discord but not yet
named by any record: staging keeps it (uploader.py, log.py).

Threading: `parallel` posting threads; each waits for Discord with no lock held. `changed` is notified
whenever a chunk has landed.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Damaged, DiscordfsError, FormatError, OutcomeUnknown, TimedOut
from discordfs.ledger import Intent, Ledger
from discordfs.model import ChunkRef, SealedChunk

log = logging.getLogger(__name__)

LONGEST_BACKOFF_S = 60.0

Failed = Callable[[str, Exception, float], float]
"""(what was being done, the failure, the last pause) -> how long to wait now, in seconds."""


@dataclass(frozen=True, slots=True)
class _Job:
    chunk: int
    sealed: SealedChunk
    channel: int
    sealed_ns: int
    may_have_landed: bool


class Poster:
    """Posts chunks to the channels, the least busy first. `outbox`: directory of sealed chunks; `landed` is
    called after each landing."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        chunks: ChunkStore,
        channels: Sequence[int],
        outbox: Path,
        changed: threading.Condition,
        stopping: threading.Event,
        failed: Failed,
        landed: Callable[[], None],
        parallel: int,
    ) -> None:
        self._ledger, self._chunks, self._outbox = ledger, chunks, outbox
        self._channels = tuple(channels)
        self._changed, self._stopping = changed, stopping
        self._failed, self._landed = failed, landed
        self._parallel = parallel
        self._under_way = 0
        self._in_flight: Counter[int] = Counter()
        self._used: Counter[int] = Counter()
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="discordfs-post")

    def resume(self, keep: Iterable[bytes]) -> None:
        """Goes on with what an earlier process left. Sealed bytes that no intent names were never posted:
        they go (but for those in `keep`), and are sealed again from staging."""
        intents = self._ledger.intents()
        wanted = {sealed_name(uid) for uid in (*(intent.uid for intent in intents), *keep)}
        for path in self._outbox.iterdir():
            if path.name not in wanted:
                path.unlink()
        for intent in intents:
            if not intent.record:
                self._resume(intent)

    def _resume(self, intent: Intent) -> None:
        path = self._outbox / sealed_name(intent.uid)
        try:
            sealed = self._chunks.reopen(path)
        except (OSError, Damaged, FormatError) as error:
            log.warning("%s cannot be used (%s): its files are sealed anew", path, error)
            self._ledger.unseal(intent.id)
            return
        self._dispatch(_Job(intent.id, sealed, intent.channel, intent.sealed_ns, may_have_landed=True))

    def send_left_over(self, riders: Collection[int]) -> None:
        """Those of these chunks that were to go with a record, and did not, go by themselves."""
        for intent in self._ledger.intents() if riders else ():
            if intent.id in riders and not intent.record:
                self._resume(intent)

    def has_room(self) -> bool:
        """Whether another chunk would be posted at once. The caller holds `changed`."""
        return self._under_way < self._parallel

    def is_idle(self) -> bool:
        return self._under_way == 0

    def send(self, sealed: SealedChunk) -> int:
        """Notes the intent and has it posted; the chunk's row."""
        with self._changed:
            channel = min(self._channels, key=lambda each: (self._in_flight[each], self._used[each]))
        now = self._chunks.now_ns()
        chunk = self._ledger.intend(sealed, channel, now)
        self._dispatch(_Job(chunk, sealed, channel, now, may_have_landed=False))
        return chunk

    def stop(self) -> None:
        """What is under way goes on at the next start. A post that hangs ends with the transport."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- posting ----------------------------------------------------------------------------------

    def _dispatch(self, job: _Job) -> None:
        with self._changed:
            self._under_way += 1
            self._in_flight[job.channel] += 1
            self._used[job.channel] += 1
        self._pool.submit(self._run, job)

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
                backoff = self._failed(doing, error, backoff)
            except Exception as error:
                log.exception("%s failed in a way that nobody foresaw", doing)
                may_have_landed, backoff = True, self._failed(doing, error, LONGEST_BACKOFF_S)
            self._stopping.wait(backoff)

    def _find(self, job: _Job) -> ChunkRef | None:
        return self._chunks.find(job.sealed, job.channel, job.sealed_ns)

    def _finish(self, job: _Job, ref: ChunkRef) -> None:
        """References after data."""
        self._chunks.seed(job.sealed)
        self._ledger.landed(job.chunk, ref)
        job.sealed.path.unlink(missing_ok=True)
        self._landed()


def sealed_name(uid: bytes) -> str:
    return f"{uid.hex()}.chunk"
