"""What every request passes through before and after its route: counting, delay, faults, the token, rate
limits, and Discord's form of errors.

Threading: event loop only.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from aiohttp import web

from . import snowflake
from .bodies import drain
from .cdn import spoil
from .context import Context, caller, context_of, set_caller, set_fault
from .errors import ApiError, json_answer, plain
from .faults import Fault
from .limits import Rule, Verdict, rule_for
from .stats import route_of
from .wire import abort

API = "/api/v10"
VIA = {"Via": "1.1 emulator"}  # discord.py takes a 429 without it for Cloudflare's
_LATE = ("truncate", "corrupt", "slow", "reset_after_commit")  # faults that strike the answer
_DEFAULT_SLOW_S = 2.0
_DEFAULT_TIMEOUT_S = 86_400.0
_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    500: "Internal Server Error",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def pipeline(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The one middleware: API and CDN traffic each go their way, control and gateway go straight on."""
    if request.path.startswith(API + "/"):
        return await _api(request, handler)
    if request.path.startswith(("/attachments/", "/media/")):
        return await _cdn(request, handler)
    try:
        return await handler(request)
    except ApiError as error:
        return json_answer(error.body(), error.status)


async def set_date(request: web.Request, response: web.StreamResponse) -> None:
    """The Date of every answer is the emulator's time: clients learn from it when URLs expire."""
    response.headers["Date"] = formatdate(context_of(request).clock.now(), usegmt=True)


# --- CDN


async def _cdn(request: web.Request, handler: Handler) -> web.StreamResponse:
    context = context_of(request)
    context.stats.cdn_requests += 1
    await asyncio.sleep(context.settings.latency_ms / 1000)
    fault = context.faults.strike(request.method, "cdn")
    if fault is not None:
        context.stats.faults += 1
        early = await _early(request, fault)
        if early is not None:
            return early
        set_fault(fault)
    if fault is not None and fault.kind == "reset_after_commit":
        return _reset(request)
    return await handler(request)


# --- API


async def _api(request: web.Request, handler: Handler) -> web.StreamResponse:
    context, route = context_of(request), route_of(request.path.removeprefix(API))
    context.stats.requests[f"{request.method} {route}"] += 1
    await asyncio.sleep(context.settings.latency_ms / 1000)
    fault = context.faults.strike(request.method, route)
    if fault is not None:
        context.stats.faults += 1
        early = await _early(request, fault)
        if early is not None:
            return _counted(context, early)
    response = await _answer(request, handler)
    if not await drain(request):
        response.force_close()  # a body of which no end is in sight
    _counted(context, response)
    return response if fault is None else await _late(request, response, fault)


def _counted(context: Context, response: web.Response) -> web.Response:
    size = len(response.body) if isinstance(response.body, bytes) else 0
    context.stats.bytes_out += size
    context.stats.statuses[str(response.status)] += 1
    return response


async def _answer(request: web.Request, handler: Handler) -> web.Response:
    """The route's answer, or the error that takes its place."""
    context = context_of(request)
    now = context.clock.now()
    if context.invalid.blocked(now):
        return _blocked(context)
    headers: dict[str, str] = {}
    try:
        set_caller(context.world.by_token(request.headers.get("Authorization", "")))
        headers = _charge(request)
        response = await handler(request)
        assert isinstance(response, web.Response)
    except _Limited as limited:
        response = limited.answer
    except ApiError as error:
        response = json_answer(error.body(), error.status)
    except web.HTTPException as error:
        wrong = plain(error.status, _REASONS.get(error.status, error.reason))
        response = json_answer(wrong.body(), wrong.status)
    response.headers.update(headers)
    context.invalid.note(response.status, now, context.settings)
    pause = len(response.body) * 8 / context.settings.bandwidth_bps if _paced(context, response) else 0  # type: ignore[arg-type]
    await asyncio.sleep(pause)
    return response


def _paced(context: Context, response: web.Response) -> bool:
    return bool(context.settings.bandwidth_bps) and isinstance(response.body, bytes)


