"""A drive whose state directory is recorded, and drives that begin from what a crash left of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from discordfs.keys import VolumeKeys
from discordfs.remote.base import Message, UploadFile
from discordfs.remote.loop import Loop
from discordfs.remote.memory import MemoryStore
from tests.crash.recorder import Recording
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, NEVER, House

FIRST_RUN, SECOND_RUN = "the first run", "the second run"


class WitnessedStore(MemoryStore):
    """A Discord that notes in the recording when each message was there, and when it was gone."""

    def __init__(self, recording: Recording) -> None:
        super().__init__((LOG_CHANNEL, *CHANNELS), clock=time.time_ns)
        self._recording = recording
        self._all: list[tuple[Message, list[bytes]]] = []

    def _add(
        self, channel: int, content: str, files: Sequence[UploadFile], bodies: Sequence[bytes], nonce: str
    ) -> Message:
        message = super()._add(channel, content, files, bodies, nonce)
        self._all.append((message, list(bodies)))
        self._recording.mark(f"posted {message.id}")
        return message

    def delete_quietly(self, channel: int, messages: Sequence[int]) -> None:
        super().delete_quietly(channel, messages)
        for message in messages:
            self._recording.mark(f"deleted {message}")

    def as_of(self, marks: Sequence[str]) -> MemoryStore:
        """Discord as it was when just these marks had been made."""
        posted = {int(text.removeprefix("posted ")) for text in marks if text.startswith("posted ")}
        posted -= {int(text.removeprefix("deleted ")) for text in marks if text.startswith("deleted ")}
        store = MemoryStore((LOG_CHANNEL, *CHANNELS), clock=time.time_ns)
        for message, bodies in self._all:
            if message.id in posted:
                _adopt(store, message, bodies)
        return store


def _adopt(store: MemoryStore, message: Message, bodies: Sequence[bytes]) -> None:
    room = store._channels[message.channel]
    room.messages[message.id] = message
    room.posted_ns[message.id] = time.time_ns()
    room.nonces[message.nonce] = message.id
    store._last_id = max(store._last_id, message.id)
    for attachment, body in zip(message.attachments, bodies, strict=True):
        store._bytes[attachment.id] = body
        store._last_id = max(store._last_id, attachment.id)


class RecordedHouse(House):
    """A drive in a recorded directory."""

    def __init__(self, recording: Recording, loop: Loop, quota: int) -> None:
        self._prepare(recording.root, loop, WitnessedStore(recording), FIRST_RUN, quota)
        self.barrier()

    def _prepare(self, root: Path, loop: Loop, store: MemoryStore, boot_id: str, quota: int) -> None:
        self.root, self.loop, self.store, self.boot_id, self.quota = root, loop, store, boot_id, quota
        self.triggers, self.patience_s = NEVER, 600.0
        self.keys, self.volume = VolumeKeys(b"k" * 32), b"v" * 16
        self.open()


class SurvivingHouse(RecordedHouse):
    """A drive that is opened on what a crash left, in the next run of the machine."""

    def __init__(self, root: Path, loop: Loop, store: MemoryStore, quota: int) -> None:
        self._prepare(root, loop, store, SECOND_RUN, quota)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    loop.start()
    yield loop
    loop.stop()
