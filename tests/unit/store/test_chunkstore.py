"""Chunks through the door: what was staged is read back, by few requests, or an error says why not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from discordfs.chunks import layout
from discordfs.chunkstore import ChunkStore
from discordfs.codec import piece_hash
from discordfs.errors import (
    ConfigError,
    Damaged,
    Interrupted,
    MissingError,
    OutcomeUnknown,
    RemoteGone,
    TooLarge,
    Unavailable,
)
from discordfs.model import BLOCK_SIZE, Limits
from discordfs.remote.base import Attachment, Message, UploadFile, snowflake_ns
from tests.unit.store.conftest import CHANNEL, KEYS, VOLUME, Desk, MakeDesk, Troubled, flip, message_of

MIB = 1024**2
BOTH = {"ram_bytes": 0, "disk_bytes": 10**9}


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("caches", [{}, BOTH, {"ram_bytes": 0}], ids=["ram", "disk", "none"])
@pytest.mark.parametrize("size", [1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * MIB + 5])
def test_what_was_sealed_is_read_back(make_desk: MakeDesk, noise: bytes, size: int, caches: Any) -> None:
    desk = make_desk(**caches)
    data = noise[: size // 2] + bytes(size - size // 2)
    chunk = desk.post(data)
    for _ in range(2):
        assert desk.chunks.read(chunk, 0, size) == data
        for position in range(0, size, 100_003):
            assert desk.chunks.read(chunk, position, min(5, size - position)) == data[position : position + 5]
        assert desk.chunks.read(chunk, size, 0) == b""


@pytest.mark.parametrize(("position", "length"), [(0, 101), (100, 1), (-1, 5), (5, -1), (BLOCK_SIZE, 1)])
def test_nothing_is_read_beyond_a_chunk(desk: Desk, position: int, length: int) -> None:
    chunk = desk.post(bytes(100))
    for _ in range(2):
        with pytest.raises(Damaged):
            desk.chunks.read(chunk, position, length)
        assert desk.chunks.read(chunk, 0, 100) == bytes(100)


def test_a_cold_small_read_across_two_blocks_is_one_request_of_528_kib_at_most(
    desk: Desk, noise: bytes
) -> None:
    chunk = desk.post(noise)
    before = desk.remote.traffic()
    assert desk.chunks.read(chunk, BLOCK_SIZE - 2048, 4096) == noise[BLOCK_SIZE - 2048 : BLOCK_SIZE + 2048]
    assert desk.requests() == 1
    assert desk.remote.traffic().bytes_down - before.bytes_down <= 528 * 1024


def test_missing_neighbours_are_one_request_and_cached_ones_are_not_asked_for(
    make_desk: MakeDesk, noise: bytes
) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    chunk = desk.post(noise)
    desk.chunks.read(chunk, 5 * BLOCK_SIZE, 1)
    assert desk.chunks.read(chunk, 0, len(noise)) == noise
    size = BLOCK_SIZE + 17
    assert remote.reads == [(5 * size, size), (0, 5 * size), (6 * size, 10 * size)]
    status = desk.cache.status()
    assert (status.misses, status.ram_bytes) == (16, len(noise))


def test_a_run_ends_with_its_attachment(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled(limits=Limits(MIB * 3 // 2, 25 * MIB, 10))
    desk = make_desk(remote)
    chunk = desk.post(noise)
    assert len(chunk.attachments) == 4
    for _ in range(2):
        assert desk.chunks.read(chunk, 0, len(noise)) == noise
        assert len(remote.reads) == 4


def test_64_readers_of_a_cold_block_are_one_request(desk: Desk, noise: bytes) -> None:
    chunk = desk.post(noise)
    start = threading.Barrier(64)

    def read(n: int) -> bytes:
        start.wait()
        return desk.chunks.read(chunk, 2 * BLOCK_SIZE + n, 1000)

    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(read, range(64)))
    assert found == [noise[2 * BLOCK_SIZE + n :][:1000] for n in range(64)]
    assert desk.requests() == 1


def test_many_readers_everywhere_get_what_was_written(make_desk: MakeDesk, noise: bytes) -> None:
    desk = make_desk(ram_bytes=MIB, disk_bytes=2 * MIB)
    chunk = desk.post(noise)

    def read(n: int) -> bool:
        position = n * 7919 % (len(noise) - 300_000)
        desk.chunks.prefetch(chunk, position, 10**6)
        return desk.chunks.read(chunk, position, 300_000) == noise[position : position + 300_000]

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(read, range(500)))
    status = desk.cache.status()
    assert status.ram_bytes <= MIB
    assert status.disk_bytes <= 2 * MIB


# --- posting --------------------------------------------------------------------------------------


def test_a_message_says_what_it_is(desk: Desk, noise: bytes) -> None:
    chunk = desk.post(noise)
    message = message_of(desk, chunk)
    assert "do not delete" in message.content
    assert chunk.uid.hex() in message.content
    assert message.attachments[0].name == f"c-{chunk.uid.hex()}-1-of-1.bin"


def test_posting_again_is_the_same_message(desk: Desk, noise: bytes) -> None:
    sealed = desk.seal(noise)
    first = desk.chunks.post(sealed, CHANNEL)
    assert desk.chunks.post(sealed, CHANNEL) == first
    assert desk.requests("POST /channels/{id}/messages") == 2


@pytest.mark.parametrize("file_mib", [20, 8, 2.5, 1.1, 0.6])
def test_a_limit_is_learned_and_the_chunk_laid_out_anew(
    make_desk: MakeDesk, noise: bytes, file_mib: float
) -> None:
    limits = Limits(int(file_mib * MIB), 25 * MIB, 10)
    remote = Troubled(limits=limits, assumed=Limits(25 * MIB, 25 * MIB, 10))
    desk = make_desk(remote)
    sealed = desk.seal(noise)
    before = sealed.path.read_bytes()
    if file_mib < 8:  # below what Discord ever had, learning ends: it has to be known
        with pytest.raises(TooLarge):
            desk.chunks.post(sealed, CHANNEL)
        desk = make_desk(Troubled(limits=limits))
    chunk = desk.chunks.post(sealed, CHANNEL)
    assert max(it.size for it in chunk.attachments) <= limits.file_bytes
    assert desk.chunks.read(chunk, 0, len(noise)) == noise
    assert sealed.path.read_bytes() == before


def test_a_full_chunk_learns_8_mib(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled(limits=Limits(8 * MIB, 25 * MIB, 10), assumed=Limits(500 * MIB, 500 * MIB, 10))
    desk = make_desk(remote)
    sealed = desk.seal(noise * 6)
    chunk = desk.chunks.post(sealed, CHANNEL)
    assert len(chunk.attachments) == 4
    for position in (0, 8 * MIB - 10, sealed.plain_size - 100):
        data = (noise * 6)[position : position + 100]
        assert desk.chunks.read(chunk, position, 100) == data


def _without(number: int) -> Callable[[Message], Message]:
    return lambda it: replace(it, attachments=it.attachments[:number] + it.attachments[number + 1 :])


def _resized(size: int) -> Callable[[Message], Message]:
    def alter(message: Message) -> Message:
        first = message.attachments[0]
        changed = Attachment(first.id, first.name, max(0, first.size + size))
        return replace(message, attachments=(changed, *message.attachments[1:]))

    return alter


@pytest.mark.parametrize("alter", [_without(0), _resized(-1), _resized(1), _resized(-(10**9))])
@pytest.mark.expects_log("is not the chunk that was posted")
def test_an_answer_that_is_not_what_was_sent_is_never_taken_for_it(
    make_desk: MakeDesk, noise: bytes, alter: Callable[[Message], Message]
) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    sealed = desk.seal(noise)
    remote.alter = alter
    with pytest.raises(Damaged):
        desk.chunks.post(sealed, CHANNEL)
    answers = iter([alter, lambda message: message])
    remote.alter = lambda message: next(answers)(message)
    assert desk.chunks.post(sealed, CHANNEL).uid == sealed.uid  # the second nonce helped


def test_a_post_without_an_answer_is_unknown_and_can_be_found(make_desk: MakeDesk, noise: bytes) -> None:
    class Silent(Troubled):
        async def post(self, *arguments: Any) -> Message:
            await super().post(*arguments)
            raise OutcomeUnknown("the connection was reset")

    desk = make_desk(Silent())
    sealed = desk.seal(noise)
    assert desk.chunks.find(sealed, CHANNEL, 0) is None
    with pytest.raises(OutcomeUnknown):
        desk.chunks.post(sealed, CHANNEL)
    chunk = desk.chunks.find(sealed, CHANNEL, 0)
    assert chunk is not None
    assert desk.chunks.read(chunk, 0, len(noise)) == noise


def test_a_post_that_takes_too_long_is_unknown(make_desk: MakeDesk, noise: bytes) -> None:
    class Endless(Troubled):
        async def post(self, *arguments: Any) -> Message:
            import asyncio

            await asyncio.Event().wait()
            raise AssertionError

    desk = make_desk(Endless(), post_timeout=0.05)
    with pytest.raises(OutcomeUnknown):
        desk.chunks.post(desk.seal(noise), CHANNEL)


def test_finding_goes_through_all_pages_and_stops_at_its_time(desk: Desk, noise: bytes) -> None:
    sealed, other = desk.seal(noise), desk.seal(noise)
    for n in range(150):
        desk.loop.call(desk.remote.post(CHANNEL, f"hello {n}", [], ""), 5)
    chunk = desk.chunks.post(sealed, CHANNEL)
    for n in range(120):
        desk.loop.call(desk.remote.post(CHANNEL, f"bye {n}", [], ""), 5)
    assert desk.chunks.find(sealed, CHANNEL, 0) == chunk
    assert desk.chunks.find(sealed, CHANNEL, snowflake_ns(chunk.message)) == chunk
    assert desk.chunks.find(sealed, CHANNEL, snowflake_ns(chunk.message) + 3600 * 10**9) is None
    assert desk.chunks.find(other, CHANNEL, 0) is None


def test_half_a_chunk_is_not_found_and_the_oldest_of_twins_is(make_desk: MakeDesk, noise: bytes) -> None:
    desk = make_desk(Troubled(limits=Limits(3 * MIB, 25 * MIB, 10)))
    sealed = desk.seal(noise)
    files = layout.upload_files(sealed, [2 * MIB + 8 * 17, sealed.stored_size - 2 * MIB - 8 * 17])
    cut = [replace(files[0], length=files[0].length - 1), replace(files[1], start=files[1].start - 1)]
    for wrong in (files[:1], files[1:], cut):
        desk.loop.call(desk.remote.post(CHANNEL, "", wrong, ""), 5)
    assert desk.chunks.find(sealed, CHANNEL, 0) is None
    ids = [desk.loop.call(desk.remote.post(CHANNEL, "", files, ""), 5).id for _ in range(2)]
    found = desk.chunks.find(sealed, CHANNEL, 0)
    assert found is not None
    assert found.message == ids[0]


def test_a_sealed_file_is_the_same_after_a_restart(desk: Desk, noise: bytes) -> None:
    sealed = desk.seal(noise)
    again = desk.chunks.reopen(sealed.path)
    assert replace(again, pieces=()) == replace(sealed, pieces=())
    assert [(it.ino, it.offset, it.length, it.seq, it.name) for it in again.pieces] == [
        (7, 0, len(noise), 3, b"file")
    ]
    assert desk.chunks.read(desk.chunks.post(again, CHANNEL), 0, len(noise)) == noise


# --- when it goes wrong ---------------------------------------------------------------------------


@pytest.mark.expects_log("came damaged: once more")
def test_a_damaged_answer_is_asked_for_once_more(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled()
    desk = make_desk(remote, **BOTH)
    chunk = desk.post(noise)
    remote.spoil, remote.spoiled = flip, 1
    assert desk.chunks.read(chunk, 0, 3 * BLOCK_SIZE) == noise[: 3 * BLOCK_SIZE]
    size = BLOCK_SIZE + 17
    assert remote.reads == [(0, 3 * size), (0, size)]  # only the damaged block again


@pytest.mark.parametrize("spoil", [flip, lambda data: data[:-1], lambda data: b"", lambda data: data[::-1]])
@pytest.mark.expects_log("came damaged: once more")
def test_twice_damaged_is_an_error_and_never_bytes(
    make_desk: MakeDesk, noise: bytes, spoil: Callable[[bytes], bytes]
) -> None:
    remote = Troubled()
    desk = make_desk(remote, **BOTH)
    chunk = desk.post(noise)
    remote.spoil, remote.spoiled = spoil, 2
    with pytest.raises(Damaged):
        desk.chunks.read(chunk, 0, 100)
    assert len(remote.reads) == 2
    assert desk.chunks.read(chunk, 0, 100) == noise[:100]  # whole again, and nothing wrong was kept


@pytest.mark.expects_log("came damaged: once more")
def test_altered_bytes_in_a_message_spoil_just_their_block(desk: Desk, noise: bytes) -> None:
    chunk = desk.post(noise)
    desk.remote.replace_bytes(chunk.attachments[0].id, flip)
    for _ in range(2):
        with pytest.raises(Damaged):
            desk.chunks.read(chunk, 0, 2 * BLOCK_SIZE)
    assert desk.chunks.read(chunk, BLOCK_SIZE, BLOCK_SIZE) == noise[BLOCK_SIZE : 2 * BLOCK_SIZE]
    with pytest.raises(Damaged):
        desk.chunks.read(chunk, BLOCK_SIZE - 1, 1)


@pytest.mark.expects_log("came damaged: once more")
def test_swapped_attachments_and_another_chunks_bytes_are_damage(make_desk: MakeDesk, noise: bytes) -> None:
    desk = make_desk(Troubled(limits=Limits(3 * MIB, 25 * MIB, 10)))
    chunk, other = desk.post(noise), desk.post(noise)
    swapped = replace(chunk, message=chunk.message, attachments=chunk.attachments[::-1])
    for wrong in (swapped, replace(chunk, message=other.message, attachments=other.attachments)):
        fresh = make_desk(desk.remote)
        with pytest.raises(Damaged):
            fresh.chunks.read(wrong, 0, 100)


@pytest.mark.expects_log("the cache had a damaged block")
def test_a_damaged_cached_block_is_fetched_anew(
    make_desk: MakeDesk, noise: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    desk = make_desk(**BOTH)
    chunk = desk.post(noise)
    desk.chunks.read(chunk, 0, 2 * BLOCK_SIZE)
    desk.chunks.close()  # what was fetched has been written
    file = desk.folder / "cache" / "chunks-1" / chunk.uid.hex()
    file.write_bytes(flip(file.read_bytes()))
    desk = _again(desk)
    assert desk.chunks.read(chunk, 0, 2 * BLOCK_SIZE) == noise[: 2 * BLOCK_SIZE]
    assert desk.requests() == 2
    assert "damaged block" in caplog.text
    desk.chunks.close()
    desk = _again(desk)
    assert desk.chunks.read(chunk, 0, 2 * BLOCK_SIZE) == noise[: 2 * BLOCK_SIZE]
    assert desk.requests() == 2
    desk.chunks.close()


def _again(desk: Desk) -> Desk:
    chunks = ChunkStore(
        store=desk.remote, loop=desk.loop, cache=desk.cache, keys=KEYS, volume=VOLUME, random_bytes=os.urandom
    )
    return replace(desk, chunks=chunks)


def test_cached_blocks_are_found_after_a_remount_without_a_request(make_desk: MakeDesk, noise: bytes) -> None:
    desk = make_desk(**BOTH)
    chunk = desk.post(noise)
    desk.chunks.read(chunk, 0, 2 * BLOCK_SIZE)
    desk.chunks.close()
    desk = make_desk(desk.remote, disk_bytes=10**9)
    assert desk.chunks.read(chunk, 100, BLOCK_SIZE) == noise[100 : 100 + BLOCK_SIZE]
    assert desk.requests() == 1
    assert desk.cache.status().misses == 0


def test_a_chunk_just_posted_costs_no_request_to_read(make_desk: MakeDesk, noise: bytes) -> None:
    desk = make_desk(disk_bytes=10**9)
    sealed = desk.seal(noise)
    chunk = desk.chunks.post(sealed, CHANNEL)
    desk.chunks.seed(sealed)
    sealed.path.unlink()
    assert desk.chunks.read(chunk, 0, len(noise)) == noise
    assert desk.requests() == 0


def test_a_deleted_message_is_an_error_for_each_who_waits(desk: Desk, noise: bytes) -> None:
    chunk = desk.post(noise)
    desk.chunks.delete(CHANNEL, [chunk.message])
    desk.chunks.delete(CHANNEL, [chunk.message])
    desk.chunks.delete(CHANNEL, [])
    with pytest.raises(RemoteGone):
        desk.chunks.read(chunk, 0, 1)


def test_an_index_that_is_wrong_is_damage(desk: Desk, noise: bytes) -> None:
    chunk = desk.post(noise)
    short = replace(chunk, message=1, attachments=(replace(chunk.attachments[0], size=100),))
    for wrong in (short, replace(chunk, message=2, plain_size=10**9), replace(chunk, message=3, blocks=b"1")):
        with pytest.raises(Damaged):
            desk.chunks.read(wrong, 0, 1)


def _hold(desk: Desk, remote: Troubled) -> Callable[[], None]:
    """Answers wait from now on, until what is returned is called."""
    import asyncio

    event = asyncio.Event()

    class Waiting:
        def __await__(self) -> Any:
            return event.wait().__await__()

    remote.hold = Waiting()  # type: ignore[assignment]

    async def let_go() -> None:
        event.set()

    return lambda: desk.loop.call(let_go(), 5)


def test_a_reader_can_go_away_while_the_others_still_get_it(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    chunk = desk.post(noise)
    let_go = _hold(desk, remote)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(desk.chunks.read, chunk, 0, 100)
        remote.asked.wait(10)
        with pytest.raises(Interrupted):
            desk.chunks.read(chunk, 0, 100, lambda: True)
        let_go()
        assert first.result(10) == noise[:100]
    assert len(remote.reads) == 1


def test_the_one_who_asked_first_may_go_away_too(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    chunk = desk.post(noise)
    let_go = _hold(desk, remote)
    with pytest.raises(Interrupted):
        desk.chunks.read(chunk, 0, 100, lambda: True)
    let_go()
    assert desk.chunks.read(chunk, 0, 100) == noise[:100]
    assert len(remote.reads) == 1


def test_silence_is_an_outage_after_the_timeout(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled()
    desk = make_desk(remote, read_timeout=0.02)
    chunk = desk.post(noise)
    let_go = _hold(desk, remote)
    for _ in range(2):
        with pytest.raises(Unavailable):
            desk.chunks.read(chunk, 0, 100)
    with pytest.raises(Unavailable):
        desk.chunks.read_footer(message_of(desk, chunk))
    let_go()
    remote.hold = None
    assert _again(desk).chunks.read(chunk, 0, 100) == noise[:100]


def test_closing_lets_nobody_wait(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    chunk = desk.post(noise)
    let_go = _hold(desk, remote)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(desk.chunks.read, chunk, 0, 100)
        remote.asked.wait(10)
        desk.chunks.close()
        with pytest.raises(Unavailable):
            reader.result(10)
    let_go()
    desk.chunks.prefetch(chunk, 0, 100)


# --- prefetching ----------------------------------------------------------------------------------


def test_what_was_prefetched_is_not_asked_for_again(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    chunk = desk.post(noise)
    let_go = _hold(desk, remote)
    for _ in range(3):
        desk.chunks.prefetch(chunk, 0, len(noise))
    let_go()
    assert desk.chunks.read(chunk, 0, len(noise)) == noise
    assert sorted(remote.reads) == [
        (0, 8 * (BLOCK_SIZE + 17)),
        (8 * (BLOCK_SIZE + 17), 8 * (BLOCK_SIZE + 17)),
    ]


def test_prefetching_raises_blocks_from_disk(make_desk: MakeDesk, noise: bytes) -> None:
    desk = make_desk(disk_bytes=10**9)
    sealed = desk.seal(noise)
    chunk = desk.chunks.post(sealed, CHANNEL)
    desk.chunks.seed(sealed)
    desk.chunks.prefetch(chunk, 0, BLOCK_SIZE)
    desk.chunks.close()  # the worker is through
    assert desk.cache.status().ram_bytes in (0, BLOCK_SIZE)  # 0: closed before it began
    assert desk.requests() == 0


def test_prefetching_is_bounded_and_drops_the_rest(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    chunk = desk.post(noise * 6)
    other = desk.post(noise * 6)
    let_go = _hold(desk, remote)
    for it in (chunk, other, chunk, other):
        desk.chunks.prefetch(it, 0, it.plain_size)
    let_go()
    assert desk.chunks.read(chunk, 0, 100) == noise[:100]
    desk.chunks.close()
    assert sum(length for _, length in remote.reads) <= 97 * (BLOCK_SIZE + 17)


def test_prefetching_what_cannot_be_leaves_nobody_waiting(make_desk: MakeDesk, noise: bytes) -> None:
    """An index whose block table is damaged: who reads a block of it later hears that at once."""
    desk = make_desk()
    chunk = desk.post(noise)
    cut = replace(chunk.attachments[0], size=BLOCK_SIZE + 100)
    desk.chunks.prefetch(replace(chunk, message=5, attachments=(cut,)), 0, len(noise))
    assert desk.chunks.read(chunk, 0, len(noise)) == noise


@pytest.mark.expects_log("came damaged: once more")
def test_prefetching_never_raises(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled()
    desk = make_desk(remote)
    chunk = desk.post(noise)
    remote.spoil, remote.spoiled = flip, 1000
    desk.chunks.prefetch(replace(chunk, message=5), 0, 100)
    desk.chunks.prefetch(replace(chunk, message=6, blocks=b"1"), 0, 100)
    desk.chunks.prefetch(replace(chunk, message=7, attachments=()), 0, 100)
    for position, length in ((-5, 3), (10**12, 100), (0, 0), (0, -1), (0, 10**12)):
        desk.chunks.prefetch(chunk, position, length)
    with pytest.raises((Damaged, RemoteGone)):
        desk.chunks.read(chunk, 0, 100)
    remote.spoiled = 0
    assert desk.chunks.read(chunk, 0, 100) == noise[:100]


# --- recovery -------------------------------------------------------------------------------------


def test_a_chunk_tells_its_contents_by_its_message_alone(make_desk: MakeDesk, noise: bytes) -> None:
    desk = make_desk(Troubled(limits=Limits(3 * MIB, 25 * MIB, 10)))
    chunk = desk.post(noise)
    message = message_of(desk, chunk)
    footer = desk.chunks.read_footer(message)
    (piece,) = footer.pieces
    assert (piece.ino, piece.offset, piece.length, piece.seq, piece.name) == (7, 0, len(noise), 3, b"file")
    assert piece.hash == piece_hash(KEYS, noise)
    assert desk.requests() == 1
    assert desk.chunks.locate(message) == chunk


def test_a_large_footer_is_read_too(desk: Desk, noise: bytes) -> None:
    from discordfs.model import Piece

    pieces = [Piece(n, n, 10, n, os.urandom(100), 0, n) for n in range(2000)]
    desk.data = noise
    chunk = desk.chunks.post(desk.chunks.seal(pieces, desk.staging, desk.folder), CHANNEL)
    assert len(desk.chunks.read_footer(message_of(desk, chunk)).pieces) == 2000


def test_what_is_no_chunk_is_said_to_be_none(desk: Desk, noise: bytes, tmp_path: Path) -> None:
    plain = desk.loop.call(desk.remote.post(CHANNEL, "hello", [], ""), 5)
    with pytest.raises(MissingError):
        desk.chunks.read_footer(plain)
    message = message_of(desk, desk.post(noise))
    with pytest.raises(MissingError):
        desk.chunks.read_footer(replace(message, attachments=()))
    (tmp_path / "x").write_bytes(bytes(1000))
    named = UploadFile(message.attachments[0].name, tmp_path / "x", 0, 1000)
    with pytest.raises(Damaged):
        desk.chunks.read_footer(desk.loop.call(desk.remote.post(CHANNEL, "", [named], ""), 5))


def test_another_volumes_chunk_and_another_key_are_noticed(desk: Desk, noise: bytes) -> None:
    from discordfs.keys import VolumeKeys

    message = message_of(desk, desk.post(noise))
    for keys, volume, error in ((KEYS, bytes(16), ConfigError), (VolumeKeys(bytes(32)), VOLUME, Damaged)):
        other = ChunkStore(
            store=desk.remote,
            loop=desk.loop,
            cache=desk.cache,
            keys=keys,
            volume=volume,
            random_bytes=os.urandom,
        )
        with pytest.raises(error):
            other.read_footer(message)
        other.close()
