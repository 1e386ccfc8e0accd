"""Blocks of chunks out of messages, through the cache (flights.py). A block that does not open is asked for
once more, then it is Damaged.

Threading: any thread but the loop's; two workers open what Discord sends.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future

from cachetools import LRUCache

from discordfs.cache import BlockCache
from discordfs.chunks.view import View, view_of
from discordfs.errors import Damaged, Unavailable
from discordfs.flights import Cancelled, Claim, Fetcher
from discordfs.keys import VolumeKeys
from discordfs.model import ChunkRef
from discordfs.remote.base import MessageStore
from discordfs.remote.loop import Loop

PREFETCH_BLOCKS = 96
PREFETCH_RUN = 8
_OPENERS = 2  # threads that open what Discord sent
_UNWRITTEN_BLOCKS = 256  # fetched and not yet in the disk cache; beyond that a slow disk is not waited for
_VIEWS = 256  # chunks whose key and offsets are kept ready
_log = logging.getLogger(__name__)


class BlockFetcher(Fetcher[View]):
    """Opened blocks of chunks, from RAM, disk or Discord."""

    def __init__(
        self,
        store: MessageStore,
        loop: Loop,
        cache: BlockCache,
        keys: VolumeKeys,
        volume: bytes,
        read_timeout: float,
    ) -> None:
        super().__init__(
            cache,
            read_timeout,
            name="discordfs",
            takers=_OPENERS,
            prefetched=PREFETCH_BLOCKS,
            run=PREFETCH_RUN,
            unwritten=_UNWRITTEN_BLOCKS,
        )
        self._store, self._loop = store, loop
        self._keys, self._volume = keys, volume
        self._views: LRUCache[tuple[bytes, int], View] = LRUCache(_VIEWS)
        self._views_guard = threading.Lock()

    def blocks(self, chunk: ChunkRef, first: int, last: int, cancelled: Cancelled) -> list[bytes]:
        """Blocks `first` to `last`, opened. Raises Unavailable, RemoteGone and other answers of Discord's,
        Damaged, Interrupted."""
        view = self._view(chunk)
        if not 0 <= first <= last < len(view.offsets) - 1:
            raise Damaged(f"chunk {chunk.uid.hex()} has no blocks {first} to {last}: the index is wrong")
        return self.fetch(view, first, last, cancelled)

    def kept(self, chunk: ChunkRef, first: int, last: int) -> list[bytes] | None:
        """Blocks `first` to `last` from RAM and disk alone, opened; None unless all are there."""
        view = self._view(chunk)
        found = {n: block for n in range(first, last + 1) if (block := self._cache.get((chunk.uid, n)))}
        missing = (number for number in range(first, last + 1) if number not in found)
        for run in view.runs(missing, PREFETCH_RUN):
            for number, sealed in zip(run, self._cache.load(chunk.uid, run, view.offsets), strict=True):
                block = self._open_kept(view, number, sealed) if sealed is not None else None
                if block is None:
                    return None
                found[number] = block
        return [found[number] for number in range(first, last + 1)]

    def prefetch(self, chunk: ChunkRef, first: int, last: int) -> None:
        """Asks for blocks that RAM does not hold, as far as there is room for more on their way. Raises
        nothing about them: whoever reads them hears it."""
        view = self._view(chunk)
        self.prefetch_blocks(view, range(max(first, 0), min(last + 1, len(view.offsets) - 1)))

    def close(self) -> None:
        """Ends the workers; whoever still waits gets Unavailable."""
        super().close()
        self._cache.abandon(Unavailable("the drive is being closed"))

    # --- how they are asked for, and taken in -----------------------------------------------------------

    def _ask(self, view: View, run: range) -> Future[bytes]:
        span, chunk = view.span(run), view.chunk
        return self._loop.submit(
            self._store.read(chunk.channel, chunk.message, span.attachment, span.start, span.length)
        )

    def _take(self, claim: Claim[View], run: range, data: memoryview, attempt: int) -> None:
        """Opened, handed out, kept; what does not open is asked for once more."""
        view, chunk = claim.blocks, claim.blocks.chunk
        base = view.offsets[run.start]
        damaged = [number for number in run if not self._accept(claim, base, number, data)]
        for part in view.runs((number for number in run if number not in damaged), len(run)):
            sealed = data[view.offsets[part.start] - base : view.offsets[part.stop] - base]
            self._keep(view, part, lambda sealed=sealed: sealed)  # type: ignore[misc]
        if not damaged:
            return
        if attempt > 1:
            text = f"block {damaged[0]} of chunk {chunk.uid.hex()} (message {chunk.message})"
            raise Damaged(f"{text} is not what was sealed, twice")
        _log.warning("blocks %s of chunk %s came damaged: once more", damaged, chunk.uid.hex())
        for part in view.runs(damaged, len(run)):
            self._request(claim, part, attempt + 1)

    def _accept(self, claim: Claim[View], base: int, number: int, data: memoryview) -> bool:
        view = claim.blocks
        begin = view.offsets[number] - base
        try:
            block = view.open(number, data[begin : begin + view.length(number)])
        except Damaged:
            return False
        self._cache.land(claim.key(number), claim.flights[number], block)
        return True

    # --- chunks made ready ------------------------------------------------------------------------------

    def _view(self, chunk: ChunkRef) -> View:
        key = (chunk.uid, chunk.message)
        with self._views_guard:
            view = self._views.get(key)
        if view is None:
            view = view_of(chunk, self._keys, self._volume)
            with self._views_guard:
                self._views[key] = view
        return view