def _blocked(context: Context) -> web.Response:
    """Cloudflare's answer to clients that gave too many invalid requests: no JSON, no Via."""
    context.stats.rate_limited += 1
    left = context.clock.wall(context.invalid.blocked(context.clock.now()))
    return web.Response(status=429, text="error code: 1015", headers={"Retry-After": str(math.ceil(left))})


# --- rate limits


class _Limited(Exception):
    """The request is over a limit."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__(answer.status)
        self.answer = answer


def _charge(request: web.Request) -> dict[str, str]:
    """Counts the request against its limits; the headers for its answer. Raises _Limited when it is too
    much.
    """
    context = context_of(request)
    resource = request.match_info.route.resource
    if not context.settings.rate_limits or resource is None:
        return {}
    template = resource.canonical.removeprefix(API)
    rule = rule_for(request.method, template, _old_message(request), context.settings)
    top = request.match_info.get("channel_id") or request.match_info.get("guild_id") or ""
    verdict = context.limiter.take(caller(request).id, rule, top, context.clock.now(), context.settings)
    if not verdict.allowed:
        context.stats.rate_limited += 1
        raise _Limited(_too_many(context, verdict))
    return _headers(context, rule, verdict)


def _old_message(request: web.Request) -> bool:
    context, text = context_of(request), request.match_info.get("message_id", "")
    age_ms = context.settings.bulk_delete_days * 86_400_000
    return text.isdecimal() and snowflake.time_of(int(text)) < context.clock.now_ms() - age_ms


def _headers(context: Context, rule: Rule, verdict: Verdict) -> dict[str, str]:
    """Waits are in the client's seconds; Reset is Date plus the wait, so that both ways to count agree."""
    wait = context.clock.wall(verdict.reset_after)
    return {
        "X-RateLimit-Limit": str(rule.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": f"{context.clock.now() + wait:.3f}",
        "X-RateLimit-Reset-After": f"{wait:.3f}",
        "X-RateLimit-Bucket": rule.bucket,
    }


def _too_many(context: Context, verdict: Verdict) -> web.Response:
    wait = context.clock.wall(verdict.reset_after)
    everywhere = verdict.rule is None
    headers = VIA | {
        "Retry-After": str(math.ceil(wait)),
        "X-RateLimit-Scope": "global" if everywhere else "user",
    }
    if verdict.rule is None:
        headers["X-RateLimit-Global"] = "true"
    else:
        headers |= _headers(context, verdict.rule, verdict)
    return json_answer(_limited_body(wait, everywhere), 429, headers)


def _limited_body(wait: float, everywhere: bool) -> dict[str, object]:
    message = "You are being rate limited."
    return {"message": message, "retry_after": round(wait, 3), "global": everywhere, "code": 0}


# --- faults


async def _early(request: web.Request, fault: Fault) -> web.Response | None:
    """The answer of a fault that strikes before the route is reached; None if it does not."""
    context = context_of(request)
    match fault.kind:
        case "status":
            return await _status(request, fault)
        case "reset":
            return _reset(request)
        case "timeout":
            seconds = _DEFAULT_TIMEOUT_S if fault.delay_s is None else fault.delay_s
            await _wait(context.stopping, seconds)
            return _reset(request)
        case "hold":
            await context.released.wait()
    return None


async def _late(request: web.Request, response: web.Response, fault: Fault) -> web.StreamResponse:
    """What such a fault makes of the route's answer."""
    context = context_of(request)
    body = response.body if isinstance(response.body, bytes) else b""
    match fault.kind:
        case "reset_after_commit":
            return _reset(request)
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
        return json_answer(
            _limited_body(0.5 if fault.delay_s is None else fault.delay_s, False), 429, headers
        )
    if fault.status in (502, 503, 504):  # those come from in front of the API, as HTML
        page = f"<html><head><title>{fault.status}</title></head><body>cloudflare</body></html>"
        return web.Response(status=fault.status, text=page, content_type="text/html")
    codes = {413: ("Request entity too large", 40005), 403: ("Missing Access", 50001)}
    message, code = codes.get(fault.status, (f"{fault.status}: {_REASONS.get(fault.status, 'Error')}", 0))
    return json_answer({"message": message, "code": code}, fault.status)


def _reset(request: web.Request) -> web.Response:
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
