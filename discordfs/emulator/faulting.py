"""Carries faults out: those that strike instead of a route's answer, and those that strike the answer.

What becomes of an attachment's bytes is the CDN's own business, in `cdn`. Threading: event loop only.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from .bodies import drain
from .cdn import spoil
from .context import context_of
from .errors import REASONS, VIA, json_answer, limited_body
from .faults import Fault
from .wire import abort

_DEFAULT_SLOW_S = 2.0
_DEFAULT_TIMEOUT_S = 86_400.0
_PAGE = "<html><body>Log in to use this network</body></html>"  # as a proxy or a hotel gives it, with 200


async def early(request: web.Request, fault: Fault) -> web.Response | None:
    """The answer of a fault that strikes before the route is reached; None if it does not."""
    context = context_of(request)
    match fault.kind:
        case "status":
            return await _status(request, fault)
        case "page":
            await drain(request)
            return web.Response(text=_PAGE, content_type="text/html")
        case "reset":
            return reset(request)
        case "timeout":
            seconds = _DEFAULT_TIMEOUT_S if fault.delay_s is None else fault.delay_s
            await _wait(context.stopping, seconds)
            return reset(request)
        case "hold":
            await context.released.wait()
    return None


async def late(request: web.Request, response: web.Response, fault: Fault) -> web.StreamResponse:
    """What such a fault makes of the route's answer."""
    context = context_of(request)
    body = response.body if isinstance(response.body, bytes) else b""
    match fault.kind:
        case "reset_after_commit":
            return reset(request)
        case "slow":
            await _wait(context.stopping, _DEFAULT_SLOW_S if fault.delay_s is None else fault.delay_s)
        case "corrupt" if body:
            response.body = spoil(body, len(body) // 2)
        case "truncate":
            return await _truncated(request, response, body)
    return response


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    """Sleeps, but no longer than the emulator runs."""
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return


async def _status(request: web.Request, fault: Fault) -> web.Response:
    await drain(request)
    if fault.status == 429:
        headers = VIA | {"Retry-After": "1", "X-RateLimit-Scope": "shared"}
        return json_answer(limited_body(0.5 if fault.delay_s is None else fault.delay_s, False), 429, headers)
    if fault.status in (502, 503, 504):  # those come from in front of the API, as HTML
        page = f"<html><head><title>{fault.status}</title></head><body>cloudflare</body></html>"
        return web.Response(status=fault.status, text=page, content_type="text/html")
    codes = {413: ("Request entity too large", 40005), 403: ("Missing Access", 50001)}
    message, code = codes.get(fault.status, (f"{fault.status}: {REASONS.get(fault.status, 'Error')}", 0))
    return json_answer({"message": message, "code": code}, fault.status)


def reset(request: web.Request) -> web.Response:
    """Ends the connection with a TCP reset."""
    abort(request, reset=True)
    return web.Response(status=500)  # goes nowhere: the connection is gone


async def _truncated(request: web.Request, response: web.Response, body: bytes) -> web.StreamResponse:
    """Announces the whole body and sends half of it."""
    headers = {key: value for key, value in response.headers.items() if key.lower() != "content-length"}
    cut = web.StreamResponse(status=response.status, headers=headers)
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    abort(request, reset=False)
    return cut
