"""clips/ without a kernel: a tree over a catalogue and the memory store, with a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from discordfs.cache import BlockCache
from discordfs.clipping.blocks import Place
from discordfs.clipping.catalogue import Catalogue, Found
from discordfs.clipping.kept import KeptPlace, LocalPlace
from discordfs.clipping.listing import Owner
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.reader import ClipReader
from discordfs.clipping.tree import ClipsTree
from discordfs.errors import Unavailable
from discordfs.keys import VolumeKeys
from discordfs.model import Attr
from discordfs.remote.base import Message, UploadFile
from discordfs.remote.capacity import DISCORD_LIMITS
from discordfs.remote.loop import Loop
from discordfs.remote.memory import MemoryStore
from tests.clips.shown import made_up

CHANNEL = 501
KEYS, VOLUME = VolumeKeys(bytes(32)), bytes(16)
CALL_S = 20.0
LARGE = replace(DISCORD_LIMITS, file_bytes=1 << 28, request_bytes=1 << 28)
"""People with Nitro post files of hundreds of megabytes."""


@dataclass
class Tree:
    """A tree, and what lies below it."""

    root: Path
    loop: Loop
    store: MemoryStore
    cache: BlockCache
    clips: ClipsTree
    reader: ClipReader
    time: list[float]

    @property
    def directory(self) -> ClipsDirectory:
        return ClipsDirectory(self.root / "clips")

    @contextmanager
    def catalogue(self, then: float = 100.0) -> Iterator[Catalogue]:
        """What is looked at afterwards is looked at `then` seconds later."""
        opened = Catalogue(self.directory.catalogue)
        try:
            yield opened
        finally:
            opened.close()
            self.time[0] += then

    def take(self, *all_found: Found) -> None:
        with self.catalogue() as known:
            known.merge(all_found)

    def post(self, data: bytes, name: str = "clip.mp4") -> Message:
        path = self.root / "upload"
        path.write_bytes(data)
        posting = self.store.post(CHANNEL, "", [UploadFile(name, path, 0, len(data))], "")
        return self.loop.call(posting, CALL_S)

    def posted(self, data: bytes, number: int = 1) -> Found:
        """A clip that is in the store and in the catalogue."""
        message = self.post(data)
        found = made_up(number, id=message.attachments[0].id, message=message.id, size=len(data))
        self.take(found)
        return found

    @property
    def bytes_down(self) -> int:
        return self.store.traffic().bytes_down

    # --- looking as programs do ---------------------------------------------------------------------------

    def names(self, path: str = "/") -> list[str]:
        return sorted(entry.name.decode() for entry in self.clips.readdir(os.fsencode(path)))

    def attr(self, path: str) -> Attr:
        return self.clips.getattr(os.fsencode(path))

    def bytes(self, path: str) -> bytes:
        """The whole file, in pieces as the kernel asks for them."""
        handle = self.clips.open(os.fsencode(path)).handle
        try:
            size = self.clips.fgetattr(handle).size
            pieces = [self.clips.read(handle, 1 << 17, at) for at in range(0, size + 1, 1 << 17)]
        finally:
            self.clips.release(handle)
        return b"".join(pieces)

    def walk(self, path: str = "") -> Iterator[tuple[str, Attr]]:
        """Everything below, each entry's attributes by its own path."""
        for entry in self.clips.readdir(os.fsencode(path or "/")):
            below = f"{path}/{entry.name.decode()}"
            attr = self.attr(below)
            assert (attr.ino, attr.mode) == (entry.ino, entry.mode)
            yield below, attr
            if attr.is_dir:
                yield from self.walk(below)


def place_of(found: Found) -> Place:
    clip = found.clip
    return Place(clip.id, clip.channel, clip.message, clip.size)


@contextmanager
def new_tree(
    root: Path, kept: tuple[KeptPlace, ...] | None = None, ram_bytes: int = 1 << 26
) -> Iterator[Tree]:
    """Its cache is on disk as well."""
    time = [1000.0]
    directory = ClipsDirectory(root / "clips")
    with ExitStack() as undo:
        loop = undo.enter_context(Loop())
        store = MemoryStore([CHANNEL], limits=LARGE)
        cache = BlockCache(root / "cache", disk_bytes=1 << 28, ram_bytes=ram_bytes)
        undo.callback(cache.abandon, Unavailable("the test is over"))
        reader = ClipReader(
            store, loop, cache, KEYS, VOLUME, random_bytes=os.urandom, cancelled=lambda: False
        )
        undo.callback(reader.close)
        places = kept if kept is not None else (LocalPlace(directory.path),)
        clips = ClipsTree(directory, reader, places, Owner(1234, 5678), lambda: time[0])
        undo.callback(clips.close)
        yield Tree(root, loop, store, cache, clips, reader, time)
