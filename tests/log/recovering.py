"""A drive rebuilt from Discord alone, as on an empty machine, and Discord as it was at an earlier moment."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from discordfs.cache import BlockCache
from discordfs.chunkstore import ChunkStore
from discordfs.fs import Drive
from discordfs.index import Index
from discordfs.keys import VolumeKeys
from discordfs.logreading import LogReader, Look
from discordfs.model import Clock
from discordfs.recovery import build_index, read_log
from discordfs.remote.base import Message, UploadFile
from discordfs.remote.loop import Loop
from discordfs.remote.memory import MemoryStore
from discordfs.staging import Staging
from discordfs.uploader import Uploader
from tests.fs import audit
from tests.fs.conftest import CALLER, LOG_CHANNEL, VOLUME
from tests.log.picture import Picture, picture

Keep = Callable[[Message], bool]


@dataclass
class FastClock:
    """Discord's time and ours: `speed` seconds in each, and whatever is added."""

    speed: float = 50.0
    begin_ns: int = field(default_factory=time.time_ns)
    begin_s: float = field(default_factory=time.monotonic)
    added_s: float = 0.0

    def __call__(self) -> int:
        return self.begin_ns + int(((time.monotonic() - self.begin_s) * self.speed + self.added_s) * 1e9)


class RecordingStore(MemoryStore):
    """Remembers the order of the messages, so that any moment can be had again (`as_of`)."""

    def __init__(self, channels: Sequence[int], clock: Clock = time.time_ns, **settings: float) -> None:
        super().__init__(channels, clock=clock, **settings)  # type: ignore[arg-type]
        self.posted: list[Message] = []

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        message = await super().post(channel, content, files, nonce)
        if message.id not in {each.id for each in self.posted}:
            self.posted.append(message)
        return message

    def log(self) -> list[Message]:
        """The log's messages, oldest first."""
        return [message for message in self.posted if message.channel == LOG_CHANNEL]


def copied(store: MemoryStore, keep: Keep = lambda message: True) -> MemoryStore:
    """Another Discord with the same messages, as far as they are kept."""
    copy = MemoryStore(store._channels, clock=store._clock)
    copy._last_id = store._last_id
    for number, room in store._channels.items():
        for message in filter(keep, room.messages.values()):
            copy._channels[number].messages[message.id] = message
            copy._channels[number].posted_ns[message.id] = room.posted_ns[message.id]
            copy._bytes |= {each.id: store._bytes[each.id] for each in message.attachments}
    return copy


def as_of(store: MemoryStore, message: int) -> MemoryStore:
    """Discord as it was right after this message."""
    return copied(store, lambda each: each.id <= message)


def without(store: MemoryStore, message: int) -> MemoryStore:
    """Discord, but somebody deleted this message."""
    return copied(store, lambda each: each.id != message)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A drive that knows what the log says and nothing else. `problems`: what its user is told could not be
    had back, or was missing."""

    index: Index
    drive: Drive
    chunks: ChunkStore
    look: Look
    problems: tuple[str, ...]

    def picture(self) -> Picture:
        return picture(self.drive, self.index)


class Volume(Protocol):
    """What is left of a drive beside Discord, as on the recovery sheet. A House is one."""

    @property
    def keys(self) -> VolumeKeys: ...
    @property
    def volume(self) -> bytes: ...


@contextmanager
def recovered(of: Volume, store: MemoryStore, folder: Path) -> Iterator[Recovered]:
    """The drive of a volume, out of this Discord, in a folder that is made for it and removed. It ends in the
    check of what must hold in every index."""
    folder.mkdir()
    with Loop("test-recovered") as loop:
        cache = BlockCache(folder / "cache", ram_bytes=8 * 1024**2, disk_bytes=0)
        chunks = ChunkStore(
            store=store, loop=loop, cache=cache, keys=of.keys, volume=of.volume, random_bytes=os.urandom
        )
        try:
            with _rebuilt(chunks, folder) as found:
                yield found
            problems = audit.problems(folder / "index.sqlite", folder / "staging")
            assert not problems, "\n".join(problems)
        finally:
            chunks.close()
            shutil.rmtree(folder)


@contextmanager
def _rebuilt(chunks: ChunkStore, folder: Path) -> Iterator[Recovered]:
    reader = LogReader(chunks, LOG_CHANNEL)
    look = read_log(chunks, reader, me=1, sees_others=True)
    place = folder / "index.sqlite"
    problems = build_index(place, reader, look, CALLER, time.time_ns()).problems
    index = Index(place, time.time_ns(), CALLER)
    try:
        with _drive(index, chunks, folder) as drive:
            yield Recovered(index, drive, chunks, look, problems)
    finally:
        index.close()


@contextmanager
def _drive(index: Index, chunks: ChunkStore, folder: Path) -> Iterator[Drive]:
    staging = Staging(folder / "staging", 2**20, {}, time.monotonic)
    uploader = Uploader(
        index=index,
        staging=staging,
        chunks=chunks,
        volume=VOLUME,
        holder="nobody",
        outbox=folder / "outbox",
        clock=time.time_ns,
        monotonic=time.monotonic,
    )
    uploader.lost = "another machine writes this volume"
    drive = Drive(index=index, staging=staging, chunks=chunks, uploader=uploader, clock=time.time_ns)
    try:
        yield drive
    finally:
        drive.close()
        staging.close()
