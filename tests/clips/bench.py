"""An emulator in this process and a catalogue of the clips that it has, for tests of those who work on them.

Threading: the test's own; the emulator and the store have loops of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from discordfs.clipping.catalogue import Catalogue, Found
from discordfs.clipping.finding import clips_in, kinds_of
from discordfs.clipping.model import Clip, Place
from discordfs.clipping.wording import Known
from discordfs.errors import Forbidden, Unavailable
from discordfs.remote.base import UploadFile
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from tests.contract.harness import Discord, discord_on_loopback, remote

KINDS = kinds_of("mp4,mov,webm,mkv")


@dataclass
class Bench:
    """A catalogue of what an emulator has, and a clock that only tests move."""

    discord: Discord
    loop: Loop
    store: DiscordRemote
    catalogue: Catalogue
    folder: Path
    now: int = 10**18
    is_down: bool = False

    def clock(self) -> int:
        return self.now

    def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        if self.is_down:
            raise Unavailable("the network is down")
        return self.loop.call(self.store.read(channel, message, attachment, start, length), 30)

    def clips_of(self, message: Any, channel: int) -> list[Found]:
        return clips_in(message, Place(channel, "clips", 100, "The server"), KINDS, Known())

    def take(self, *channels: int) -> None:
        """All clips of these channels."""
        for channel in channels:
            route = f"/channels/{channel}/messages"
            try:
                page = self.loop.call(self.store.request("GET", route, params={"limit": 100}), 30)
            except Forbidden:
                continue
            self.catalogue.merge([each for message in page for each in self.clips_of(message, channel)])

    def post(self, name: str, data: bytes, **changes: Any) -> Clip:
        """A clip, in the catalogue, there with these values."""
        (channel,) = self.discord.channels
        path = self.folder.parent / "upload"
        path.write_bytes(data)
        upload = UploadFile(name, path, 0, len(data))
        message = self.loop.call(self.store.post(channel, "a clip", [upload], ""), 60)
        route = f"/channels/{channel}/messages/{message.id}"
        (found,) = self.clips_of(self.loop.call(self.store.request("GET", route), 30), channel)
        self.catalogue.merge([replace(found, clip=replace(found.clip, **changes))])
        return self.clip(found.clip)

    def clip(self, clip: Clip) -> Clip:
        found = self.catalogue.clip(clip.id)
        assert found is not None
        return found


@contextmanager
def bench_in(directory: Path, **settings: Any) -> Iterator[Bench]:
    settings = {"file_limit": 200_000_000, "request_limit": 210_000_000} | settings
    with (
        discord_on_loopback(directory / "discord", **settings) as discord,
        Loop() as loop,
        remote(discord, loop) as store,
    ):
        catalogue = Catalogue(directory / "catalogue.sqlite")
        yield Bench(discord, loop, store, catalogue, directory / "thumb")
        catalogue.close()
