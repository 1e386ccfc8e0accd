"""Bytes to bytes: compress, seal, open, hash; footers, trailers and block tables of chunks.

docs/FORMAT.md is the specification, byte by byte; the names here are its names. No I/O, no clock, no
randomness: a chunk's uid comes from the caller, who must use a fresh random one for every seal of a chunk,
because the block number is the nonce.

Limits: sizes are those of model.py; MAX_PLAIN bytes of plaintext and MAX_PIECES pieces in a chunk.
Errors: Damaged for whatever is not what was sealed (never wrong bytes), FormatError for a version or kind
that this release does not know.
Threading: everything may be called from any thread; zstd's contexts are kept by thread. The work on a
whole block releases the GIL.
"""

from __future__ import annotations

import struct
import sys
import threading
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from discordfs.errors import Damaged, FormatError
from discordfs.keys import VolumeKeys, derive
from discordfs.model import BLOCK_SIZE, CHUNK_SIZE, Kind

VERSION = 1
"""Version of the chunk format."""

SEAL_OVERHEAD = 17
"""Bytes that sealing adds at most: one of method, sixteen of tag."""

TRAILER_SIZE = 64
"""Bytes at the end of every chunk, in every version of the format."""

UID_SIZE = 16
HASH_SIZE = 16
MAX_PLAIN = 256 * 1024**2
"""Bytes of plaintext in a chunk, at most: what compresses well must not make one without bound."""

MAX_PIECES = 65_536
MAX_NAME = 255
"""Bytes of a name hint; longer ones are cut."""

Buffer = bytes | bytearray | memoryview

_MAGIC = b"\x89dfs\r\n\x1a\n"  # like PNG's: shows what a text-mode transfer does to line ends
_STORED, _ZSTD = b"\x00", b"\x01"
_LEVEL = 3
_PAYS = 64  # zstd is kept when it saves more than one part in this many
_MAX_FOOTER = CHUNK_SIZE  # of a footer before compression: no chunk has room for more
_ZERO_NONCE = bytes(12)

_TRAILER = struct.Struct("<8sHBBI16s16sIII")
_CHECK = struct.Struct("<I")
_BLOCK_AAD = struct.Struct("<H16s16sIc")
_FOOTER_HEAD = struct.Struct("<HBB16s16sQII")
_PIECE = struct.Struct("<QQIQ16sB")

PIECE_SIZE = _PIECE.size
"""Bytes of a piece in an uncompressed footer, without its name hint."""


# --- blocks ---------------------------------------------------------------------------------------


class ChunkCipher:
    """Seals and opens the blocks of one chunk; keep it, deriving its key costs some 20 µs."""

    __slots__ = ("_aead", "_uid", "_volume")

    def __init__(self, keys: VolumeKeys, volume: bytes, uid: bytes, kind: Kind = Kind.DATA) -> None:
        self._volume, self._uid = volume, uid
        key = keys.data if kind is Kind.DATA else keys.log
        self._aead = AESGCM(derive(key, volume + uid, b"discordfs 1 block"))

    def seal_block(self, number: int, plain: Buffer) -> bytes:
        """1 to BLOCK_SIZE bytes, sealed. Once only for each number of a chunk."""
        if not 0 < len(plain) <= BLOCK_SIZE:
            raise ValueError(f"a block has 1 to {BLOCK_SIZE} bytes, not {len(plain)}")
        method, payload = _compress(plain)
        return method + self._aead.encrypt(_nonce(number), payload, self._aad(number, method))

    def open_block(self, number: int, sealed: Buffer, plain_length: int) -> bytes:
        """The plaintext of block `number`, which must come out as `plain_length` bytes; else Damaged."""
        view = memoryview(sealed)
        method = bytes(view[:1])
        try:
            payload = self._aead.decrypt(_nonce(number), view[1:], self._aad(number, method))
        except (InvalidTag, ValueError):
            raise Damaged(f"block {number} of chunk {self._uid.hex()} is not what was sealed") from None
        plain = _decompress(method, payload, BLOCK_SIZE)
        if len(plain) != plain_length:
            raise Damaged(
                f"block {number} of chunk {self._uid.hex()} has {len(plain)}, not {plain_length} bytes"
            )
        return plain

    def _aad(self, number: int, method: bytes) -> bytes:
        return _BLOCK_AAD.pack(VERSION, self._volume, self._uid, number, method or _STORED)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")


