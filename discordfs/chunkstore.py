"""The door for chunks: sealed from staging, posted as messages, found again, read by blocks, deleted.

chunks/packing.py seals, chunks/layout.py lays out and recognises, chunks/fetching.py reads through the
cache. What a chunk looks like stands in docs/FORMAT.md.

Limits: model.CHUNK_SIZE bytes a chunk; waits end after the two timeouts. Prefetching drops what is too much.
Threading: any thread but the loop's; everything that asks Discord blocks its thread. No locks here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from discordfs.cache import BlockCache
from discordfs.chunks import layout, packing
from discordfs.chunks.fetching import BlockFetcher
from discordfs.codec import TRAILER_SIZE, UID_SIZE, Footer, Trailer, block_offsets, parse_trailer
from discordfs.errors import (
    Damaged,
    DiscordfsError,
    MissingError,
    OutcomeUnknown,
    TimedOut,
    TooLarge,
    Unavailable,
)
from discordfs.keys import VolumeKeys
from discordfs.model import BLOCK_SIZE, ChunkRef, Kind, Piece, RandomBytes, SealedChunk
from discordfs.remote.base import Attachment, Message, MessageStore, snowflake_at
from discordfs.remote.loop import Loop

T = TypeVar("T")
_log = logging.getLogger(__name__)

_POSTS = 2  # with other nonces, when an answer shows other names or sizes than were sent
_LAYOUTS = 12  # that a chunk is given while 413 teaches limits
_SLACK_NS = 120 * 10**9  # this clock may be ahead of Discord's by so much
_PAGE = 100  # messages in a page of a listing
_TAIL = 64 * 1024  # bytes of a chunk's end that are fetched at first for its footer


def _never() -> bool:
    return False


class ChunkStore:
    """The chunks of one volume. Timeouts in seconds."""

    def __init__(
        self,
        *,
        store: MessageStore,
        loop: Loop,
        cache: BlockCache,
        keys: VolumeKeys,
        volume: bytes,
        random_bytes: RandomBytes,
        read_timeout: float = 60.0,
        post_timeout: float = 600.0,
    ) -> None:
        self._store, self._loop, self._cache = store, loop, cache
        self._keys, self._volume, self._random_bytes = keys, volume, random_bytes
        self._read_timeout, self._post_timeout = read_timeout, post_timeout
        self._fetcher = BlockFetcher(store, loop, cache, keys, volume, read_timeout)

    # --- sealing --------------------------------------------------------------------------------------

    def seal(self, pieces: Iterable[Piece], read: packing.ReadStaging, directory: Path) -> SealedChunk:
        """Takes pieces, in order, until the chunk is full or they end; seals them, once, into
        <directory>/<uid hex>.chunk, on disk when this returns. `read(segment, position, length)` gives
        exactly so many bytes of staging.

        The result's pieces are what went in; the last may be shorter than offered, the first always
        contributes. ValueError without pieces or for one without bytes; Damaged when staging gives too
        little; OSError as the disk gives it."""
        uid = self._random_bytes(UID_SIZE)
        return packing.pack(pieces, read, directory, self._keys, self._volume, uid)

    def seal_log(self, body: Path, start: int, kind: Kind, seq: int, directory: Path) -> SealedChunk:
        """Seals the bytes of the file `body` from `start` on, as much as fits a chunk, as a record, snapshot
        or part, into <directory>/<uid hex>.chunk, on disk when this returns.

        `pieces[0].length` says how much went in: inode 0, offset `start`, commit `seq`. ValueError when
        there is nothing from `start` on, or for kind DATA; Damaged when `body` becomes shorter meanwhile;
        OSError as the disk gives it."""
        uid = self._random_bytes(UID_SIZE)
        return packing.pack_log(body, start, kind, seq, directory, self._keys, self._volume, uid)

    def reopen(self, path: Path) -> SealedChunk:
        """A sealed file of any kind again, after a restart; its pieces come without segment and position (0).

        Raises Damaged, FormatError, ConfigError (another volume's), OSError."""
        return packing.reopen(path, self._keys, self._volume)

    # --- posting --------------------------------------------------------------------------------------

    def post(self, sealed: SealedChunk, channel: int) -> ChunkRef:
        """Posts it as one message and checks the names and sizes that come back.

        May be repeated: the bytes and the nonce are the same. After a 413 it is laid out anew by the limits
        that were learned. Raises OutcomeUnknown (ask `find`), TooLarge (no layout fits), Damaged (twice
        another message came back than was sent), and Discord's other answers."""
        tried: list[int] = []
        for _ in range(_LAYOUTS):
            limits = self._ask(self._store.limits(channel), self._read_timeout)
            sizes = layout.cut(sealed.blocks, sealed.stored_size, limits)
            if sizes == tried:
                break
            try:
                return self._post_checked(sealed, channel, sizes)
            except TooLarge as error:
                _log.info("channel %d takes less than was thought: %s", channel, error)
                tried = sizes
        raise TooLarge(f"channel {channel} refuses chunk {sealed.uid.hex()} in every layout tried")

    def find(self, sealed: SealedChunk, channel: int, since_ns: int) -> ChunkRef | None:
        """Where the chunk landed, if a post since that time (epoch ns) did: by its names and sizes, whole
        only, the oldest if several. None may also mean that the listing lags behind."""
        after = snowflake_at(since_ns - _SLACK_NS)
        while True:
            page = self._ask(self._store.list(channel, after=after, limit=_PAGE), self._read_timeout)
            for message in reversed(page):
                chunk = layout.recognise(message, sealed)
                if chunk is not None:
                    return chunk
            if len(page) < _PAGE:
                return None
            after = max(message.id for message in page)

    def seed(self, sealed: SealedChunk) -> None:
        """Puts the blocks of a sealed file into the disk cache (by a link where it can be), so that reading
        them later costs no request. The file may be deleted afterwards."""
        offsets = block_offsets(sealed.blocks)
        self._cache.adopt(sealed.uid, sealed.path, len(offsets) - 1, offsets[-1])

    def _post_checked(self, sealed: SealedChunk, channel: int, sizes: Sequence[int]) -> ChunkRef:
        files = layout.upload_files(sealed, sizes)
        text = layout.message_text(self._volume, sealed.uid)
        for attempt in range(_POSTS):
            nonce = layout.nonce(sealed.uid, attempt)
            message = self._post(self._store.post(channel, text, files, nonce))
            chunk = layout.recognise(message, sealed)
            if chunk is not None:
                return chunk
            _log.warning("message %d is not the chunk that was posted", message.id)
        raise Damaged(f"message {message.id} does not hold chunk {sealed.uid.hex()} as it was sent")

    def _post(self, posting: Coroutine[Any, Any, Message]) -> Message:
        try:
            return self._loop.call(posting, self._post_timeout)
        except TimedOut as error:
            raise OutcomeUnknown(f"the post may have been carried out: {error}") from error

    # --- reading --------------------------------------------------------------------------------------

    def read(
        self, chunk: ChunkRef, position: int, length: int, cancelled: Callable[[], bool] = _never
    ) -> bytes | memoryview:
        """Exactly `length` bytes of the chunk's plaintext at `position`, verified.

        While it waits `cancelled` is asked about every 0.25 s. Raises Interrupted, Unavailable (after
        `read_timeout` at the latest), RemoteGone (message deleted), Damaged (twice not what was sealed, or
        beyond the chunk), and Discord's other answers."""
        number, begin = divmod(position, BLOCK_SIZE)
        end = begin + length
        if begin < end <= BLOCK_SIZE:
            block = self._cache.get((chunk.uid, number))
            if block is not None and end <= len(block):
                return memoryview(block)[begin:end]
        return self._read_blocks(chunk, position, length, cancelled)

    def _read_blocks(
        self, chunk: ChunkRef, position: int, length: int, cancelled: Callable[[], bool]
    ) -> bytes | memoryview:
        if position < 0 or length < 0 or position + length > chunk.plain_size:
            raise Damaged(f"chunk {chunk.uid.hex()} does not reach {position} + {length}: the index is wrong")
        if not length:
            return b""
        first, last = position // BLOCK_SIZE, (position + length - 1) // BLOCK_SIZE
        blocks: list[bytes | memoryview] = [*self._fetcher.blocks(chunk, first, last, cancelled)]
        begin, end = position - first * BLOCK_SIZE, position + length - last * BLOCK_SIZE
        blocks[-1] = memoryview(blocks[-1])[:end]
        blocks[0] = memoryview(blocks[0])[begin:]
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def prefetch(self, chunk: ChunkRef, position: int, length: int) -> None:
        """Asks for blocks in the background, from disk or Discord into RAM; drops what is too much at once.
        Never raises: what fails here fails again, and says so, when it is read."""
        if length <= 0:
            return
        try:
            self._fetcher.prefetch(chunk, position // BLOCK_SIZE, (position + length - 1) // BLOCK_SIZE)
        except DiscordfsError as error:
            _log.debug("prefetching chunk %s: %s", chunk.uid.hex(), error)

    # --- recovery and the rest -------------------------------------------------------------------------

    def read_footer(self, message: Message) -> Footer:
        """The footer of the chunk in a message, by the message alone; not cached.

        Raises MissingError (no whole chunk in it), Damaged, FormatError, ConfigError (another volume's),
        and Discord's answers."""
        return self._read_end(message)[0]

    def locate(self, message: Message) -> ChunkRef:
        """The chunk in a message, by the message alone, ready to be read. Raises as `read_footer`."""
        footer, trailer = self._read_end(message)
        return layout.locate(message, footer, trailer.stored_size)

    def delete(self, channel: int, messages: Sequence[int]) -> None:
        """Deletes messages; one that is gone already is no error. What may be deleted is gc's business."""
        if messages:
            self._ask(self._store.delete(channel, messages), self._post_timeout)

    def close(self) -> None:
        """Ends the workers. Store, loop and cache are the caller's; call it before the loop stops."""
        self._fetcher.close()

    def _read_end(self, message: Message) -> tuple[Footer, Trailer]:
        found = layout.parts_of(message)
        if found is None:
            raise MissingError(f"message {message.id} in channel {message.channel} holds no whole chunk")
        uid, attachments = found
        tail = self._read_tail(message, attachments[-1], _TAIL)
        trailer = parse_trailer(tail[-TRAILER_SIZE:])
        if trailer.uid != uid or trailer.stored_size != sum(it.size for it in attachments):
            raise Damaged(f"message {message.id} does not hold what its attachments' names say")
        if trailer.footer_size + TRAILER_SIZE > len(tail):
            tail = self._read_tail(message, attachments[-1], trailer.footer_size + TRAILER_SIZE)
        sealed = memoryview(tail)[-TRAILER_SIZE - trailer.footer_size : -TRAILER_SIZE]
        return packing.checked_footer(self._keys, self._volume, trailer, sealed), trailer

    def _read_tail(self, message: Message, attachment: Attachment, length: int) -> bytes:
        length = min(length, attachment.size)
        start = attachment.size - length
        reading = self._store.read(message.channel, message.id, attachment.id, start, length)
        return self._ask(reading, self._read_timeout)

    def _ask(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        try:
            return self._loop.call(coroutine, timeout)
        except TimedOut as error:
            raise Unavailable(f"Discord gave no answer: {error}") from error
