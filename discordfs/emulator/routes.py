"""The table of all routes: which path is whose. Order counts where one pattern covers another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from . import (
    assets,
    cdn,
    control,
    gateway_socket,
    routes_channels,
    routes_expressions,
    routes_guild,
    routes_invites,
    routes_messages,
    routes_pins,
    routes_polls,
    routes_reactions,
    routes_threads,
    routes_users,
    routes_webhooks,
)

API = "/api/v10"
_CHANNEL = "/channels/{channel_id}"
_GUILD = "/guilds/{guild_id}"
_MESSAGE = _CHANNEL + "/messages/{message_id}"
_WEBHOOK = "/webhooks/{webhook_id}"
_REACTION = _MESSAGE + "/reactions/{emoji}"
_POLL = _CHANNEL + "/polls/{message_id}"
_FILE = "/attachments/{channel_id:[0-9]+}/{attachment_id:[0-9]+}/{name}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_TABLE: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/users/@me", routes_users.me),
    ("GET", "/users/@me/guilds", routes_users.my_guilds),
    ("GET", "/users/@me/guilds/{guild_id}/member", routes_guild.my_member),
    ("POST", "/users/@me/channels", routes_channels.open_private),
    ("GET", "/users/{user_id}", routes_users.user),
    ("GET", "/oauth2/applications/@me", routes_users.application),
    ("GET", "/applications/@me", routes_users.application),
    ("GET", "/gateway", routes_users.gateway),
    ("GET", "/gateway/bot", routes_users.gateway_bot),
    ("GET", _GUILD, routes_guild.get_guild),
    ("GET", _GUILD + "/channels", routes_guild.get_channels),
    ("POST", _GUILD + "/channels", routes_guild.create_channel),
    ("GET", _GUILD + "/roles", routes_guild.get_roles),
    ("POST", _GUILD + "/roles", routes_guild.create_role),
    ("GET", _GUILD + "/roles/{role_id}", routes_guild.get_role),
    ("GET", _GUILD + "/emojis", routes_expressions.list_emojis),
    ("POST", _GUILD + "/emojis", routes_expressions.create_emoji),
    ("GET", _GUILD + "/emojis/{emoji_id}", routes_expressions.get_emoji),
    ("DELETE", _GUILD + "/emojis/{emoji_id}", routes_expressions.delete_emoji),
    ("GET", _GUILD + "/stickers", routes_expressions.list_stickers),
    ("POST", _GUILD + "/stickers", routes_expressions.create_sticker),
    ("GET", _GUILD + "/stickers/{sticker_id}", routes_expressions.get_guild_sticker),
    ("GET", "/stickers/{sticker_id}", routes_expressions.get_sticker),
    ("GET", _GUILD + "/webhooks", routes_webhooks.list_of_guild),
    ("GET", _CHANNEL + "/webhooks", routes_webhooks.list_of_channel),
    ("POST", _CHANNEL + "/webhooks", routes_webhooks.create),
    ("GET", _WEBHOOK, routes_webhooks.get),
    ("DELETE", _WEBHOOK, routes_webhooks.delete),
    ("GET", _WEBHOOK + "/{webhook_token}", routes_webhooks.get_by_token),
    ("POST", _WEBHOOK + "/{webhook_token}", routes_webhooks.execute),
    ("GET", _GUILD + "/invites", routes_invites.list_of_guild),
    ("GET", _CHANNEL + "/invites", routes_invites.list_of_channel),
    ("POST", _CHANNEL + "/invites", routes_invites.create),
    ("GET", "/invites/{code}", routes_invites.get),
    ("DELETE", "/invites/{code}", routes_invites.delete),
    ("GET", _GUILD + "/bans", routes_invites.list_bans),
    ("GET", _GUILD + "/bans/{user_id}", routes_invites.get_ban),
    ("PUT", _GUILD + "/bans/{user_id}", routes_invites.put_ban),
    ("GET", _GUILD + "/threads/active", routes_guild.get_active_threads),
    ("GET", _GUILD + "/members", routes_guild.get_members),
    ("GET", _GUILD + "/members/{user_id}", routes_guild.get_member),
    ("GET", _CHANNEL, routes_channels.get_channel),
    ("PATCH", _CHANNEL, routes_channels.edit_channel),
    ("DELETE", _CHANNEL, routes_channels.delete_channel),
    ("PUT", _CHANNEL + "/permissions/{overwrite_id}", routes_channels.put_permission),
    ("DELETE", _CHANNEL + "/permissions/{overwrite_id}", routes_channels.delete_permission),
    ("POST", _CHANNEL + "/typing", routes_channels.typing),
    ("POST", _CHANNEL + "/threads", routes_threads.start),
    ("GET", _CHANNEL + "/threads/archived/public", routes_threads.archived_public),
    ("GET", _CHANNEL + "/threads/archived/private", routes_threads.archived_private),
    ("GET", _CHANNEL + "/users/@me/threads/archived/private", routes_threads.archived_joined),
    ("GET", _CHANNEL + "/thread-members", routes_threads.list_members),
    ("GET", _CHANNEL + "/thread-members/{user_id}", routes_threads.get_member),
    ("PUT", _CHANNEL + "/thread-members/{user_id}", routes_threads.add_member),
    ("DELETE", _CHANNEL + "/thread-members/{user_id}", routes_threads.remove_member),
    ("GET", _CHANNEL + "/messages", routes_messages.list_messages),
    ("POST", _CHANNEL + "/messages", routes_messages.create_message),
    ("POST", _CHANNEL + "/messages/bulk-delete", routes_messages.bulk_delete),
    ("GET", _CHANNEL + "/messages/pins", routes_pins.list_pins),
    ("PUT", _CHANNEL + "/messages/pins/{message_id}", routes_pins.pin),
    ("DELETE", _CHANNEL + "/messages/pins/{message_id}", routes_pins.unpin),
    ("GET", _CHANNEL + "/pins", routes_pins.list_old_pins),
    ("PUT", _CHANNEL + "/pins/{message_id}", routes_pins.pin),
    ("DELETE", _CHANNEL + "/pins/{message_id}", routes_pins.unpin),
    ("GET", _MESSAGE, routes_messages.get_message),
    ("PATCH", _MESSAGE, routes_messages.edit_message),
    ("DELETE", _MESSAGE, routes_messages.delete_message),
    ("POST", _MESSAGE + "/threads", routes_threads.start_from_message),
    ("GET", _REACTION, routes_reactions.users),
    ("PUT", _REACTION + "/@me", routes_reactions.add),
    ("DELETE", _REACTION + "/{user_id}", routes_reactions.remove),
    ("DELETE", _REACTION, routes_reactions.remove_emoji),
    ("DELETE", _MESSAGE + "/reactions", routes_reactions.remove_all),
    ("GET", _POLL + "/answers/{answer_id}", routes_polls.voters),
    ("PUT", _POLL + "/answers/@me", routes_polls.vote),
    ("POST", _POLL + "/expire", routes_polls.expire),
    ("POST", "/attachments/refresh-urls", cdn.refresh_urls),
)


def add_routes(application: web.Application) -> None:
    """Puts all routes into the application."""
    router = application.router
    for method, path, handler in _TABLE:
        router.add_route(method, API + path, handler)
    router.add_get(_FILE, cdn.attachment)  # HEAD comes with it
    router.add_get("/media" + _FILE, cdn.media)
    router.add_get("/gateway", gateway_socket.connect, allow_head=False)
    router.add_get("/gateway/", gateway_socket.connect, allow_head=False)
    application.add_routes(assets.routes())
    application.add_routes(control.routes())
