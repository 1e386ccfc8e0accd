"""The control endpoints under `/_emulator/`: statistics, faults, clock, settings, people, permissions,
tampering, strange messages, many messages, and everything that there is.

They are for tests and for nobody else; nothing here exists on Discord. Bodies are JSON; what is wrong with
one is said in a 400 with `{"message"}`. Threading: event loop only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from . import faults, filling, judging, permissions, posting, seed
from .context import Context, context_of
from .database import Database
from .errors import json_answer
from .model import Channel, Overwrite, User
from .routes_channels import change
from .settings import Settings, SettingsError
from .world import new_token

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.Response]]
BASE = "/_emulator"


class _Wrong(ValueError):
    """The request makes no sense; the message says why."""


def routes() -> list[web.RouteDef]:
    """All control routes."""
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/stats", get_stats),
        ("POST", "/stats/reset", reset_stats),
        ("GET", "/faults", get_faults),
        ("POST", "/faults", post_fault),
        ("DELETE", "/faults", delete_faults),
        ("POST", "/clock", post_clock),
        ("GET", "/clock", get_clock),
        ("GET", "/settings", get_settings),
        ("POST", "/settings", post_settings),
        ("POST", "/release", post_release),
        ("POST", "/limits/reset", reset_limits),
        ("GET", "/users", get_users),
        ("POST", "/users", post_user),
        ("POST", "/permissions", post_permissions),
        ("POST", "/tamper", post_tamper),
        ("POST", "/gateway", post_gateway),
        ("POST", "/messages", post_message),
        ("GET", "/everything", get_everything),
        ("GET", "/ids", get_ids),
        ("POST", "/fill", post_fill),
        ("POST", "/seed", post_seed),
    ]
    return [web.route(method, BASE + path, _guarded(handler)) for method, path, handler in table]


def _guarded(handler: Handler) -> Handler:
    async def guarded(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except (_Wrong, SettingsError, faults.FaultError) as error:
            return json_answer({"message": str(error)}, 400)

    return guarded


async def _body(request: web.Request) -> Json:
    try:
        body = json.loads(await request.read() or b"{}")
    except ValueError:
        raise _Wrong("the body is no JSON") from None
    if not isinstance(body, dict):
        raise _Wrong("the body is no JSON object")
    return body


def _whole(body: Json, key: str) -> int:
    text = str(body.get(key, ""))
    if not text.isdecimal():
        raise _Wrong(f"{key}: expected an id or a number")
    return int(text)


# --- statistics, faults, clock, settings


async def get_stats(request: web.Request) -> web.Response:
    context = context_of(request)
    body = context.stats.as_json(await context.store.run(Database.totals))
    more = {"gateway_connections": context.sessions.connected, "invalid": context.invalid.counted}
    return json_answer(body | more)


async def reset_stats(request: web.Request) -> web.Response:
    context_of(request).stats.reset()
    return web.Response(status=204)


async def get_faults(request: web.Request) -> web.Response:
    return json_answer(context_of(request).faults.as_json())


async def post_fault(request: web.Request) -> web.Response:
    context = context_of(request)
    fault = faults.parse(await _body(request))
    if fault.kind == "hold":
        context.released.clear()
    context.faults.add(fault)
    return web.Response(status=204)


async def delete_faults(request: web.Request) -> web.Response:
    context = context_of(request)
    context.faults.clear()
    if not context.settings.hold_uploads:
        context.released.set()
    return web.Response(status=204)


async def post_clock(request: web.Request) -> web.Response:
    context = context_of(request)
    seconds = (await _body(request)).get("advance_s")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        raise _Wrong("advance_s: expected a number of seconds, 0 or more")
    context.clock.advance(seconds)
    await save_clock(context)
    return await get_clock(request)


async def save_clock(context: Context) -> None:
    """Keeps the emulator's time, so that a restart does not go back behind it."""
    now = str(context.clock.now_ms())
    await context.store.run(lambda database: database.set_meta("clock_ms", now))


async def get_clock(request: web.Request) -> web.Response:
    clock = context_of(request).clock
    return json_answer({"now": clock.now(), "time_scale": clock.scale})


async def get_settings(request: web.Request) -> web.Response:
    return json_answer(context_of(request).settings.as_json())


async def post_settings(request: web.Request) -> web.Response:
    context = context_of(request)
    use_settings(context, context.settings.changed(await _body(request)))
    return await get_settings(request)


