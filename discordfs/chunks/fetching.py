"""Blocks out of messages, through the cache: each fetched by one request, shared by all who wait for it.

The life of a missing block: claimed in the cache's register by the first who wants it; looked for on disk;
adjacent ones of an attachment asked for by one Range request; what comes is opened by a worker, kept, and
handed to everyone who waits. A block that does not open is asked for once more, then it is Damaged.

Limits: prefetching has at most PREFETCH_BLOCKS blocks on their way, and drops what is more; a request for
prefetching covers at most PREFETCH_RUN blocks, so that the first come soon.
Threading: any thread but the loop's. No lock is held while waiting. Workers start with the first use: one
raises prefetched blocks from disk, in the order in which the reader will want them (four at once gave it the
first one later, at 0.6 of the speed), two open what Discord sends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from cachetools import LRUCache

from discordfs.cache import BlockCache, BlockKey, Flight
from discordfs.chunks.view import View, view_of
from discordfs.errors import Damaged, DiscordfsError, Interrupted, Unavailable
from discordfs.keys import VolumeKeys
from discordfs.model import ChunkRef
from discordfs.remote.base import MessageStore
from discordfs.remote.loop import Loop

PREFETCH_BLOCKS = 96
PREFETCH_RUN = 8
_OPENERS = 2  # threads that open what Discord sent
_UNWRITTEN_BLOCKS = 256  # fetched and not yet in the disk cache; beyond that a slow disk is not waited for
_VIEWS = 256  # chunks whose key and offsets are kept ready
_POLL = 0.25  # seconds between two looks at `cancelled`
_log = logging.getLogger(__name__)

Cancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Claim:
    """Blocks of a chunk that are ours to bring, each with the flight that others wait for."""

    view: View
    flights: dict[int, Flight]

    def key(self, number: int) -> BlockKey:
        return (self.view.chunk.uid, number)


class BlockFetcher:
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
        self._store, self._loop, self._cache = store, loop, cache
        self._keys, self._volume = keys, volume
        self._read_timeout = read_timeout
        self._views: LRUCache[tuple[bytes, int], View] = LRUCache(_VIEWS)
        self._views_guard = threading.Lock()
        self._room = threading.Semaphore(PREFETCH_BLOCKS)
        self._openers = ThreadPoolExecutor(_OPENERS, thread_name_prefix="discordfs-open")
        self._raiser = ThreadPoolExecutor(1, thread_name_prefix="discordfs-raise")
        self._unwritten = threading.Semaphore(_UNWRITTEN_BLOCKS)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="discordfs-cache")

    def blocks(self, chunk: ChunkRef, first: int, last: int, cancelled: Cancelled) -> list[bytes]:
        """Blocks `first` to `last`, opened. Raises Unavailable, RemoteGone and other answers of Discord's,
        Damaged, Interrupted."""
        view = self._view(chunk)
        if not 0 <= first <= last < len(view.offsets) - 1:
            raise Damaged(f"chunk {chunk.uid.hex()} has no blocks {first} to {last}: the index is wrong")
        claim = _Claim(view, {})
        found = [self._get_or_claim(claim, number) for number in range(first, last + 1)]
        if claim.flights:
            self._start(claim, list(claim.flights), longest=len(view.offsets))
        return [
            block if isinstance(block, bytes) else self._wait(chunk.uid, number, block, cancelled)
            for number, block in enumerate(found, first)
        ]

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
        claim = _Claim(view, {})
        for number in range(max(first, 0), min(last + 1, len(view.offsets) - 1)):
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
        try:
            runs = view.runs(claim.flights, PREFETCH_RUN)
        except Damaged as error:  # a block table that says what cannot be
            self._fail(claim, claim.flights, error)
            return
        for run in runs:
            self._hand_over(self._raiser, claim, run, self._start, claim, run, PREFETCH_RUN)

    def close(self) -> None:
        """Ends the workers; whoever still waits gets Unavailable."""
        self._raiser.shutdown(wait=True, cancel_futures=True)
        self._openers.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True)
        self._cache.abandon(Unavailable("the drive is being closed"))

    # --- claiming and waiting ---------------------------------------------------------------------------

    def _get_or_claim(self, claim: _Claim, number: int) -> bytes | Flight:
        key = claim.key(number)
        block = self._cache.get(key)
        if block is not None:
            return block
        flight, new = self._cache.claim(key)
        if new:
            claim.flights[number] = flight
        return flight

    def _wait(self, uid: bytes, number: int, flight: Flight, cancelled: Cancelled) -> bytes:
        waited = 0.0
        while not flight.done() and waited < self._read_timeout:
            pause = min(_POLL, self._read_timeout - waited)
            wait([flight], pause)
            waited += pause
            if not flight.done() and cancelled():
                raise Interrupted(f"the wait for block {number} of chunk {uid.hex()} was interrupted")
        if not flight.done():
            error = Unavailable(f"Discord gave no answer within {self._read_timeout:g} s")
            self._cache.fail((uid, number), flight, error)
        return flight.result()

    # --- on the way -------------------------------------------------------------------------------------

    def _start(self, claim: _Claim, numbers: Sequence[int], longest: int) -> None:
        """Brings claimed blocks on their way. Whatever goes wrong, each flight is landed or failed."""
        try:
            missing = [
                number
                for run in claim.view.runs(numbers, PREFETCH_RUN)
                for number in self._land_kept(claim, run)
            ]
            for run in claim.view.runs(missing, longest):
                self._cache.count(misses=len(run))
                self._request(claim, run, attempt=1)
        except BaseException as error:
            self._fail(claim, numbers, error)
            raise

    def _land_kept(self, claim: _Claim, run: range) -> list[int]:
        """Hands out what disk has, or RAM if it landed there just before it was claimed; returns the rest."""
        view, missing = claim.view, []
        for number, sealed in zip(run, self._cache.load(view.chunk.uid, run, view.offsets), strict=True):
            key = claim.key(number)
            block = self._cache.get(key) or (self._open_kept(view, number, sealed) if sealed else None)
            if block is None:
                missing.append(number)
            else:
                self._cache.land(key, claim.flights[number], block)
        return missing

    def _open_kept(self, view: View, number: int, sealed: memoryview) -> bytes | None:
        key = (view.chunk.uid, number)
        try:
            block = view.open(number, sealed)
        except Damaged as error:
            if self._cache.drop(key):
                _log.warning("the cache had a damaged block, it is fetched anew: %s", error)
            return None
        self._cache.count(hits=1)
        return block

    def _request(self, claim: _Claim, run: range, attempt: int) -> None:
        view, chunk = claim.view, claim.view.chunk
        span = view.span(run)
        reading = self._store.read(chunk.channel, chunk.message, span.attachment, span.start, span.length)
        future = self._loop.submit(reading)
        future.add_done_callback(
            lambda done: self._hand_over(self._openers, claim, run, self._arrived, claim, run, done, attempt)
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
            _log.exception("bringing blocks of chunk %s failed", claim.view.chunk.uid.hex())
            self._fail(claim, run, error)
            raise

    def _arrived(self, claim: _Claim, run: range, done: Future[bytes], attempt: int) -> None:
        """The answer to a request: opened, handed out, kept; what does not open is asked for once more."""
        view, chunk = claim.view, claim.view.chunk
        try:
            data = memoryview(done.result())
        except CancelledError:
            raise Unavailable("the request for a block was cancelled") from None
        damaged = [number for number in run if not self._accept(claim, run, number, data)]
        for part in view.runs((number for number in run if number not in damaged), len(run)):
            self._keep(view, run, part, data)
        if not damaged:
            return
        if attempt > 1:
            text = f"block {damaged[0]} of chunk {chunk.uid.hex()} (message {chunk.message})"
            raise Damaged(f"{text} is not what was sealed, twice")
        _log.warning("blocks %s of chunk %s came damaged: once more", damaged, chunk.uid.hex())
        for part in view.runs(damaged, len(run)):
            self._request(claim, part, attempt + 1)

    def _accept(self, claim: _Claim, run: range, number: int, data: memoryview) -> bool:
        view = claim.view
        begin = view.offsets[number] - view.offsets[run.start]
        try:
            block = view.open(number, data[begin : begin + view.length(number)])
        except Damaged:
            return False
        self._cache.land(claim.key(number), claim.flights[number], block)
        return True

    def _keep(self, view: View, run: range, part: range, data: memoryview) -> None:
        """Into the disk cache, behind the readers' backs; dropped when the disk does not keep up."""
        taken = sum(self._unwritten.acquire(blocking=False) for _ in part)
        if taken < len(part):
            self._written(taken)
            return
        base = view.offsets[run.start]
        start, end = view.offsets[part.start], view.offsets[part.stop]
        sealed = data[start - base : end - base]
        self._writer.submit(self._write, view.chunk.uid, part, start, sealed)

    def _write(self, uid: bytes, part: range, start: int, sealed: memoryview) -> None:
        try:
            self._cache.store(uid, part, start, sealed)
        finally:
            self._written(len(part))

    def _written(self, blocks: int) -> None:
        for _ in range(blocks):
            self._unwritten.release()

    def _fail(self, claim: _Claim, numbers: Iterable[int], error: BaseException) -> None:
        """Those of the numbers that have not landed yet."""
        for number in numbers:
            self._cache.fail(claim.key(number), claim.flights[number], error)

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
