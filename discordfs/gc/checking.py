"""Reading back what is on Discord, chunk by chunk, and mending what the cache still has.

Job: a chunk is read whole, past the cache, and compared with its seals and its footer's hashes; what is wrong
is noted in the index and told by file. Blocks that Discord has damaged or lost are sent anew, as far as the
cache holds them; bytes that were sealed wrongly are only told, as a copy of them is no better. Limits: a
chunk on the disk, when there is damage. Threading: one thread; asks Discord.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Damaged, NoEntry, RemoteGone
from discordfs.fs import Drive
from discordfs.index import Index
from discordfs.model import BLOCK_SIZE, ChunkRef
from discordfs.upkeep import Stretch

log = logging.getLogger(__name__)

Ranges = Sequence[tuple[int, int]]
_NAMED = 10


class Checker:
    """Checks chunks of one drive. `outbox`: a directory for a copy of a damaged chunk; `room`: bytes that may
    be staged now; `flush` waits until what was staged is on Discord."""

    def __init__(
        self,
        *,
        index: Index,
        chunks: ChunkStore,
        drive: Drive,
        outbox: Path,
        room: Callable[[], int],
        flush: Callable[[Callable[[], bool]], None],
    ) -> None:
        self._index, self._chunks, self._drive = index, chunks, drive
        self._copy = outbox / "checked.copy"
        self._room, self._flush = room, flush

    def check(self, chunk: int, cancelled: Callable[[], bool]) -> int:
        """Checks one chunk (its row's id), and mends what can be; bytes that were sent anew. Raises
        Unavailable and Discord's other answers: then nothing is known."""
        ref = self._index.ledger.chunk(chunk)
        try:
            damaged = self._chunks.verify(ref)
        except Damaged as error:
            return self._renew(chunk, error, cancelled)
        is_in_use = self._index.upkeep.checked(chunk, self._chunks.now_ns(), damaged)
        return self._mend(chunk, ref, damaged, cancelled) if is_in_use and damaged else 0

    def _renew(self, chunk: int, error: Damaged, cancelled: Callable[[], bool]) -> int:
        """All can be read but the chunk's end, which recovery needs: its bytes go into another."""
        log.warning("%s; what is in it is sent anew", error)
        self._index.upkeep.checked(chunk, self._chunks.now_ns(), ())
        return self._move(self._index.upkeep.stretches_in([chunk]), BLOCK_SIZE, cancelled)

    def _mend(self, chunk: int, ref: ChunkRef, damaged: Ranges, cancelled: Callable[[], bool]) -> int:
        unopened = self._unopened(ref)
        if not all(_is_within(each, unopened) for each in damaged):
            log.error("chunk %s holds other bytes than were hashed when it was sealed", ref.uid.hex())
        mended = sum(
            self._move(self._index.upkeep.lying_in(chunk, position, BLOCK_SIZE), BLOCK_SIZE, cancelled)
            for start, length in unopened
            for position in range(start, start + length, BLOCK_SIZE)
        )
        self._tell(chunk, ref, mended)
        return mended

    def _tell(self, chunk: int, ref: ChunkRef, mended: int) -> None:
        paths = self._index.upkeep.damaged_files(chunk)
        log.log(
            logging.ERROR if paths else logging.WARNING,
            "message %d in channel %d is damaged or gone: %d bytes were sent anew from the cache; %s",
            ref.message,
            ref.channel,
            mended,
            f"these files have lost bytes: {_named(paths)}" if paths else "nothing is lost",
        )

    def _unopened(self, ref: ChunkRef) -> Ranges:
        """What of the chunk as Discord has it does not open."""
        try:
            return self._chunks.download(ref, self._copy)
        except (Damaged, RemoteGone) as error:
            log.info("chunk %s: %s", ref.uid.hex(), error)
            return [(0, ref.plain_size)]
        finally:
            self._copy.unlink(missing_ok=True)

    def _move(self, stretches: Iterable[Stretch], step: int, cancelled: Callable[[], bool]) -> int:
        moved = 0
        for stretch in chain.from_iterable(each.steps(step) for each in stretches):
            if cancelled():
                break
            if self._room() < step:
                self._flush(cancelled)
            try:
                moved += self._drive.relocate(stretch.ino, stretch.start, stretch.end, cancelled)
            except (NoEntry, Damaged, RemoteGone) as error:
                log.info("inode %d at %d: %s", stretch.ino, stretch.start, error)
        return moved


def _is_within(part: tuple[int, int], ranges: Ranges) -> bool:
    return any(start <= part[0] and part[0] + part[1] <= start + length for start, length in ranges)


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more
