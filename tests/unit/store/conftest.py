"""What the store's tests share: a loop, memory stores, a volume, and ways to seal bytes into chunks."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from discordfs.cache import RAM_BYTES, BlockCache
from discordfs.chunkstore import ChunkStore
from discordfs.keys import VolumeKeys
from discordfs.model import ChunkRef, Kind, Piece, SealedChunk
from discordfs.remote.base import Message, UploadFile
from discordfs.remote.loop import Loop
from discordfs.remote.memory import MemoryStore

CHANNEL = 1
KEYS = VolumeKeys(bytes(range(32)))
VOLUME = bytes(range(16, 32))


@dataclass
class Desk:
    """A chunk store and all that is around it."""

    folder: Path
    loop: Loop
    remote: MemoryStore
    cache: BlockCache
    chunks: ChunkStore
    data: bytes = b""
    reads: int = field(default=0)

    def staging(self, segment: int, position: int, length: int) -> bytes:
        return self.data[position : position + length]

    def seal(self, data: bytes) -> SealedChunk:
        """One chunk of one file; what did not go in stays out."""
        self.data = data
        piece = Piece(7, 0, len(data), 3, b"file", 0, 0)
        return self.chunks.seal([piece], self.staging, self.folder)

    def seal_log(self, entries: bytes, kind: Kind = Kind.RECORD) -> SealedChunk:
        body = self.folder / "entries"
        body.write_bytes(entries)
        return self.chunks.seal_log(body, 0, kind, 9, self.folder)

    def post(self, data: bytes) -> ChunkRef:
        return self.chunks.post(self.seal(data), CHANNEL)

    def requests(self, route: str = "GET cdn") -> int:
        return self.remote.traffic().requests.get(route, 0)


class Troubled(MemoryStore):
    """A memory store whose answers can be held back or changed on their way."""

    def __init__(self, **settings: Any) -> None:
        super().__init__([CHANNEL], **settings)
        self.reads: list[tuple[int, int]] = []
        self.spoil: Callable[[bytes], bytes] = bytes
        self.spoiled = 0
        self.alter: Callable[[Message], Message] = lambda message: message
        self.hold: Coroutine[Any, Any, None] | None = None
        self.asked = threading.Event()

    async def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        self.reads.append((start, length))
        self.asked.set()
        data = await super().read(channel, message, attachment, start, length)
        if self.hold is not None:
            await self.hold
        if self.spoiled:
            self.spoiled -= 1
            return self.spoil(data)
        return data

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        return self.alter(await super().post(channel, content, files, nonce))


def flip(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


def message_of(desk: Desk, chunk: ChunkRef) -> Message:
    return desk.loop.call(desk.remote.fetch(CHANNEL, chunk.message), 5)


MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[MakeDesk]:
    opened: list[Desk] = []
    with Loop() as loop:

        def make(
            remote: Any = None,
            *,
            ram_bytes: int = RAM_BYTES,
            disk_bytes: int = 0,
            random_bytes: Callable[[int], bytes] = os.urandom,
            volume: bytes = VOLUME,
            **timeouts: float,
        ) -> Desk:
            remote = remote if remote is not None else MemoryStore([CHANNEL])
            cache = BlockCache(tmp_path / "cache", disk_bytes=disk_bytes, ram_bytes=ram_bytes)
            chunks = ChunkStore(
                store=remote,
                loop=loop,
                cache=cache,
                keys=KEYS,
                volume=volume,
                random_bytes=random_bytes,
                **timeouts,
            )
            desk = Desk(tmp_path, loop, remote, cache, chunks)
            opened.append(desk)
            return desk

        yield make
        for desk in opened:
            desk.chunks.close()


@pytest.fixture
def desk(make_desk: MakeDesk) -> Desk:
    return make_desk()


@pytest.fixture(scope="session")
def noise() -> bytes:
    """4 MiB that no compressor makes smaller."""
    return random.Random(20).randbytes(4 * 1024**2)