def use_settings(context: Context, settings: Settings) -> None:
    """Puts changed settings into force."""
    before, context.settings = context.settings, settings
    if settings.time_scale != before.time_scale:
        context.clock.set_scale(settings.time_scale)
    if settings.fault_seed != before.fault_seed:
        context.faults.reseed(settings.fault_seed)
    if settings.hold_uploads:
        context.released.clear()
    elif before.hold_uploads:
        context.released.set()


async def post_release(request: web.Request) -> web.Response:
    """Lets go of all that is held back, by the setting or by a fault."""
    context = context_of(request)
    use_settings(context, replace(context.settings, hold_uploads=False))
    context.released.set()
    return web.Response(status=204)


async def reset_limits(request: web.Request) -> web.Response:
    """Closes all rate limit windows and lifts a Cloudflare block."""
    context = context_of(request)
    context.limiter.reset()
    context.invalid.reset()
    return web.Response(status=204)


# --- people


def _user(user: User) -> Json:
    return {
        "id": str(user.id),
        "name": user.name,
        "token": user.token,
        "bot": user.bot,
        "message_content": user.message_content,
        "members": user.members,
    }


async def get_users(request: web.Request) -> web.Response:
    return json_answer([_user(each) for each in context_of(request).world.users.values()])


async def post_user(request: web.Request) -> web.Response:
    """Makes a user `{"name", "bot", "message_content", "members"}`, or changes the one of this name."""
    context, body = context_of(request), await _body(request)
    name = str(body.get("name", ""))
    if not 2 <= len(name) <= 32:
        raise _Wrong("name: expected 2 to 32 characters")
    user = next((each for each in context.world.users.values() if each.name == name), None)
    user = user or _new_user(context, name, bool(body.get("bot", True)))
    user = replace(
        user,
        token=str(body.get("token", user.token)),
        message_content=bool(body.get("message_content", user.message_content)),
        members=bool(body.get("members", user.members)),
    )
    await context.world.put_user(user)
    return json_answer(_user(user))


def _new_user(context: Context, name: str, bot: bool) -> User:
    roles = context.world.bot.role_ids if bot else ()
    return User(context.ids.next(), name, new_token(), bot=bot, role_ids=roles)


async def post_permissions(request: web.Request) -> web.Response:
    """`{"channel_id", "view": false, …}` for one channel, or `{"guild": "BITS"}` for the bots' role
    everywhere.

    A name set to false is denied, to true allowed, to null left to the roles. `user_id`: whom it is about;
    else the default bot.
    """
    context, body = context_of(request), await _body(request)
    if "guild" in body:
        role = context.world.roles[context.world.bot.role_ids[0]]
        everyone = context.world.roles[context.world.guild.id]
        await context.world.put_role(replace(role, permissions=_whole(body, "guild")))
        await context.world.put_role(
            replace(everyone, permissions=everyone.permissions & _whole(body, "guild"))
        )
        return web.Response(status=204)
    channel = context.world.channels.get(_whole(body, "channel_id"))
    if channel is None:
        raise _Wrong("channel_id: no such channel")
    user_id = _whole(body, "user_id") if "user_id" in body else context.world.bot.id
    await change(context, channel, _with_overwrite(channel, user_id, body))
    return web.Response(status=204)


def _with_overwrite(channel: Channel, user_id: int, body: Json) -> Channel:
    unknown = set(body) - {"channel_id", "user_id", *permissions.NAMED}
    if unknown:
        raise _Wrong(f"unknown permission {sorted(unknown)[0]!r}; known: {', '.join(permissions.NAMED)}")
    others = tuple(each for each in channel.overwrites if each.id != user_id)
    own = next((each for each in channel.overwrites if each.id == user_id), Overwrite(user_id, 1))
    for name, bit in permissions.NAMED.items():
        if name in body:
            allow, deny = own.allow & ~bit, own.deny & ~bit
            own = replace(
                own,
                allow=allow | bit if body[name] is True else allow,
                deny=deny | bit if body[name] is False else deny,
            )
    return replace(channel, overwrites=(*others, own))


# --- damage


async def post_tamper(request: web.Request) -> web.Response:
    """Damages a stored attachment: `{"attachment_id", "kind": flip|truncate|delete, "offset"}`, for
    good.
    """
    context, body = context_of(request), await _body(request)
    path = context.files.path(_whole(body, "attachment_id"))
    offset = _whole(body, "offset") if "offset" in body else 0
    kind = str(body.get("kind", "flip"))
    if kind not in ("flip", "truncate", "delete"):
        raise _Wrong("kind: expected flip, truncate or delete")
    await asyncio.get_running_loop().run_in_executor(None, _tamper, path, kind, offset)
    return web.Response(status=204)


