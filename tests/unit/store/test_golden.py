"""Chunks of format 1, kept as bytes, and a second reader written from docs/FORMAT.md alone: what was posted
by any release stays readable by all later ones, and the document is true."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from discordfs.chunks import packing
from discordfs.codec import ChunkCipher, block_offsets, plain_length
from discordfs.keys import VolumeKeys
from discordfs.model import BLOCK_SIZE, Kind, Piece, SealedChunk

GOLDEN = Path(__file__).parent / "golden" / "chunk-1.bin"
GOLDEN_RECORD = GOLDEN.with_name("record-1.bin")
MASTER, VOLUME, UID = bytes(range(32)), bytes(range(16, 32)), bytes(range(100, 116))
TEXT = b"".join(b"line %d of a file\n" % n for n in range(16_000))
NOISE = b"".join(blake3(bytes([n])).digest(length=1000) for n in range(3))
DATA = TEXT + NOISE
PIECES = (
    Piece(2, 0, len(TEXT), 5, b"text", 0, 0),
    Piece(3, 4096, len(NOISE), 6, "Geräusch\xff".encode("latin-1"), 0, len(TEXT)),
)
RECORD_UID, RECORD_SEQ = bytes(range(50, 66)), 77


def test_the_golden_chunk_is_still_read() -> None:
    sealed = packing.reopen(GOLDEN, VolumeKeys(MASTER), VOLUME)
    assert (sealed.uid, sealed.kind) == (UID, Kind.DATA)
    assert [(it.ino, it.offset, it.length, it.seq, it.name) for it in sealed.pieces] == [
        (it.ino, it.offset, it.length, it.seq, it.name) for it in PIECES
    ]
    plain = opened(sealed)
    assert b"".join(plain) == DATA
    assert [len(block) for block in plain] == [BLOCK_SIZE, len(DATA) - BLOCK_SIZE]


def test_the_golden_record_is_still_read() -> None:
    sealed = packing.reopen(GOLDEN_RECORD, VolumeKeys(MASTER), VOLUME)
    (piece,) = sealed.pieces
    assert (sealed.uid, sealed.kind) == (RECORD_UID, Kind.RECORD)
    assert (piece.ino, piece.offset, piece.length, piece.seq) == (0, 0, len(DATA), RECORD_SEQ)
    assert b"".join(opened(sealed)) == DATA


def opened(sealed: SealedChunk) -> list[bytes]:
    stored, places = sealed.path.read_bytes(), block_offsets(sealed.blocks)
    cipher = ChunkCipher(VolumeKeys(MASTER), VOLUME, sealed.uid, sealed.kind)
    return [
        cipher.open_block(n, stored[places[n] : places[n + 1]], plain_length(sealed.plain_size, n))
        for n in range(len(places) - 1)
    ]


def test_a_reader_written_from_the_document_reads_it() -> None:
    assert list(read_chunk(MASTER, GOLDEN.read_bytes())) == [
        (2, 0, 5, b"text", TEXT),
        (3, 4096, 6, PIECES[1].name, NOISE),
    ]
    assert list(read_chunk(MASTER, GOLDEN_RECORD.read_bytes(), 2)) == [(0, 0, RECORD_SEQ, b"", DATA)]


def test_and_it_reads_what_is_written_today(tmp_path: Path) -> None:
    sealed = packing.pack(PIECES, staging, tmp_path, VolumeKeys(MASTER), VOLUME, UID)
    stored = sealed.path.read_bytes()
    assert list(read_chunk(MASTER, stored)) == list(read_chunk(MASTER, GOLDEN.read_bytes()))
    for kind in (Kind.RECORD, Kind.SNAPSHOT, Kind.PART):
        stored = seal_record(kind, tmp_path).path.read_bytes()
        record = read_chunk(MASTER, GOLDEN_RECORD.read_bytes(), 2)
        assert list(read_chunk(MASTER, stored, int(kind))) == list(record)


def seal_record(kind: Kind, folder: Path) -> SealedChunk:
    body = folder / "entries"
    body.write_bytes(DATA)
    try:
        keys = VolumeKeys(MASTER)
        return packing.pack_log(body, 0, kind, RECORD_SEQ, folder, keys, VOLUME, RECORD_UID)
    finally:
        body.unlink()


def staging(segment: int, position: int, length: int) -> bytes:
    return DATA[position : position + length]


# --- the second reader, without anything of ours ---------------------------------------------------


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt or bytes(32), info=info).derive(key)


def unseal(key: bytes, nonce: int, aad: bytes, sealed: bytes) -> bytes:
    payload = AESGCM(key).decrypt(nonce.to_bytes(12, "little"), sealed[1:], aad + sealed[:1])
    return {0: lambda: payload, 1: lambda: zstandard.decompress(payload)}[sealed[0]]()


def read_chunk(
    master: bytes, stored: bytes, of_kind: int = 1
) -> Iterator[tuple[int, int, int, bytes, bytes]]:
    """Inode, offset, sequence, name and bytes of each piece."""
    trailer = stored[-64:]
    magic, version, kind, blocks, volume, uid = struct.unpack("<8sHBxI16s16s", trailer[:48])
    footer_size, stored_size, zero, crc = struct.unpack("<IIII", trailer[48:])
    assert (magic, version, kind, zero) == (b"\x89dfs\r\n\x1a\n", 1, of_kind, 0)
    assert (crc, stored_size) == (zlib.crc32(trailer[:60]), len(stored))
    data_key, footer_key = (hkdf(master, b"", b"discordfs 1 " + name) for name in (b"data", b"footer"))
    if kind != 1:
        data_key = footer_key = hkdf(master, b"", b"discordfs 1 log")
    key = hkdf(footer_key, volume + uid, b"discordfs 1 footer")
    footer = unseal(key, 0, trailer[:60], stored[-64 - footer_size : -64])
    assert footer[:36] == struct.pack("<HBB", 1, of_kind, 0) + volume + uid
    plain_size, count, pieces = struct.unpack("<QII", footer[36:52])
    assert count == blocks
    table = struct.unpack(f"<{count}I", footer[52 : 52 + 4 * count])
    plain = read_blocks(data_key, stored, volume + uid, table)
    assert len(plain) == plain_size
    yield from read_pieces(master, footer[52 + 4 * count :], pieces, plain)


def read_blocks(data_key: bytes, stored: bytes, ids: bytes, table: tuple[int, ...]) -> bytes:
    key = hkdf(data_key, ids, b"discordfs 1 block")
    plain, start = b"", 0
    for number, length in enumerate(table):
        aad = struct.pack("<H", 1) + ids + struct.pack("<I", number)
        plain += unseal(key, number, aad, stored[start : start + length])
        start += length
    return plain


def read_pieces(
    master: bytes, table: bytes, count: int, plain: bytes
) -> Iterator[tuple[int, int, int, bytes, bytes]]:
    hash_key = hkdf(master, b"", b"discordfs 1 hash")
    for _ in range(count):
        ino, offset, length, seq, digest, names = struct.unpack("<QQIQ16sB", table[:45])
        data, plain = plain[:length], plain[length:]
        assert blake3(data, key=hash_key).digest(length=16) == digest
        yield ino, offset, seq, table[45 : 45 + names], data
        table = table[45 + names :]
    assert not table
    assert not plain


if __name__ == "__main__":  # makes the golden chunks; once for each version of the format, never again
    GOLDEN.parent.mkdir(exist_ok=True)
    if not GOLDEN.exists():
        packing.pack(PIECES, staging, GOLDEN.parent, VolumeKeys(MASTER), VOLUME, UID).path.rename(GOLDEN)
    if not GOLDEN_RECORD.exists():
        seal_record(Kind.RECORD, GOLDEN.parent).path.rename(GOLDEN_RECORD)
