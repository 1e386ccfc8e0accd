"""A drive without a kernel: index, staging and chunks over the memory store, with the real classes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from discordfs.cache import BlockCache
from discordfs.chunkstore import ChunkStore
from discordfs.errors import EntryExists
from discordfs.fs import Drive
from discordfs.index import Index
from discordfs.keys import VolumeKeys
from discordfs.model import Caller, ChunkRef, Clock
from discordfs.records import VolumeEntry
from discordfs.remote.loop import Loop
from discordfs.remote.memory import MemoryStore
from discordfs.staging import Staging
from discordfs.uploader import Triggers, Uploader
from tests.fs import audit

CALLER = Caller(1000, 100)
CHANNELS = (11, 12, 13, 14)
LOG_CHANNEL = 10
VOLUME = VolumeEntry("house", 1, LOG_CHANNEL, CHANNELS)
NEVER = Triggers(bytes=2**60, quiet_s=1e9, age_s=1e9)
"""Uploads go out at a barrier only, so that a test decides when."""


class House:
    """One state directory and one Discord (in memory), with a drive that can be closed and opened anew.
    `entry`: the channels of its volume."""

    entry = VOLUME

    def __init__(
        self,
        root: Path,
        quota: int = 256 * 1024**2,
        triggers: Triggers = NEVER,
        store: MemoryStore | None = None,
        clock: Clock = time.time_ns,
        volume: bytes = b"v" * 16,
        master: bytes = b"k" * 32,
    ) -> None:
        self.root, self.quota, self.triggers, self.clock = root, quota, triggers, clock
        self.loop = Loop()
        self.loop.start()
        self.store = store or MemoryStore((LOG_CHANNEL, *CHANNELS), clock=clock)
        self.keys = VolumeKeys(master)
        self.volume = volume
        self.patience_s = 600.0
        self.boot_id = "the first run"
        self.open()
        self.barrier()  # a volume begins with a snapshot: it is not what the tests count

    def open(self) -> None:
        self.cache = BlockCache(self.root / "cache", ram_bytes=8 * 1024**2, disk_bytes=64 * 1024**2)
        self.chunks = ChunkStore(
            store=self.store,
            loop=self.loop,
            cache=self.cache,
            keys=self.keys,
            volume=self.volume,
            random_bytes=os.urandom,
        )
        self.index = Index(
            self.root / "index.sqlite", self.clock(), CALLER, self.boot_id, self.root / "staging"
        )
        self.staging = Staging(
            self.root / "staging",
            self.quota,
            self.index.ledger.staged_by_segment(),
            time.monotonic,
            self.patience_s,
        )
        self.uploader = Uploader(
            index=self.index,
            staging=self.staging,
            chunks=self.chunks,
            volume=self.entry,
            holder="tester@house",
            outbox=self.root / "outbox",
            clock=self.clock,
            monotonic=time.monotonic,
            triggers=self.triggers,
        )
        self.drive = Drive(
            index=self.index,
            staging=self.staging,
            chunks=self.chunks,
            uploader=self.uploader,
            clock=self.clock,
        )
        self.start_uploads()

    def start_uploads(self) -> None:
        self.uploader.start()

    def close(self) -> None:
        self.drive.close()
        self.uploader.stop()
        self.index.close()
        self.staging.close()
        self.chunks.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    def barrier(self, timeout_s: float = 60.0) -> None:
        assert self.uploader.barrier(timeout_s, lambda status: None), list(self.uploader.errors)

    def posts(self) -> int:
        """Messages posted since the volume was made."""
        return self.store.traffic().requests.get("POST /channels/{id}/messages", 0) - 1

    def chunk_refs(self) -> list[ChunkRef]:
        """Every chunk on Discord."""
        with self.index._database.reading() as connection:
            rows = connection.execute("SELECT id FROM chunks WHERE state > 0").fetchall()
        return [self.index.ledger.chunk(row[0]) for row in rows]

    # --- what a user does ------------------------------------------------------------------------

    def put(self, path: bytes, data: bytes) -> None:
        """Writes a file as cp does: create or truncate, write, close."""
        try:
            opened = self.drive.create(path, 0o644, os.O_WRONLY, CALLER)
        except EntryExists:
            opened = self.drive.open(path, os.O_WRONLY | os.O_TRUNC)
        for at in range(0, len(data), 131_072):
            self.drive.write(opened.handle, data[at : at + 131_072], at)
        self.drive.flush(opened.handle)
        self.drive.release(opened.handle)

    def get(self, path: bytes) -> bytes:
        opened = self.drive.open(path, os.O_RDONLY)
        try:
            size = self.drive.fgetattr(opened.handle).size
            pieces = [self.drive.read(opened.handle, 131_072, at) for at in range(0, size, 131_072)]
            return b"".join(pieces)
        finally:
            self.drive.release(opened.handle)

    def check(self) -> None:
        """Closes the drive and looks whether everything that must hold holds."""
        self.close()
        found = audit.problems(self.root / "index.sqlite", self.root / "staging")
        assert not found, "\n".join(found)


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(**settings: object) -> House:
        house = House(tmp_path / f"house{len(made)}", **settings)  # type: ignore[arg-type]
        made.append(house)
        return house

    (tmp_path).mkdir(exist_ok=True)
    yield make
    for house in made:
        house.check()
        house.loop.stop()


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house()
