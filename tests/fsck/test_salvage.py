"""A channel dies: what lies there comes along, byte for byte, also when the move is interrupted anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from discordfs.config import Volume
from discordfs.errors import BusyError, Forbidden, OutcomeUnknown, RemoteGone, Unavailable
from discordfs.fold import FoldState
from discordfs.fsck.logcheck import log_copy
from discordfs.logreading import LogReader
from discordfs.records import VolumeEntry
from discordfs.salvage import Salvaged, Salvager, lost_files, rescue, stored_in
from tests.fs.conftest import CALLER, CHANNELS, LOG_CHANNEL
from tests.fsck.conftest import Patient, kinds

HAVEN = 99
SMALL, LARGE = b"small" * 1000, os.urandom(3 * 1024**2)


@pytest.fixture
def sailor(patient: Patient) -> Patient:
    """A drive with files in every channel, some beside records, and one that is only staged."""
    patient.store.add_channel(HAVEN)
    patient.drive.mkdir(b"/d", 0o755, CALLER)
    for number in range(5):
        patient.put(b"/d/large%d" % number, LARGE + b"%d" % number)
        patient.barrier()
    patient.put(b"/small", SMALL)
    patient.barrier()
    patient.put(b"/staged", b"staged")
    return patient


class Voyage:
    """What the command does, in its order; `config` is what config.toml would name."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        entry = patient.entry
        self.config = Volume("ab" * 16, entry.name, "", entry.guild, entry.log_channel, entry.data_channels)

    @contextmanager
    def parts_without_uploads(self) -> Iterator[Patient]:
        """As the command has them: nothing is sent while chunks are copied."""
        patient = self.patient
        start, patient.start_uploads = patient.start_uploads, lambda: None  # type: ignore[method-assign]
        patient.open()
        try:
            yield patient
        finally:
            patient.close()
            patient.start_uploads = start  # type: ignore[method-assign]

    def sail(self, sources: Sequence[int], to: int = HAVEN) -> Salvaged:
        patient = self.patient
        if patient.is_open:
            patient.close()
        with self.parts_without_uploads():
            index_file, folder = patient.root / "index.sqlite", patient.root / "salvage"
            salvager = Salvager(
                patient.index, patient.chunks, index_file, folder, sources, to, lambda text: None
            )
            salvager.check_writer(LogReader(patient.chunks, self.config.log_channel))
            salvager.copy()
            self.config = salvager.switch(self.config)
        self.arrive(sources, to, salvager.result)
        return salvager.result

    def arrive(self, sources: Sequence[int], to: int, result: Salvaged) -> None:
        patient, volume = self.patient, self.config
        patient.entry = VolumeEntry(volume.name, volume.guild, volume.log_channel, volume.data_channels)
        patient.open()
        left = stored_in(patient.root / "index.sqlite", sources, to)
        result.rescued_bytes = rescue(patient.parts(), left, lambda text: None)
        patient.barrier()
        result.lost = lost_files(patient.root / "index.sqlite", sources, to)


def assert_recoverable(patient: Patient) -> None:
    """A machine that has nothing but the key finds all of it, in the channels that are left."""
    report = patient.fsck(read=100)
    assert (kinds(report), report.undone) == (set(), ())
    with log_copy(patient.chunks, patient.entry.log_channel, patient.root / "scratch", patient.clock) as copy:
        assert not copy.problem
        assert not copy.left_out


def test_a_living_channel_is_left(sailor: Patient) -> None:
    before = sailor.picture()
    chunk = sailor.chunk_of(b"/d/large0")
    result = Voyage(sailor).sail([chunk.channel])
    assert result.moved_chunks >= 1
    assert (result.lost, result.damaged) == ((), set())
    sailor.store.remove_channel(chunk.channel)
    sailor.empty_caches()
    assert sailor.picture() == before
    assert sailor.chunk_of(b"/d/large0").uid == chunk.uid
    assert chunk.channel not in sailor.entry.data_channels
    assert_recoverable(sailor)


