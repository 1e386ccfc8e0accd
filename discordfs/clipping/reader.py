"""A clip's bytes, by ranges: from the mount's block cache, or of Discord by one request for all neighbours.

A missing block is claimed in the cache's register by the first who wants it and shared by all who wait; what
comes goes into RAM and, sealed, to disk. Links are the message store's affair: it finds and renews them.
What Discord sends of a clip has no seal of ours: transport and length are what vouches for it.

Limits: prefetching has at most PREFETCH_BLOCKS blocks on their way and drops what is more; a wait ends after
`read_timeout` seconds. Errors: Unavailable, RemoteGone (message or attachment deleted), other answers of
Discord's, Interrupted, InvalidArgument never.
Threading: any thread but the loop's. No lock is held while waiting. Workers start with the first use: one
hands out what came, one raises prefetched blocks from disk, one writes to it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from cachetools import LRUCache

from discordfs.cache import BlockCache, BlockKey, Flight
from discordfs.clipping.blocks import CLIP_BLOCK, ClipBlocks, Place, runs_of
from discordfs.errors import Damaged, DiscordfsError, Interrupted, Unavailable
from discordfs.keys import VolumeKeys
from discordfs.model import RandomBytes
from discordfs.readahead import Readahead
from discordfs.remote.base import MessageStore
from discordfs.remote.loop import Loop

PREFETCH_BLOCKS = 160
PREFETCH_RUN = 16
READAHEAD_SHARE = 0.25
"""Of what was read in sequence, so much may be fetched ahead: a jump in a video costs at most that for
nothing."""

_RUN = 128  # blocks of one request, at most
_VIEWS = 256  # clips whose key and offsets are kept ready
_UNWRITTEN = 256  # blocks that came and are not on disk yet; beyond that a slow disk is not waited for
_POLL = 0.25  # seconds between two looks at `cancelled`
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Claim:
    """Blocks of a clip that are ours to bring, each with the flight that others wait for."""

    blocks: ClipBlocks
    flights: dict[int, Flight]

    def key(self, number: int) -> BlockKey:
        return (self.blocks.uid, number)


class ClipReader:
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
        cancelled: Callable[[], bool],
        read_timeout: float = 60.0,
    ) -> None:
        self._store, self._loop, self._cache = store, loop, cache
        self._keys, self._volume, self._random_bytes = keys, volume, random_bytes
        self._cancelled, self._read_timeout = cancelled, read_timeout
        self._views: LRUCache[Place, ClipBlocks] = LRUCache(_VIEWS)
        self._views_guard = threading.Lock()
        self._room = threading.Semaphore(PREFETCH_BLOCKS)
        self._unwritten = threading.Semaphore(_UNWRITTEN)
        self._arrivals = ThreadPoolExecutor(1, thread_name_prefix="discordfs-clips")
        self._raiser = ThreadPoolExecutor(1, thread_name_prefix="discordfs-clips-raise")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="discordfs-clips-cache")

    def read(self, place: Place, start: int, length: int) -> bytes:
        """Bytes [start, start + length) of the clip, fewer only at its end. Raises as the module says."""
        end = min(start + length, place.size)
        if end <= start:
            return b""
        first, last = start // CLIP_BLOCK, (end - 1) // CLIP_BLOCK
        joined = b"".join(self._blocks(place, first, last))
        base = first * CLIP_BLOCK
        return joined if end - start == len(joined) else joined[start - base : end - base]

    def prefetch(self, place: Place, start: int, end: int) -> None:
        """Asks for the blocks that end in [start, end), in the background, as far as there is room for more
        on their way. Never raises: what fails here fails again, and says so, when it is read."""
        stop = end // CLIP_BLOCK if end < place.size else -(-place.size // CLIP_BLOCK)
        claim = _Claim(self._view(place), {})
        for number in range(start // CLIP_BLOCK, stop):
            if self._cache.holds(claim.key(number)):
                continue
            if not self._room.acquire(blocking=False):
                break
            flight, new = self._cache.claim(claim.key(number))
            if new:
                flight.add_done_callback(lambda _: self._room.release())
                claim.flights[number] = flight
            else:
                self._room.release()
        for run in runs_of(claim.flights, PREFETCH_RUN):
            self._hand_over(self._raiser, claim, run, self._start, claim, run)

    def close(self) -> None:
        """Ends the workers; whoever still waits gets Unavailable when the cache is abandoned."""
        self._raiser.shutdown(wait=True, cancel_futures=True)
        self._arrivals.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True)

    # --- claiming and waiting ---------------------------------------------------------------------------

    def _blocks(self, place: Place, first: int, last: int) -> list[bytes]:
        claim = _Claim(self._view(place), {})
        found = [self._get_or_claim(claim, number) for number in range(first, last + 1)]
        if claim.flights:
            self._start(claim, list(claim.flights))
        return [
            block if isinstance(block, bytes) else self._wait(claim.key(number), place, block)
            for number, block in enumerate(found, first)
        ]

    def _get_or_claim(self, claim: _Claim, number: int) -> bytes | Flight:
        block = self._cache.get(claim.key(number))
        if block is not None:
            return block
        flight, new = self._cache.claim(claim.key(number))
        if new:
            claim.flights[number] = flight
        return flight

    def _wait(self, key: BlockKey, place: Place, flight: Flight) -> bytes:
        waited = 0.0
        while not flight.done() and waited < self._read_timeout:
            pause = min(_POLL, self._read_timeout - waited)
            wait([flight], pause)
            waited += pause
            if not flight.done() and self._cancelled():
                raise Interrupted(f"the wait for block {key[1]} of clip {place.clip} was interrupted")
        if not flight.done():
            error = Unavailable(f"Discord gave no answer within {self._read_timeout:g} s")
            self._cache.fail(key, flight, error)
        return flight.result()

    # --- on the way -------------------------------------------------------------------------------------

    def _start(self, claim: _Claim, numbers: Sequence[int]) -> None:
        """Brings claimed blocks on their way. Whatever goes wrong, each flight is landed or failed."""
        try:
            missing = [each for run in runs_of(numbers, _RUN) for each in self._land_kept(claim, run)]
            for run in runs_of(missing, _RUN):
                self._cache.count(misses=len(run))
                self._request(claim, run)
        except BaseException as error:
            self._fail(claim, numbers, error)
            raise

    def _land_kept(self, claim: _Claim, run: range) -> list[int]:
        """Hands out what disk has, or RAM if it landed there just before it was claimed; returns the rest."""
        blocks, missing = claim.blocks, []
        for number, sealed in zip(run, self._cache.load(blocks.uid, run, blocks.offsets), strict=True):
            key = claim.key(number)
            block = self._cache.get(key) or (self._open_kept(claim, number, sealed) if sealed else None)
            if block is None:
                missing.append(number)
            else:
                self._cache.land(key, claim.flights[number], block)
        return missing

    def _open_kept(self, claim: _Claim, number: int, sealed: memoryview) -> bytes | None:
        try:
            block = claim.blocks.open(number, sealed)
        except Damaged as error:
            if self._cache.drop(claim.key(number)):
                _log.warning("the cache had a damaged block, it is fetched anew: %s", error)
            return None
        self._cache.count(hits=1)
        return block

    def _request(self, claim: _Claim, run: range) -> None:
        place = claim.blocks.place
        start, length = claim.blocks.span(run)
        future = self._loop.submit(self._store.read(place.channel, place.message, place.clip, start, length))
        future.add_done_callback(
            lambda done: self._hand_over(self._arrivals, claim, run, self._arrived, claim, run, done)
        )

    def _hand_over(
        self,
        workers: ThreadPoolExecutor,
        claim: _Claim,
        run: range,
        work: Callable[..., None],
        *arguments: object,
    ) -> None:
        """To a worker; once there are none any more the flights of the run fail."""
        try:
            workers.submit(self._guarded, claim, run, work, *arguments)
        except RuntimeError:  # shut down
            self._fail(claim, run, Unavailable("the drive is being closed"))

    def _guarded(self, claim: _Claim, run: range, work: Callable[..., None], *arguments: object) -> None:
        """Whatever a worker meets, nobody waits for a flight that will not come."""
        try:
            work(*arguments)
        except DiscordfsError as error:
            self._fail(claim, run, error)  # who waits for the block says it
        except BaseException as error:
            _log.exception("bringing blocks of clip %d failed", claim.blocks.place.clip)
            self._fail(claim, run, error)
            raise

    def _arrived(self, claim: _Claim, run: range, done: Future[bytes]) -> None:
        """The answer to a request: handed out, and kept."""
        try:
            data = memoryview(done.result())
        except CancelledError:
            raise Unavailable("the request for a block was cancelled") from None
        for number in run:
            start = (number - run.start) * CLIP_BLOCK
            block = bytes(data[start : start + claim.blocks.length(number)])
            self._cache.land(claim.key(number), claim.flights[number], block)
            if self._unwritten.acquire(blocking=False):
                self._writer.submit(self._write, claim.blocks, number, block)

    def _write(self, blocks: ClipBlocks, number: int, block: bytes) -> None:
        """Behind the readers' backs."""
        try:
            sealed = blocks.seal(number, block)
            self._cache.store(blocks.uid, range(number, number + 1), blocks.offsets[number], sealed)
        finally:
            self._unwritten.release()

    def _fail(self, claim: _Claim, numbers: Iterable[int], error: BaseException) -> None:
        """Those of the numbers that have not landed yet."""
        for number in numbers:
            self._cache.fail(claim.key(number), claim.flights[number], error)

    def _view(self, place: Place) -> ClipBlocks:
        with self._views_guard:
            view = self._views.get(place)
        if view is None:
            view = ClipBlocks(place, self._keys, self._volume, self._random_bytes)
            with self._views_guard:
                self._views[place] = view
        return view


class Playing:
    """A clip that is open: reads of it, and what comes ahead of them."""

    __slots__ = ("_ahead", "_place", "_reader")

    def __init__(self, reader: ClipReader, place: Place) -> None:
        self._reader = reader
        self._place = place
        self._ahead = Readahead(READAHEAD_SHARE)

    def read(self, size: int, offset: int) -> bytes:
        """As ClipReader.read."""
        end = min(offset + size, self._place.size)
        wanted = self._ahead.next_range(offset, end) if offset < end else None
        if wanted is not None:
            behind = -(-end // CLIP_BLOCK) * CLIP_BLOCK  # the read brings its own blocks
            self._reader.prefetch(self._place, max(wanted[0], behind), wanted[1])
        return self._reader.read(self._place, offset, size)
