"""Bytes that Discord lost, taken from where they still are: staging, the disk cache, the rest of the chunk.

Job: what a damaged or missing chunk held is staged anew, block by block, by the ordinary way of gc's moves,
and so gets into another chunk. What nobody has stays as it is: reading just that fails. Limits: never more
staged at once than `room` allows. Errors: what the uploader raises while it makes room. Threading: one
thread; asks Discord, so no lock may be held.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Protocol

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Damaged, Interrupted, NoEntry, RemoteGone
from discordfs.fsck import lost
from discordfs.fsck.findings import Heal
from discordfs.index import Index
from discordfs.model import BLOCK_SIZE, ChunkRef


class Mover(Protocol):
    """What healing asks of a drive."""

    def relocate(self, ino: int, start: int, end: int, cancelled: Callable[[], bool]) -> int:
        """As fs.Drive."""


class Healer:
    """Heals chunks of one drive. `room`: bytes that may be staged now; `flush` waits until what was staged is
    on Discord; `cancelled` whether to stop."""

    def __init__(
        self,
        index: Index,
        chunks: ChunkStore,
        drive: Mover,
        room: Callable[[], int],
        flush: Callable[[], None],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._index, self._chunks, self._drive = index, chunks, drive
        self._room, self._flush, self._cancelled = room, flush, cancelled

    def heal(self, fault: Heal) -> int:
        """Bytes that were staged anew. Raises Interrupted, and Discord's answers that say nothing of the
        chunk."""
        self._index.repair(lambda connection: _unseal(connection, fault.chunk))
        try:
            ref = self._index.ledger.chunk(fault.chunk)
        except Damaged:  # nothing of it is left but what staging had
            return 0
        return sum(
            self._move(fault.chunk, ref, position, end, fault.is_there)
            for position, end in _blocks(ref, fault)
        )

    def _move(self, chunk: int, ref: ChunkRef, position: int, end: int, is_there: bool) -> int:
        if not is_there and self._chunks.cached_only_read(ref, position, end - position) is None:
            return 0
        moved = 0
        for stretch in self._index.upkeep.lying_in(chunk, position, end - position):
            if self._cancelled():
                raise Interrupted("fsck was given up; what it mended stands")
            if self._room() < BLOCK_SIZE:
                self._flush()
            try:
                moved += self._drive.relocate(stretch.ino, stretch.start, stretch.end, self._cancelled)
            except (NoEntry, Damaged, RemoteGone):
                continue
        return moved


def _blocks(ref: ChunkRef, fault: Heal) -> Iterator[tuple[int, int]]:
    """The blocks of the chunk that hold anything of what is at fault: (position, end) in its plaintext."""
    numbers = {
        number
        for position, length in fault.ranges
        for number in range(position // BLOCK_SIZE, -(-(position + length) // BLOCK_SIZE))
    }
    for number in sorted(numbers):
        yield number * BLOCK_SIZE, min(ref.plain_size, (number + 1) * BLOCK_SIZE)


def _unseal(connection: sqlite3.Connection, chunk: int) -> None:
    """What staging holds of a chunk that no record is about to name is sealed anew."""
    row = connection.execute("SELECT record FROM chunks WHERE id = ?", (chunk,)).fetchone()
    if row is None or row[0]:
        return
    lost.unseal(connection, chunk)
    connection.execute(
        "DELETE FROM chunks WHERE id = ?1 "
        "AND NOT EXISTS (SELECT 1 FROM extents WHERE chunk = ?1 AND home > 0)",
        (chunk,),
    )