def test_everything_moves_into_one_channel(sailor: Patient) -> None:
    before = sailor.picture()
    result = Voyage(sailor).sail([LOG_CHANNEL, *CHANNELS])
    assert not result.lost
    assert (sailor.entry.log_channel, sailor.entry.data_channels) == (HAVEN, (HAVEN,))
    for channel in (LOG_CHANNEL, *CHANNELS):
        sailor.store.remove_channel(channel)
    sailor.empty_caches()
    assert sailor.picture() == before
    assert_recoverable(sailor)
    sailor.put(b"/more", LARGE)
    sailor.barrier()
    assert_recoverable(sailor)


def test_the_log_goes_on_in_a_term_above_and_the_old_one_gets_nothing_more(sailor: Patient) -> None:
    sailor.barrier()
    term = sailor.index.logbook.state().epoch
    old = [message.id for message in sailor.chunks.list_after(LOG_CHANNEL, 0)]
    before = sailor.picture()
    Voyage(sailor).sail([LOG_CHANNEL])
    sailor.put(b"/more", b"more")
    sailor.barrier()
    assert [message.id for message in sailor.chunks.list_after(LOG_CHANNEL, 0)] == old
    look = LogReader(sailor.chunks, HAVEN).look(FoldState())
    assert {entry.header.epoch for entry in look.settled} == {term + 1}
    sailor.reopen()
    after = sailor.picture()
    assert after.pop("/more")
    assert after == before


def test_a_channel_that_is_gone_gives_what_the_cache_has(sailor: Patient) -> None:
    before = sailor.picture()
    chunk = sailor.chunk_of(b"/d/large1")
    sailor.store.remove_channel(chunk.channel)
    result = Voyage(sailor).sail([chunk.channel])
    assert result.moved_chunks == 0
    assert result.rescued_bytes >= len(LARGE)
    assert result.lost == ()
    sailor.empty_caches()
    assert sailor.picture() == before
    assert_recoverable(sailor)


def test_what_nobody_has_is_named(sailor: Patient) -> None:
    chunk = sailor.chunk_of(b"/d/large1")
    others = {
        path for path in sailor.picture() if path.startswith("/d/")
        and sailor.chunk_of(path.encode()).channel != chunk.channel
    }  # fmt: skip
    sailor.store.remove_channel(chunk.channel)
    sailor.empty_caches()
    result = Voyage(sailor).sail([chunk.channel])
    assert "/d/large1" in result.lost
    assert not set(result.lost) & others
    for path in others:
        assert sailor.get(path.encode())
    assert kinds(sailor.fsck()) == {"channel"}


def test_all_channels_are_gone_and_the_drive_is_made_anew_from_the_cache(sailor: Patient) -> None:
    before = sailor.picture()
    for channel in (LOG_CHANNEL, *CHANNELS):
        sailor.store.remove_channel(channel)
    result = Voyage(sailor).sail([LOG_CHANNEL, *CHANNELS])
    assert result.lost == ()
    sailor.empty_caches()
    assert sailor.picture() == before
    assert_recoverable(sailor)


@pytest.mark.expects_log("came damaged")
def test_damaged_bytes_come_along_and_are_named(sailor: Patient) -> None:
    chunk = sailor.chunk_of(b"/d/large2")
    sailor.spoil_chunk(b"/d/large2", at=1_000_000)
    sailor.empty_caches()
    result = Voyage(sailor).sail([chunk.channel])
    assert result.damaged == {"/d/large2"}
    handle = sailor.drive.open(b"/d/large2", os.O_RDONLY).handle
    assert sailor.drive.read(handle, 1000, 2_000_000) == LARGE[2_000_000:2_001_000]


