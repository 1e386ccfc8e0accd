"""Whole chunks, for fsck and salvage: what is damaged is named to the byte, what is whole moves unchanged."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from discordfs.codec import FooterPiece, block_offsets, pack_table, seal_footer
from discordfs.errors import ConfigError, Damaged, RemoteGone, Unavailable
from discordfs.model import BLOCK_SIZE, ChunkRef, Kind, Limits, Piece
from tests.unit.store.conftest import CHANNEL, KEYS, Desk, MakeDesk, Troubled, message_of

MIB = 1024**2
SEALED = BLOCK_SIZE + 17  # bytes of a sealed block that does not compress


@pytest.fixture
def many(desk: Desk, noise: bytes) -> ChunkRef:
    """A chunk of twelve files in 16 blocks, pieces and blocks cut in other places."""
    desk.data, step = noise, len(noise) // 12 + 1
    pieces = [
        Piece(n + 2, 0, min(step, len(noise) - n * step), 5, b"file %d" % n, 0, n * step) for n in range(12)
    ]
    return desk.chunks.post(desk.chunks.seal(pieces, desk.staging, desk.folder), CHANNEL)


class Nth(Troubled):
    """Spoils the answer to one read, by its number."""

    bad = -1

    async def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        number = len(self.reads)
        data = await super().read(channel, message, attachment, start, length)
        return self.spoil(data) if number == self.bad else data


def spoil(desk: Desk, chunk: ChunkRef, *places: int, part: int = 0) -> None:
    """Flips a bit at each of these bytes of an attachment."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        for place in places:
            changed[place] ^= 1
        return bytes(changed)

    desk.remote.replace_bytes(chunk.attachments[part].id, change)


# --- checking -------------------------------------------------------------------------------------


def test_a_sound_chunk_is_found_sound_past_the_cache(make_desk: MakeDesk, noise: bytes) -> None:
    """A check that reads the cache says nothing of what Discord has."""
    desk = make_desk(disk_bytes=10**9)
    chunk = desk.post(noise)
    desk.chunks.read(chunk, 0, len(noise))
    before = desk.remote.traffic().bytes_down
    assert desk.chunks.verify(chunk) == []
    assert desk.remote.traffic().bytes_down - before >= sum(it.size for it in chunk.attachments)


def test_pieces_are_checked_across_blocks(desk: Desk, many: ChunkRef) -> None:
    assert desk.chunks.verify(many) == []


@pytest.mark.parametrize("kind", [Kind.RECORD, Kind.SNAPSHOT, Kind.PART])
def test_chunks_of_the_log_are_checked_too(desk: Desk, noise: bytes, kind: Kind) -> None:
    chunk = desk.chunks.post(desk.seal_log(noise[:MIB], kind), CHANNEL)
    assert desk.chunks.verify(chunk) == []
    spoil(desk, chunk, 100)
    assert desk.chunks.verify(chunk) == [(0, BLOCK_SIZE)]


@pytest.mark.expects_log("came damaged: once more")
def test_what_is_damaged_is_named_to_the_block(desk: Desk, many: ChunkRef, noise: bytes) -> None:
    """fsck names the files in these ranges, and no others."""
    spoil(desk, many, 3 * SEALED, 4 * SEALED + 9, 15 * SEALED + 50)
    assert desk.chunks.verify(many) == [
        (3 * BLOCK_SIZE, 2 * BLOCK_SIZE),
        (15 * BLOCK_SIZE, len(noise) - 15 * BLOCK_SIZE),
    ]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[::-1]])
@pytest.mark.expects_log("came damaged: once more")
def test_one_bad_answer_is_no_damage(
    make_desk: MakeDesk, noise: bytes, damage: Callable[[bytes], bytes]
) -> None:
    remote = Nth()
    desk = make_desk(remote)
    chunk = desk.post(noise)
    remote.spoil = damage
    for remote.bad in range(4):
        remote.reads.clear()
        assert desk.chunks.verify(chunk) == []


