"""From pieces of files to a sealed chunk in a local file, and back from the file after a restart; the same
for a chunk of the log, which is one run of one local file.

A chunk is filled up to CHUNK_SIZE with room kept for the footer, counted as if nothing compressed: so it
can never come out larger, and what does compress makes room for more. A piece that does not fit is cut at
a page of its file; a small one is left for the next chunk rather than cut.

Limits: one block in memory, and the pieces' list; CHUNK_SIZE stored, MAX_PLAIN plain, MAX_PIECES pieces.
Errors: OSError as the disk gives it; a chunk begun is then gone, and nothing is lost but its uid.
Threading: any thread; each call works on its own file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from discordfs.codec import (
    MAX_NAME,
    MAX_PIECES,
    MAX_PLAIN,
    SEAL_OVERHEAD,
    TRAILER_SIZE,
    ChunkCipher,
    Footer,
    FooterPiece,
    PieceHash,
    Trailer,
    footer_room,
    open_footer,
    pack_table,
    parse_trailer,
    seal_footer,
)
from discordfs.disk import sync_directory
from discordfs.errors import ConfigError, Damaged
from discordfs.keys import VolumeKeys
from discordfs.model import BLOCK_SIZE, CHUNK_SIZE, Kind, Piece, SealedChunk

SUFFIX = ".chunk"
"""Ends the name of a sealed chunk's file; before that stands its uid in hex."""

ReadStaging = Callable[[int, int, int], bytes]
"""(segment, position, length) -> exactly so many bytes of staging."""

_PAGE = 4096  # bytes; pieces are cut at multiples of it within their file, as the kernel reads
_MIB = 1024**2
_REQUEST = 128 * 1024  # bytes; where the kernel's requests end: a large file's reads then need one block each
_LEAST_CUT = 64 * 1024  # bytes; a piece smaller than this is not cut, nor is so little begun of a larger one


def pack(
    pieces: Iterable[Piece],
    read: ReadStaging,
    directory: Path,
    keys: VolumeKeys,
    volume: bytes,
    uid: bytes,
    kind: Kind = Kind.DATA,
) -> SealedChunk:
    """Seals pieces, in order, until the chunk is full or they end, into <directory>/<uid hex>.chunk.

    On disk, name included, when this returns. ValueError when there is nothing to seal, and for a chunk of
    the log unless it is one piece of inode 0."""
    path = directory / f"{uid.hex()}{SUFFIX}"
    draft = path.with_suffix(".tmp")
    try:
        with open(draft, "xb") as file:
            packer = _Packer(file, read, keys, volume, uid, kind)
            packer.fill(pieces)
            sealed = packer.finish(path)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(directory)
    return sealed


def pack_log(
    body: Path, start: int, kind: Kind, seq: int, directory: Path, keys: VolumeKeys, volume: bytes, uid: bytes
) -> SealedChunk:
    """Seals the bytes of a file from `start` on, as much as fits, as one piece (inode 0, offset `start`).

    As `pack`; ValueError when there is nothing from `start` on, or for data."""
    if kind is Kind.DATA:
        raise ValueError("files' data are sealed from staging")
    with open(body, "rb", buffering=0) as file:
        length = os.fstat(file.fileno()).st_size - start
        piece = Piece(0, start, max(0, min(length, MAX_PLAIN)), seq, b"", 0, start)

        def read(_: int, position: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, position)

        return pack([piece], read, directory, keys, volume, uid, kind)


def reopen(path: Path, keys: VolumeKeys, volume: bytes) -> SealedChunk:
    """The sealed chunk in a file, from its trailer and footer (the blocks are not read).

    Its pieces have segment and position 0: where the bytes came from is not in the chunk. Raises Damaged,
    ConfigError (another volume's chunk), or OSError."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        trailer = parse_trailer(_tail(file, size, TRAILER_SIZE))
        if trailer.stored_size != size:
            raise Damaged(f"{path} has {size} bytes, not {trailer.stored_size}")
        sealed = _tail(file, size, trailer.footer_size + TRAILER_SIZE)[:-TRAILER_SIZE]
    footer = checked_footer(keys, volume, trailer, sealed)
    pieces = tuple(Piece(it.ino, it.offset, it.length, it.seq, it.name, 0, 0) for it in footer.pieces)
    return SealedChunk(footer.uid, path, size, footer.plain_size, footer.blocks, pieces, footer.kind)


def checked_footer(keys: VolumeKeys, volume: bytes, trailer: Trailer, sealed: bytes | memoryview) -> Footer:
    """Opens a footer of this volume; ConfigError for another volume's chunk, else as open_footer."""
    if trailer.volume != volume:
        raise ConfigError(f"chunk {trailer.uid.hex()} belongs to volume {trailer.volume.hex()}")
    return open_footer(keys, trailer, sealed)


