"""What nothing refers to goes, and nothing else does: the housekeeper over a drive without a kernel."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from discordfs import errors, logbook
from discordfs.chunkstore import ChunkStore
from discordfs.fold import Fold
from discordfs.gc.keeper import Habits
from discordfs.keys import VolumeKeys
from discordfs.model import Kind, Piece
from discordfs.records import Header, RecordType, pack_header
from discordfs.remote.base import UploadFile, snowflake_at
from tests.fs.conftest import CALLER, CHANNELS, LOG_CHANNEL
from tests.fs.keeping import HOUR_S, KeptHouse, drop_cache

MIB = 1024**2


@pytest.fixture
def make_kept(tmp_path: Path) -> Iterator[Callable[..., KeptHouse]]:
    made: list[KeptHouse] = []

    def make(**settings: Any) -> KeptHouse:
        made.append(KeptHouse(tmp_path / f"kept{len(made)}", **settings))
        return made[-1]

    yield make
    for house in made:
        house.check()
        house.loop.stop()


@pytest.fixture
def kept(make_kept: Callable[..., KeptHouse]) -> KeptHouse:
    return make_kept()


# --- deleting -------------------------------------------------------------------------------------


def test_a_removed_files_message_goes_after_the_grace_time_and_not_before(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    (chunk,) = kept.chunk_refs()
    kept.drive.unlink(b"/a")
    kept.barrier()
    kept.keep(3500)
    assert chunk.message in kept.messages()
    kept.keep(500)
    assert chunk.message not in kept.messages()


def test_each_message_has_a_grace_time_of_its_own(kept: KeptHouse) -> None:
    for number in range(8):
        kept.put(b"/f%d" % number, os.urandom(MIB + MIB // 4))
        kept.barrier()
    messages = [ref.message for ref in kept.chunk_refs()]
    for number in range(8):
        kept.drive.unlink(b"/f%d" % number)
        kept.barrier()
        kept.time.pass_s(1800 if number == 3 else 0)
    kept.keep(1900)
    assert set(messages) & kept.messages() == set(messages[4:])


def test_what_is_used_is_never_deleted(kept: KeptHouse) -> None:
    data = os.urandom(2 * MIB)
    kept.put(b"/kept", data)
    kept.put(b"/gone", os.urandom(MIB))
    kept.barrier()
    kept.drive.unlink(b"/gone")
    kept.barrier()
    for _ in range(5):
        kept.keep()
    assert kept.get(b"/kept") == data


def test_an_idle_mount_with_nothing_to_do_asks_nothing(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(MIB))
    kept.barrier()
    kept.keep(5 * 86_400)
    before = kept.requests()
    for _ in range(20):
        kept.keep(5 * 86_400, steps=1)
    assert kept.requests() == before


def test_a_message_that_somebody_deleted_before_counts_as_deleted(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    (chunk,) = kept.chunk_refs()
    kept.drive.unlink(b"/a")
    kept.barrier()
    kept.store.delete_quietly(chunk.channel, [chunk.message])
    kept.keep()
    assert not kept.rows("SELECT * FROM garbage")


def test_where_the_bot_may_not_delete_it_is_told_and_the_other_channels_go_on(kept: KeptHouse) -> None:
    refs = []
    for number in range(2):
        kept.put(b"/f%d" % number, os.urandom(2 * MIB))
        kept.barrier()
    refs = kept.chunk_refs()
    for number in range(2):
        kept.drive.unlink(b"/f%d" % number)
    kept.barrier()
    deleting = kept.store.delete

    async def refuse(channel: int, messages: Sequence[int]) -> None:
        if channel == refs[0].channel:
            raise errors.Forbidden("Missing Permissions")
        await deleting(channel, messages)

    kept.store.delete = refuse  # type: ignore[method-assign]
    report = kept.gc()
    assert not report["deleted_messages"]
    kept.time.pass_s(HOUR_S)
    report = kept.gc()
    assert report["deleted_messages"] == 1
    assert [text for text in report["troubles"] if str(refs[0].channel) in text]
    assert refs[0].message in kept.messages()
    assert refs[1].message not in kept.messages()


def test_nothing_is_deleted_while_somebody_takes_the_volume_over(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    kept.drive.unlink(b"/a")
    kept.barrier()
    kept.time.pass_s(HOUR_S)
    before = kept.messages()
    claim(kept)
    kept.keep(30)
    assert before <= kept.messages()


def claim(house: KeptHouse) -> None:
    """Another machine claims the volume."""
    state = house.index.logbook.state()
    place = Fold(state).next_claim()
    header = Header(
        RecordType.CLAIM, place.epoch, b"o" * 16, "other@house", place.seq, place.prev, house.time()
    )
    body = house.root / "claim.tmp"
    body.write_bytes(pack_header(header))
    house.chunks.post(house.chunks.seal_log(body, 0, Kind.RECORD, place.seq, house.root), LOG_CHANNEL)


# --- sweeping -------------------------------------------------------------------------------------


def post_again(house: KeptHouse, channel: int, message: int, nonce: str, into: int = 0) -> int:
    """The same message once more, as after an answer that was lost for long."""
    there = house.store._channels[channel].messages[message]
    files = []
    for attachment in there.attachments:
        path = house.root / attachment.name
        path.write_bytes(house.store._bytes[attachment.id])
        files.append(UploadFile(attachment.name, path, 0, attachment.size))
    return house.loop.call(house.store.post(into or channel, there.content, files, nonce), 10.0).id


def test_a_late_twin_goes_and_the_one_that_counts_stays(kept: KeptHouse) -> None:
    data = os.urandom(2 * MIB)
    kept.put(b"/a", data)
    kept.barrier()
    (chunk,) = kept.chunk_refs()
    twin = post_again(kept, chunk.channel, chunk.message, "twin")
    kept.gc()
    assert twin in kept.messages(), "it is too young to be sure of"
    kept.time.pass_s(HOUR_S)
    assert kept.gc()["found_messages"] == 1
    kept.time.pass_s(HOUR_S)
    assert kept.gc()["deleted_messages"] == 1
    assert twin not in kept.messages()
    drop_cache(kept)
    assert kept.get(b"/a") == data


def test_a_chunk_whose_post_is_still_in_doubt_is_nobodys_garbage(kept: KeptHouse) -> None:
    """The answer was lost, the network stays away for hours: the message that landed is the file."""
    kept.put(b"/a", os.urandom(2 * MIB))
    posting = kept.store.post

    async def lose(channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Any:
        await posting(channel, content, files, nonce)
        raise errors.OutcomeUnknown("the answer was lost")

    finding = kept.chunks.find_all
    kept.store.post = lose  # type: ignore[method-assign]
    kept.chunks.find_all = nothing_found  # type: ignore[method-assign]
    assert not kept.uploader.barrier(1.0, lambda status: None)
    kept.time.pass_s(2 * HOUR_S)
    assert kept.keeper._chores.sweep(0, lambda: False).counts() == (0, 0)
    kept.store.post = posting  # type: ignore[method-assign]
    kept.chunks.find_all = finding  # type: ignore[method-assign]


def nothing_found(*_arguments: object) -> None:
    raise errors.Unavailable("the network is down")


def test_what_a_crash_left_is_found_by_itself_soon_after_the_next_start(kept: KeptHouse) -> None:
    stray = post_stray(kept, kept.chunks)
    kept.keep()
    assert not kept.rows("SELECT * FROM garbage"), "there was no crash: a look a day will do"
    kept.die()
    kept.open()
    kept.keep()
    kept.keep()
    assert stray not in kept.messages()


def post_stray(house: KeptHouse, chunks: ChunkStore, channel: int = CHANNELS[0]) -> int:
    """A chunk that no table knows."""
    piece = Piece(99, 0, 1000, 1, b"stray", 0, 0)
    sealed = chunks.seal([piece], lambda segment, position, length: bytes(length), house.root)
    return chunks.post(sealed, channel).message


def test_a_look_a_day_if_anything_was_recorded(kept: KeptHouse) -> None:
    kept.keep()
    stray = post_stray(kept, kept.chunks)
    kept.keep(86_400)
    assert not kept.rows("SELECT * FROM garbage"), "nothing was recorded since the last look"
    kept.put(b"/a", b"news")
    kept.barrier()
    kept.keep(86_400)
    kept.keep()
    assert stray not in kept.messages()


def test_other_volumes_and_other_peoples_messages_are_not_touched(kept: KeptHouse) -> None:
    other = ChunkStore(
        store=kept.store,
        loop=kept.loop,
        cache=kept.cache,
        keys=VolumeKeys(b"o" * 32),
        volume=b"o" * 16,
        random_bytes=os.urandom,
    )
    foreign = {post_stray(kept, other, channel) for channel in (CHANNELS[0], LOG_CHANNEL)}
    foreign.add(kept.loop.call(kept.store.post(CHANNELS[0], "hello", [], ""), 10.0).id)
    other.close()
    for _ in range(3):
        kept.time.pass_s(HOUR_S)
        report = kept.gc()
    assert report["foreign_messages"] == 2
    assert foreign <= kept.messages()


@pytest.mark.expects_log("came damaged")
def test_what_cannot_be_read_stays_and_is_told(kept: KeptHouse) -> None:
    stray = post_stray(kept, kept.chunks)
    (attachment,) = kept.store._channels[CHANNELS[0]].messages[stray].attachments
    kept.store.replace_bytes(attachment.id, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    kept.time.pass_s(HOUR_S)
    report = kept.gc()
    assert report["found_messages"] == 0
    assert str(stray) in report["troubles"][0]
    assert stray in kept.messages()


def take_over_now(house: KeptHouse) -> None:
    """As if the volume had been another machine's until now."""
    house.time.pass_s(1)
    with house.index.changing() as connection:
        connection.execute("UPDATE log SET since = ?", (snowflake_at(house.time()),))
    house.time.pass_s(HOUR_S)


