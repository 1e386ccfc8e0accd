"""The CDN: attachments by signed URL, whole or one range of them, and the route that renews such URLs.

Memory: one piece of at most 1 MiB for each answer under way. Files are read in worker threads, all else
happens in the event loop. No rate limits, as on Discord.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import BinaryIO

from aiohttp import web
from yarl import URL

from .bodies import read_json
from .context import Context, caller, context_of, fault_of
from .errors import invalid_form, json_answer, plain
from .faults import Fault
from .filenames import is_image
from .model import Attachment
from .pace import Pace
from .params import path_id
from .urls import Place, place_of
from .wire import abort

GONE = "This content is no longer available."
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_SLOW_PIECES = 20
_DEFAULT_SLOW_S = 2.0
_MOST_REFRESHED = 50


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `end` (exclusive) of a file; `partial` if they are the answer to a Range request."""

    start: int
    end: int
    partial: bool = False


class _Unsatisfiable(Exception):
    """The range begins behind the end of the file."""


def span_of(header: str | None, size: int) -> Span:
    """What a Range header asks for. More than one range, or another unit, counts as no range (RFC 9110)."""
    match = None if header is None else _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return Span(0, size)
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return Span(0, size)
    if start >= size:
        raise _Unsatisfiable
    return Span(start, end, partial=True)


async def attachment(request: web.Request) -> web.StreamResponse:
    """GET and HEAD of an attachment."""
    context = context_of(request)
    place = Place(
        path_id(request, "channel_id"), path_id(request, "attachment_id"), request.match_info["name"]
    )
    if not context.signer.valid(place, request.query, context.clock.now()):
        return _gone(context)
    found = await context.store.run(
        lambda database: database.attachment(place.channel_id, place.attachment_id)
    )
    if found is None or found.filename != place.filename:
        return _gone(context)
    try:
        file = await asyncio.get_running_loop().run_in_executor(None, _open, context, found)
    except FileNotFoundError:  # deleted between the two steps
        return _gone(context)
    try:
        return await _serve(request, context, found, file)
    finally:
        file.close()


async def media(request: web.Request) -> web.StreamResponse:
    """The proxy for images and videos: it has no use for other files."""
    name = request.match_info["name"]
    if not is_image(name, None) and not name.lower().endswith((".mp4", ".mov", ".webm")):
        return web.Response(status=415, text="Unsupported Media Type")
    return await attachment(request)


def _gone(context: Context) -> web.Response:
    return web.Response(status=context.settings.gone_status, text=GONE)


def _open(context: Context, found: Attachment) -> BinaryIO:
    return context.files.path(found.id).open("rb", buffering=0)


async def _serve(
    request: web.Request, context: Context, found: Attachment, file: BinaryIO
) -> web.StreamResponse:
    size = await asyncio.get_running_loop().run_in_executor(None, file.seek, 0, 2)
    wanted = request.headers.get("Range") if context.settings.range else None
    headers = {"ETag": f'"{found.id:x}"', "Cache-Control": "public, max-age=31536000"}
    if context.settings.range:
        headers["Accept-Ranges"] = "bytes"
    try:
        span = span_of(wanted, size)
    except _Unsatisfiable:
        return web.Response(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    if span.partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    response = web.StreamResponse(status=206 if span.partial else 200, headers=headers)
    response.content_type = (found.content_type or "application/octet-stream").partition(";")[0]
    response.content_length = span.end - span.start
    await response.prepare(request)
    if request.method != "HEAD":
        await _send(request, response, file, span)
    return response


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a span is sent: up to `end`, in pieces of `piece` bytes, `pause` seconds apart, one byte spoilt."""

    end: int
    piece: int
    pause: float = 0.0
    spoilt: int = -1  # the position of the byte to be changed; -1: none


def _plan(span: Span, fault: Fault | None, piece: int) -> _Plan:
    """The plan for a healthy answer, or for one that this fault strikes."""
    middle = span.start + (span.end - span.start) // 2
    match None if fault is None else fault.kind:
        case "truncate":
            return _Plan(middle, piece)
        case "corrupt":
            return _Plan(span.end, piece, spoilt=middle)
        case "slow" if fault is not None:
            seconds = _DEFAULT_SLOW_S if fault.delay_s is None else fault.delay_s
            pieces = -(-(span.end - span.start) // _SLOW_PIECES)
            return _Plan(span.end, max(1, min(piece, pieces)), pause=seconds / _SLOW_PIECES)
    return _Plan(span.end, piece)


async def _send(request: web.Request, response: web.StreamResponse, file: BinaryIO, span: Span) -> None:
    """Sends the bytes, as a fault would have them if one strikes."""
    context, loop, at = context_of(request), asyncio.get_running_loop(), span.start
    pace = Pace(context.settings.bandwidth_bps)
    plan = _plan(span, fault_of(request), pace.piece)
    file.seek(at)
    while at < plan.end:
        data = await loop.run_in_executor(None, file.read, min(plan.piece, plan.end - at))
        if not data:
            break
        if at <= plan.spoilt < at + len(data):
            data = spoil(data, plan.spoilt - at)
        await asyncio.sleep(plan.pause)
        await pace.spend(len(data))
        await response.write(data)
        at += len(data)
        context.stats.cdn_bytes_out += len(data)
    if at < span.end:
        abort(request, reset=False)


def spoil(data: bytes, position: int) -> bytes:
    """The data with one byte changed."""
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


async def refresh_urls(request: web.Request) -> web.Response:
    """POST /attachments/refresh-urls (undocumented; reported to work for bots)."""
    context = context_of(request)
    if not context.settings.refresh_urls:
        raise plain(404, "Not Found")
    urls = (await read_json(request)).get("attachment_urls")
    if not isinstance(urls, list) or not 1 <= len(urls) <= _MOST_REFRESHED:
        message = f"Must be between 1 and {_MOST_REFRESHED} in length."
        raise invalid_form("attachment_urls", "BASE_TYPE_BAD_LENGTH", message)
    refreshed = [{"original": str(url), "refreshed": _refreshed(request, str(url))} for url in urls]
    return json_answer({"refreshed_urls": refreshed})


def _refreshed(request: web.Request, url: str) -> str:
    """The URL signed anew. It is not said whether the attachment still exists, nor to whom it belongs."""
    context, place = context_of(request), place_of(url)
    if place is None or caller(request).id not in context.world.users:
        return url
    return (
        str(URL(url).with_query(None))
        + "?"
        + context.signer.query(place, context.clock.now(), context.settings)
    )
