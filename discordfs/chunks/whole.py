"""Chunks read as a whole, past the cache: their ends, what a record says, a copy, a check of every block.

Everything is verified: the trailer by the names it came under, the footer and each block by their seals.
Bytes that do not open are asked for once more, then they are Damaged.

Limits: requests of at most RUN_BYTES, _AHEAD of them on their way, and as much memory; `read_log` alone holds
a whole chunk and its plaintext.
Threading: any thread but the loop's; it blocks until Discord answered. Nothing is kept between calls.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from discordfs.chunks import layout
from discordfs.chunks.layout import Held
from discordfs.chunks.packing import checked_footer, reopen
from discordfs.chunks.view import Span, View, view_of
from discordfs.codec import TRAILER_SIZE, Footer, FooterPiece, PieceHash, Trailer, parse_trailer
from discordfs.disk import sync_directory
from discordfs.errors import BadRequest, Damaged, DiscordfsError, MissingError, RemoteGone, Unavailable
from discordfs.keys import VolumeKeys
from discordfs.model import BLOCK_SIZE, AttachmentRef, ChunkRef, Kind
from discordfs.remote.base import Message, MessageStore
from discordfs.remote.loop import Loop

T = TypeVar("T")
Ranges = list[tuple[int, int]]
"""(position, length) in a chunk's plaintext, ascending, none touching the next."""

RUN_BYTES = 4 * 1024**2
"""Bytes of one request, at most."""

_AHEAD = 3  # requests on their way
_TAIL = 64 * 1024  # bytes of a chunk's end that are fetched at first for its footer
_BEYOND = 416  # HTTP's status for a range that a file does not have
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk lies. `kind` is what its attachments' names say, None where these are not known."""

    uid: bytes
    channel: int
    message: int
    attachments: tuple[AttachmentRef, ...]
    kind: Kind | None = None