def test_what_a_former_writer_left_stays_unless_somebody_asks_for_it(kept: KeptHouse) -> None:
    """Records of his may have been deleted: then it is all that is left of what they told."""
    old = post_stray(kept, kept.chunks)
    take_over_now(kept)
    new = post_stray(kept, kept.chunks)
    kept.time.pass_s(HOUR_S)
    report = kept.gc()
    assert (report["found_messages"], report["older_messages"]) == (1, 1)
    kept.time.pass_s(HOUR_S)
    assert kept.gc(takes_older=True)["found_messages"] == 1
    assert new not in kept.messages()
    kept.time.pass_s(HOUR_S)
    kept.gc()
    assert old not in kept.messages()


@pytest.mark.expects_log("came damaged")
def test_where_the_log_is_damaged_even_those_who_ask_keep_it(kept: KeptHouse) -> None:
    old = post_stray(kept, kept.chunks)
    body = kept.root / "snapshot.tmp"
    body.write_bytes(b"unreadable")
    lost = kept.chunks.post(kept.chunks.seal_log(body, 0, Kind.SNAPSHOT, 7, kept.root), LOG_CHANNEL).message
    (attachment,) = kept.store._channels[LOG_CHANNEL].messages[lost].attachments
    kept.store.replace_bytes(attachment.id, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    take_over_now(kept)
    found = kept.keeper._chores.sweep(0, lambda: False, takes_older=True)
    assert found.counts() == (0, 0)
    assert [stray.message for stray in found.older] == [old]
    assert {old, lost} <= kept.messages()


def test_copies_in_another_channel_are_left_to_whoever_made_them(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    (chunk,) = kept.chunk_refs()
    copy = post_again(kept, chunk.channel, chunk.message, "copy", into=CHANNELS[3])
    for _ in range(3):
        kept.time.pass_s(HOUR_S)
        kept.gc()
    assert copy in kept.messages()


def test_a_record_posted_twice_stays_twice_as_long_as_it_counts(
    kept: KeptHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another reader may have taken the other one, and with it the bytes that ride in it."""
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", 2)
    kept.put(b"/small", b"rides with its record")
    kept.barrier()
    head = kept.index.logbook.state().head_message
    twin = post_again(kept, LOG_CHANNEL, head, "twin")
    for number in range(12):
        kept.drive.mkdir(b"/d%d" % number, 0o755, CALLER)
        kept.barrier()
        kept.time.pass_s(HOUR_S)
        kept.gc()
    assert kept.index.logbook.garbage.horizon() > twin
    assert {head, twin} <= kept.messages()
    kept.drive.unlink(b"/small")
    for number in range(8):
        kept.drive.rmdir(b"/d%d" % number)
        kept.barrier()
        kept.time.pass_s(HOUR_S)
        kept.gc()
    assert not {head, twin} & kept.messages()


def test_a_message_that_was_found_and_then_taken_into_use_is_not_condemned(kept: KeptHouse) -> None:
    """Another writer recorded it after we had lost the volume; later it is ours again."""
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    (chunk,) = kept.chunk_refs()
    with kept.index.changing() as connection:
        connection.execute(
            "INSERT INTO garbage (channel, message, state, record, condemned_ns) VALUES (?, ?, 0, 0, 0)",
            (chunk.channel, chunk.message),
        )
    kept.put(b"/b", b"news")
    kept.barrier()
    for _ in range(3):
        kept.keep()
    assert chunk.message in kept.messages()


def test_a_dead_row_of_a_living_message_condemns_nothing(kept: KeptHouse) -> None:
    """An index that is damaged, and knows one message under two rows: only one of them is dead."""
    data = os.urandom(2 * MIB)
    kept.put(b"/a", data)
    kept.barrier()
    (chunk,) = kept.chunk_refs()
    with kept.index.changing() as connection:
        connection.execute(
            "INSERT INTO chunks "
            "(uid, state, channel, message, attachments, plain_size, stored_size, blocks, sealed_ns) "
            "SELECT randomblob(16), state, channel, message, attachments, plain_size, stored_size, blocks, "
            "sealed_ns FROM chunks WHERE message = ?",
            (chunk.message,),
        )
    kept.put(b"/b", b"news")
    kept.barrier()
    for _ in range(3):
        kept.time.pass_s(HOUR_S)
        kept.gc()
    assert chunk.message in kept.messages()
    assert [each.message for each in kept.chunk_refs()].count(chunk.message) == 1
    assert kept.get(b"/a") == data


def test_a_condemned_message_that_is_in_use_stays_and_is_told(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    (chunk,) = kept.chunk_refs()
    gone = post_stray(kept, kept.chunks, chunk.channel)
    with kept.index.changing() as connection:
        connection.executemany(
            "INSERT INTO garbage (channel, message, state, record, condemned_ns) VALUES (?, ?, 2, 1, 1)",
            [(chunk.channel, chunk.message), (chunk.channel, gone)],
        )
    assert str(chunk.message) in kept.gc()["troubles"][0]
    assert gone not in kept.messages()
    assert chunk.message in kept.messages()
    kept.index.logbook.garbage.deleted(chunk.channel, [chunk.message])


def test_what_the_chain_may_need_stays_in_the_log(kept: KeptHouse) -> None:
    """A claim is in no table; where it was adopted, nobody could read the log without it."""
    claim(kept)
    kept.time.pass_s(HOUR_S)  # it has lapsed
    kept.put(b"/a", b"news")
    kept.barrier()
    before = kept.messages(LOG_CHANNEL)
    for _ in range(3):
        kept.time.pass_s(HOUR_S)
        kept.gc()
    assert before <= kept.messages(LOG_CHANNEL)


# --- moving ---------------------------------------------------------------------------------------


def holding(house: KeptHouse) -> list[tuple[int, int]]:
    """Of each chunk on Discord: bytes of plaintext, and those in use."""
    return house.rows(
        "SELECT plain_size, (SELECT SUM(length) FROM extents WHERE chunk = chunks.id) "
        "FROM chunks WHERE state > 0"
    )


def test_what_is_left_of_a_chunk_moves_and_the_rest_is_freed(kept: KeptHouse) -> None:
    data = [os.urandom(MIB) for _ in range(20)]
    for number, content in enumerate(data):
        kept.put(b"/f%d" % number, content)
    kept.barrier()
    before = {b"/f%d" % number: kept.drive.getattr(b"/f%d" % number) for number in range(8)}
    for number in range(8, 20):
        kept.drive.unlink(b"/f%d" % number)
    kept.barrier()
    kept.keep()
    assert holding(kept) == [(8 * MIB, 8 * MIB)]
    kept.keep()
    assert kept.stored_bytes() < 9 * MIB
    drop_cache(kept)
    for number in range(8):
        assert kept.get(b"/f%d" % number) == data[number]
        assert kept.drive.getattr(b"/f%d" % number) == before[b"/f%d" % number]


def test_a_little_waste_is_let_be_unless_somebody_asks(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(MIB))
    kept.put(b"/b", os.urandom(2 * MIB))
    kept.barrier()
    kept.drive.unlink(b"/b")
    kept.barrier()
    kept.keep()
    assert holding(kept) == [(3 * MIB, MIB)]
    assert kept.gc(dry_run=True)["moved_bytes"] == MIB
    assert holding(kept) == [(3 * MIB, MIB)], "a dry run changes nothing"
    assert kept.gc()["moved_bytes"] == MIB
    assert holding(kept) == [(MIB, MIB)]


def test_many_small_chunks_become_one_and_the_log_forgets_their_records(
    kept: KeptHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", 10)
    data = {b"/f%d" % number: os.urandom(20_000) for number in range(70)}
    for path, content in data.items():
        kept.put(path, content)
        kept.barrier()
    assert len(kept.chunk_refs()) == 70
    kept.keep()
    assert len(kept.chunk_refs()) == 1
    for number in range(30):
        kept.drive.mkdir(b"/d%d" % number, 0o755, CALLER)
        kept.barrier()
        kept.keep()
    assert len(kept.messages(LOG_CHANNEL)) <= 2 * 10 + 5
    drop_cache(kept)
    for path, content in data.items():
        assert kept.get(path) == content


def test_a_file_in_shreds_becomes_whole(kept: KeptHouse) -> None:
    """A database that was written page by page: reading it must not ask for a block for each page."""
    content = bytearray(os.urandom(3 * MIB))
    kept.put(b"/db", bytes(content))
    kept.barrier()
    handle = kept.drive.open(b"/db", os.O_RDWR).handle
    rng = random.Random(1)
    for _ in range(150):
        at = rng.randrange(3 * MIB // 4096) * 4096
        page = rng.randbytes(4096)
        kept.drive.write(handle, page, at)
        kept.drive.flush(handle)
        content[at : at + 4096] = page
    kept.barrier()
    assert kept.rows("SELECT COUNT(*) FROM extents")[0][0] > 100
    kept.keep()
    assert kept.rows("SELECT COUNT(*) FROM extents")[0][0] <= 16 * 3
    assert kept.drive.read(handle, 4 * MIB, 0) == bytes(content), "also for who has it open"
    kept.drive.release(handle)
    drop_cache(kept)
    assert kept.get(b"/db") == bytes(content)


def test_holes_stay_holes(kept: KeptHouse) -> None:
    handle = kept.drive.create(b"/sparse", 0o644, os.O_RDWR, CALLER).handle
    for number in range(40):
        kept.drive.write(handle, b"%d" % (number % 10) * 5000, number * 8192)
        kept.drive.write(handle, b"x" * 1000, number * 8192 + 2000)
        kept.drive.flush(handle)
    kept.drive.release(handle)
    kept.barrier()
    before, attr = kept.get(b"/sparse"), kept.drive.getattr(b"/sparse")
    kept.gc()
    assert kept.drive.getattr(b"/sparse") == attr
    drop_cache(kept)
    assert kept.get(b"/sparse") == before


def test_nothing_moves_while_somebody_writes(make_kept: Callable[..., KeptHouse]) -> None:
    kept = make_kept(habits=Habits(quiet_s=180.0, check_percent=0.0))
    for number in range(12):
        kept.put(b"/f%d" % number, os.urandom(MIB))
    kept.barrier()
    for number in range(1, 12):
        kept.drive.unlink(b"/f%d" % number)
    kept.barrier()
    kept.keep()
    assert holding(kept) == [(12 * MIB, MIB)]


def test_a_file_that_changes_while_it_is_read_is_left_as_it_is(kept: KeptHouse) -> None:
    kept.put(b"/a", b"old" * 100_000)
    kept.barrier()
    ino = kept.drive.getattr(b"/a").ino
    reading = kept.chunks.read

    def read_late(*arguments: Any) -> Any:
        data = reading(*arguments)
        kept.put(b"/a", b"new" * 100_000)
        return data

    kept.chunks.read = read_late  # type: ignore[method-assign]
    assert kept.drive.relocate(ino, 0, 300_000, lambda: False) == 0
    kept.chunks.read = reading  # type: ignore[method-assign]
    assert kept.get(b"/a") == b"new" * 100_000


def test_what_is_not_committed_yet_is_not_touched(kept: KeptHouse) -> None:
    kept.put(b"/a", b"old" * 100_000)
    kept.barrier()
    handle = kept.drive.open(b"/a", os.O_RDWR).handle
    kept.drive.write(handle, b"NEW", 3000)
    ino = kept.drive.getattr(b"/a").ino
    assert kept.drive.quiet_s() == 0
    assert kept.drive.relocate(ino, 0, 300_000, lambda: False) == 0
    kept.drive.release(handle)
    assert kept.get(b"/a")[2998:3005] == b"ldNEWol"


def test_a_file_removed_while_it_is_read_stays_removed(kept: KeptHouse) -> None:
    kept.put(b"/a", b"x" * 300_000)
    kept.barrier()
    ino = kept.drive.getattr(b"/a").ino
    reading = kept.chunks.read

    def read_late(*arguments: Any) -> Any:
        data = reading(*arguments)
        kept.drive.unlink(b"/a")
        return data

    kept.chunks.read = read_late  # type: ignore[method-assign]
    kept.drive.relocate(ino, 0, 300_000, lambda: False)
    kept.chunks.read = reading  # type: ignore[method-assign]
    kept.barrier()
    assert not kept.rows("SELECT * FROM extents")
    assert kept.uploader.status().staged_bytes == 0


def test_moving_takes_a_quarter_of_staging_at_most(make_kept: Callable[..., KeptHouse]) -> None:
    kept = make_kept(quota=16 * MIB)
    for number in range(12):
        kept.put(b"/f%d" % number, os.urandom(2 * MIB))
        kept.barrier()
    most = 0
    staging_write = kept.staging.write

    def watch(*arguments: Any) -> Any:
        nonlocal most
        placed = staging_write(*arguments)
        most = max(most, kept.staging.used)
        return placed

    kept.staging.write = watch  # type: ignore[method-assign]
    for number in range(12):
        handle = kept.drive.open(b"/f%d" % number, os.O_WRONLY).handle
        kept.drive.ftruncate(handle, MIB // 2)
        kept.drive.release(handle)
    kept.barrier()
    most = 0
    assert kept.gc()["moved_bytes"] == 6 * MIB
    assert most <= 4 * MIB + 64 * 1024


def test_what_is_moved_in_an_hour_is_bounded(make_kept: Callable[..., KeptHouse]) -> None:
    kept = make_kept(habits=Habits(quiet_s=0.0, check_percent=0.0, moved_an_hour=4 * MIB))
    for number in range(10):
        kept.put(b"/f%d" % number, os.urandom(MIB))
        kept.put(b"/g%d" % number, os.urandom(2 * MIB))
    kept.barrier()
    for number in range(10):
        kept.drive.unlink(b"/g%d" % number)
    kept.barrier()
    up = kept.store.traffic().bytes_up
    kept.keep()
    assert kept.store.traffic().bytes_up - up < 6 * MIB
    for _ in range(4):
        kept.keep()
    assert holding(kept) == [(4 * MIB, 4 * MIB), (4 * MIB, 4 * MIB), (2 * MIB, 2 * MIB)]


# --- the thread -----------------------------------------------------------------------------------


def test_a_command_is_answered_by_the_running_thread(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    kept.drive.unlink(b"/a")
    kept.barrier()
    kept.keeper.start()
    assert kept.keeper.gc({"dry_run": True}, lambda news: None)["condemned_messages"] == 1
    kept.time.pass_s(HOUR_S)
    assert kept.keeper.gc({}, lambda news: None)["deleted_messages"] == 1


def test_for_who_hangs_up_nothing_more_is_done(kept: KeptHouse) -> None:
    begun, go_on = threading.Event(), threading.Event()
    paging = kept.chunks.pages

    def slowly(channel: int) -> Any:
        begun.set()
        go_on.wait(30)
        return paging(channel)

    def hang_up(_news: object) -> None:
        if begun.is_set():
            raise errors.Interrupted("the asker hung up")

    kept.chunks.pages = slowly  # type: ignore[method-assign]
    kept.keeper.start()
    with pytest.raises(errors.Interrupted):
        kept.keeper.gc({}, hang_up)
    go_on.set()
    assert kept.keeper.gc({"dry_run": True}, lambda news: None)["dry_run"], "the next one is answered"


def test_after_the_end_nobody_waits_for_an_answer(kept: KeptHouse) -> None:
    kept.keeper.start()
    kept.keeper.stop()
    with pytest.raises(errors.Interrupted):
        kept.keeper.gc({}, lambda news: None)


@pytest.mark.expects_log("housekeeping failed", "housekeeping: ")
def test_what_nobody_foresaw_is_told_and_tried_again_later(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    kept.drive.unlink(b"/a")
    kept.barrier()
    deleting = kept.chunks.delete

    def fail(*_arguments: object) -> None:
        raise RuntimeError("nobody foresaw this")

    kept.chunks.delete = fail  # type: ignore[method-assign]
    kept.keep()
    assert "nobody foresaw this" in kept.keeper.errors[-1]
    kept.chunks.delete = deleting  # type: ignore[method-assign]
    kept.keep()
    assert not kept.rows("SELECT * FROM garbage")


def test_who_lost_the_volume_deletes_nothing(kept: KeptHouse) -> None:
    kept.put(b"/a", os.urandom(2 * MIB))
    kept.barrier()
    kept.drive.unlink(b"/a")
    kept.barrier()
    before = kept.messages()
    kept.uploader.lost = "somebody else writes the volume"
    kept.time.pass_s(HOUR_S)
    assert not kept.keeper.step()
    with pytest.raises(errors.ReadOnly):
        kept.gc()
    with pytest.raises(errors.ReadOnly):
        kept.drive.relocate(2, 0, 10, lambda: False)
    assert kept.messages() == before
    kept.uploader.lost = ""
