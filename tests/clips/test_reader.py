"""A clip's bytes come out right, whatever has become of the cache, and come once for all who wait."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from discordfs.cache import BlockCache
from discordfs.clipping.blocks import CLIP_BLOCK, ClipBlocks
from discordfs.clipping.reader import FIRST, SHARE, ClipReader, Playing
from discordfs.errors import Damaged, Interrupted, RemoteGone, Unavailable
from discordfs.remote.memory import MemoryStore
from tests.clips.shown import until
from tests.clips.trees import KEYS, VOLUME, Tree, new_tree, place_of

SIZE = 40 * CLIP_BLOCK + 123
DATA = random.Random(1).randbytes(SIZE)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """Nothing stays in RAM: what is not on disk is fetched."""
    with new_tree(tmp_path, ram_bytes=0) as made:
        yield made


def on_disk(tree: Tree, size: int = SIZE) -> Path:
    """The cache's file of the one clip, once it is written whole."""
    folder = tree.root / "cache"
    until(lambda: tree.cache.status().disk_bytes >= size)  # what is being written counts already
    tree.reader._writer.submit(lambda: None).result()
    (path,) = (path for path in folder.rglob("*") if path.is_file() and path.name != "CACHEDIR.TAG")
    return path


def test_any_range_is_as_it_was_posted(tree: Tree) -> None:
    place = place_of(tree.posted(DATA))
    draw = random.Random(2)
    for start, length in [
        (0, SIZE),
        (SIZE - 1, 10),
        (SIZE, 1),
        (SIZE + 5, 1),
        (CLIP_BLOCK, CLIP_BLOCK),
        (0, 0),
    ]:
        assert tree.reader.read(place, start, length) == DATA[start : start + length]
    for _ in range(200):
        start, length = draw.randrange(SIZE), draw.randrange(5 * CLIP_BLOCK)
        assert tree.reader.read(place, start, length) == DATA[start : start + length]
        ahead = draw.randrange(SIZE)
        assert tree.reader.read(place, start, length, ahead) == DATA[start : start + length]


def test_an_empty_clip_is_empty(tree: Tree) -> None:
    assert tree.reader.read(place_of(tree.posted(b"")), 0, 100) == b""


def test_what_was_fetched_is_not_fetched_again(tree: Tree, tmp_path: Path) -> None:
    place = place_of(tree.posted(DATA))
    assert tree.reader.read(place, 0, SIZE) == DATA
    assert tree.bytes_down == SIZE
    on_disk(tree)
    assert tree.reader.read(place, 0, SIZE) == DATA
    assert tree.bytes_down == SIZE


def test_the_disk_holds_nothing_that_can_be_read_without_the_key(tree: Tree) -> None:
    place = place_of(tree.posted(b"a secret " * 100_000))
    tree.reader.read(place, 0, place.size)
    assert b"a secret" not in on_disk(tree, place.size).read_bytes()


@pytest.mark.expects_log("the cache had a damaged block")
def test_what_the_disk_altered_is_never_played(tree: Tree) -> None:
    """A bit that turned there would be a wrong frame, for as long as the cache lasts."""
    place = place_of(tree.posted(DATA))
    tree.reader.read(place, 0, SIZE)
    path = on_disk(tree)
    draw = random.Random(3)
    with path.open("r+b") as file:
        for _ in range(20):
            at = draw.randrange(path.stat().st_size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << draw.randrange(8)]))
    assert tree.reader.read(place, 0, SIZE) == DATA
    assert SIZE < tree.bytes_down <= SIZE + 20 * CLIP_BLOCK, "what was whole is not fetched again"


@pytest.mark.expects_log("the cache had a damaged block")
def test_a_block_opens_only_where_it_belongs(tree: Tree) -> None:
    """Blocks that changed places on disk are all whole, and wrong."""
    place = place_of(tree.posted(DATA))
    other = place_of(tree.posted(DATA[::-1], number=2))
    blocks = ClipBlocks(place, KEYS, VOLUME, os.urandom)
    sealed = memoryview(blocks.seal(3, DATA[:CLIP_BLOCK]))
    assert blocks.open(3, sealed) == DATA[:CLIP_BLOCK]
    for wrong in (
        blocks,
        ClipBlocks(other, KEYS, VOLUME, os.urandom),
        ClipBlocks(place, KEYS, b"x" * 16, os.urandom),
    ):
        with pytest.raises(Damaged):
            wrong.open(4 if wrong is blocks else 3, sealed)
    tree.reader.read(place, 0, SIZE)
    path, step = on_disk(tree), blocks.offsets[1]
    data = path.read_bytes()
    path.write_bytes(data[step : 2 * step] + data[:step] + data[2 * step :])
    assert tree.reader.read(place, 0, SIZE) == DATA


