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
_RUN = 512  # blocks of one request, at most
_VIEWS = 256  # clips whose key and offsets are kept ready
_UNWRITTEN = 1024  # blocks that came and are not on disk yet; beyond that a slow disk is not waited for
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

    def read(self, place: Place, start: int, length: int, ahead: int = 0) -> bytes:
        """Bytes [start, start + length) of the clip, fewer only at its end. What is missing before `ahead`
        is asked for along with them, and not waited for. Raises as the module says."""
        end = min(start + length, place.size)
        if end <= start:
            return b""
        first, last = start // CLIP_BLOCK, (end - 1) // CLIP_BLOCK
        joined = b"".join(self._blocks(place, first, last, _whole_before(place, ahead)))
        base = first * CLIP_BLOCK
        return joined if end - start == len(joined) else joined[start - base : end - base]

    def prefetch(self, place: Place, start: int, end: int) -> None:
        """Asks for the blocks that end in [start, end), in the background, as far as there is room for more
        on their way. Never raises: what fails here fails again, and says so, when it is read."""
        claim = _Claim(self._view(place), {})
        for number in range(start // CLIP_BLOCK, _whole_before(place, end)):
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

    def _blocks(self, place: Place, first: int, last: int, stop: int) -> list[bytes]:
        claim = _Claim(self._view(place), {})
        found = [self._get_or_claim(claim, number) for number in range(first, last + 1)]
        for number in range(last + 1, stop):
            self._get_or_claim(claim, number)
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
        plain = [bytes(data[at : at + CLIP_BLOCK]) for at in range(0, len(data), CLIP_BLOCK)]
        for number, block in zip(run, plain, strict=True):
            self._cache.land(claim.key(number), claim.flights[number], block)
        self._keep(claim.blocks, run, plain)

    def _keep(self, blocks: ClipBlocks, run: range, plain: Sequence[bytes]) -> None:
        """Into the disk cache, behind the readers' backs; dropped when the disk does not keep up."""
        taken = sum(self._unwritten.acquire(blocking=False) for _ in run)
        if taken < len(run):
            self._written(taken)
            return
        self._writer.submit(self._write, blocks, run, plain)

    def _write(self, blocks: ClipBlocks, run: range, plain: Sequence[bytes]) -> None:
        try:
            sealed = b"".join(blocks.seal(number, block) for number, block in zip(run, plain, strict=True))
            self._cache.store(blocks.uid, run, blocks.offsets[run.start], sealed)
        finally:
            self._written(len(run))

    def _written(self, blocks: int) -> None:
        for _ in range(blocks):
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
