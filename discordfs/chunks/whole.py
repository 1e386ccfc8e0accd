"""Chunks read as a whole, past the cache: their ends, what a record says.

Everything is verified: the trailer by the names it came under, the footer and each block by their seals.
Bytes that do not open are asked for once more, then they are Damaged.

Limits: requests of at most RUN_BYTES, _AHEAD of them on their way.
Threading: any thread but the loop's; it blocks until Discord answered. Nothing is kept between calls.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from discordfs.chunks import layout
from discordfs.chunks.layout import Held
from discordfs.chunks.packing import checked_footer
from discordfs.chunks.view import Span, view_of
from discordfs.codec import TRAILER_SIZE, Footer, Trailer, parse_trailer
from discordfs.errors import BadRequest, Damaged, MissingError, Unavailable
from discordfs.keys import VolumeKeys
from discordfs.model import Kind
from discordfs.remote.base import Message, MessageStore
from discordfs.remote.loop import Loop

T = TypeVar("T")

RUN_BYTES = 4 * 1024**2
"""Bytes of one request, at most."""

_AHEAD = 3  # requests on their way
_TAIL = 64 * 1024  # bytes of a chunk's end that are fetched at first for its footer
_BEYOND = 416  # HTTP's status for a range that a file does not have
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a chunk, opened."""

    footer: Footer
    trailer: Trailer


class WholeReader:
    """Reads chunks of one volume as a whole. `timeout` in seconds, for each request."""

    def __init__(
        self, store: MessageStore, loop: Loop, keys: VolumeKeys, volume: bytes, timeout: float
    ) -> None:
        self._store, self._loop = store, loop
        self._keys, self._volume = keys, volume
        self._timeout = timeout

    def end(self, channel: int, message: int, held: Held) -> End:
        """Footer and trailer of a chunk in a message. Raises Damaged, FormatError, ConfigError (another
        volume's), and Discord's answers."""
        return self._twice(held.uid, lambda: self._end_once(channel, message, held))

    def _end_once(self, channel: int, message: int, held: Held) -> End:
        last = held.attachments[-1]
        tail = b""
        wanted = min(_TAIL, last.size)
        while len(tail) < wanted:
            span = Span(last.id, last.size - wanted, wanted)
            tail = b"".join(self._stream(channel, message, [span]))
            wanted = min(self._trailer(held, tail).footer_size + TRAILER_SIZE, last.size)
        return self._open_end(held, tail)

    def read_log(self, message: Message, held: Held) -> bytes:
        """The plaintext of a record, snapshot or part. MissingError for a chunk of data, else as `end`."""
        if held.kind is Kind.DATA:
            raise MissingError(f"chunk {held.uid.hex()} in message {message.id} is none of the log")
        return self._twice(held.uid, lambda: self._read_log_once(message, held))

    def _read_log_once(self, message: Message, held: Held) -> bytes:
        spans = [
            Span(it.id, start, min(RUN_BYTES, it.size - start))
            for it in held.attachments
            for start in range(0, it.size, RUN_BYTES)
        ]
        stored = memoryview(b"".join(self._stream(message.channel, message.id, spans)))
        end = self._open_end(held, stored)
        chunk = layout.locate(message, held, end.footer, end.trailer.stored_size)
        view = view_of(chunk, self._keys, self._volume, held.kind)
        places = view.offsets
        return b"".join(view.open(n, stored[places[n] : places[n + 1]]) for n in range(len(places) - 1))

    # --- the end of a chunk -----------------------------------------------------------------------------

    def _trailer(self, held: Held, tail: bytes | memoryview) -> Trailer:
        """The trailer behind `tail`, which must be what the attachments' names and sizes say."""
        trailer = parse_trailer(tail[-TRAILER_SIZE:])
        size = sum(attachment.size for attachment in held.attachments)
        if (trailer.kind, trailer.uid, trailer.stored_size) != (held.kind, held.uid, size):
            raise Damaged(f"the attachments of chunk {held.uid.hex()} do not hold what their names say")
        return trailer

    def _open_end(self, held: Held, tail: bytes | memoryview) -> End:
        trailer = self._trailer(held, tail)
        sealed = memoryview(tail)[-TRAILER_SIZE - trailer.footer_size : -TRAILER_SIZE]
        return End(checked_footer(self._keys, self._volume, trailer, sealed), trailer)

    def _twice(self, uid: bytes, read: Callable[[], T]) -> T:
        try:
            return read()
        except Damaged as error:
            _log.warning("chunk %s came damaged: once more: %s", uid.hex(), error)
        return read()

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