class _Zstd(threading.local):
    """zstd's contexts are not for sharing between threads."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def _compress(plain: Buffer) -> tuple[bytes, Buffer]:
    """The method byte and the payload: compressed where that pays."""
    packed = _zstd.compressor.compress(plain)
    if len(packed) < len(plain) - len(plain) // _PAYS:
        return _ZSTD, packed
    return _STORED, plain


def _decompress(method: bytes, payload: bytes, limit: int) -> bytes:
    """At most `limit` bytes come out, whatever the frame says of itself."""
    if method == _STORED:
        return payload
    if method != _ZSTD:
        raise FormatError(f"a sealed part uses method {method.hex()}, which this release does not know")
    try:
        if not 0 <= zstandard.frame_content_size(payload) <= limit:
            raise Damaged(f"a sealed part says that it unpacks to more than {limit} bytes")
        return _zstd.decompressor.decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(f"a sealed part does not unpack: {error}") from error


# --- hashes ---------------------------------------------------------------------------------------


class PieceHash:
    """The keyed hash of a piece's plaintext, fed in runs: BLAKE3's keyed mode, HASH_SIZE bytes."""

    __slots__ = ("_state",)

    def __init__(self, keys: VolumeKeys) -> None:
        self._state = blake3(key=keys.hash)

    def update(self, data: Buffer) -> None:
        self._state.update(data)

    def digest(self) -> bytes:
        return self._state.digest(length=HASH_SIZE)


def piece_hash(keys: VolumeKeys, data: Buffer) -> bytes:
    """The keyed hash of a piece that is at hand as a whole."""
    return blake3(data, key=keys.hash).digest(length=HASH_SIZE)


# --- block tables ---------------------------------------------------------------------------------


def pack_table(lengths: Iterable[int]) -> bytes:
    """Sealed lengths as ChunkRef.blocks holds them: unsigned 32-bit little-endian."""
    table = array("I", lengths)
    if sys.byteorder == "big":
        table.byteswap()
    return table.tobytes()


def block_lengths(table: bytes) -> Sequence[int]:
    """The sealed length of each block. Damaged where the table is none."""
    if len(table) % 4:
        raise Damaged("a block table is not a whole number of entries")
    lengths = array("I", table)
    if sys.byteorder == "big":
        lengths.byteswap()
    return lengths


def block_offsets(table: bytes) -> list[int]:
    """Where each block begins in the chunk as posted, and, last, where the footer does."""
    return list(accumulate(block_lengths(table), initial=0))


def block_count(plain_size: int) -> int:
    return -(-plain_size // BLOCK_SIZE)


def plain_length(plain_size: int, number: int) -> int:
    """Bytes of plaintext in block `number` of a chunk with `plain_size` of them."""
    return min(BLOCK_SIZE, plain_size - number * BLOCK_SIZE)


# --- trailer --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trailer:
    """The plain end of a chunk. `footer_size` is the sealed footer's, `stored_size` the whole chunk's."""

    volume: bytes
    uid: bytes
    blocks: int
    footer_size: int
    stored_size: int
    kind: Kind = Kind.DATA
    version: int = VERSION


def pack_trailer(trailer: Trailer) -> bytes:
    body = _trailer_body(trailer)
    return body + _CHECK.pack(zlib.crc32(body))


def _trailer_body(trailer: Trailer) -> bytes:
    return _TRAILER.pack(
        _MAGIC,
        trailer.version,
        trailer.kind,
        0,
        trailer.blocks,
        trailer.volume,
        trailer.uid,
        trailer.footer_size,
        trailer.stored_size,
        0,
    )


def parse_trailer(data: Buffer) -> Trailer:
    """From the last TRAILER_SIZE bytes of a chunk. What it says is only believed once the footer opens."""
    body, check = bytes(data[: _TRAILER.size]), bytes(data[_TRAILER.size :])
    if len(data) != TRAILER_SIZE or not body.startswith(_MAGIC) or check != _CHECK.pack(zlib.crc32(body)):
        raise Damaged("this does not end as a chunk does")
    _, version, kind, flags, blocks, volume, uid, footer_size, stored_size, more = _TRAILER.unpack(body)
    if version != VERSION or kind not in tuple(Kind) or flags or more:
        raise FormatError(
            f"chunk {uid.hex()} has version {version} and kind {kind}: a newer release is needed"
        )
    return Trailer(volume, uid, blocks, footer_size, stored_size, Kind(kind), version)


# --- footer ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FooterPiece:
    """A run of a file's bytes in a chunk: `length` bytes at `offset` of inode `ino`, as commit `seq` left
    them; the keyed hash of exactly these bytes; the file's name, as a hint."""

    ino: int
    offset: int
    length: int
    seq: int
    hash: bytes
    name: bytes


@dataclass(frozen=True, slots=True)
class Footer:
    """What a chunk says of itself. `blocks` is its block table, as in ChunkRef; pieces lie in the plaintext
    one after the other, in this order, without gaps."""

    volume: bytes
    uid: bytes
    plain_size: int
    blocks: bytes
    pieces: tuple[FooterPiece, ...]
    kind: Kind = Kind.DATA

    def placed(self) -> Iterator[tuple[int, FooterPiece]]:
        """Each piece with its position in the plaintext."""
        position = 0
        for piece in self.pieces:
            yield position, piece
            position += piece.length


