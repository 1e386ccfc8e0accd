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
from .context import Context, caller, context_of, set_caller, set_fault
from .errors import REASONS, VIA, ApiError, json_answer, limited_body, plain
from .faulting import early, late, reset
from .limits import Rule, Verdict, rule_for
from .model import User
from .pace import Pace
from .routes_webhooks import let_in
from .stats import route_of

API = "/api/v10"
_STREAMED = ("/attachments/", "/media/")  # faults strike their bytes on the way, in `cdn`
_CDN = tuple(
    f"/{each}/"
    for each in (
        "attachments", "media", "avatars", "guilds", "embed", "icons", "role-icons", "emojis", "stickers",
        "world", "external",
    )
)  # fmt: skip

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def pipeline(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The one middleware: API and CDN traffic each go their way, control and gateway go straight on."""
    try:
        if request.path.startswith(API + "/"):
            return await _api(request, handler)
        if request.path.startswith(_CDN):
            return await _cdn(request, handler)
        return await handler(request)
    except ApiError as error:
        return json_answer(error.body(), error.status)
    except ConnectionError:  # the client left: that is its right, and no fault of the emulator
        return web.Response(status=499)


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
        instead = await early(request, fault)
        if instead is not None:
            return instead
        set_fault(fault)
    if fault is not None and fault.kind == "reset_after_commit":
        return reset(request)
    try:
        response = await handler(request)
    except ApiError as error:
        return web.Response(status=error.status, text=error.message)
    if fault is None or not isinstance(response, web.Response) or request.path.startswith(_STREAMED):
        return response
    return await late(request, response, fault)


# --- API


async def _api(request: web.Request, handler: Handler) -> web.StreamResponse:
    context, route = context_of(request), route_of(request.path.removeprefix(API))
    context.stats.requests[f"{request.method} {route}"] += 1
    await asyncio.sleep(context.settings.latency_ms / 1000)
    if context.invalid.blocked(context.clock.now()):
        await drain(request)
        return _blocked(context)
    fault = context.faults.strike(request.method, route)
    if fault is not None:
        context.stats.faults += 1
        instead = await early(request, fault)
        if instead is not None:
            return _counted(context, instead)
    response = await _answer(request, handler)
    if not await drain(request):
        response.force_close()  # a body of which no end is in sight
    _counted(context, response)
    return response if fault is None else await late(request, response, fault)


def _counted(context: Context, response: web.Response) -> web.Response:
    """Puts an answer into the statistics, and on Cloudflare's count if it belongs there."""
    context.stats.bytes_out += _size(response)
    context.stats.statuses[str(response.status)] += 1
    if response.headers.get("X-RateLimit-Scope") != "shared":
        context.invalid.note(response.status, context.clock.now(), context.settings)
    return response


async def _answer(request: web.Request, handler: Handler) -> web.Response:
    """The route's answer, or the error that takes its place."""
    context = context_of(request)
    headers: dict[str, str] = {}
    try:
        set_caller(_who(request))
        headers = _charge(request)
        response = await handler(request)
        assert isinstance(response, web.Response)
    except _Limited as limited:
        response = limited.answer
    except ApiError as error:
        response = json_answer(error.body(), error.status)
    except web.HTTPException as error:
        wrong = plain(error.status, REASONS.get(error.status, error.reason))
        response = json_answer(wrong.body(), wrong.status)
    response.headers.update(headers)
    await Pace(context.settings.bandwidth_bps).spend(_size(response))
    return response


def _who(request: web.Request) -> User:
    """Who makes the request. A webhook's token stands in its path, and an invite is for anybody."""
    context, named = context_of(request), request.match_info
    authorization = request.headers.get("Authorization", "")
    if "webhook_token" in named:
        return let_in(context, named["webhook_id"], named["webhook_token"])
    if "code" in named and not authorization and request.method == "GET":
        return User(0, "nobody", "")
    return context.world.by_token(authorization)


def _size(response: web.Response) -> int:
    return len(response.body) if isinstance(response.body, bytes) else 0


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
    named = (request.match_info.get(key) for key in ("channel_id", "guild_id", "webhook_id"))
    top = next((each for each in named if each), "")
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
    return json_answer(limited_body(wait, everywhere), 429, headers)