def _tail(file: BinaryIO, size: int, length: int) -> bytes:
    if length > size:
        raise Damaged(f"{file.name} is too short for a chunk")
    file.seek(size - length)
    return file.read(length)


class _Packer:
    """One chunk in the making. `stored` bytes are written, `filled` bytes wait for their block to be full."""

    def __init__(
        self, file: BinaryIO, read: ReadStaging, keys: VolumeKeys, volume: bytes, uid: bytes, kind: Kind
    ) -> None:
        self._file, self._read = file, read
        self._keys, self._volume, self._uid, self._kind = keys, volume, uid, kind
        self._cipher = ChunkCipher(keys, volume, uid, kind)
        self._lengths: list[int] = []
        self._stored = self._filled = self._plain = self._name_bytes = 0
        self._block: list[bytes] = []
        self._taken: list[Piece] = []
        self._described: list[FooterPiece] = []

    def fill(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if piece.length <= 0:
                raise ValueError(f"a piece of inode {piece.ino} has no bytes")
            if len(self._taken) >= MAX_PIECES or self._take(piece) < piece.length:
                break

    def finish(self, path: Path) -> SealedChunk:
        if not self._taken:
            raise ValueError("a chunk needs at least one piece")
        if self._kind is not Kind.DATA and [piece.ino for piece in self._taken] != [0]:
            raise ValueError("a chunk of the log is one piece of inode 0")
        self._seal_block()
        blocks = pack_table(self._lengths)
        footer = Footer(self._volume, self._uid, self._plain, blocks, tuple(self._described), self._kind)
        end = seal_footer(self._keys, footer)
        self._file.write(end)
        stored = self._stored + len(end)
        pieces = tuple(self._taken)
        return SealedChunk(self._uid, path, stored, self._plain, blocks, pieces, self._kind)

    def _take(self, piece: Piece) -> int:
        """Bytes of the piece that went in."""
        taken, digest = 0, PieceHash(self._keys)
        while taken < piece.length:
            step = self._step(piece, taken)
            if step <= 0:
                break
            data = self._read(piece.segment, piece.segment_position + taken, step)
            if len(data) != step:
                raise Damaged(f"there were {len(data)} bytes of inode {piece.ino} to seal, not {step}")
            digest.update(data)
            self._add(data)
            taken += step
        if taken:
            self._describe(piece, taken, digest.digest())
        return taken

    def _step(self, piece: Piece, taken: int) -> int:
        """Bytes to take next: up to the end of piece or block, or less where the chunk ends before."""
        left = piece.length - taken
        if not taken and left < _LEAST_CUT and self._room(piece, 2) < left:
            return 0
        block = BLOCK_SIZE - self._filled
        room = min(self._room(piece, 1), MAX_PLAIN - self._plain)
        step = min(left, block, room)
        if step in (left, block):
            return step
        step -= (piece.offset + taken + step) % (_REQUEST if taken >= _MIB else _PAGE)
        return step if taken or not self._taken or step >= _LEAST_CUT else 0

    def _room(self, piece: Piece, blocks: int) -> int:
        """Bytes that the chunk has for this piece, if it goes into `blocks` blocks and none compresses."""
        names = self._name_bytes + min(len(piece.name), MAX_NAME)
        end = footer_room(len(self._lengths) + blocks, len(self._taken) + 1, names)
        return CHUNK_SIZE - self._stored - self._filled - blocks * SEAL_OVERHEAD - end

    def _add(self, data: bytes) -> None:
        self._block.append(data)
        self._filled += len(data)
        self._plain += len(data)
        if self._filled == BLOCK_SIZE:
            self._seal_block()

    def _seal_block(self) -> None:
        if not self._filled:
            return
        plain = self._block[0] if len(self._block) == 1 else b"".join(self._block)
        sealed = self._cipher.seal_block(len(self._lengths), plain)
        self._file.write(sealed)
        self._lengths.append(len(sealed))
        self._stored += len(sealed)
        self._block, self._filled = [], 0

    def _describe(self, piece: Piece, taken: int, digest: bytes) -> None:
        name = piece.name[:MAX_NAME]
        self._name_bytes += len(name)
        self._described.append(FooterPiece(piece.ino, piece.offset, taken, piece.seq, digest, name))
        self._taken.append(
            Piece(
                piece.ino, piece.offset, taken, piece.seq, piece.name, piece.segment, piece.segment_position
            )
        )
