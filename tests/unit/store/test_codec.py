"""The codec: what was sealed comes back, and nothing else ever does."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from discordfs.codec import (
    MAX_NAME,
    PIECE_SIZE,
    SEAL_OVERHEAD,
    TRAILER_SIZE,
    ChunkCipher,
    Footer,
    FooterPiece,
    PieceHash,
    Trailer,
    block_count,
    block_lengths,
    block_offsets,
    footer_room,
    open_footer,
    pack_table,
    pack_trailer,
    parse_trailer,
    piece_hash,
    seal_footer,
)
from discordfs.errors import Damaged, FormatError
from discordfs.keys import VolumeKeys, derive
from discordfs.model import BLOCK_SIZE, Kind

KEYS = VolumeKeys(bytes(32))
OTHER_KEYS = VolumeKeys(bytes(31) + b"\1")
VOLUME, UID = b"v" * 16, b"u" * 16
CIPHER = ChunkCipher(KEYS, VOLUME, UID)

plain_blocks = st.one_of(
    st.binary(min_size=1, max_size=4096),
    st.builds(
        lambda unit, count: (unit * count)[:BLOCK_SIZE],
        st.binary(min_size=1, max_size=64),
        st.integers(1, 9999),
    ),
)


@given(plain_blocks, st.integers(0, 1023))
def test_a_block_comes_back_and_grows_by_17_bytes_at_most(plain: bytes, number: int) -> None:
    sealed = CIPHER.seal_block(number, plain)
    assert len(sealed) <= len(plain) + SEAL_OVERHEAD
    assert CIPHER.open_block(number, sealed, len(plain)) == plain


@given(plain_blocks, st.data())
def test_a_flipped_bit_anywhere_is_damage(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(CIPHER.seal_block(5, plain))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Damaged):
        CIPHER.open_block(5, sealed, len(plain))


@given(st.binary(min_size=1, max_size=64))
def test_every_byte_of_a_block_counts(plain: bytes) -> None:
    sealed = CIPHER.seal_block(0, plain)
    for at in range(len(sealed)):
        with pytest.raises(Damaged):
            CIPHER.open_block(0, sealed[:at] + bytes([sealed[at] ^ 0x80]) + sealed[at + 1 :], len(plain))
        with pytest.raises(Damaged):
            CIPHER.open_block(0, sealed[:at], len(plain))
    with pytest.raises(Damaged):
        CIPHER.open_block(0, sealed + b"\0", len(plain))


@pytest.mark.parametrize(
    "other",
    [
        ChunkCipher(KEYS, VOLUME, b"w" * 16),
        ChunkCipher(KEYS, b"w" * 16, UID),
        ChunkCipher(OTHER_KEYS, VOLUME, UID),
        ChunkCipher(KEYS, VOLUME, UID, Kind.RECORD),
    ],
    ids=["other chunk", "other volume", "other key", "the log's key"],
)
def test_a_block_of_somewhere_else_is_damage(other: ChunkCipher) -> None:
    with pytest.raises(Damaged):
        other.open_block(0, CIPHER.seal_block(0, b"x" * 100), 100)


def test_a_block_in_another_place_or_of_another_length_is_damage() -> None:
    sealed = CIPHER.seal_block(0, b"x" * 100)
    for number, length in [(1, 100), (0, 99), (0, 101)]:
        with pytest.raises(Damaged):
            CIPHER.open_block(number, sealed, length)


@pytest.mark.parametrize("size", [0, BLOCK_SIZE + 1])
def test_a_block_has_a_size(size: int) -> None:
    with pytest.raises(ValueError):
        CIPHER.seal_block(0, bytes(size))


def _sealed_by_hand(method: int, payload: bytes) -> bytes:
    """A block by the text of FORMAT.md, without the codec."""
    key = derive(KEYS.data, VOLUME + UID, b"discordfs 1 block")
    aad = struct.pack("<H16s16sIB", 1, VOLUME, UID, 3, method)
    return bytes([method]) + AESGCM(key).encrypt((3).to_bytes(12, "little"), payload, aad)


def test_the_block_format_is_the_documented_one() -> None:
    assert CIPHER.open_block(3, _sealed_by_hand(0, b"hello"), 5) == b"hello"
    assert CIPHER.open_block(3, _sealed_by_hand(1, zstandard.compress(b"hello")), 5) == b"hello"


@pytest.mark.parametrize(
    "payload",
    [
        zstandard.compress(bytes(BLOCK_SIZE + 1)),
        zstandard.ZstdCompressor(write_content_size=False).compress(b"hello"),
        zstandard.compress(b"hello") + b"more",
        b"no zstd frame",
        b"",
    ],
    ids=["bomb", "no size", "more behind", "garbage", "empty"],
)
def test_a_strange_frame_is_damage_even_when_sealed(payload: bytes) -> None:
    with pytest.raises(Damaged):
        CIPHER.open_block(3, _sealed_by_hand(1, payload), 5)


def test_an_unknown_method_asks_for_a_newer_release() -> None:
    with pytest.raises(FormatError):
        CIPHER.open_block(3, _sealed_by_hand(2, b"hello"), 5)


@given(st.binary(max_size=5000), st.integers(0, 5000))
def test_a_piece_hash_does_not_depend_on_how_it_is_fed(data: bytes, cut: int) -> None:
    digest = PieceHash(KEYS)
    digest.update(data[:cut])
    digest.update(memoryview(data)[cut:])
    assert digest.digest() == piece_hash(KEYS, data)
    assert len(piece_hash(KEYS, data)) == 16
    assert piece_hash(OTHER_KEYS, data) != piece_hash(KEYS, data)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_a_block_table_comes_back(lengths: list[int]) -> None:
    table = pack_table(lengths)
    assert table == b"".join(length.to_bytes(4, "little") for length in lengths)
    assert list(block_lengths(table)) == lengths
    assert block_offsets(table)[-1] == sum(lengths)
    with pytest.raises(Damaged):
        block_lengths(table + b"\0")


# --- footers ------------------------------------------------------------------------------------------

u64 = st.integers(0, 2**64 - 1)
pieces = st.builds(
    FooterPiece,
    u64,
    u64,
    st.integers(1, 10**6),
    u64,
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=255),
)


def _footer(*pieces: FooterPiece) -> Footer:
    size = sum(piece.length for piece in pieces)
    table = pack_table([SEAL_OVERHEAD + 1] * block_count(size))
    return Footer(VOLUME, UID, size, table, pieces)


def _split(end: bytes) -> tuple[bytes, bytes]:
    return end[:-TRAILER_SIZE], end[-TRAILER_SIZE:]


@given(st.lists(pieces, min_size=1, max_size=20))
def test_a_footer_comes_back_within_the_room_kept_for_it(items: list[FooterPiece]) -> None:
    footer = _footer(*items)
    end = seal_footer(KEYS, footer)
    names = sum(len(piece.name) for piece in items)
    assert len(end) <= footer_room(len(footer.blocks) // 4, len(items), names)
    sealed, trailer = _split(end)
    assert open_footer(KEYS, parse_trailer(trailer), sealed) == footer
    positions = [position for position, _ in footer.placed()]
    assert positions == [sum(piece.length for piece in items[:n]) for n in range(len(items))]


SMALL = _footer(FooterPiece(2, 0, 4096, 1, bytes(16), b"name"), FooterPiece(3, 4096, 10, 2, b"h" * 16, b""))


def test_every_byte_of_footer_and_trailer_counts() -> None:
    end = seal_footer(KEYS, SMALL)
    for at in range(len(end)):
        for bit in (1, 128):
            sealed, trailer = _split(end[:at] + bytes([end[at] ^ bit]) + end[at + 1 :])
            with pytest.raises(Damaged):
                open_footer(KEYS, parse_trailer(trailer), sealed)


def test_a_trailer_that_lies_is_not_believed() -> None:
    """Somebody with a CRC at hand, but without the key."""
    sealed, packed = _split(seal_footer(KEYS, SMALL))
    trailer = parse_trailer(packed)
    lies = [
        replace(trailer, volume=b"w" * 16),
        replace(trailer, uid=b"w" * 16),
        replace(trailer, blocks=trailer.blocks + 1),
        replace(trailer, stored_size=trailer.stored_size + 1),
        replace(trailer, footer_size=trailer.footer_size - 1),
    ]
    for lie in lies:
        with pytest.raises(Damaged):
            open_footer(KEYS, parse_trailer(pack_trailer(lie)), sealed)
    with pytest.raises(Damaged):
        open_footer(OTHER_KEYS, trailer, sealed)


def test_a_footer_that_contradicts_itself_is_damage_even_when_sealed() -> None:
    wrong = [
        replace(SMALL, plain_size=SMALL.plain_size + 1),
        replace(SMALL, pieces=()),
        replace(SMALL, blocks=SMALL.blocks * 2),
    ]
    for footer in wrong:
        sealed, trailer = _split(seal_footer(KEYS, footer))
        with pytest.raises(Damaged):
            open_footer(KEYS, parse_trailer(trailer), sealed)


LOG = [Kind.RECORD, Kind.SNAPSHOT, Kind.PART]


@pytest.mark.parametrize("kind", LOG)
def test_a_footer_of_the_log_opens_as_its_kind_and_no_other(kind: Kind) -> None:
    """Else a part could be passed off as a record, or files' data as entries."""
    footer = replace(_footer(FooterPiece(0, 0, 4096, 1, bytes(16), b"")), kind=kind)
    sealed, packed = _split(seal_footer(KEYS, footer))
    trailer = parse_trailer(packed)
    assert trailer.kind is kind
    assert open_footer(KEYS, trailer, sealed) == footer
    for other in set(Kind) - {kind}:
        with pytest.raises(Damaged):
            open_footer(KEYS, parse_trailer(pack_trailer(replace(trailer, kind=other))), sealed)


