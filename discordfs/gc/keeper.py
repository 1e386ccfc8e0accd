"""The housekeeper of a mount: when to delete, to look for strays, to move, to check. The door of this room.

Job: one thread that does one thing at a time, and what `discordfs gc` asks before all else. Deleting goes on
beside everybody's work; the rest waits until nobody has changed anything for some minutes and nothing is
staged, and stops as soon as that ends. With nothing to do it asks Discord nothing.

Limits: MOVED_AN_HOUR, and those of the chores. Errors: what fails is told in `errors` and in the log, and
tried again later. Threading: `step` runs on one thread at a time; all else is for any thread. No lock is held
while Discord is asked.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from discordfs.chunkstore import ChunkStore
from discordfs.errors import DiscordfsError, Interrupted, RateLimited, Unauthorized, Unavailable
from discordfs.fs import Drive
from discordfs.gc.chores import Chores, Cleaned, iso
from discordfs.gc.compacting import Allowance
from discordfs.index import Index
from discordfs.records import VolumeEntry
from discordfs.staging import Staging
from discordfs.uploader import Uploader

log = logging.getLogger(__name__)

TICK_S = 15.0

COLLECT_EVERY_S = 300.0
"""Seconds between two looks for messages whose grace is over: so many of them go by one request."""

MOVED_AN_HOUR = 256 * 1024**2
"""Bytes that an idle mount moves in an hour at most: half a megabit a second, some ten messages."""

_FIRST_COLLECTION_S = 60.0  # the start has other things to do
_BACKOFF_S = (60.0, 6 * 3600.0)
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Habits:
    """How a mount keeps house. `grace_s`: seconds from condemning a message to deleting it; `sweep_every_s`:
    between two looks through the channels (0: only when asked); `check_percent` of the chunks are read back
    in a day; `quiet_s` without a change before anything but deleting begins."""

    grace_s: float = 3600.0
    sweep_every_s: float = 86_400.0
    check_percent: float = 1.0
    quiet_s: float = 180.0
    moved_an_hour: int = MOVED_AN_HOUR


@dataclass(slots=True)
class _Request:
    """`gc`, as a command asked for it."""

    is_dry: bool
    takes_older: bool
    done: threading.Event = field(default_factory=threading.Event)
    is_cancelled: bool = False
    news: Mapping[str, Any] = field(default_factory=dict)
    result: Cleaned | None = None
    error: Exception | None = None

    def tell(self, news: Mapping[str, Any]) -> None:
        self.news = news


class Housekeeper:
    """Keeps house in one drive, from `start` to `stop`. `monotonic` gives seconds."""

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
        habits: Habits,
        monotonic: Callable[[], float],
    ) -> None:
        self._index, self._chunks, self._uploader, self._drive = index, chunks, uploader, drive
        self._habits, self._monotonic = habits, monotonic
        self._chores = Chores(
            index=index,
            staging=staging,
            chunks=chunks,
            uploader=uploader,
            drive=drive,
            volume=volume,
            outbox=outbox,
            grace_s=habits.grace_s,
            monotonic=monotonic,
        )
        self._allowance = Allowance(habits.moved_an_hour, monotonic)
        self._changed = threading.Condition()
        self._requests: deque[_Request] = deque()
        self._is_stopping = False
        self._idle_from = monotonic() + habits.quiet_s
        self._collect_at, self._again_at = monotonic() + _FIRST_COLLECTION_S, monotonic()
        self._backoff = 0.0
        self._condemned_at = self._compacted_at = (-1, -1)
        self._has_crashed = index.upkeep.mark("running") == 1
        self._thread = threading.Thread(target=self._run, name="discordfs-keeper", daemon=True)
        self.errors: deque[str] = deque(maxlen=20)

    # --- its life -------------------------------------------------------------------------------------

    def start(self) -> None:
        self._index.upkeep.set_marks(running=1)
        self._thread.start()

    def stop(self) -> None:
        """What is under way ends at its next step; nothing of it is lost."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        while self._requests:
            self._finish(self._requests.popleft(), Interrupted("the mount ends"))
        self._index.upkeep.set_marks(running=0)

    def _run(self) -> None:
        while not self._is_stopping:
            if self.step():
                continue
            with self._changed:
                if not self._has_other_work():
                    self._changed.wait(TICK_S)

    def step(self) -> bool:
        """Looks what there is to do, and does one thing; whether there was any."""
        if self._requests:
            self._answer(self._requests.popleft())
            return True
        if self._uploader.lost or self._monotonic() < self._again_at:
            return False
        try:
            did = self._collect() or self._keep_house()
            self._backoff = 0.0
            return did
        except Interrupted:
            return False
        except (DiscordfsError, OSError) as error:
            self._note_failure(error)
        except Exception as error:
            log.exception("housekeeping failed in a way that nobody foresaw")
            self._note_failure(error)
        return False

    def _note_failure(self, error: Exception) -> None:
        """That Discord is away is told by whoever uploads."""
        self._backoff = min(_BACKOFF_S[1], max(_BACKOFF_S[0], 2 * self._backoff))
        self._again_at = self._monotonic() + self._backoff
        if isinstance(error, Unavailable | RateLimited | Unauthorized):
            log.info("housekeeping waits: %s", error)
        else:
            self._tell([f"housekeeping: {error or type(error).__name__}"])

    def _tell(self, troubles: Iterable[str]) -> None:
        for text in troubles:
            if text not in self.errors:
                self.errors.append(text)
                log.warning("%s", text)

    # --- by itself ------------------------------------------------------------------------------------

    def _collect(self) -> bool:
        if self._monotonic() < self._collect_at:
            return False
        self._collect_at = self._monotonic() + COLLECT_EVERY_S
        if not self._chores.collector.due()[0]:
            return False
        deleted = self._chores.collector.collect(self._has_other_work)
        self._tell(deleted.troubles)
        if deleted.troubles:
            self._collect_at = self._monotonic() + _BACKOFF_S[1]
        return deleted.messages > 0

    def _keep_house(self) -> bool:
        if self._monotonic() < self._idle_from or self._is_disturbed() or self._is_sending():
            return False
        return self._condemn() or self._sweep() or self._compact() or self._check()

    def _is_sending(self) -> bool:
        ledger = self._index.ledger
        return ledger.staged_bytes + ledger.sealed_bytes > 0

    def _has_other_work(self) -> bool:
        return self._is_stopping or bool(self._requests)

    def _is_disturbed(self) -> bool:
        """Whether what is done in idle hours has to stop."""
        return self._has_other_work() or self._drive.quiet_s() < self._habits.quiet_s

    def _moment(self) -> tuple[int, int]:
        """The same as long as nothing was recorded or is about to be."""
        return self._index.logbook.state().head_seq, self._index.logbook.current_cut()

    def _condemn(self) -> bool:
        """What died without anybody changing the drive is condemned by a record of its own."""
        moment = self._moment()
        if moment == self._condemned_at:
            return False
        self._condemned_at = moment
        if self._index.logbook.garbage.is_any_to_condemn():
            self._uploader.ask_for_record()
        return False

    def _sweep(self) -> bool:
        swept = self._index.upkeep.mark("swept")
        if not swept:
            head = self._index.logbook.state().head_seq
            self._index.upkeep.set_marks(swept=self._chunks.now_ns(), swept_head=head)
        if not self._has_crashed and not self._is_sweep_due(swept):
            return False
        found = self._chores.sweep(self._chores.sweeper.horizon_ns(swept), self._is_disturbed)
        self._has_crashed = self._has_crashed and not found.is_complete
        self._tell(found.troubles)
        return found.is_complete

    def _is_sweep_due(self, swept: int) -> bool:
        """Once in the time that is set, if anything was recorded since."""
        every_ns, since_ns = int(self._habits.sweep_every_s * 1e9), self._chunks.now_ns() - swept
        is_time = swept and every_ns and (since_ns >= every_ns or since_ns < -every_ns)  # a clock was wrong
        return bool(is_time) and self._index.logbook.state().head_seq != self._index.upkeep.mark("swept_head")

    def _compact(self) -> bool:
        moment, compactor = self._moment(), self._chores.compactor
        most = min(compactor.room(), self._allowance.left())
        if moment == self._compacted_at or most < compactor.step:
            return False
        stretches = compactor.plan(is_asked=False)
        if not stretches:
            self._compacted_at = moment
            return False
        moved = compactor.move(stretches, most, self._is_disturbed)
        self._allowance.spend(moved.bytes)
        self._tell(moved.troubles)
        if moved.bytes:
            self._uploader.ask_for_record()
        return moved.bytes > 0

    def _check(self) -> bool:
        upkeep, now = self._index.upkeep, self._chunks.now_ns()
        if not upkeep.is_check_due(now, self._habits.check_percent):
            return False
        chunk = upkeep.next_check(now)
        if chunk is None:
            return False
        if self._chores.checker.check(chunk, self._has_other_work):
            self._uploader.ask_for_record()
        return True

    # --- asked ----------------------------------------------------------------------------------------

    def gc(
        self, arguments: Mapping[str, Any], progress: Callable[[Mapping[str, Any]], None]
    ) -> dict[str, Any]:
        """What `discordfs gc` asks for (`dry_run`, `all`: bool): waits until it is done, and says what that
        was, by the names of chores.Cleaned. Raises what went wrong, and whatever `progress` raises."""
        request = _Request(bool(arguments.get("dry_run")), bool(arguments.get("all")))
        with self._changed:
            if self._is_stopping:
                raise Interrupted("the mount ends")
            self._requests.append(request)
            self._changed.notify_all()
        try:
            while not request.done.wait(_POLL_S):
                progress(request.news)
        finally:
            request.is_cancelled = True
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return asdict(request.result)

    def _answer(self, request: _Request) -> None:
        def cancelled() -> bool:
            return request.is_cancelled or self._is_stopping

        try:
            do = self._chores.look if request.is_dry else self._chores.clean
            request.result = do(cancelled, request.tell, request.takes_older)
            self._finish(request, None)
        except (DiscordfsError, OSError) as error:
            self._finish(request, error)
        except Exception as error:
            log.exception("gc failed in a way that nobody foresaw")
            self._finish(request, error)

    def _finish(self, request: _Request, error: Exception | None) -> None:
        request.error = error
        request.done.set()


def figures(index: Index) -> dict[str, Any]:
    """For `status`: when the oldest chunk was posted, since when each chunk has been read back (ISO 8601 or
    None), bytes that wait to be deleted, and files with lost bytes."""
    oldest, verified = index.upkeep.oldest_chunk_ns(), index.upkeep.mark("verified")
    return {
        "oldest_chunk": None if oldest is None else iso(oldest),
        "last_full_verification": iso(verified) if verified else None,
        "garbage_bytes": index.logbook.garbage.waiting().bytes,
        "damaged_files": index.upkeep.damaged_files(),
    }
