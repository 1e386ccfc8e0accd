"""An emulator in this process and stores to be held to the contract, for the tests of this folder.

The emulator runs on an event loop of its own, in a thread of its own: what goes between it and the store is
real HTTP over loopback. Everything is closed by fixtures, whatever a test does.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from discordfs.emulator.server import Address, Emulator
from discordfs.emulator.settings import Settings
from discordfs.remote.base import Message, MessageStore, UploadFile
from discordfs.remote.client import DiscordRemote
from discordfs.remote.http import Timeouts
from discordfs.remote.loop import Loop
from discordfs.remote.memory import MemoryStore
from discordfs.remote.retrying import Patience, RetryingStore

T = TypeVar("T")
CALL_SECONDS = 30.0
MEMORY_CHANNEL = 1001
TIMEOUTS = Timeouts(connect=5.0, silence=2.0, total=20.0)


@dataclass
class Discord:
    """A running emulator, and its control door."""

    address: Address

    @property
    def channels(self) -> list[int]:
        return [int(channel) for channel in self.address.channel_ids]

    def control(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address.cdn}/_emulator{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def fault(self, **order: Any) -> None:
        self.control("POST", "/faults", order)

    def settings(self, **values: Any) -> None:
        self.control("POST", "/settings", values)

    def stats(self) -> Any:
        return self.control("GET", "/stats")

    def count(self, name: str) -> int:
        """How many requests of this label it has seen since the last reset."""
        return int(self.stats()["requests"].get(name, 0))

    def user(self, name: str, **more: Any) -> Any:
        return self.control("POST", "/users", {"name": name, **more})


@contextmanager
def discord_on_loopback(directory: Path, **settings: Any) -> Iterator[Discord]:
    """An emulator; rate limits are off unless a test is about them."""
    chosen = Settings().changed({"rate_limits": False, **settings})
    with Loop("emulator") as loop:
        emulator = Emulator(directory, chosen)
        address = loop.call(emulator.start(), 20)
        try:
            yield Discord(address)
        finally:
            loop.call(emulator.stop(), 20)


@dataclass
class Rig:
    """A store, a channel in it, and the means to call it from a plain thread."""

    store: MessageStore
    loop: Loop
    channel: int
    directory: Path
    gateway: bool = True
    made: int = 0

    def call(self, coroutine: Coroutine[Any, Any, T], seconds: float = CALL_SECONDS) -> T:
        return self.loop.call(coroutine, seconds)

    def file(self, data: bytes, name: str = "chunk.bin") -> UploadFile:
        """Bytes on disk with others before and behind them, as staging has them."""
        self.made += 1
        path = self.directory / f"upload-{self.made}"
        path.write_bytes(b"before" + data + b"behind")
        return UploadFile(name, path, len(b"before"), len(data))

    def zeros(self, size: int, name: str = "zeros.bin") -> UploadFile:
        self.made += 1
        path = self.directory / f"zeros-{self.made}"
        with path.open("wb") as file:
            file.truncate(size)
        return UploadFile(name, path, 0, size)

    def post(self, *bodies: bytes, content: str = "text", nonce: str = "") -> Message:
        files = [self.file(body, f"part{number}.bin") for number, body in enumerate(bodies)]
        return self.call(self.store.post(self.channel, content, files, nonce))

    def read(self, message: Message, start: int, length: int, part: int = 0) -> bytes:
        attachment = message.attachments[part].id
        return self.call(self.store.read(self.channel, message.id, attachment, start, length))

    def ids(self, **where: int) -> list[int]:
        return [message.id for message in self.call(self.store.list(self.channel, **where))]


@contextmanager
def remote(discord: Discord, loop: Loop, **options: Any) -> Iterator[DiscordRemote]:
    """discord.py's store over HTTP."""
    options.setdefault("timeouts", TIMEOUTS)
    store = DiscordRemote(options.pop("token", discord.address.token), api=discord.address.api, **options)
    try:
        yield store
    finally:
        loop.call(store.close(), CALL_SECONDS)


@contextmanager
def rig_of_kind(kind: str, directory: Path) -> Iterator[Rig]:
    """`memory`, `emulator` or `live`, each optionally with `-retrying`."""
    base, _, wrapper = kind.partition("-")
    uploads = directory / "uploads"
    uploads.mkdir()
    with Loop() as loop:
        opened = {"memory": _memory, "emulator": _emulated, "live": _live}[base]
        with opened(loop, directory) as (store, channel):
            wrapped = RetryingStore(store, Patience(deadline=20.0)) if wrapper else store
            yield Rig(wrapped, loop, channel, uploads, base != "memory")


@contextmanager
def _memory(loop: Loop, directory: Path) -> Iterator[tuple[MessageStore, int]]:
    yield MemoryStore([MEMORY_CHANNEL]), MEMORY_CHANNEL


@contextmanager
def _emulated(loop: Loop, directory: Path) -> Iterator[tuple[MessageStore, int]]:
    with discord_on_loopback(directory / "discord") as discord, remote(discord, loop) as store:
        yield store, discord.channels[0]


@contextmanager
def _live(loop: Loop, directory: Path) -> Iterator[tuple[MessageStore, int]]:
    """Discord itself. What a test posts is deleted behind it."""
    channel = int(os.environ["DISCORDFS_LIVE_CHANNEL"])
    store = DiscordRemote(os.environ["DISCORDFS_LIVE_TOKEN"], shared_directory=directory / "limits")
    before = {message.id for message in loop.call(store.list(channel), CALL_SECONDS)}
    try:
        yield store, channel
        after = {message.id for message in loop.call(store.list(channel), CALL_SECONDS)}
        loop.call(store.delete(channel, sorted(after - before)), 300)
    finally:
        loop.call(store.close(), CALL_SECONDS)
