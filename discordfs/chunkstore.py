"""The door for chunks: sealed from staging, posted as messages, found again, read by blocks, deleted.

chunks/packing.py seals, chunks/layout.py lays out and recognises, chunks/fetching.py reads through the
cache, chunks/whole.py past it. What a chunk looks like stands in docs/FORMAT.md.

Limits: model.CHUNK_SIZE bytes a chunk; waits end after the two timeouts. Prefetching drops what is too much.
Threading: any thread but the loop's; everything that asks Discord blocks its thread. No locks here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from discordfs.cache import BlockCache
from discordfs.chunks import layout, packing
from discordfs.chunks.fetching import BlockFetcher
from discordfs.chunks.whole import Ranges, WholeReader, place_of
from discordfs.codec import UID_SIZE, Footer, block_offsets
from discordfs.errors import Damaged, DiscordfsError, OutcomeUnknown, TimedOut, TooLarge, Unavailable
from discordfs.keys import VolumeKeys
from discordfs.model import BLOCK_SIZE, ChunkRef, Kind, Piece, RandomBytes, SealedChunk
from discordfs.remote.base import Hint, Message, MessageStore, snowflake_at
from discordfs.remote.loop import Loop

T = TypeVar("T")
_log = logging.getLogger(__name__)

_POSTS = 2  # with other nonces, when an answer shows other names or sizes than were sent
_LAYOUTS = 12  # that a chunk is given while 413 teaches limits
_SLACK_NS = 120 * 10**9  # this clock may be ahead of Discord's by so much
_PAGE = 100  # messages in a page of a listing


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
        self._whole = WholeReader(store, loop, keys, volume, read_timeout)

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
        """Posts it as one message and checks the names and sizes that come back. As `post_all`."""
        return self.post_all([sealed], channel)[0]

    def post_all(self, sealed: Sequence[SealedChunk], channel: int) -> list[ChunkRef]:
        """Posts chunks together as one message, checks the names and sizes that come back for each, and
        says where each lies. Text and nonce are the first one's.

        May be repeated: the bytes and the nonce are the same. After a 413 they are laid out anew by the
        limits that were learned. Raises OutcomeUnknown (ask `find_all`), TooLarge (no layout fits),
        Damaged (twice another message came back than was sent), and Discord's other answers; ValueError for
        no chunks."""
        if not sealed:
            raise ValueError("a message needs at least one chunk")
        tried: list[list[int]] = []
        for _ in range(_LAYOUTS):
            limits = self._ask(self._store.limits(channel), self._read_timeout)
            sizes = layout.cut_all(sealed, limits)
            if sizes == tried:
                break
            try:
                return self._post_checked(sealed, channel, sizes)
            except TooLarge as error:
                _log.info("channel %d takes less than was thought: %s", channel, error)
                tried = sizes
        raise TooLarge(f"channel {channel} refuses chunk {sealed[0].uid.hex()} in every layout tried")

    def find(self, sealed: SealedChunk, channel: int, since_ns: int) -> ChunkRef | None:
        """Where the chunk landed, if a post since that time did. As `find_all`."""
        found = self.find_all([sealed], channel, since_ns)
        return found[0] if found is not None else None

    def find_all(self, sealed: Sequence[SealedChunk], channel: int, since_ns: int) -> list[ChunkRef] | None:
        """Where chunks posted together landed, if a post since that time did: by their names and sizes, all
        of them whole in one message, the oldest if several. None may also mean that the listing lags behind.

        `since_ns` is Discord's time (`now_ns` just before the first attempt): the local clock may be wrong by
        hours, and what Discord stamped earlier is not looked at, but for two minutes."""
        for message in self._newer(channel, snowflake_at(since_ns - _SLACK_NS)):
            chunks = layout.recognise_all(message, sealed)
            if chunks is not None:
                return chunks
        return None

    def seed(self, sealed: SealedChunk) -> None:
        """Puts the blocks of a sealed file into the disk cache (by a link where it can be), so that reading
        them later costs no request. The file may be deleted afterwards."""
        offsets = block_offsets(sealed.blocks)
        self._cache.adopt(sealed.uid, sealed.path, len(offsets) - 1, offsets[-1])

    def _post_checked(
        self, sealed: Sequence[SealedChunk], channel: int, sizes: Sequence[Sequence[int]]
    ) -> list[ChunkRef]:
        first = sealed[0]
        files = [
            file for it, parts in zip(sealed, sizes, strict=True) for file in layout.upload_files(it, parts)
        ]
        text = layout.message_text(self._volume, first.uid, first.kind)
        for attempt in range(_POSTS):
            nonce = layout.nonce(first.uid, attempt)
            message = self._post(self._store.post(channel, text, files, nonce))
            chunks = layout.recognise_all(message, sealed)
            if chunks is not None:
                return chunks
            _log.warning("message %d is not the chunk that was posted", message.id)
        raise Damaged(f"message {message.id} does not hold chunk {first.uid.hex()} as it was sent")

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
        _check_range(chunk, position, length)
        if not length:
            return b""
        first, last = position // BLOCK_SIZE, (position + length - 1) // BLOCK_SIZE
        return _sliced(self._fetcher.blocks(chunk, first, last, cancelled), position, length)

    def cached_only_read(self, chunk: ChunkRef, position: int, length: int) -> bytes | None:
        """The same from RAM and disk cache alone; None unless all of it is there. Never asks Discord,
        whatever has become of the message. Damaged for what is beyond the chunk."""
        _check_range(chunk, position, length)
        if not length:
            return b""
        blocks = self._fetcher.kept(chunk, position // BLOCK_SIZE, (position + length - 1) // BLOCK_SIZE)
        return bytes(_sliced(blocks, position, length)) if blocks is not None else None

    def prefetch(self, chunk: ChunkRef, position: int, length: int) -> None:
        """Asks for blocks in the background, from disk or Discord into RAM; drops what is too much at once.
        Never raises: what fails here fails again, and says so, when it is read."""
        if length <= 0:
            return
        try:
            self._fetcher.prefetch(chunk, position // BLOCK_SIZE, (position + length - 1) // BLOCK_SIZE)
        except DiscordfsError as error:
            _log.debug("prefetching chunk %s: %s", chunk.uid.hex(), error)

    # --- what is in a channel ---------------------------------------------------------------------------

    def now_ns(self) -> int:
        """Discord's time (epoch ns) as its answers tell it: comparable with `snowflake_ns` of a message to a
        second or so. The local clock before the first answer."""
        return self._store.now_ns()

    def asking_ns(self, channel: int) -> int:
        """Discord's time (epoch ns) for whoever lists this channel next and concludes from what is not shown.
        The local clock may be minutes away: where no answer has told the time yet, one message is asked for
        first. Raises as `list_after`."""
        if not self._store.knows_time():
            self._ask(self._store.list(channel, limit=1), self._read_timeout)
        return self._store.now_ns()

    def list_after(self, channel: int, after: int) -> list[Message]:
        """Every message with an id above `after` that the listing shows by now, oldest first; all pages, at
        once. Raises RemoteGone (no such channel), Unavailable, and Discord's other answers."""
        return [*self._newer(channel, after)]

    def pages(self, channel: int) -> Iterator[list[Message]]:
        """All messages of a channel, newest first, a page of at most 100 at a time, each asked for when it
        is wanted. Raises as `list_after`."""
        before: int | None = None
        while True:
            page = self._ask(self._store.list(channel, before=before, limit=_PAGE), self._read_timeout)
            if page:
                yield page
            if len(page) < _PAGE:
                return
            before = page[-1].id

    def message(self, channel: int, message: int) -> Message:
        """One message. Raises RemoteGone when there is none, Unavailable, and Discord's other answers."""
        return self._ask(self._store.fetch(channel, message), self._read_timeout)

    def watch(self, channels: Sequence[int], callback: Callable[[Hint], None]) -> Callable[[], None]:
        """Calls back, on the loop's thread, when something happens in the channels; what is returned ends
        it. Hints only: a listing decides. The callback must not block nor call the chunk store."""
        return self._store.watch(channels, callback)

    def _newer(self, channel: int, after: int) -> Iterator[Message]:
        """Oldest first, page by page."""
        while True:
            page = self._ask(self._store.list(channel, after=after, limit=_PAGE), self._read_timeout)
            yield from reversed(page)
            if len(page) < _PAGE:
                return
            after = page[0].id

    # --- recovery and the rest -------------------------------------------------------------------------

    def read_footer(self, message: Message, uid: bytes | None = None) -> Footer:
        """The footer of a chunk in a message, by the message alone: the chunk of this uid, or the only one
        of data; not cached.

        Raises MissingError (not in it, or not whole), Damaged, FormatError, ConfigError (another volume's),
        and Discord's answers."""
        return self._whole.end(place_of(message, layout.choose(message, uid))).footer

    def locate(self, message: Message, uid: bytes | None = None) -> ChunkRef:
        """That chunk as it lies in the message, ready to be read. As `read_footer`."""
        held = layout.choose(message, uid)
        end = self._whole.end(place_of(message, held))
        return layout.locate(message, held, end.footer, end.trailer.stored_size)

    def read_log(self, message: Message, uid: bytes) -> bytes:
        """The whole plaintext of a record, snapshot or part in a message, verified to the last block; not
        cached. One Range request for each attachment, or for each 4 MiB of one. Holds the chunk and its
        plaintext in memory.

        Raises MissingError (not in it, not whole, or files' data), Damaged (twice not what was sealed),
        FormatError, ConfigError (another volume's), RemoteGone, Unavailable, and Discord's other answers."""
        return self._whole.read_log(message, layout.choose(message, uid))

    def download(self, chunk: ChunkRef, path: Path) -> Ranges:
        """The chunk's stored bytes, as sealed, into a local file, on disk when this returns; whole or not at
        all (the draft has the suffix .tmp). `reopen` takes it, any channel may get it.

        Blocks that were asked for twice and do not open are copied as they are, so that the others can move;
        returns their ranges (position, length) of the plaintext, in most cases none. Raises Damaged (footer
        or trailer, or too few bytes), RemoteGone (message or attachment deleted), FormatError, ConfigError,
        Unavailable, and Discord's other answers; OSError as the disk gives it."""
        return self._whole.copy(chunk, path)

    def verify(self, chunk: ChunkRef) -> Ranges:
        """Reads every block from Discord, past the cache, and checks the pieces' hashes: which ranges
        (position, length) of the plaintext are damaged, asked for twice, or missing; ascending, none touching
        the next. The whole chunk if its message is gone. Any kind of chunk.

        Damaged when no range is, but the footer, or when the footer is another one than `chunk` says.
        Raises FormatError, ConfigError (another volume's), Unavailable, and Discord's other answers."""
        return self._whole.verify(chunk)

    def delete(self, channel: int, messages: Sequence[int]) -> None:
        """Deletes messages; one that is gone already is no error. What may be deleted is gc's business."""
        if messages:
            self._ask(self._store.delete(channel, messages), self._post_timeout)

    def close(self) -> None:
        """Ends the workers. Store, loop and cache are the caller's; call it before the loop stops."""
        self._fetcher.close()

    def _ask(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        try:
            return self._loop.call(coroutine, timeout)
        except TimedOut as error:
            raise Unavailable(f"Discord gave no answer: {error}") from error


def _check_range(chunk: ChunkRef, position: int, length: int) -> None:
    if position < 0 or length < 0 or position + length > chunk.plain_size:
        raise Damaged(f"chunk {chunk.uid.hex()} does not reach {position} + {length}: the index is wrong")


def _sliced(opened: Sequence[bytes], position: int, length: int) -> bytes | memoryview:
    """`length` bytes at `position` of the plaintext, out of the blocks that they lie in."""
    blocks: list[bytes | memoryview] = [*opened]
    begin = position % BLOCK_SIZE
    blocks[-1] = memoryview(blocks[-1])[: begin + length - (len(blocks) - 1) * BLOCK_SIZE]
    blocks[0] = memoryview(blocks[0])[begin:]
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)
