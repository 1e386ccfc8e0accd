"""Nothing overtakes: at every moment of an upload, Discord alone gives back a drive that there once was. A
rename never goes before the bytes of what it renames, a later file never before an earlier one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest

from discordfs import log, logbook
from discordfs.chunks import packing
from discordfs.model import CHUNK_SIZE
from discordfs.remote.base import Message, UploadFile
from discordfs.uploader import Triggers
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, House
from tests.log.conftest import Recover, assert_same, seen
from tests.log.picture import Picture
from tests.log.recovering import RecordingStore, as_of
from tests.log.user import User

MIB = 1024**2
AHEAD = Triggers(bytes=CHUNK_SIZE, quiet_s=1e9, age_s=1e9)
"""Full chunks go ahead at once, the rest at a barrier."""


class HeldStore(RecordingStore):
    """The first post to a data channel waits until `gate` opens; others pass it by."""

    def __init__(self) -> None:
        super().__init__((LOG_CHANNEL, *CHANNELS))
        self.gate: Future[None] = Future()
        self._is_first = True

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        if channel != LOG_CHANNEL and self._is_first:
            self._is_first = False
            await asyncio.wrap_future(self.gate)
        return await super().post(channel, content, files, nonce)


class ShufflingStore(RecordingStore):
    """Posts take their turns in an order of its own."""

    def __init__(self, seed: int) -> None:
        super().__init__((LOG_CHANNEL, *CHANNELS))
        self._random = random.Random(seed)

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        for _ in range(self._random.randrange(60)):
            await asyncio.sleep(0)
        return await super().post(channel, content, files, nonce)


def check_every_moment(house: House, history: Sequence[Picture], recover: Recover) -> None:
    """After each message, of any channel: a state of the history, none before the one of the last moment."""
    assert isinstance(house.store, RecordingStore)
    place = 0
    for message in house.store.posted:
        picture = recover(house, as_of(house.store, message.id))
        later = [n for n in range(place, len(history)) if history[n] == picture]
        assert later, f"after message {message.id} of channel {message.channel}: a drive that never was"
        place = later[0]
    assert history[place] == history[-1]


@pytest.mark.parametrize("triggers", [AHEAD, Triggers(quiet_s=0.0, age_s=0.0)], ids=["barrier", "eager"])
def test_a_large_file_renamed_and_a_small_one_after_it(
    make_house: Callable[..., House], recover: Recover, triggers: Triggers
) -> None:
    store = RecordingStore((LOG_CHANNEL, *CHANNELS))
    house = make_house(store=store, triggers=triggers)
    user, rng = User(house, 0), random.Random(5)
    user.put(b"/b", b"the old b" * 1000)
    user.put(b"/a", rng.randbytes(62 * MIB))
    user.rename_to(b"/a", b"/b")
    user.put(b"/c", rng.randbytes(4096))
    house.barrier()
    check_every_moment(house, user.history, recover)
    assert sum(message.channel != LOG_CHANNEL for message in store.posted) >= 3


def test_what_comes_later_waits_for_a_chunk_that_is_slow(
    make_house: Callable[..., House], recover: Recover
) -> None:
    """The first of three chunks hangs. The rename of their file, and a file closed after it, are not to be
    found on Discord until it is there."""
    store = HeldStore()
    house = make_house(store=store, triggers=AHEAD)
    house.put(b"/b", b"old")
    before = seen(house)
    house.barrier()
    house.put(b"/a", random.Random(6).randbytes(62 * MIB))
    house.drive.rename(b"/a", b"/b")
    house.put(b"/c", b"c" * 4096)
    assert not house.uploader.barrier(1.0, lambda status: None)
    assert_same(before, recover(house, store))
    store.gate.set_result(None)
    house.barrier()
    assert_same(seen(house), recover(house, store))


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 12))])
def test_any_user_with_many_chunks_under_way(
    make_house: Callable[..., House], recover: Recover, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Chunks of 8 kB, several at a time, landing in any order, while the user works on."""
    monkeypatch.setattr(packing, "MAX_PLAIN", 8000)
    monkeypatch.setattr(log, "PART_BYTES", 5000)
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", 4)
    store = ShufflingStore(seed)
    house = make_house(store=store, triggers=Triggers(bytes=8000, quiet_s=0.0, age_s=0.0))
    user = User(house, seed)
    while len(store.posted) < 40:
        user.act(5)
    house.barrier()
    check_every_moment(house, user.history, recover)