@pytest.mark.parametrize("step", range(8))
def test_an_interrupted_move_goes_on_and_posts_nothing_twice(
    sailor: Patient, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network goes at any post, before or after it was carried out, or just before the switch."""
    before = sailor.picture()
    voyage = Voyage(sailor)
    _fail_at(sailor, step, monkeypatch)
    with pytest.raises((Unavailable, RuntimeError)):
        voyage.sail([LOG_CHANNEL, *CHANNELS])
    monkeypatch.undo()
    if step % 2:  # a mount in between, with what config.toml says
        sailor.entry = type(sailor).entry
        sailor.open()
        assert sailor.picture() == before
        sailor.barrier()
        sailor.close()
    result = voyage.sail([LOG_CHANNEL, *CHANNELS])
    assert result.lost == ()
    assert "twins" not in {finding.kind for finding in sailor.fsck().findings}
    for channel in (LOG_CHANNEL, *CHANNELS):
        sailor.store.remove_channel(channel)
    sailor.empty_caches()
    assert sailor.picture() == before
    assert_recoverable(sailor)


def _fail_at(patient: Patient, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from discordfs.chunkstore import ChunkStore

    post, count = ChunkStore.post, 0

    def failing(self: ChunkStore, sealed: Any, channel: int) -> Any:
        nonlocal count
        if channel != HAVEN:
            return post(self, sealed, channel)
        count += 1
        if count == step // 2 + 1:
            if step % 2:
                post(self, sealed, channel)
            raise Unavailable("the network is gone")
        return post(self, sealed, channel)

    def no_switch(self: Salvager, volume: Volume) -> Volume:
        raise RuntimeError("killed")

    monkeypatch.setattr(ChunkStore, "post", failing)
    monkeypatch.setattr(Salvager, "switch", no_switch)


@pytest.mark.expects_log("the answer got lost")
def test_a_post_whose_answer_got_lost_is_found_again(
    sailor: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from discordfs.chunkstore import ChunkStore

    post: Callable[..., Any] = ChunkStore.post
    seen: set[bytes] = set()

    def losing(self: ChunkStore, sealed: Any, channel: int) -> Any:
        done = post(self, sealed, channel)
        if sealed.uid not in seen and channel == HAVEN:
            seen.add(sealed.uid)
            raise OutcomeUnknown("the answer got lost")
        return done

    monkeypatch.setattr(ChunkStore, "post", losing)
    before = sailor.picture()
    Voyage(sailor).sail([*CHANNELS])
    monkeypatch.undo()
    assert "twins" not in {finding.kind for finding in sailor.fsck().findings}
    assert sailor.picture() == before


def test_a_channel_that_may_not_be_read_is_like_one_that_is_gone(
    sailor: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sailor.picture()
    chunk = sailor.chunk_of(b"/d/large3")
    read = type(sailor.store).read

    async def guarded(self: Any, channel: int, *rest: Any) -> bytes:
        if channel == chunk.channel:
            raise Forbidden("not here")
        return await read(self, channel, *rest)

    monkeypatch.setattr(type(sailor.store), "read", guarded)
    result = Voyage(sailor).sail([chunk.channel])
    assert result.rescued_bytes >= len(LARGE)
    assert sailor.picture() == before


def test_a_new_channel_that_does_not_exist_changes_nothing(sailor: Patient) -> None:
    before = sailor.picture()
    with pytest.raises(RemoteGone):
        Voyage(sailor).sail([CHANNELS[0]], to=12345)
    sailor.open()
    assert sailor.picture() == before


@pytest.mark.parametrize("has_log", [True, False])
def test_whoever_lost_the_volume_moves_nothing(sailor: Patient, has_log: bool) -> None:
    """Another machine writes it: by the log, or, where that is gone, by what the index remembers."""
    sailor.close()
    if not has_log:
        sailor.store.remove_channel(LOG_CHANNEL)
    with Voyage(sailor).parts_without_uploads():
        book = sailor.index.logbook
        mine = book.me
        if has_log:
            book.me = bytes(len(mine))
        else:
            book.set_lost(True)
        index_file, folder = sailor.root / "index.sqlite", sailor.root / "salvage"
        salvager = Salvager(
            sailor.index, sailor.chunks, index_file, folder, [CHANNELS[0]], HAVEN, lambda text: None
        )
        with pytest.raises(BusyError, match="only the writer can move a volume"):
            salvager.check_writer(LogReader(sailor.chunks, LOG_CHANNEL))
        book.me = mine
        book.set_lost(False)