def test_a_chunk_of_the_log_has_one_piece_that_is_no_files() -> None:
    for footer in (SMALL, _footer(FooterPiece(2, 0, 4096, 1, bytes(16), b"name"))):
        sealed, trailer = _split(seal_footer(KEYS, replace(footer, kind=Kind.RECORD)))
        with pytest.raises(Damaged):
            open_footer(KEYS, parse_trailer(trailer), sealed)


def test_a_newer_version_is_told_from_damage() -> None:
    body = bytearray(pack_trailer(Trailer(VOLUME, UID, 1, 100, 1000))[:-4])
    for at, value in ((8, 2), (10, 5), (11, 1), (56, 1)):
        changed = bytes(body[:at]) + bytes([value]) + bytes(body[at + 1 :])
        with pytest.raises(FormatError):
            parse_trailer(changed + struct.pack("<I", zlib.crc32(changed)))
        with pytest.raises(Damaged):
            parse_trailer(changed + bytes(4))
    for cut in (b"", bytes(body), bytes(TRAILER_SIZE)):
        with pytest.raises(Damaged):
            parse_trailer(cut)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_garbage_is_damage(garbage: bytes) -> None:
    with pytest.raises(Damaged):
        parse_trailer(garbage)
    with pytest.raises(Damaged):
        CIPHER.open_block(0, garbage, 10)
    with pytest.raises(Damaged):
        open_footer(KEYS, Trailer(VOLUME, UID, 1, len(garbage), 1000), garbage)


def test_the_trailer_is_the_documented_one() -> None:
    trailer = pack_trailer(Trailer(VOLUME, UID, 5, 6, 7))
    assert trailer[:12] == bytes.fromhex("89646673 0d0a1a0a 0100 01 00")
    assert trailer[12:60] == (5).to_bytes(4, "little") + VOLUME + UID + struct.pack("<III", 6, 7, 0)


def test_a_long_name_is_cut_and_a_piece_costs_45_bytes() -> None:
    footer = _footer(FooterPiece(2, 0, 10, 1, bytes(16), b"n" * 400))
    sealed, trailer = _split(seal_footer(KEYS, footer))
    assert open_footer(KEYS, parse_trailer(trailer), sealed).pieces[0].name == b"n" * MAX_NAME
    assert PIECE_SIZE == 45
