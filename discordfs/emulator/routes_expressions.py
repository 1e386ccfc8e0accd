"""The routes of the guild's emojis and stickers. Their pictures are made up by the CDN: what is uploaded is
checked to be a picture, and not kept. Threading: event loop only.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from aiohttp import web

from . import payloads_things
from .bodies import read_form, read_json
from .context import Context, caller, context_of
from .errors import ApiError, invalid_form, json_answer, missing_permissions
from .files import discard
from .model import Emoji, Sticker
from .params import path_id
from .permissions import MANAGE_EXPRESSIONS
from .routes_guild import guild_of
from .sessions import GUILD_EXPRESSIONS

_EMOJI_NAME = re.compile(r"\w{2,32}", re.ASCII)
_FORMS = {"png": 1, "apng": 2, "json": 3, "gif": 4}


def _managed(request: web.Request) -> Context:
    """The context, if the caller may change emojis and stickers."""
    context = guild_of(request)
    if not context.world.guild_permissions(caller(request)) & MANAGE_EXPRESSIONS:
        raise missing_permissions()
    return context


def _seen(request: web.Request, body: payloads_things.Json) -> payloads_things.Json:
    """Who made something is for those who may make such things."""
    held = context_of(request).world.guild_permissions(caller(request))
    return body if held & MANAGE_EXPRESSIONS else {key: body[key] for key in body if key != "user"}


# --- emojis


async def list_emojis(request: web.Request) -> web.Response:
    world = guild_of(request).world
    return json_answer([_seen(request, payloads_things.emoji(each, world)) for each in world.emojis])


async def get_emoji(request: web.Request) -> web.Response:
    world = guild_of(request).world
    return json_answer(_seen(request, payloads_things.emoji(_emoji(request), world)))


def _emoji(request: web.Request) -> Emoji:
    emoji = context_of(request).world.emojis.get(path_id(request, "emoji_id"))
    if emoji is None:
        raise ApiError(404, 10014, "Unknown Emoji")
    return emoji


async def create_emoji(request: web.Request) -> web.Response:
    context, body = _managed(request), await read_json(request)
    name, image = str(body.get("name", "")), str(body.get("image", ""))
    if not _EMOJI_NAME.fullmatch(name):
        raise invalid_form("name", "STRING_TYPE_REGEX", "String value did not match validation regex.")
    if not image.startswith("data:image/"):
        raise invalid_form("image", "BASE_TYPE_REQUIRED", "This field is required")
    animated = image.startswith("data:image/gif")
    emoji = Emoji(context.ids.next(), name, caller(request).id, animated)
    await context.world.emojis.put(emoji)
    _tell_emojis(context)
    return json_answer(payloads_things.emoji(emoji, context.world), status=201)


async def delete_emoji(request: web.Request) -> web.Response:
    context = _managed(request)
    await context.world.emojis.drop(_emoji(request))
    _tell_emojis(context)
    return web.Response(status=204)


def _tell_emojis(context: Context) -> None:
    world = context.world
    data: dict[str, Any] = {"guild_id": str(world.guild.id)}
    data["emojis"] = [payloads_things.emoji(each, world) for each in world.emojis]
    context.sessions.tell("GUILD_EMOJIS_UPDATE", GUILD_EXPRESSIONS, data)


# --- stickers


async def list_stickers(request: web.Request) -> web.Response:
    world = guild_of(request).world
    return json_answer([_seen(request, payloads_things.sticker(each, world)) for each in world.stickers])


async def get_sticker(request: web.Request) -> web.Response:
    world = context_of(request).world
    sticker = world.stickers.get(path_id(request, "sticker_id"))
    if sticker is None:
        raise ApiError(404, 10060, "Unknown Sticker")
    return json_answer(_seen(request, payloads_things.sticker(sticker, world)))


async def get_guild_sticker(request: web.Request) -> web.Response:
    guild_of(request)
    return await get_sticker(request)


async def create_sticker(request: web.Request) -> web.Response:
    """A multipart form with name, description, tags and file."""
    context, form = _managed(request), await read_form(request)
    try:
        fields = {key: str(form.payload.get(key, "")) for key in ("name", "description", "tags")}
        upload = form.files.get("file")
        shape = _FORMS.get(upload.filename.rpartition(".")[2].lower()) if upload is not None else None
        if shape is None:
            raise invalid_form("file", "BASE_TYPE_REQUIRED", "This field is required")
        if not 2 <= len(fields["name"]) <= 30:
            raise invalid_form("name", "BASE_TYPE_BAD_LENGTH", "Must be between 2 and 30 in length.")
        blank = Sticker(context.ids.next(), fields["name"], caller(request).id, shape)
        sticker = replace(blank, description=fields["description"], tags=fields["tags"])
        await context.world.stickers.put(sticker)
    finally:
        discard(form.files.values())
    return json_answer(payloads_things.sticker(sticker, context.world), status=201)
