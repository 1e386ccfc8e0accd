"""Reading request bodies: counted, paced, bounded, files straight to disk.

A body that is refused is read to its end all the same (what is over a quarter of a GiB excepted): a client
that is still sending when the connection closes sees a reset instead of the answer. Memory: about 1 MiB for
each upload beside aiohttp's read buffer. Disk writes happen in worker threads; all else in the event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import BinaryIO

from aiohttp import web

from . import errors
from .context import Context, context_of
from .files import Upload, discard
from .multipart import MultipartError, Parser, PartBegin, PartData, boundary_of
from .pace import Pace

_MOST_JSON = 4 * 1024**2
_MOST_DRAINED = 256 * 1024**2
_WRITE_SIZE = 1024**2
_MOST_PIECES = 256  # a system call takes 1,024 at most


@dataclass(slots=True)
class Form:
    """A decoded request: the JSON payload, and the files by the name of their part."""

    payload: dict[str, object] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)


async def read_form(request: web.Request) -> Form:
    """The JSON or multipart body. Received files lie in `incoming` and are the caller's to keep or discard.

    Raises ApiError 413 for what is too large, 400 for what cannot be read; no file is left then.
    """
    if request.content_type == "multipart/form-data":
        return await _read_multipart(request)
    return Form(await read_json(request))


async def read_json(request: web.Request) -> dict[str, object]:
    """A body that is one JSON object; ApiError 400 or 413 otherwise. No body at all is an empty object."""
    _check_length(request)
    data = bytearray()
    async for piece in pieces(request):
        data += piece
        if len(data) > min(_MOST_JSON, context_of(request).settings.request_limit):
            raise errors.too_large()
    return parse_object(bytes(data)) if data else {}


def parse_object(data: bytes) -> dict[str, object]:
    """A JSON object from its text; ApiError 400 if it is none."""
    try:
        value = json.loads(data)
    except ValueError:
        raise errors.invalid_json() from None
    if not isinstance(value, dict):
        raise errors.invalid_form("_", "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")
    return value


async def pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes in, counted and paced."""
    context = context_of(request)
    pace = Pace(context.settings.bandwidth_bps)
    async for piece, _ in request.content.iter_chunks():  # unlike iter_any, it joins (copies) nothing
        context.stats.bytes_in += len(piece)
        await pace.spend(len(piece))
        yield piece


async def drain(request: web.Request) -> bool:
    """Reads what is left of the body, within reason; whether it is all read."""
    if not request.can_read_body or request.content.is_eof():
        return True
    left = _MOST_DRAINED
    async for piece in pieces(request):
        left -= len(piece)
        if left < 0:
            return False
    return True


def _check_length(request: web.Request) -> None:
    if (request.content_length or 0) > context_of(request).settings.request_limit:
        raise errors.too_large()


async def _read_multipart(request: web.Request) -> Form:
    _check_length(request)
    receiver = _Receiver(context_of(request))
    try:
        parser = Parser(boundary_of(request.headers.get("Content-Type", "")))
        async for piece in pieces(request):
            await receiver.receive(parser, piece)
        if not parser.done:
            raise MultipartError("the closing boundary is missing")
        return receiver.form()
    except MultipartError:
        receiver.abandon()
        raise errors.invalid_json() from None
    except BaseException:
        receiver.abandon()
        raise


class _Receiver:
    """Puts the parts of one request where they belong."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._total = 0
        self._part: PartBegin | None = None
        self._field = bytearray()
        self._fields: dict[str, bytes] = {}
        self._sink: _Sink | None = None
        self._files: dict[str, Upload] = {}

    async def receive(self, parser: Parser, piece: bytes) -> None:
        self._total += len(piece)
        if self._total > self._context.settings.request_limit:
            raise errors.too_large()
        for event in parser.feed(piece):
            if isinstance(event, PartBegin):
                self._begin(event)
            elif isinstance(event, PartData):
                await self._data(event.data)
            else:
                await self._end()

    def _begin(self, part: PartBegin) -> None:
        if part.name in self._files or part.name in self._fields:
            raise MultipartError(f"two parts are called {part.name}")
        self._part = part
        self._field.clear()
        if part.filename is not None:
            self._sink = _Sink(self._context, part)

    async def _data(self, data: memoryview) -> None:
        if self._sink is not None:
            await self._sink.write(data)
            return
        self._field += data
        if len(self._field) > _MOST_JSON:
            raise errors.too_large()

    async def _end(self) -> None:
        assert self._part is not None
        if self._sink is None:
            self._fields[self._part.name] = bytes(self._field)
            return
        sink, self._sink = self._sink, None
        self._files[self._part.name] = await sink.finish()

    def form(self) -> Form:
        """What was received, once all was."""
        payload = self._fields.pop("payload_json", None)
        plain = {name: value.decode("utf-8", "replace") for name, value in self._fields.items()}
        return Form(parse_object(payload) if payload is not None else dict(plain), self._files)

    def abandon(self) -> None:
        """Forgets everything."""
        if self._sink is not None:
            self._sink.abandon()
        discard(self._files.values())


class _Sink:
    """One file being received. Small pieces are gathered, so that a worker thread writes large ones."""

    def __init__(self, context: Context, part: PartBegin) -> None:
        self._limit = context.settings.file_limit
        self._part = part
        self._path = context.files.new_incoming()
        self._file: BinaryIO = self._path.open("wb", buffering=0)
        self._pending: list[memoryview] = []
        self._gathered = 0
        self._size = 0

    async def write(self, data: memoryview) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise errors.too_large()
        self._pending.append(data)
        self._gathered += len(data)
        if self._gathered >= _WRITE_SIZE or len(self._pending) >= _MOST_PIECES:
            await self._flush()

    async def finish(self) -> Upload:
        """All bytes are in the page cache when this returns."""
        await self._flush()
        self._file.close()
        return Upload(self._path, self._part.filename or "", self._size, self._part.content_type)

    async def _flush(self) -> None:
        pieces, self._pending, self._gathered = self._pending, [], 0
        await asyncio.get_running_loop().run_in_executor(None, _write_all, self._file, pieces)

    def abandon(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def _write_all(file: BinaryIO, pieces: list[memoryview]) -> None:
    while pieces:
        written = os.writev(file.fileno(), pieces)
        while pieces and written >= len(pieces[0]):
            written -= len(pieces.pop(0))
        if written:
            pieces[0] = pieces[0][written:]