def test_those_who_wait_share_what_comes(tmp_path: Path) -> None:
    """Four players of one clip cost as much as one."""
    with new_tree(tmp_path) as tree:
        place = place_of(tree.posted(DATA))
        with ThreadPoolExecutor(8) as readers:
            parts = list(readers.map(lambda _: tree.reader.read(place, 0, SIZE), range(8)))
        assert all(part == DATA for part in parts)
        assert tree.bytes_down == SIZE


def test_a_clip_that_is_gone_says_so(tree: Tree) -> None:
    found = tree.posted(DATA)
    tree.store.delete_quietly(found.clip.channel, [found.clip.message])
    with pytest.raises(RemoteGone):
        tree.reader.read(place_of(found), 0, 100)
    with pytest.raises(RemoteGone):
        tree.reader.read(place_of(found), 0, 100)


class _Silent(MemoryStore):
    """Discord when it does not answer."""

    def __init__(self) -> None:
        super().__init__([])
        self.answer = threading.Event()

    async def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        while not self.answer.is_set():
            await asyncio.sleep(0.005)
        return DATA[start : start + length]


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_a_wait_can_be_interrupted_and_ends(tree: Tree, is_interrupted: bool) -> None:
    """A player must not hang for ever, and Ctrl-C must work."""
    store, cache = _Silent(), BlockCache(None, disk_bytes=0)
    cancelled = threading.Event()
    reader = ClipReader(
        store,
        tree.loop,
        cache,
        KEYS,
        VOLUME,
        random_bytes=os.urandom,
        cancelled=cancelled.is_set,
        read_timeout=0.3 if not is_interrupted else 60.0,
    )
    place = place_of(tree.posted(DATA))
    if is_interrupted:
        cancelled.set()
    with pytest.raises(Interrupted if is_interrupted else Unavailable):
        reader.read(place, 0, 100)
    cancelled.clear()
    store.answer.set()
    assert reader.read(place, 0, SIZE) == DATA, "and is right afterwards"
    reader.close()


def test_closing_ends_those_who_wait(tree: Tree) -> None:
    store, cache = _Silent(), BlockCache(None, disk_bytes=0)
    reader = ClipReader(
        store, tree.loop, cache, KEYS, VOLUME, random_bytes=os.urandom, cancelled=lambda: False
    )
    place = place_of(tree.posted(DATA))
    with ThreadPoolExecutor(1) as waiting:
        asked = waiting.submit(reader.read, place, 0, 100)
        until(lambda: not cache.claim((ClipBlocks(place, KEYS, VOLUME, os.urandom).uid, 0))[1])
        reader.close()
        cache.abandon(Unavailable("the drive is being closed"))
        with pytest.raises(Unavailable):
            asked.result(20)
    store.answer.set()


# --- ahead --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [4096, CLIP_BLOCK, 4 * CLIP_BLOCK])
def test_a_clip_that_is_played_through_is_fetched_once(tmp_path: Path, piece: int) -> None:
    with new_tree(tmp_path) as tree:
        playing = Playing(tree.reader, place_of(tree.posted(DATA)))
        assert b"".join(playing.read(piece, at) for at in range(0, SIZE + piece, piece)) == DATA
        assert tree.bytes_down == SIZE
        assert tree.store.traffic().requests["GET cdn"] < 40


@pytest.mark.parametrize("run", [1, 100_000, 400_000, 1_000_000])
def test_jumps_cost_little_more_than_what_is_read(tmp_path: Path, run: int) -> None:
    """Each jump reads a run in pieces of 32 KiB, as players do, far from where others read."""
    size, jumps = 60 * 1024**2, 12
    with new_tree(tmp_path) as tree:
        data = bytes(size)
        playing = Playing(tree.reader, place_of(tree.posted(data)))
        draw = random.Random(run)
        for jump in range(jumps):
            at = jump * 5 * 1024**2 + draw.randrange(100_000)
            for start in range(at, at + run, 32 * 1024):
                playing.read(32 * 1024, start)
        tree.reader.close()
        asked = jumps * -(-run // (32 * 1024)) * 32 * 1024
        assert tree.bytes_down <= asked * (1 + SHARE) + jumps * (FIRST + CLIP_BLOCK)