def footer_room(blocks: int, pieces: int, name_bytes: int) -> int:
    """The most bytes that footer and trailer take in a chunk with so many blocks, pieces, bytes of names."""
    head = _FOOTER_HEAD.size + SEAL_OVERHEAD + TRAILER_SIZE
    return head + 4 * blocks + PIECE_SIZE * pieces + name_bytes


def seal_footer(keys: VolumeKeys, footer: Footer) -> bytes:
    """Sealed footer and trailer: what follows the blocks of a chunk."""
    method, payload = _compress(_pack_footer(footer))
    blocks = block_lengths(footer.blocks)
    size = len(payload) + SEAL_OVERHEAD
    stored = sum(blocks) + size + TRAILER_SIZE
    trailer = Trailer(footer.volume, footer.uid, len(blocks), size, stored, footer.kind)
    sealed = _footer_aead(keys, trailer).encrypt(_ZERO_NONCE, payload, _trailer_body(trailer) + method)
    return method + sealed + pack_trailer(trailer)


def open_footer(keys: VolumeKeys, trailer: Trailer, sealed: Buffer) -> Footer:
    """The footer of the chunk that ends in `trailer`: all its sums add up, or it is Damaged."""
    view = memoryview(sealed)
    method = bytes(view[:1])
    try:
        aad = _trailer_body(trailer) + method
        payload = _footer_aead(keys, trailer).decrypt(_ZERO_NONCE, view[1:], aad)
    except (InvalidTag, ValueError):
        raise Damaged(f"the footer of chunk {trailer.uid.hex()} is not what was sealed") from None
    try:
        footer = _unpack_footer(_decompress(method, payload, _MAX_FOOTER))
    except struct.error:
        raise Damaged(f"the footer of chunk {trailer.uid.hex()} is cut short") from None
    _check_footer(footer, trailer, len(sealed))
    return footer


def _footer_aead(keys: VolumeKeys, trailer: Trailer) -> AESGCM:
    key = keys.footer if trailer.kind is Kind.DATA else keys.log
    return AESGCM(derive(key, trailer.volume + trailer.uid, b"discordfs 1 footer"))


def _pack_footer(footer: Footer) -> bytes:
    head = _FOOTER_HEAD.pack(
        VERSION,
        footer.kind,
        0,
        footer.volume,
        footer.uid,
        footer.plain_size,
        len(footer.blocks) // 4,
        len(footer.pieces),
    )
    return b"".join([head, footer.blocks, *map(_pack_piece, footer.pieces)])


def _pack_piece(piece: FooterPiece) -> bytes:
    name = piece.name[:MAX_NAME]
    return _PIECE.pack(piece.ino, piece.offset, piece.length, piece.seq, piece.hash, len(name)) + name


def _unpack_footer(data: bytes) -> Footer:
    version, kind, flags, volume, uid, plain_size, blocks, pieces = _FOOTER_HEAD.unpack_from(data)
    if version != VERSION or kind not in tuple(Kind) or flags:
        raise FormatError(f"the footer of chunk {uid.hex()} has version {version}: a newer release is needed")
    begin = _FOOTER_HEAD.size + 4 * blocks
    if blocks > block_count(MAX_PLAIN) or pieces > MAX_PIECES or begin > len(data):
        raise Damaged(f"the footer of chunk {uid.hex()} counts more than a chunk can hold")
    table = data[_FOOTER_HEAD.size : begin]
    return Footer(volume, uid, plain_size, table, tuple(_unpack_pieces(data, begin, pieces)), Kind(kind))


def _unpack_pieces(data: bytes, at: int, count: int) -> Iterator[FooterPiece]:
    for _ in range(count):
        ino, offset, length, seq, digest, name_length = _PIECE.unpack_from(data, at)
        end = at + PIECE_SIZE + name_length
        yield FooterPiece(ino, offset, length, seq, digest, data[at + PIECE_SIZE : end])
        at = end
    if at != len(data):
        raise Damaged("a footer is longer or shorter than its pieces")


def _check_footer(footer: Footer, trailer: Trailer, footer_size: int) -> None:
    lengths = block_lengths(footer.blocks)
    sound = (
        (footer.volume, footer.uid, footer.kind) == (trailer.volume, trailer.uid, trailer.kind)
        and 0 < footer.plain_size <= MAX_PLAIN
        and len(lengths) == trailer.blocks == block_count(footer.plain_size)
        and sum(piece.length for piece in footer.pieces) == footer.plain_size
        and sum(lengths) + footer_size + TRAILER_SIZE == trailer.stored_size <= CHUNK_SIZE
        and footer_size == trailer.footer_size
        and (footer.kind is Kind.DATA or [piece.ino for piece in footer.pieces] == [0])
    )
    if not sound:
        raise Damaged(f"the footer of chunk {footer.uid.hex()} contradicts itself")