def place_of(message: Message, held: Held) -> Place:
    refs = tuple(AttachmentRef(attachment.id, attachment.size) for attachment in held.attachments)
    return Place(held.uid, message.channel, message.id, refs, held.kind)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a chunk, opened; `stored` is sealed footer and trailer as they are."""

    footer: Footer
    trailer: Trailer
    stored: bytes


@dataclass(frozen=True, slots=True)
class _Block:
    """A block as it came: sealed (b"" where it did not come), and opened, or why not."""

    number: int
    sealed: bytes | memoryview
    plain: bytes | None
    error: DiscordfsError | None = None


class WholeReader:
    """Reads chunks of one volume as a whole. `timeout` in seconds, for each request."""

    def __init__(
        self, store: MessageStore, loop: Loop, keys: VolumeKeys, volume: bytes, timeout: float
    ) -> None:
        self._store, self._loop = store, loop
        self._keys, self._volume = keys, volume
        self._timeout = timeout

    def end(self, place: Place) -> End:
        """Footer and trailer of a chunk. Raises Damaged, FormatError, ConfigError (another volume's), and
        Discord's answers."""
        return self._twice(place.uid, lambda: self._end_once(place))

    def read_log(self, message: Message, held: Held) -> bytes:
        """The plaintext of a record, snapshot or part. MissingError for a chunk of data, else as `end`."""
        if held.kind is Kind.DATA:
            raise MissingError(f"chunk {held.uid.hex()} in message {message.id} is none of the log")
        return self._twice(held.uid, lambda: self._read_log_once(message, held))

    def copy(self, chunk: ChunkRef, path: Path) -> Ranges:
        """The stored bytes of a chunk into the file at `path`, whole or not at all, on disk when this
        returns; says which ranges of the plaintext are damaged, in Discord and so in the copy.

        Raises as `end`, where footer or trailer are damaged or bytes are missing; OSError as the disk gives
        it."""
        end = self.end(_place(chunk))
        view = self._agreed_view(chunk, end)
        draft = path.with_suffix(".tmp")
        try:
            with open(draft, "wb") as file:
                damaged = [_range(view, number) for number in self._copy_blocks(view, file.write)]
                file.write(end.stored)
                file.flush()
                os.fsync(file.fileno())
            reopen(draft, self._keys, self._volume)
            os.rename(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
        return _merged(damaged)

    def verify(self, chunk: ChunkRef) -> Ranges:
        """Asks Discord for every block, and says which ranges of the plaintext are damaged or missing, or
        are not what the footer's hashes say.

        Where all blocks are as sealed and the footer is not, or is another one than the index knows, that is
        Damaged. Raises FormatError, ConfigError, Unavailable and Discord's other answers."""
        end, trouble = self._end_or_error(chunk)
        view = self._agreed_view(chunk, end)
        pieces = _PieceCheck(self._keys, end.footer.pieces if end is not None else ())
        wrong = []
        with closing(self._blocks(view)) as blocks:
            for block in blocks:
                pieces.feed(block.plain, view.plain_length(block.number))
                if block.plain is None:
                    wrong.append(_range(view, block.number))
        if trouble is not None and not wrong:
            raise Damaged(f"all of chunk {chunk.uid.hex()} can be read but its end: {trouble}") from trouble
        return _merged(wrong + pieces.wrong)

    # --- the end of a chunk -----------------------------------------------------------------------------

    def _end_once(self, place: Place) -> End:
        if not place.attachments:
            raise Damaged(f"chunk {place.uid.hex()} has no attachments: the index is wrong")
        last = place.attachments[-1]
        tail = b""
        wanted = min(_TAIL, last.size)
        while len(tail) < wanted:
            span = Span(last.id, last.size - wanted, wanted)
            tail = b"".join(self._stream(place.channel, place.message, [span]))
            wanted = min(self._trailer(place, tail).footer_size + TRAILER_SIZE, last.size)
        return self._open_end(place, tail)

    def _end_or_error(self, chunk: ChunkRef) -> tuple[End | None, DiscordfsError | None]:
        try:
            return self.end(_place(chunk)), None
        except (Damaged, RemoteGone) as error:
            return None, error

    def _trailer(self, place: Place, tail: bytes | memoryview) -> Trailer:
        """The trailer behind `tail`, which must be what the attachments' names and sizes say."""
        trailer = parse_trailer(tail[-TRAILER_SIZE:])
        size = sum(attachment.size for attachment in place.attachments)
        kind = trailer.kind if place.kind is None else place.kind
        if (trailer.kind, trailer.uid, trailer.stored_size) != (kind, place.uid, size):
            raise Damaged(f"the attachments of chunk {place.uid.hex()} do not hold what their names say")
        return trailer

    def _open_end(self, place: Place, tail: bytes | memoryview) -> End:
        trailer = self._trailer(place, tail)
        stored = bytes(tail[-TRAILER_SIZE - trailer.footer_size :])
        footer = checked_footer(self._keys, self._volume, trailer, stored[:-TRAILER_SIZE])
        return End(footer, trailer, stored)

    def _twice(self, uid: bytes, read: Callable[[], T]) -> T:
        try:
            return read()
        except Damaged as error:
            _log.warning("chunk %s came damaged: once more: %s", uid.hex(), error)
        return read()

    # --- blocks -----------------------------------------------------------------------------------------

    def _read_log_once(self, message: Message, held: Held) -> bytes:
        spans = [
            Span(it.id, start, min(RUN_BYTES, it.size - start))
            for it in held.attachments
            for start in range(0, it.size, RUN_BYTES)
        ]
        stored = memoryview(b"".join(self._stream(message.channel, message.id, spans)))
        end = self._open_end(place_of(message, held), stored)
        chunk = layout.locate(message, held, end.footer, end.trailer.stored_size)
        view = view_of(chunk, self._keys, self._volume, held.kind)
        places = view.offsets
        return b"".join(view.open(n, stored[places[n] : places[n + 1]]) for n in range(len(places) - 1))

    def _agreed_view(self, chunk: ChunkRef, end: End | None) -> View:
        """The chunk made ready for reading, as index and footer agree that it is. Without a footer it counts
        as data."""
        if end is None:
            return view_of(chunk, self._keys, self._volume)
        footer = end.footer
        if (footer.uid, footer.plain_size, footer.blocks) != (chunk.uid, chunk.plain_size, chunk.blocks):
            raise Damaged(f"chunk {chunk.uid.hex()} is another one than the index says: the index is wrong")
        return view_of(chunk, self._keys, self._volume, footer.kind)

    def _copy_blocks(self, view: View, write: Callable[[bytes | memoryview], object]) -> Iterator[int]:
        """Writes the sealed blocks; the numbers of those that do not open."""
        with closing(self._blocks(view)) as blocks:
            for block in blocks:
                if block.error is not None and len(block.sealed) != view.length(block.number):
                    raise block.error
                write(block.sealed)
                if block.error is not None:
                    yield block.number

    def _blocks(self, view: View) -> Generator[_Block, None, None]:
        """Every block, in order; one that does not open has been asked for twice."""
        runs = view.runs(range(len(view.offsets) - 1), len(view.offsets), RUN_BYTES)
        spans = [view.span(run) for run in runs]
        with closing(self._ask(view.chunk.channel, view.chunk.message, spans)) as answers:
            for run, span, answer in zip(runs, spans, answers, strict=True):
                yield from self._opened(view, run, span, answer)

    def _opened(self, view: View, run: range, span: Span, answer: Future[bytes]) -> Iterator[_Block]:
        data = memoryview(b"")
        try:
            data = memoryview(self._result(span, answer))
        except RemoteGone as error:
            yield from (_Block(number, b"", None, error) for number in run)
            return
        except Damaged as error:  # too short, but the first of its blocks may be there
            _log.info("chunk %s, blocks %s: %s", view.chunk.uid.hex(), run, error)
        base = view.offsets[run.start]
        for number in run:
            sealed = data[view.offsets[number] - base : view.offsets[number + 1] - base]
            yield self._open(view, number, sealed) or self._open_again(view, number)

    def _open(self, view: View, number: int, sealed: memoryview) -> _Block | None:
        try:
            return _Block(number, sealed, view.open(number, sealed))
        except Damaged:
            _log.info("block %d of chunk %s came damaged: once more", number, view.chunk.uid.hex())
            return None

    def _open_again(self, view: View, number: int) -> _Block:
        chunk, sealed = view.chunk, b""
        try:
            spans = [view.span(range(number, number + 1))]
            sealed = b"".join(self._stream(chunk.channel, chunk.message, spans))
            return _Block(number, sealed, view.open(number, sealed))
        except (Damaged, RemoteGone) as error:
            return _Block(number, sealed, None, error)

    # --- requests ---------------------------------------------------------------------------------------

    def _stream(self, channel: int, message: int, spans: Sequence[Span]) -> Iterator[bytes]:
        """The bytes of each span, in order."""
        with closing(self._ask(channel, message, spans)) as answers:
            for span, answer in zip(spans, answers, strict=True):
                yield self._result(span, answer)

    def _ask(self, channel: int, message: int, spans: Iterable[Span]) -> Generator[Future[bytes], None, None]:
        """A request for each span, a few ahead of the one in hand; ended early, it cancels the others."""
        requests = (
            self._loop.submit(self._store.read(channel, message, span.attachment, span.start, span.length))
            for span in spans
        )
        ahead: deque[Future[bytes]] = deque()
        try:
            ahead.extend(islice(requests, _AHEAD))
            while ahead:
                yield ahead[0]
                ahead.popleft()
                ahead.extend(islice(requests, 1))
        finally:
            for request in ahead:
                request.cancel()

    def _result(self, span: Span, answer: Future[bytes]) -> bytes:
        """Exactly the bytes of the span; Damaged where the attachment is shorter."""
        wait([answer], self._timeout)
        try:
            if answer.cancel():
                raise Unavailable(f"Discord gave no answer within {self._timeout:g} s")
            data = answer.result()
        except CancelledError:
            raise Unavailable("the drive is being closed") from None
        except BadRequest as error:
            if error.code != _BEYOND:
                raise
            raise Damaged(f"attachment {span.attachment} is shorter than it was: {error}") from error
        if len(data) != span.length:
            raise Damaged(f"attachment {span.attachment} gave {len(data)} bytes, not {span.length}")
        return data


class _PieceCheck:
    """Fed a chunk's plaintext in order, it says in `wrong` which pieces are not what their hashes say; those
    that did not come whole are left out."""

    def __init__(self, keys: VolumeKeys, pieces: Iterable[FooterPiece]) -> None:
        self.wrong: Ranges = []
        self._keys = keys
        self._rest = iter(pieces)
        self._position = self._left = 0
        self._piece: FooterPiece | None = None
        self._hash = PieceHash(keys)
        self._is_whole = True

    def feed(self, plain: bytes | None, length: int) -> None:
        """`length` more bytes; None for such as could not be had."""
        view = memoryview(plain if plain is not None else b"")
        while length and (self._left or self._begin()):
            step = min(length, self._left)
            self._hash.update(view[:step])
            self._is_whole = self._is_whole and plain is not None
            view, length = view[step:], length - step
            self._left, self._position = self._left - step, self._position + step
            if not self._left:
                self._end()

    def _begin(self) -> bool:
        self._piece = next(self._rest, None)
        self._hash, self._is_whole = PieceHash(self._keys), True
        self._left = self._piece.length if self._piece is not None else 0
        return self._piece is not None

    def _end(self) -> None:
        piece = self._piece
        if piece is not None and self._is_whole and self._hash.digest() != piece.hash:
            self.wrong.append((self._position - piece.length, piece.length))


def _place(chunk: ChunkRef) -> Place:
    return Place(chunk.uid, chunk.channel, chunk.message, chunk.attachments)


def _range(view: View, number: int) -> tuple[int, int]:
    return number * BLOCK_SIZE, view.plain_length(number)


def _merged(ranges: Ranges) -> Ranges:
    merged: Ranges = []
    for position, length in sorted(ranges):
        if merged and position <= sum(merged[-1]):
            begin, before = merged[-1]
            merged[-1] = (begin, max(before, position + length - begin))
        else:
            merged.append((position, length))
    return merged
