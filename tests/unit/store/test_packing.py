"""Packing: every byte goes in once, no chunk is too large, and few are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discordfs.chunks import packing
from discordfs.codec import MAX_PIECES, MAX_PLAIN, ChunkCipher, block_offsets, piece_hash, plain_length
from discordfs.errors import ConfigError, Damaged
from discordfs.model import CHUNK_SIZE, Kind, Piece, SealedChunk
from tests.unit.store.conftest import KEYS, VOLUME, Desk

MIB = 1024**2
UIDS = count(1)


class Staging:
    """Segments of bytes, repeated without end."""

    def __init__(self, *segments: bytes) -> None:
        self.segments = [segment * 2 for segment in segments]

    def __call__(self, segment: int, position: int, length: int) -> bytes:
        data = self.segments[segment]
        start = position % (len(data) // 2)
        if start + length > len(data):
            data, start = data * (-(-(start + length) // len(data))), start
        return data[start : start + length]


def pack(pieces: Iterable[Piece], read: packing.ReadStaging, folder: Path) -> SealedChunk:
    return packing.pack(pieces, read, folder, KEYS, VOLUME, next(UIDS).to_bytes(16, "big"))


def plaintext(sealed: SealedChunk) -> bytes:
    stored = sealed.path.read_bytes()
    cipher, places = ChunkCipher(KEYS, VOLUME, sealed.uid, sealed.kind), block_offsets(sealed.blocks)
    return b"".join(
        cipher.open_block(n, stored[places[n] : places[n + 1]], plain_length(sealed.plain_size, n))
        for n in range(len(places) - 1)
    )


def pack_all(pieces: list[Piece], read: packing.ReadStaging, folder: Path) -> list[SealedChunk]:
    """As the uploader does: what did not go in is offered again."""
    chunks = []
    while pieces:
        sealed = pack(pieces, read, folder)
        chunks.append(sealed)
        last, offered = sealed.pieces[-1], pieces[len(sealed.pieces) - 1]
        pieces = pieces[len(sealed.pieces) :]
        if last.length < offered.length:
            rest = offered.length - last.length
            assert rest > 0
            pieces.insert(
                0,
                replace(
                    offered,
                    offset=offered.offset + last.length,
                    length=rest,
                    segment_position=offered.segment_position + last.length,
                ),
            )
    return chunks


def check(chunks: list[SealedChunk], pieces: list[Piece], read: packing.ReadStaging) -> None:
    """All bytes of all pieces are in the chunks, in order, and the footers say the truth."""
    wanted = iter(pieces)
    current, at = None, 0
    for sealed in chunks:
        assert sealed.path.stat().st_size == sealed.stored_size <= CHUNK_SIZE
        assert sealed.pieces
        plain, position = plaintext(sealed), 0
        again = packing.reopen(sealed.path, KEYS, VOLUME)
        assert (again.uid, again.blocks, again.stored_size) == (sealed.uid, sealed.blocks, sealed.stored_size)
        for piece in sealed.pieces:
            if current is None or at == current.length:
                current, at = next(wanted), 0
            assert (piece.ino, piece.offset, piece.seq) == (current.ino, current.offset + at, current.seq)
            data = read(piece.segment, piece.segment_position, piece.length)
            assert plain[position : position + piece.length] == data
            at, position = at + piece.length, position + piece.length
        assert position == sealed.plain_size
        assert [(it.ino, it.offset, it.length, it.seq, it.name) for it in again.pieces] == [
            (it.ino, it.offset, it.length, it.seq, it.name[:255]) for it in sealed.pieces
        ]
    assert current is None or at == current.length
    assert next(wanted, None) is None


piece_lists = st.lists(
    st.builds(
        Piece,
        st.integers(1, 9),
        st.integers(0, 10**6),
        st.one_of(st.integers(1, 9000), st.integers(1, 3 * MIB), st.just(10 * MIB)),
        st.integers(0, 99),
        st.binary(max_size=300),
        st.integers(0, 2),
        st.integers(0, MIB),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(piece_lists)
def test_every_byte_goes_in_once(noise: bytes, pieces: list[Piece]) -> None:
    read = Staging(noise[:MIB], bytes(1000), b"some text, some more; " * 50)
    with tempfile.TemporaryDirectory() as folder:
        check(pack_all(pieces, read, Path(folder)), pieces, read)


def test_a_gibibyte_of_noise_needs_44_chunks_at_most(noise: bytes, tmp_path: Path) -> None:
    left, position, chunks, stored = 1024 * MIB, 0, 0, 0
    read = Staging(noise)
    while left:
        sealed = pack([Piece(2, position, left, 1, b"big", 0, position)], read, tmp_path)
        assert sealed.stored_size <= CHUNK_SIZE
        assert position % 4096 == 0
        sealed.path.unlink()
        left, position = left - sealed.plain_size, position + sealed.plain_size
        chunks, stored = chunks + 1, stored + sealed.stored_size
    assert chunks <= 44
    assert stored <= 1024 * MIB * 1.002


def test_thousands_of_small_files_are_one_chunk(noise: bytes, tmp_path: Path) -> None:
    pieces = [Piece(n, 0, 4096, n, b"file-%d.txt" % n, 0, n * 4096) for n in range(6000)]
    sealed = pack(pieces, Staging(noise), tmp_path)
    assert len(sealed.pieces) == 6000
    assert sealed.plain_size == 6000 * 4096
    assert sealed.stored_size <= CHUNK_SIZE


def test_small_files_are_not_cut_when_the_chunk_is_full(noise: bytes, tmp_path: Path) -> None:
    pieces = [Piece(n, 0, 5000, n, b"file-%d" % n, 0, n * 5000) for n in range(6000)]
    chunks = pack_all(pieces, Staging(noise), tmp_path)
    assert len(chunks) == 2
    assert all(piece.length == 5000 for sealed in chunks for piece in sealed.pieces)
    check(chunks, pieces, Staging(noise))


def test_what_compresses_makes_room_up_to_a_bound(tmp_path: Path) -> None:
    sealed = pack([Piece(2, 0, 2**40, 1, b"zeros", 0, 0)], Staging(bytes(MIB)), tmp_path)
    assert sealed.plain_size == MAX_PLAIN
    assert sealed.stored_size < MIB


def test_pieces_have_a_bound(tmp_path: Path) -> None:
    pieces = (Piece(n, 0, 1, n, b"", 0, 0) for n in count(1))
    assert len(pack(pieces, Staging(b"x"), tmp_path).pieces) == MAX_PIECES


def test_pieces_are_hashed_as_they_went_in(desk: Desk, noise: bytes) -> None:
    read = Staging(noise)
    pieces = [Piece(1, 0, 100, 1, b"a", 0, 0), Piece(2, 0, 2**40, 1, b"b", 0, 50)]
    message = desk.remote._message(
        1, desk.chunks.post(desk.chunks.seal(pieces, read, desk.folder), 1).message
    )
    footer = desk.chunks.read_footer(message)
    for piece, offered in zip(footer.pieces, pieces, strict=True):
        data = b"".join(
            read(0, offered.segment_position + at, min(MIB, piece.length - at))
            for at in range(0, piece.length, MIB)
        )
        assert piece.hash == piece_hash(KEYS, data)


def test_a_chunk_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    piece = Piece(1, 0, 100, 1, b"a", 0, 0)
    with pytest.raises(Damaged):
        pack([piece], lambda *_: b"short", tmp_path)
    with pytest.raises(ValueError):
        pack([], lambda *_: b"", tmp_path)
    with pytest.raises(ValueError):
        pack([replace(piece, length=0)], lambda *_: b"", tmp_path)
    with pytest.raises(OSError):
        pack([piece], Staging(b"x"), tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


# --- chunks of the log ---------------------------------------------------------------------------------


def test_entries_of_any_length_go_into_chunks_one_after_the_other(desk: Desk, noise: bytes) -> None:
    body, kinds, start = desk.folder / "body", [Kind.PART, Kind.SNAPSHOT], 0
    body.write_bytes(noise * 7 + bytes(10**6))
    for kind in kinds:
        sealed = desk.chunks.seal_log(body, start, kind, 11, desk.folder)
        (piece,) = sealed.pieces
        assert (piece.ino, piece.offset, piece.seq, piece.name, sealed.kind) == (0, start, 11, b"", kind)
        assert sealed.stored_size <= CHUNK_SIZE
        assert plaintext(sealed) == body.read_bytes()[start : start + piece.length]
        again = desk.chunks.reopen(sealed.path)
        assert again == replace(sealed, pieces=(replace(piece, segment_position=0),))
        start += piece.length
    assert start == body.stat().st_size
    with pytest.raises(ValueError):
        desk.chunks.seal_log(body, start, Kind.RECORD, 11, desk.folder)


def test_what_compresses_well_is_still_bounded_in_memory(desk: Desk) -> None:
    body = desk.folder / "body"
    with body.open("wb") as file:
        file.truncate(MAX_PLAIN + 1)
    assert desk.chunks.seal_log(body, 0, Kind.PART, 1, desk.folder).plain_size == MAX_PLAIN


def test_the_log_and_files_data_are_not_sealed_as_one_another(desk: Desk, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"entries")
    with pytest.raises(ValueError):
        desk.chunks.seal_log(body, 0, Kind.DATA, 1, tmp_path)
    one, two = Piece(0, 0, 5, 1, b"", 0, 0), Piece(7, 0, 5, 1, b"", 0, 0)
    for pieces in ([two], [one, one], [one, two]):
        with pytest.raises(ValueError):
            packing.pack(pieces, Staging(b"x" * 100), tmp_path, KEYS, VOLUME, bytes(16), Kind.RECORD)
    assert list(tmp_path.iterdir()) == [body]


def test_a_sealed_file_that_is_not_whole_is_not_reopened(noise: bytes, tmp_path: Path) -> None:
    sealed = pack([Piece(1, 0, 300_000, 1, b"a", 0, 0)], Staging(noise), tmp_path)
    good = sealed.path.read_bytes()
    for bad in (b"", good[:-1], good[1:], good[:1000], good + b"\0", good[:-70] + b"x" + good[-69:]):
        sealed.path.write_bytes(bad)
        with pytest.raises(Damaged):
            packing.reopen(sealed.path, KEYS, VOLUME)
    sealed.path.write_bytes(good)
    with pytest.raises(ConfigError, match="belongs to volume"):
        packing.reopen(sealed.path, KEYS, b"another volume!!")