def _tamper(path: Path, kind: str, offset: int) -> None:
    if not path.exists():
        raise _Wrong("attachment_id: no such attachment")
    if kind == "delete":
        path.unlink()
        return
    with path.open("r+b") as file:
        if kind == "truncate":
            file.truncate(offset)
            return
        file.seek(offset)
        byte = file.read(1)
        if not byte:
            raise _Wrong("offset: behind the end of the file")
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


# --- many messages, strange messages, and all of them


async def post_message(request: web.Request) -> web.Response:
    """A message of any type, as no client could post it: `{"channel_id", "type", "author_id", "content",
    "extra"}`; `extra` are more keys of its JSON, as they are kept.
    """
    context, body = context_of(request), await _body(request)
    channel = context.world.find(_whole(body, "channel_id"))
    author = context.world.users.get(_whole(body, "author_id")) if "author_id" in body else context.world.bot
    extra = body.get("extra") or {}
    if channel is None or author is None or not isinstance(extra, dict):
        raise _Wrong("channel_id, author_id, extra: no such channel, no such user, or no object")
    kind = _whole(body, "type") if "type" in body else 0
    made = await posting.system(context, author, channel, kind, extra, str(body.get("content", "")))
    return json_answer({"id": str(made.id)})


async def get_everything(request: web.Request) -> web.Response:
    """All that the emulator keeps, item by item; `?hashes=1` reads the attachments' bytes too."""
    context = context_of(request)
    body = await judging.everything(context, hashes=request.query.get("hashes") == "1")
    return json_answer(body)


async def get_ids(request: web.Request) -> web.Response:
    """The ids of all messages of a channel, oldest first: `?channel_id=`; for channels with very many."""
    channel_id = _whole(dict(request.query), "channel_id")
    return json_answer(await judging.ids(context_of(request), channel_id))


async def post_fill(request: web.Request) -> web.Response:
    """Many messages at once: `{"channel_id", "count"}`; or many channels, or threads of the channel, with
    `count` messages each: `{"channels": N}`, `{"channel_id", "threads": N, "archived": true}`; or people:
    `{"members": N}`; or reactions: `{"message_id", "reactions": N}`.
    """
    context, body = context_of(request), await _body(request)
    kinds = ("channels", "threads", "count", "members", "reactions")
    number = {key: _whole(body, key) if key in body else 0 for key in kinds}
    if max(number.values()) > filling.MOST:
        raise _Wrong(f"at most {filling.MOST} at once")
    if number["members"]:
        await filling.members(context, number["members"])
    if number["reactions"]:
        await filling.reactions(context, _whole(body, "message_id"), number["reactions"])
    if number["channels"]:
        ids = await filling.channels(context, number["channels"])
    else:
        ids = await _filled_channel(context, body, number["threads"])
    await filling.messages(context, ids, number["count"])
    return json_answer({"channel_ids": [str(each) for each in ids]})


async def _filled_channel(context: Context, body: Json, threads: int) -> list[int]:
    """The channels that an order to fill is about: the one named, or new threads of it; none if none is."""
    if "channel_id" not in body:
        return []
    channel = context.world.find(_whole(body, "channel_id"))
    if channel is None:
        raise _Wrong("channel_id: no such channel")
    if not threads:
        return [channel.id]
    return await filling.threads(context, channel, threads, body.get("archived") is True)


async def post_seed(request: web.Request) -> web.Response:
    """Fills the server with a little of everything, as `--seed` does; the second time nothing happens."""
    await seed.seed_server(context_of(request))
    return web.Response(status=204)


async def post_gateway(request: web.Request) -> web.Response:
    """Closes all gateway connections: `{"close": CODE}`; with `"forget": true` nobody can RESUME
    afterwards. Or sends all of them an event: `{"event": NAME, "data": {…}}`.
    """
    context, body = context_of(request), await _body(request)
    if "event" in body:
        data = body.get("data")
        told = context.sessions.tell_all(str(body["event"]), data if isinstance(data, dict) else {})
        return json_answer({"told": told})
    code = _whole(body, "close") if "close" in body else 4000
    closed = context.sessions.hang_up(code)
    if body.get("forget") is True:
        context.sessions.forget_all()
    return json_answer({"closed": closed})
