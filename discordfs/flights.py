"""Blocks on their way to the cache: each fetched by one request, shared by all who wait for it.

The life of a missing block: claimed in the cache's register by the first who wants it; looked for on disk;
neighbours asked for by one Range request; what comes is taken in by a worker, kept, and handed to everyone
who waits. What the blocks are of (a chunk, somebody's clip) and how they are asked for is the subclass's.

Limits: prefetching has at most `prefetched` blocks on their way and drops what is more, in requests of at
most `run` blocks, so that the first come soon; at most `unwritten` blocks wait for the disk.
Errors: those of the requests; Damaged of `Blocks.open`; Unavailable, Interrupted.
Threading: any thread but the loop's. No lock is held while waiting. Workers start with the first use: one
raises prefetched blocks from disk, in the order in which the reader will want them (four at once gave it the
first one later, at 0.6 of the speed), some take in what Discord sends, one writes to disk.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from discordfs.cache import BlockCache, BlockKey, Flight
from discordfs.errors import Damaged, DiscordfsError, Interrupted, Unavailable

Cancelled = Callable[[], bool]

_POLL = 0.25  # seconds between two looks at `cancelled`
_log = logging.getLogger(__name__)


class Blocks(Protocol):
    """Something made ready for reading by blocks. `offsets`: of each sealed block as it lies on disk, and of
    their end. str() names it for people."""

    @property
    def uid(self) -> bytes: ...
    @property
    def offsets(self) -> Sequence[int]: ...
    def runs(self, numbers: Iterable[int], longest: int) -> list[range]:
        """Ascending numbers as runs that one request can bring, each of at most `longest`."""

    def open(self, number: int, sealed: memoryview) -> bytes:
        """What the disk had. Raises Damaged."""


B = TypeVar("B", bound=Blocks)


@dataclass(frozen=True, slots=True)
class Claim(Generic[B]):
    """Blocks that are ours to bring, each with the flight that others wait for."""

    blocks: B
    flights: dict[int, Flight]

    def key(self, number: int) -> BlockKey:
        return (self.blocks.uid, number)


class Fetcher(ABC, Generic[B]):
    """Blocks from RAM, disk or Discord. `name` is that of its threads, `takers` how many take in answers."""

    def __init__(
        self,
        cache: BlockCache,
        read_timeout: float,
        *,
        name: str,
        takers: int,
        prefetched: int,
        run: int,
        unwritten: int,
    ) -> None:
        self._cache, self._read_timeout, self._run = cache, read_timeout, run
        self._room = threading.Semaphore(prefetched)
        self._unwritten = threading.Semaphore(unwritten)
        self._takers = ThreadPoolExecutor(takers, thread_name_prefix=f"{name}-open")
        self._raiser = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-raise")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-cache")

    @abstractmethod
    def _ask(self, blocks: B, run: range) -> Future[bytes]:
        """One request for adjacent blocks."""

    @abstractmethod
    def _take(self, claim: Claim[B], run: range, data: memoryview, attempt: int) -> None:
        """What came: lands each block of the run and keeps it, or asks once more, or raises."""

    def fetch(self, blocks: B, first: int, last: int, cancelled: Cancelled, also: int = 0) -> list[bytes]:
        """Blocks `first` to `last`. Missing ones before `also` are asked for along with them, and not waited
        for."""
        claim = Claim(blocks, {})
        found = [self._get_or_claim(claim, number) for number in range(first, last + 1)]
        for number in range(last + 1, also):
            self._get_or_claim(claim, number)
        if claim.flights:
            self._start(claim, list(claim.flights), longest=len(blocks.offsets))
        return [
            block if isinstance(block, bytes) else self._wait(claim, number, block, cancelled)
            for number, block in enumerate(found, first)
        ]

    def prefetch_blocks(self, blocks: B, numbers: Iterable[int]) -> None:
        """Asks for those that RAM does not hold, as far as there is room for more on their way. Raises
        nothing about them: whoever reads them hears it."""
        claim = Claim(blocks, {})
        for number in numbers:
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
            runs = blocks.runs(claim.flights, self._run)
        except Damaged as error:  # a block table that says what cannot be
            self._fail(claim, claim.flights, error)
            return
        for run in runs:
            self._hand_over(self._raiser, claim, run, self._start, claim, run, self._run)

    def close(self) -> None:
        """Ends the workers; whoever still waits hears it when the cache is abandoned."""
        self._raiser.shutdown(wait=True, cancel_futures=True)
        self._takers.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True)

    # --- claiming and waiting ---------------------------------------------------------------------------

    def _get_or_claim(self, claim: Claim[B], number: int) -> bytes | Flight:
        key = claim.key(number)
        block = self._cache.get(key)
        if block is not None:
            return block
        flight, new = self._cache.claim(key)
        if new:
            claim.flights[number] = flight
        return flight

    def _wait(self, claim: Claim[B], number: int, flight: Flight, cancelled: Cancelled) -> bytes:
        waited = 0.0
        while not flight.done() and waited < self._read_timeout:
            pause = min(_POLL, self._read_timeout - waited)
            wait([flight], pause)
            waited += pause
            if not flight.done() and cancelled():
                raise Interrupted(f"the wait for block {number} of {claim.blocks} was interrupted")
        if not flight.done():
            error = Unavailable(f"Discord gave no answer within {self._read_timeout:g} s")
            self._cache.fail(claim.key(number), flight, error)
        return flight.result()

    # --- on the way -------------------------------------------------------------------------------------

    def _start(self, claim: Claim[B], numbers: Sequence[int], longest: int) -> None:
        """Brings claimed blocks on their way. Whatever goes wrong, each flight is landed or failed."""
        try:
            missing = [
                number
                for run in claim.blocks.runs(numbers, self._run)
                for number in self._land_kept(claim, run)
            ]
            for run in claim.blocks.runs(missing, longest):
                self._cache.count(misses=len(run))
                self._request(claim, run)
        except BaseException as error:
            self._fail(claim, numbers, error)
            raise

    def _land_kept(self, claim: Claim[B], run: range) -> list[int]:
        """Hands out what disk has, or RAM if it landed there just before it was claimed; returns the rest."""
        blocks, missing = claim.blocks, []
        for number, sealed in zip(run, self._cache.load(blocks.uid, run, blocks.offsets), strict=True):
            key = claim.key(number)
            block = self._cache.get(key) or (self._open_kept(blocks, number, sealed) if sealed else None)
            if block is None:
                missing.append(number)
            else:
                self._cache.land(key, claim.flights[number], block)
        return missing

    def _open_kept(self, blocks: B, number: int, sealed: memoryview) -> bytes | None:
        try:
            block = blocks.open(number, sealed)
        except Damaged as error:
            if self._cache.drop((blocks.uid, number)):
                _log.warning("the cache had a damaged block, it is fetched anew: %s", error)
            return None
        self._cache.count(hits=1)
        return block

    def _request(self, claim: Claim[B], run: range, attempt: int = 1) -> None:
        self._ask(claim.blocks, run).add_done_callback(
            lambda done: self._hand_over(self._takers, claim, run, self._arrived, claim, run, done, attempt)
        )

    def _hand_over(
        self,
        workers: ThreadPoolExecutor,
        claim: Claim[B],
        run: range,
        work: Callable[..., None],
        *arguments: object,
    ) -> None:
        """To a worker; once there are none any more the flights of the run fail."""
        try:
            workers.submit(self._guarded, claim, run, work, *arguments)
        except RuntimeError:  # shut down
            self._fail(claim, run, Unavailable("the drive is being closed"))

    def _guarded(self, claim: Claim[B], run: range, work: Callable[..., None], *arguments: object) -> None:
        """Whatever a worker meets, nobody waits for a flight that will not come."""
        try:
            work(*arguments)
        except DiscordfsError as error:
            self._fail(claim, run, error)  # who waits for the block says it
        except BaseException as error:
            _log.exception("bringing blocks of %s failed", claim.blocks)
            self._fail(claim, run, error)
            raise

    def _arrived(self, claim: Claim[B], run: range, done: Future[bytes], attempt: int) -> None:
        try:
            data = memoryview(done.result())
        except CancelledError:
            raise Unavailable("the request for a block was cancelled") from None
        self._take(claim, run, data, attempt)

    def _fail(self, claim: Claim[B], numbers: Iterable[int], error: BaseException) -> None:
        """Those of the numbers that have not landed yet."""
        for number in numbers:
            self._cache.fail(claim.key(number), claim.flights[number], error)

    # --- to disk ------------------------------------------------------------------------------------------

    def _keep(self, blocks: B, run: range, sealed: Callable[[], bytes | memoryview]) -> None:
        """Adjacent blocks into the disk cache, behind the readers' backs; dropped when the disk does not keep
        up. `sealed` makes them, on the writer's thread."""
        taken = sum(self._unwritten.acquire(blocking=False) for _ in run)
        if taken < len(run):
            self._written(taken)
            return
        self._writer.submit(self._write, blocks, run, sealed)

    def _write(self, blocks: B, run: range, sealed: Callable[[], bytes | memoryview]) -> None:
        try:
            self._cache.store(blocks.uid, run, blocks.offsets[run.start], sealed())
        finally:
            self._written(len(run))

    def _written(self, blocks: int) -> None:
        for _ in range(blocks):
            self._unwritten.release()
