"""Moving a file's bytes to another chunk: read from the old one, staged anew, sent by the ordinary way.

Job: what gc does with chunks that are hardly used, and with what a cache still has of damaged ones. Contents,
size and times stay as they are, and so do the open file's. The bytes are read without a lock; they take the
place of the old ones under the inode's lock, only if these are still what the file has, in one transaction.
So a kill at any moment leaves the one or the other. Limits: a stretch is in memory. Threading: any thread but
one that holds a lock; asks Discord.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from discordfs.chunkstore import ChunkStore
from discordfs.extents import ExtentMap
from discordfs.index import Index
from discordfs.ledger import Released
from discordfs.model import Extent, Home
from discordfs.node import Node
from discordfs.nodes import NodeTable
from discordfs.staging import Run, Staging


class Relocator:
    """Moves stretches of the files of one drive."""

    def __init__(self, index: Index, staging: Staging, chunks: ChunkStore, nodes: NodeTable) -> None:
        self._index, self._staging, self._chunks, self._nodes = index, staging, chunks, nodes

    def relocate(self, ino: int, start: int, end: int, cancelled: Callable[[], bool]) -> int:
        """Stages what a file has on Discord within [start, end) anew; bytes moved. 0 when there is nothing,
        somebody is writing the file, or it changed meanwhile.

        Raises NoEntry, Damaged, RemoteGone and Discord's other answers, Interrupted (when `cancelled` says
        so while it waits), NoSpace, OSError: nothing has changed then."""
        node = self._nodes.take(ino)
        try:
            with node.lock:
                found = [] if node.is_changed else node.extents().slice(start, end)
            found = [extent for extent in found if extent.home is Home.REMOTE]
            return self._move(node, found, cancelled) if found else 0
        finally:
            self._nodes.give(node)

    def _move(self, node: Node, found: Sequence[Extent], cancelled: Callable[[], bool]) -> int:
        data = self._read(found, cancelled)
        run, staged = Run(), ExtentMap()
        is_moved = False
        try:
            for offset, run_of_bytes in _runs(found, data):
                self._stage(run, staged, offset, run_of_bytes)
            sums = self._staging.sums(run)
            with node.lock:
                is_moved = node.relocate(found, list(staged), sums)
        finally:
            if not is_moved:
                self._staging.release(Released(extent.segment, extent.length) for extent in staged)
            self._staging.close_run(run)
        return staged.total if is_moved else 0

    def _read(self, found: Sequence[Extent], cancelled: Callable[[], bool]) -> list[bytes | memoryview]:
        places = [(self._index.ledger.chunk(extent.chunk), extent) for extent in found]
        for chunk, extent in places:
            self._chunks.prefetch(chunk, extent.chunk_position, extent.length)
        return [
            self._chunks.read(chunk, extent.chunk_position, extent.length, cancelled)
            for chunk, extent in places
        ]

    def _stage(self, run: Run, staged: ExtentMap, offset: int, data: bytes) -> None:
        for placed in self._staging.write(run, data):
            staged.insert(Extent(offset, placed.length, Home.STAGED, placed.segment, placed.position))
            offset += placed.length


def _runs(extents: Sequence[Extent], data: Sequence[bytes | memoryview]) -> Iterator[tuple[int, bytes]]:
    """Neighbours in the file as one: offset and bytes."""
    begin = end = -1
    held: list[bytes | memoryview] = []
    for extent, piece in zip(extents, data, strict=True):
        if extent.offset != end:
            if held:
                yield begin, b"".join(held)
            begin, held = extent.offset, []
        held.append(piece)
        end = extent.end
    yield begin, b"".join(held)