def test_a_chunk_whose_message_is_gone_is_missing_as_a_whole(desk: Desk, many: ChunkRef) -> None:
    desk.chunks.delete(CHANNEL, [many.message])
    assert desk.chunks.verify(many) == [(0, many.plain_size)]


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_missing_attachment_is_its_blocks(make_desk: MakeDesk, noise: bytes, part: int) -> None:
    desk = make_desk(Troubled(limits=Limits(MIB * 3 // 2, 25 * MIB, 10)))
    chunk = desk.post(noise)
    refs = [*chunk.attachments]
    refs[part] = replace(refs[part], id=1)
    begin = round(sum(it.size for it in refs[:part]) / SEALED)
    end = round(sum(it.size for it in refs[: part + 1]) / SEALED)
    assert desk.chunks.verify(replace(chunk, attachments=tuple(refs))) == [
        (begin * BLOCK_SIZE, (end - begin) * BLOCK_SIZE)
    ]


@pytest.mark.expects_log("came damaged: once more")
def test_a_truncated_attachment_is_damaged_from_there_on(desk: Desk, many: ChunkRef, noise: bytes) -> None:
    desk.remote.replace_bytes(many.attachments[0].id, lambda data: data[: 5 * SEALED + 10])
    assert desk.chunks.verify(many) == [(5 * BLOCK_SIZE, len(noise) - 5 * BLOCK_SIZE)]
    with pytest.raises(Damaged):
        desk.chunks.download(many, desk.folder / "copy")


@pytest.mark.expects_log("came damaged: once more")
def test_a_damaged_end_is_said_where_all_else_is_sound(desk: Desk, many: ChunkRef, noise: bytes) -> None:
    """Reading does not need it; recovery without the index does."""
    size = many.attachments[0].size
    for place in (size - 1, size - 30, size - 65):
        spoil(desk, many, place)
        with pytest.raises(Damaged, match="but its end"):
            desk.chunks.verify(many)
        with pytest.raises(Damaged):
            desk.chunks.download(many, desk.folder / "copy")
        spoil(desk, many, 100)
        assert desk.chunks.verify(many) == [(0, BLOCK_SIZE)]
        spoil(desk, many, 100, place)
    assert desk.chunks.verify(many) == []


def test_a_piece_that_is_not_what_its_hash_says_is_found(desk: Desk, many: ChunkRef, noise: bytes) -> None:
    """Every block opens: whoever sealed it hashed other bytes than those that went in."""
    footer = desk.chunks.read_footer(message_of(desk, many))
    pieces = list(footer.pieces)
    wrong: FooterPiece = pieces[4]
    pieces[4] = replace(wrong, hash=bytes(16))
    end = seal_footer(KEYS, replace(footer, pieces=tuple(pieces)))
    blocks = block_offsets(footer.blocks)[-1]
    desk.remote.replace_bytes(many.attachments[0].id, lambda data: data[:blocks] + end)
    size = blocks + len(end)
    chunk = replace(many, attachments=(replace(many.attachments[0], size=size),))
    assert desk.chunks.verify(chunk) == [(sum(it.length for it in pieces[:4]), wrong.length)]


def test_an_index_that_knows_another_chunk_is_damage_not_a_verdict(desk: Desk, many: ChunkRef) -> None:
    other = desk.post(random.Random(1).randbytes(many.plain_size))
    for wrong in (
        replace(many, plain_size=many.plain_size - 1),
        replace(many, blocks=pack_table([SEALED - 1, SEALED + 1, *[SEALED] * 14])),
        replace(many, attachments=()),
        replace(many, plain_size=10, blocks=many.blocks[:4]),
    ):
        with pytest.raises(Damaged):
            desk.chunks.verify(wrong)
    foreign = replace(many, message=other.message, attachments=other.attachments)
    assert desk.chunks.verify(foreign) == [(0, many.plain_size)]


@pytest.mark.expects_log("came damaged: once more")
def test_what_cannot_be_asked_is_not_called_damaged(make_desk: MakeDesk, noise: bytes) -> None:
    """An outage in the middle of fsck must not have files declared lost."""

    class Failing(Troubled):
        after = 10**9

        async def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
            if len(self.reads) >= self.after:
                raise Unavailable("the network is down")
            return await super().read(channel, message, attachment, start, length)

    remote = Failing()
    desk = make_desk(remote)
    chunk = desk.post(noise * 5)
    for remote.after in range(5):
        remote.reads.clear()
        with pytest.raises(Unavailable):
            desk.chunks.verify(chunk)
        remote.reads.clear()
        with pytest.raises(Unavailable):
            desk.chunks.download(chunk, desk.folder / "copy")
    assert not (desk.folder / "copy").exists()
    assert not list(desk.folder.glob("*.tmp"))


def test_another_volumes_chunk_is_said_to_be_one(desk: Desk, make_desk: MakeDesk, many: ChunkRef) -> None:
    stranger = make_desk(desk.remote, volume=bytes(16))
    with pytest.raises(ConfigError):
        stranger.chunks.verify(many)
    with pytest.raises(ConfigError):
        stranger.chunks.download(many, desk.folder / "copy")


def test_requests_are_of_4_mib_at_most_and_few(make_desk: MakeDesk, noise: bytes) -> None:
    remote = Troubled(limits=Limits(8 * MIB, 25 * MIB, 10))
    desk = make_desk(remote)
    chunk = desk.post(noise * 5)
    for work in (desk.chunks.verify, lambda it: desk.chunks.download(it, desk.folder / "copy")):
        remote.reads.clear()
        assert work(chunk) == []
        assert max(length for _, length in remote.reads) <= 4 * MIB
        assert len(remote.reads) <= 8


# --- copying --------------------------------------------------------------------------------------


def test_a_copy_is_the_chunk_byte_for_byte_and_can_be_posted_elsewhere(
    make_desk: MakeDesk, noise: bytes
) -> None:
    desk = make_desk(Troubled(limits=Limits(MIB * 3 // 2, 25 * MIB, 10)))
    sealed = desk.seal(noise)
    chunk = desk.chunks.post(sealed, CHANNEL)
    copy = desk.folder / "salvaged.chunk"
    assert desk.chunks.download(chunk, copy) == []
    assert copy.read_bytes() == sealed.path.read_bytes()
    assert not copy.with_suffix(".tmp").exists()
    desk.remote.add_channel(2)
    moved = desk.chunks.post(desk.chunks.reopen(copy), 2)
    desk.chunks.delete(CHANNEL, [chunk.message])
    assert desk.chunks.read(moved, 0, len(noise)) == noise


@pytest.mark.parametrize("kind", [Kind.RECORD, Kind.PART])
def test_records_are_copied_too(desk: Desk, kind: Kind) -> None:
    sealed = desk.seal_log(b"entries" * 1000, kind)
    copy = desk.folder / "salvaged.chunk"
    assert desk.chunks.download(desk.chunks.post(sealed, CHANNEL), copy) == []
    assert desk.chunks.reopen(copy).kind is kind


@pytest.mark.expects_log("came damaged: once more")
def test_a_damaged_block_does_not_keep_the_others_from_moving(
    desk: Desk, many: ChunkRef, noise: bytes
) -> None:
    spoil(desk, many, 2 * SEALED + 5)
    copy = desk.folder / "salvaged.chunk"
    assert desk.chunks.download(many, copy) == [(2 * BLOCK_SIZE, BLOCK_SIZE)]
    moved = desk.chunks.post(desk.chunks.reopen(copy), CHANNEL)
    assert desk.chunks.read(moved, 0, BLOCK_SIZE) == noise[:BLOCK_SIZE]
    with pytest.raises(Damaged):
        desk.chunks.read(moved, 2 * BLOCK_SIZE, 1)


@pytest.mark.expects_log("came damaged: once more")
def test_an_answer_altered_on_its_way_does_not_get_into_the_copy(make_desk: MakeDesk, noise: bytes) -> None:
    """The copy may soon be the only one there is."""
    remote = Nth()
    desk = make_desk(remote)
    sealed = desk.seal(noise)
    chunk = desk.chunks.post(sealed, CHANNEL)
    remote.spoil = lambda data: data[:-200] + bytes(200)
    for remote.bad in range(3):
        remote.reads.clear()
        assert desk.chunks.download(chunk, desk.folder / "copy") == []
        assert (desk.folder / "copy").read_bytes() == sealed.path.read_bytes()


def test_a_chunk_that_is_gone_leaves_no_file(desk: Desk, many: ChunkRef, tmp_path: Path) -> None:
    desk.chunks.delete(CHANNEL, [many.message])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RemoteGone):
        desk.chunks.download(many, tmp_path / "copy")
    with pytest.raises(OSError):
        desk.chunks.download(desk.post(b"some bytes"), tmp_path / "nowhere" / "copy")
    assert not (tmp_path / "copy").exists()
    assert set(before) <= set(tmp_path.iterdir())


# --- from the cache alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("caches", [{}, {"ram_bytes": 0, "disk_bytes": 10**9}], ids=["ram", "disk"])
def test_what_the_cache_has_is_read_though_the_message_is_gone(
    make_desk: MakeDesk, noise: bytes, caches: dict[str, int]
) -> None:
    """fsck uploads it again."""
    desk = make_desk(**caches)
    sealed = desk.seal(noise)
    chunk = desk.chunks.post(sealed, CHANNEL)
    assert desk.chunks.cached_only_read(chunk, 0, 100) is None
    if caches:
        desk.chunks.seed(sealed)
    else:
        desk.chunks.read(chunk, 0, len(noise))
    desk.chunks.delete(CHANNEL, [chunk.message])
    before = desk.requests()
    for position, length in ((0, len(noise)), (BLOCK_SIZE - 5, 10), (100, 0), (len(noise) - 1, 1)):
        found = desk.chunks.cached_only_read(chunk, position, length)
        assert found == noise[position : position + length]
    assert desk.requests() == before
    for position, length in ((-1, 5), (0, len(noise) + 1), (5, -1)):
        with pytest.raises(Damaged):
            desk.chunks.cached_only_read(chunk, position, length)


def test_what_the_cache_has_in_part_is_nothing(desk: Desk, noise: bytes) -> None:
    chunk = desk.post(noise)
    desk.chunks.read(chunk, BLOCK_SIZE, BLOCK_SIZE)
    assert desk.chunks.cached_only_read(chunk, BLOCK_SIZE, BLOCK_SIZE) == noise[BLOCK_SIZE : 2 * BLOCK_SIZE]
    assert desk.chunks.cached_only_read(chunk, BLOCK_SIZE, BLOCK_SIZE + 1) is None
    assert desk.chunks.cached_only_read(chunk, BLOCK_SIZE - 1, 2) is None
    assert desk.requests() == 1


@pytest.mark.expects_log("the cache had a damaged block")
def test_a_damaged_cached_block_is_never_given_out(make_desk: MakeDesk, noise: bytes) -> None:
    desk = make_desk(ram_bytes=0, disk_bytes=10**9)
    sealed = desk.seal(noise)
    chunk = desk.chunks.post(sealed, CHANNEL)
    desk.chunks.seed(sealed)
    with sealed.path.open("r+b") as file:  # the cache has a link to it
        file.seek(SEALED + 100)
        file.write(b"other bytes")
    assert desk.chunks.cached_only_read(chunk, 0, BLOCK_SIZE) == noise[:BLOCK_SIZE]
    assert desk.chunks.cached_only_read(chunk, 0, 2 * BLOCK_SIZE) is None
