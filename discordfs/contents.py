"""The bytes of inodes in use, from wherever they lie: staging, the cache, Discord.

Job: look up a range's extents, fetch what they hold, with zeros between them; look again where bytes have
moved meanwhile (to Discord, to another chunk, or in another writer's newest record); read ahead. Limits: a
range is looked up a few times at most. Errors: those of staging and chunks; Damaged where bytes are nowhere.
Threading: any thread; a node's lock is held for the lookup only, never while anything is fetched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Damaged, RemoteGone
from discordfs.model import Extent, Home
from discordfs.node import Node
from discordfs.nodes import NodeTable
from discordfs.readahead import Readahead
from discordfs.staging import Moved, Staging

log = logging.getLogger(__name__)

_TRIES = 8


class Contents:
    """Reads for the drive. `cancelled` and `refresh` as the drive has them."""

    def __init__(
        self,
        staging: Staging,
        chunks: ChunkStore,
        nodes: NodeTable,
        cancelled: Callable[[], bool],
        refresh: Callable[[], None] | None,
    ) -> None:
        self._staging, self._chunks, self._nodes = staging, chunks, nodes
        self._cancelled, self._refresh = cancelled, refresh

    def read(self, node: Node, size: int, offset: int) -> bytes | memoryview:
        """At most `size` bytes; fewer only at the end of the file."""
        for _ in range(_TRIES):
            with node.lock:
                extents = node.extents()
                end = min(offset + size, node.size)
                found = extents.find(offset, end) if offset < end else []
            try:
                return self._assemble(node, found, offset, max(offset, end))
            except Moved:
                self._nodes.reload([node.ino])
            except (RemoteGone, Damaged):
                if not self._has_moved(node, found, offset, end):
                    raise
        raise Damaged(f"inode {node.ino}: its staged bytes are gone, and no chunk has them")

    def _has_moved(self, node: Node, found: list[Extent], start: int, end: int) -> bool:
        """Whether bytes whose chunk is gone lie elsewhere by now: looked up anew."""
        if self._refresh is not None:
            self._refresh()
        self._nodes.reload([node.ino])
        with node.lock:
            return node.extents().find(start, end) != found

    def _assemble(self, node: Node, found: list[Extent], start: int, end: int) -> bytes | memoryview:
        """The bytes of [start, end): what the extents that overlap it hold, and zeros between them."""
        if len(found) == 1 and found[0].offset <= start and end <= found[0].end:
            return self._fetch(node, found[0], start, end)
        data = bytearray(end - start)
        for extent in found:
            first, last = max(start, extent.offset), min(end, extent.end)
            data[first - start : last - start] = self._fetch(node, extent, first, last)
        return bytes(data)

    def _fetch(self, node: Node, extent: Extent, start: int, end: int) -> bytes | memoryview:
        """The file's bytes [start, end), all within the extent."""
        skip = start - extent.offset
        if extent.home is not Home.REMOTE:
            return self._staging.read(extent.segment, extent.segment_position + skip, end - start)
        chunk = node.chunk(extent.chunk)
        return self._chunks.read(chunk, extent.chunk_position + skip, end - start, self._cancelled)

    def read_ahead(self, node: Node, readahead: Readahead, start: int, end: int) -> None:
        """After a read of [start, end): asks for what the reader is going to want."""
        wanted = readahead.next_range(start, end)
        if wanted is None:
            return
        with node.lock:
            parts = node.extents().slice(*wanted)
        for part in parts:
            if part.home is Home.REMOTE:
                self._prefetch(node, part)

    def _prefetch(self, node: Node, part: Extent) -> None:
        try:
            chunk = node.chunk(part.chunk)
        except Damaged as error:  # looked up in the meantime: whoever reads it looks again
            log.debug("nothing is read ahead: %s", error)
            return
        self._chunks.prefetch(chunk, part.chunk_position, part.length)
