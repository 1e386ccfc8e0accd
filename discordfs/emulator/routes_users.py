"""The routes about oneself and the way to the gateway. Threading: event loop only."""

from __future__ import annotations

from aiohttp import web

from . import errors, payloads
from .context import caller, context_of
from .errors import json_answer
from .gateway import gateway_url
from .params import flag_param, limit_param, snowflake_param


async def me(request: web.Request) -> web.Response:
    return json_answer(payloads.myself(caller(request)))


async def user(request: web.Request) -> web.Response:
    wanted = request.match_info["user_id"]
    found = context_of(request).world.users.get(int(wanted) if wanted.isdecimal() else 0)
    if found is None:
        raise errors.ApiError(404, 10013, "Unknown User")
    return json_answer(payloads.user(found))


async def application(request: web.Request) -> web.Response:
    world = context_of(request).world
    if not caller(request).bot:
        raise errors.ApiError(403, 20002, "Only bots can use this endpoint")
    return json_answer(payloads.application(caller(request), world.users[world.guild.owner_id]))


async def my_guilds(request: web.Request) -> web.Response:
    world = context_of(request).world
    limit_param(request, default=200, most=200)
    after, before = snowflake_param(request, "after"), snowflake_param(request, "before")
    outside = (after is not None and world.guild.id <= after) or (
        before is not None and world.guild.id >= before
    )
    if outside:
        return json_answer([])
    who = caller(request)
    guild: payloads.Json = {
        "id": str(world.guild.id),
        "name": world.guild.name,
        "icon": None,
        "banner": None,
        "owner": who.id == world.guild.owner_id,
        "permissions": str(world.guild_permissions(who)),
        "features": [],
    }
    if flag_param(request, "with_counts"):
        guild |= {
            "approximate_member_count": len(world.members),
            "approximate_presence_count": len(world.members),
        }
    return json_answer([guild])


async def gateway(request: web.Request) -> web.Response:
    return json_answer({"url": gateway_url(context_of(request))})


async def gateway_bot(request: web.Request) -> web.Response:
    context = context_of(request)
    limit = context.settings.identify_limit
    starts = {
        "total": limit,
        "remaining": context.sessions.starts_left(context.clock.now(), limit),
        "reset_after": 86_400_000,
        "max_concurrency": 1,
    }
    return json_answer({"url": gateway_url(context), "shards": 1, "session_start_limit": starts})
