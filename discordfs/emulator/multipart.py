"""A push parser for multipart/form-data (RFC 7578): bytes in, parts out, with no copy kept of what
passed.

aiohttp's own reader goes by pieces of 8 KiB; this one takes pieces of any size, and costs one search in
each. Memory: one piece, and at most 16 KiB of headers. Threading: one parser for one request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote

_MOST_HEADERS = 16 * 1024
_BOUNDARY = re.compile(r"""boundary=(?:"([^"]+)"|([^;\s]+))""", re.IGNORECASE)
_QUOTED = r'="((?:[^"\\]|\\.)*)"'
_NAME = re.compile(r";\s*name" + _QUOTED, re.IGNORECASE)
_FILENAME = re.compile(r";\s*filename" + _QUOTED, re.IGNORECASE)
_FILENAME_EXTENDED = re.compile(r";\s*filename\*=utf-8''([^;\s]+)", re.IGNORECASE)


class MultipartError(ValueError):
    """The body is no well-formed multipart/form-data."""


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part's headers; `filename` None: it is a field, no file."""

    name: str
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class PartData:
    """Some bytes of the part that began last."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """That part is complete."""


Event = PartBegin | PartData | PartEnd


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names; MultipartError if it names none."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise MultipartError("no boundary")
    return (match[1] or match[2]).encode()


class _State(Enum):
    PREAMBLE = auto()
    AFTER_MARK = auto()
    HEADERS = auto()
    BODY = auto()
    DONE = auto()


class Parser:
    """Feed it the body piece by piece; `done` once the closing boundary came."""

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # so that a boundary in the very first line looks like the others
        self._at = 0
        self._state = _State.PREAMBLE

    @property
    def done(self) -> bool:
        return self._state is _State.DONE

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events this piece completes; their data may be kept."""
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0
        before = None
        while before != (self._at, self._state) and not self.done:
            before = (self._at, self._state)
            yield from self._step()

    def _step(self) -> Iterator[Event]:
        match self._state:
            case _State.PREAMBLE:
                self._to_mark()
            case _State.AFTER_MARK:
                self._after_mark()
            case _State.HEADERS:
                yield from self._headers()
            case _State.BODY:
                start = self._at
                ended = self._to_mark()
                end = self._at - len(self._mark) if ended else self._at
                if end > start:
                    yield PartData(memoryview(self._buffer)[start:end])
                if ended:
                    yield PartEnd()

    def _to_mark(self) -> bool:
        """Moves behind the next mark, or to where a mark that is cut off might begin."""
        found = self._buffer.find(self._mark, self._at)
        if found < 0:
            self._at = max(self._at, len(self._buffer) - len(self._mark) + 1)
            return False
        self._at = found + len(self._mark)
        self._state = _State.AFTER_MARK
        return True

    def _after_mark(self) -> None:
        if len(self._buffer) - self._at < 2:
            return
        sign = self._buffer[self._at : self._at + 2]
        if sign not in (b"--", b"\r\n"):
            raise MultipartError("a boundary is followed by neither a line's end nor --")
        # The CRLF stays for a part without headers, whose blank line then ends it too.
        self._state = _State.DONE if sign == b"--" else _State.HEADERS

    def _headers(self) -> Iterator[Event]:
        end = self._buffer.find(b"\r\n\r\n", self._at)
        if end < 0 and len(self._buffer) - self._at > _MOST_HEADERS:
            raise MultipartError("headers of a part are too long")
        if end < 0:
            return
        block = self._buffer[self._at : end].decode("utf-8", "replace")
        self._at = end + 4
        self._state = _State.BODY
        yield _part_begin(block)


def _part_begin(block: str) -> PartBegin:
    headers = {}
    for line in block.split("\r\n"):
        key, _, value = line.partition(":")
        headers[key.strip().lower()] = value.strip()
    disposition = headers.get("content-disposition", "")
    name = _NAME.search(disposition)
    if name is None:
        raise MultipartError("a part has no name")
    return PartBegin(_unescaped(name[1]), _filename(disposition), headers.get("content-type"))


def _filename(disposition: str) -> str | None:
    extended = _FILENAME_EXTENDED.search(disposition)
    if extended is not None:
        return unquote(extended[1])
    quoted = _FILENAME.search(disposition)
    return None if quoted is None else _unescaped(quoted[1])


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
