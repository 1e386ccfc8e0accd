"""A drive whose state directory is recorded, and drives that begin from what a crash left of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from discordfs.model import Clock
from discordfs.remote.base import Message, UploadFile, snowflake_ns
from discordfs.remote.memory import MemoryStore
from discordfs.uploader import Triggers
from tests.crash.recorder import Recording
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, NEVER, House

SECOND_RUN = "the second run"


class WitnessedStore(MemoryStore):
    """A Discord that notes in the recording when each message was there, and when it was gone."""

    def __init__(self, recording: Recording, clock: Clock = time.time_ns) -> None:
        super().__init__((LOG_CHANNEL, *CHANNELS), clock=clock)
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
        for message in messages:
            super().delete_quietly(channel, [message])
            self._recording.mark(f"deleted {message}")

    def as_of(self, marks: Sequence[str], clock: Clock = time.time_ns) -> MemoryStore:
        """Discord as it was when just these marks had been made, at the time that the clock says."""
        posted = {int(text.removeprefix("posted ")) for text in marks if text.startswith("posted ")}
        posted -= {int(text.removeprefix("deleted ")) for text in marks if text.startswith("deleted ")}
        store = MemoryStore((LOG_CHANNEL, *CHANNELS), clock=clock)
        for message, bodies in self._all:
            if message.id in posted:
                _adopt(store, message, bodies)
        return store


def _adopt(store: MemoryStore, message: Message, bodies: Sequence[bytes]) -> None:
    room = store._channels[message.channel]
    room.messages[message.id] = message
    room.posted_ns[message.id] = snowflake_ns(message.id)
    room.nonces[message.nonce] = message.id
    store._last_id = max(store._last_id, message.id)
    for attachment, body in zip(message.attachments, bodies, strict=True):
        store._bytes[attachment.id] = body
        store._last_id = max(store._last_id, attachment.id)


class RecordedHouse(House):
    """A drive in a recorded directory. Whoever makes one closes it and stops its loop."""

    def __init__(
        self, recording: Recording, quota: int, triggers: Triggers = NEVER, clock: Clock = time.time_ns
    ) -> None:
        self.witness = WitnessedStore(recording, clock)
        super().__init__(recording.root, quota, triggers, store=self.witness)


class SurvivingHouse(House):
    """A drive that begins on what a crash left: by default in the next run of the machine."""

    def __init__(self, root: Path, quota: int, store: MemoryStore, boot_id: str = SECOND_RUN) -> None:
        self._boot_id, self._has_begun = boot_id, False
        super().__init__(root, quota, store=store)
        self._has_begun = True

    def open(self) -> None:
        self.boot_id = self._boot_id
        super().open()

    def barrier(self, timeout_s: float = 60.0) -> None:
        """Not the one of a new volume: nothing is to change before a test has looked."""
        if self._has_begun:
            super().barrier(timeout_s)
