"""A clip's bytes, by ranges: from the mount's block cache, or of Discord by one request for all neighbours
(flights.py).

Links are the message store's affair: it finds and renews them. What Discord sends of a clip has no seal of
ours: transport and length are what vouches for it; what lies on disk is sealed.
Errors: Unavailable, RemoteGone (message or attachment deleted), other answers of Discord's, Interrupted.
Threading: any thread but the loop's.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future

from cachetools import LRUCache

from discordfs.cache import BlockCache
from discordfs.clipping.blocks import CLIP_BLOCK, ClipBlocks, Place
from discordfs.flights import Cancelled, Claim, Fetcher
from discordfs.keys import VolumeKeys
from discordfs.model import RandomBytes
from discordfs.remote.base import MessageStore
from discordfs.remote.loop import Loop

PREFETCH_BLOCKS = 768
PREFETCH_RUN = 32

FIRST = 64 * 1024
SHARE = 0.25
LONGEST = 16 * 1024**2
"""How far a clip is read ahead, in bytes; see Playing."""

_TOLERANCE = FIRST  # bytes that a read may be out of order
_JOINED = 256 * 1024  # bytes that are asked for together with what is waited for
_VIEWS = 256  # clips whose key and offsets are kept ready
_UNWRITTEN = 1024  # blocks that came and are not on disk yet; beyond that a slow disk is not waited for


class ClipReader(Fetcher[ClipBlocks]):
    """Reads clips. `cancelled` is asked, by whoever waits, whether its program was interrupted."""

    def __init__(
        self,
        store: MessageStore,
        loop: Loop,
        cache: BlockCache,
        keys: VolumeKeys,
        volume: bytes,
        *,
        random_bytes: RandomBytes,
        cancelled: Cancelled,
        read_timeout: float = 60.0,
    ) -> None:
        super().__init__(
            cache,
            read_timeout,
            name="discordfs-clips",
            takers=1,
            prefetched=PREFETCH_BLOCKS,
            run=PREFETCH_RUN,
            unwritten=_UNWRITTEN,
        )
        self._store, self._loop = store, loop
        self._keys, self._volume, self._random_bytes = keys, volume, random_bytes
        self._cancelled = cancelled
        self._views: LRUCache[Place, ClipBlocks] = LRUCache(_VIEWS)
        self._views_guard = threading.Lock()

    def read(self, place: Place, start: int, length: int, ahead: int = 0) -> bytes:
        """Bytes [start, start + length) of the clip, fewer only at its end. What is missing before `ahead`
        is asked for along with them, and not waited for. Raises as the module says."""
        end = min(start + length, place.size)
        if end <= start:
            return b""
        first, last = start // CLIP_BLOCK, (end - 1) // CLIP_BLOCK
        also = _whole_before(place, ahead)
        joined = b"".join(self.fetch(self._view(place), first, last, self._cancelled, also))
        base = first * CLIP_BLOCK
        return joined if end - start == len(joined) else joined[start - base : end - base]

    def prefetch(self, place: Place, start: int, end: int) -> None:
        """Asks for the blocks that end in [start, end), in the background, as far as there is room for more
        on their way. Never raises: what fails here fails again, and says so, when it is read."""
        self.prefetch_blocks(self._view(place), range(start // CLIP_BLOCK, _whole_before(place, end)))

    # --- how they are asked for, and taken in -----------------------------------------------------------

    def _ask(self, blocks: ClipBlocks, run: range) -> Future[bytes]:
        place, (start, length) = blocks.place, blocks.span(run)
        return self._loop.submit(self._store.read(place.channel, place.message, place.clip, start, length))

    def _take(self, claim: Claim[ClipBlocks], run: range, data: memoryview, attempt: int) -> None:
        """Handed out as it came, and sealed for the disk."""
        blocks = claim.blocks
        plain = [bytes(data[at : at + CLIP_BLOCK]) for at in range(0, len(data), CLIP_BLOCK)]
        for number, block in zip(run, plain, strict=True):
            self._cache.land(claim.key(number), claim.flights[number], block)
        self._keep(blocks, run, lambda: b"".join(map(blocks.seal, run, plain)))

    def _view(self, place: Place) -> ClipBlocks:
        with self._views_guard:
            view = self._views.get(place)
        if view is None:
            view = ClipBlocks(place, self._keys, self._volume, self._random_bytes)
            with self._views_guard:
                self._views[place] = view
        return view


def _whole_before(place: Place, end: int) -> int:
    """How many blocks lie wholly before `end`; the last one, which is short, does at the clip's end."""
    return end // CLIP_BLOCK if end < place.size else -(-place.size // CLIP_BLOCK)


class Playing:
    """A clip that is open: reads of it, and what comes ahead of them.

    A jump asks for FIRST bytes, enough to tell whether more will be read; from then on at most SHARE of what
    was read since the jump is asked for ahead. So a video that is jumped about in costs little for nothing,
    and one that is played through soon comes in large pieces. Threading: a race between readers of one handle
    makes a worse guess, never a wrong read; so no lock."""

    __slots__ = ("_asked_until", "_expected", "_place", "_reader", "_run")

    def __init__(self, reader: ClipReader, place: Place) -> None:
        self._reader = reader
        self._place = place
        self._expected = -1
        self._run = 0
        self._asked_until = 0

    def read(self, size: int, offset: int) -> bytes:
        """As ClipReader.read."""
        end = min(offset + size, self._place.size)
        until = self._ahead_of(offset, end)
        if until - end <= _JOINED:
            return self._reader.read(self._place, offset, size, until)
        own = -(-end // CLIP_BLOCK) * CLIP_BLOCK  # the read brings these itself
        self._reader.prefetch(self._place, own, until)
        return self._reader.read(self._place, offset, size)

    def _ahead_of(self, start: int, end: int) -> int:
        """Until where to ask now; not beyond `end` when there is no need."""
        is_jump = self._expected < 0 or abs(start - self._expected) > _TOLERANCE
        self._expected = end
        if is_jump:
            self._run, self._asked_until = end - start, max(end, start + FIRST)
            return self._asked_until
        self._run += end - start
        window = min(LONGEST, int(self._run * SHARE))
        if end + window // 2 <= self._asked_until:
            return end
        self._asked_until = end + window
        return self._asked_until
