"""The block cache: opened blocks in RAM (least recently used out first) over sealed ones on disk.

Also the register of blocks on their way (single-flight): whoever claims a block first fetches it, all
others wait for the same future. A key is (chunk uid, block number).

Limits: `ram_bytes` and `disk_bytes` bound what is kept; 0 turns a side off. What the disk holds is verified
by opening it, at each read, by the caller. The disk side is diskcache.py, which no failure of the
disk gets out of.
Threading: any thread. RAM and flights have a lock each, held for dictionary work alone; no lock is held
while another is taken.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path

from cachetools import LRUCache

from discordfs.diskcache import DiskCache
from discordfs.model import CacheStatus

RAM_BYTES = 96 * 1024**2
"""Bytes of opened blocks kept in RAM unless told otherwise."""

BlockKey = tuple[bytes, int]
Flight = Future[bytes]


class BlockCache:
    """Opened blocks in RAM, sealed ones in `directory`, and flights. No directory: no disk side."""

    def __init__(self, directory: Path | None, *, disk_bytes: int, ram_bytes: int = RAM_BYTES) -> None:
        self._ram: LRUCache[BlockKey, bytes] = LRUCache(max(ram_bytes, 0), getsizeof=len)
        self._ram_guard = threading.Lock()
        self._flights: dict[BlockKey, Flight] = {}
        self._flight_guard = threading.Lock()
        self._disk = DiskCache(directory, disk_bytes) if directory is not None else None
        self._hits = 0
        self._misses = 0

    # --- RAM ----------------------------------------------------------------------------------------

    def get(self, key: BlockKey) -> bytes | None:
        """The opened block if RAM has it: the hot path."""
        with self._ram_guard:
            try:
                block = self._ram[key]
            except KeyError:
                return None
            self._hits += 1
            return block

    def put(self, key: BlockKey, block: bytes) -> None:
        """Keeps an opened block in RAM, unless it alone is more than all of that."""
        with self._ram_guard:
            if len(block) <= self._ram.maxsize:
                self._ram[key] = block

    def holds(self, key: BlockKey) -> bool:
        """Whether RAM has it; changes neither order nor counts."""
        return key in self._ram

    # --- disk ---------------------------------------------------------------------------------------

    def load(self, uid: bytes, numbers: range, offsets: Sequence[int]) -> list[memoryview | None]:
        """Adjacent sealed blocks, block n at offsets[n] to offsets[n + 1] of the chunk, not verified yet;
        None for each that the disk does not have."""
        if self._disk is None:
            return [None] * len(numbers)
        return self._disk.read(uid, numbers, offsets)

    def store(self, uid: bytes, numbers: range, offset: int, sealed: bytes | memoryview) -> None:
        """Keeps verified, adjacent sealed blocks, the first at `offset` of the chunk."""
        if self._disk is not None:
            self._disk.write(uid, numbers, offset, sealed)

    def adopt(self, uid: bytes, path: Path, count: int, size: int) -> None:
        """Keeps a whole sealed chunk that lies in the file at `path`: `count` blocks in `size` bytes."""
        if self._disk is not None:
            self._disk.adopt(uid, path, count, size)

    def drop(self, key: BlockKey) -> bool:
        """Forgets what the disk has of a block; says whether it was damaged there (and not just absent)."""
        if self._disk is None:
            return False
        surely = self._disk.surely_had(key[0])
        self._disk.drop(*key)
        return surely

    # --- flights --------------------------------------------------------------------------------------

    def claim(self, key: BlockKey) -> tuple[Flight, bool]:
        """The flight of a block, and whether the caller is the one to fetch it (and land or fail it)."""
        with self._flight_guard:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Future()
            return flight, True

    def land(self, key: BlockKey, flight: Flight, block: bytes) -> None:
        """The block has come: into RAM, then to all who wait."""
        self.put(key, block)
        self._end(key, flight)
        with suppress(InvalidStateError):  # given up in the meantime
            flight.set_result(block)

    def fail(self, key: BlockKey, flight: Flight, error: BaseException) -> None:
        """It will not come: all who wait get the error, and the next to ask tries anew."""
        self._end(key, flight)
        with suppress(InvalidStateError):
            flight.set_exception(error)

    def abandon(self, error: BaseException) -> None:
        """Fails every flight, at the end of it all."""
        with self._flight_guard:
            flights = list(self._flights.items())
        for key, flight in flights:
            self.fail(key, flight, error)

    def _end(self, key: BlockKey, flight: Flight) -> None:
        """Off the register, unless a later flight of the same block has taken its place."""
        with self._flight_guard:
            if self._flights.get(key) is flight:
                del self._flights[key]

    # --- figures --------------------------------------------------------------------------------------

    def count(self, *, hits: int = 0, misses: int = 0) -> None:
        """Blocks found on disk, and blocks asked of Discord."""
        with self._ram_guard:
            self._hits += hits
            self._misses += misses

    def status(self) -> CacheStatus:
        """`hits` were in RAM or on disk, `misses` were fetched."""
        with self._ram_guard:
            ram, hits, misses = int(self._ram.currsize), self._hits, self._misses
        return CacheStatus(ram, self._disk.total if self._disk is not None else 0, hits, misses)
