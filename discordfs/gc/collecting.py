"""Deleting what was condemned, once the grace time is over.

Job: messages that a settled record condemned longer than the grace ago, by Discord's clock, are deleted,
batch by batch, oldest first. Immediately before each batch the log is listed again: only a writer to whom
nothing there speaks against deletes. Limits: a batch at a time, so that an end costs little. A message that
is gone already counts as deleted; the tables forget it after that. Threading: one thread; asks Discord.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Forbidden, RemoteGone
from discordfs.fold import CLAIM_LIFETIME_S
from discordfs.garbage import Batch
from discordfs.logbook import Logbook
from discordfs.logreading import LogReader

log = logging.getLogger(__name__)

LOG_GRACE_S = 1.5 * CLAIM_LIFETIME_S
"""Seconds that condemned messages of the log stay at least: who takes a volume over still reads them."""

_BATCH = 100


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted (`bytes` as far as they are known), and sentences about what could not be."""

    messages: int = 0
    bytes: int = 0
    troubles: tuple[str, ...] = ()


class Collector:
    """Deletes condemned messages of one volume after `grace_s` seconds. `reader` is its own."""

    def __init__(self, chunks: ChunkStore, reader: LogReader, book: Logbook, grace_s: float) -> None:
        self._chunks, self._reader, self._book = chunks, reader, book
        self._grace_ns = int(grace_s * 1e9)
        self._log_grace_ns = max(self._grace_ns, int(LOG_GRACE_S * 1e9))

    def due(self) -> tuple[int, int]:
        """Messages and bytes whose grace is over, as far as can be told without asking Discord."""
        now = self._chunks.now_ns()
        return self._book.garbage.due(now - self._grace_ns, now - self._log_grace_ns)

    def collect(self, cancelled: Callable[[], bool]) -> Deleted:
        """Deletes all whose grace is over, until `cancelled`. Raises Unavailable and Discord's other
        answers; a channel where the bot may not delete is left out, and told in `troubles`."""
        messages = size = 0
        refused: dict[int, str] = {}
        while not cancelled() and self.due()[0] and self._may_delete():
            batch = self._next_batch(refused)
            if batch is None:
                break
            if trouble := self._delete(batch):
                refused[batch.channel] = trouble
                continue
            messages, size = messages + len(batch.messages), size + batch.bytes
        return Deleted(messages, size, (*refused.values(), *self._contradictions()))

    def _may_delete(self) -> bool:
        """Whether the log, listed now, says that we are the writer and nobody is about to become it."""
        look = self._reader.look(self._book.state())
        fold, me = look.fold, self._book.me
        return fold.state().owner == me and fold.may_post(me) and fold.gap is None and not look.unreadable

    def _next_batch(self, refused: dict[int, str]) -> Batch | None:
        now = self._chunks.now_ns()  # after an answer: Discord's
        return self._book.garbage.next_batch(
            now - self._grace_ns, now - self._log_grace_ns, _BATCH, without=refused
        )

    def _delete(self, batch: Batch) -> str:
        """A sentence where it may not."""
        try:
            self._chunks.delete(batch.channel, batch.messages)
        except Forbidden as error:
            return f"channel {batch.channel}: the bot may not delete what it posted there: {error}"
        except RemoteGone:
            log.info("channel %d is gone, and with it %d messages", batch.channel, len(batch.messages))
        self._book.garbage.deleted(batch.channel, batch.messages)
        return ""

    def _contradictions(self) -> list[str]:
        return [
            f"message {message} in channel {channel} is condemned, but something refers to it: it stays; "
            "'discordfs fsck' looks for the reason"
            for channel, message in self._book.garbage.contradictions()
        ]
