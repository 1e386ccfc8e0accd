"""The CDN's pictures that are no attachments: avatars, icons, emojis, stickers; and a host of the world
outside, whose pictures embeds show.

Only what somebody has now is there; all else is a page that says 404, as HTML, so that whoever keeps
answers without looking at their status keeps a page for a picture. Threading: event loop only.
"""

from __future__ import annotations

from aiohttp import web

from .context import Context, context_of
from .model import Sticker
from .pictures import TYPES, picture

_STICKERS = {"png": (1, 2), "json": (3,), "gif": (4,)}  # extension to formats
_FULL = 256  # pixels
_SIZES = frozenset({16, 20, 22, 24, 28, 32, 40, 44, 48, 56, 60, 64, 80, 96, 100, 128, 160}) | {
    240, 256, 300, 320, 480, 512, 600, 640, 1024, 1280, 1536, 2048, 3072, 4096,
}  # fmt: skip
_PAGE = "<!doctype html><html><head><title>404</title></head><body><h1>404 Not Found</h1></body></html>"


def routes() -> list[web.RouteDef]:
    """The paths of Discord's CDN (Discord's documents, "Image Formatting"), and two hosts' behind them."""
    hashed = r"{hash:[^/.]+}.{extension}"
    return [
        web.get("/avatars/{user_id}/" + hashed, avatar),
        web.get("/guilds/{guild_id}/users/{user_id}/avatars/" + hashed, member_avatar),
        web.get("/embed/avatars/{hash}.{extension}", default_avatar),
        web.get("/icons/{guild_id}/" + hashed, icon),
        web.get("/role-icons/{role_id}/" + hashed, role_icon),
        web.get(r"/emojis/{emoji_id:[0-9]+}.{extension}", emoji),
        web.get(r"/stickers/{sticker_id:[0-9]+}.{extension}", sticker),
        web.get("/world/{name}", outside),
        web.get("/external/{mac}/{scheme}/{host}/world/{name}", outside),
    ]


def _number(request: web.Request, key: str) -> int:
    text = request.match_info[key]
    return int(text) if text.isdecimal() else 0


def _missing() -> web.Response:
    return web.Response(status=404, text=_PAGE, content_type="text/html")


def _answer(
    request: web.Request, name: str, own: bool, extensions: tuple[str, ...] = ("png", "webp")
) -> web.Response:
    """The picture `name`, at most as wide as `?size=` says; a page if `own` is false."""
    extension, size = request.match_info["extension"], request.query.get("size", str(_FULL))
    if not own:
        return _missing()
    if extension not in extensions or not size.isdecimal() or int(size) not in _SIZES:
        return web.Response(status=415 if extension not in extensions else 400, text="Invalid resource.")
    return _sent(context_of(request), name, extension, min(_FULL, int(size)))


def _sent(context: Context, name: str, extension: str, size: int) -> web.Response:
    body = picture(name, extension, size)
    context.stats.cdn_bytes_out += len(body)
    headers = {"Cache-Control": "public, max-age=31536000"}
    return web.Response(body=body, content_type=TYPES[extension], headers=headers)


def _hashed(request: web.Request, has: str | None) -> web.Response:
    wanted = request.match_info["hash"]
    moving = wanted.startswith("a_")
    return _answer(request, wanted, has == wanted, ("png", "webp", "gif") if moving else ("png", "webp"))


async def avatar(request: web.Request) -> web.Response:
    context, user_id = context_of(request), _number(request, "user_id")
    whose = context.world.users.get(user_id) or context.world.webhooks.get(user_id)
    return _hashed(request, None if whose is None else whose.avatar)


async def member_avatar(request: web.Request) -> web.Response:
    user = context_of(request).world.users.get(_number(request, "user_id"))
    return _hashed(request, None if user is None else user.guild_avatar)


async def default_avatar(request: web.Request) -> web.Response:
    wanted = request.match_info["hash"]
    return _answer(request, wanted, wanted in ("0", "1", "2", "3", "4", "5"), ("png",))


async def icon(request: web.Request) -> web.Response:
    guild = context_of(request).world.guild
    return _hashed(request, guild.icon if _number(request, "guild_id") == guild.id else None)


async def role_icon(request: web.Request) -> web.Response:
    role = context_of(request).world.roles.get(_number(request, "role_id"))
    return _hashed(request, None if role is None else role.icon)


async def emoji(request: web.Request) -> web.Response:
    found = context_of(request).world.emojis.get(_number(request, "emoji_id"))
    moving = found is not None and found.animated
    extensions = ("png", "webp", "gif") if moving else ("png", "webp")
    return _answer(request, request.match_info["emoji_id"], found is not None, extensions)


async def sticker(request: web.Request) -> web.Response:
    """Each sticker in the one format that it has."""
    found: Sticker | None = context_of(request).world.stickers.get(_number(request, "sticker_id"))
    extension = request.match_info["extension"]
    fits = found is not None and found.form in _STICKERS.get(extension, ())
    return _answer(request, request.match_info["sticker_id"], fits, (extension,))


async def outside(request: web.Request) -> web.Response:
    """A picture of another host's, and Discord's copy of it: any name does but those that begin with
    `gone`.
    """
    name, dot, extension = request.match_info["name"].rpartition(".")
    if not dot or extension not in TYPES or name.startswith("gone"):
        return _missing()
    return _sent(context_of(request), name, extension, _FULL)
