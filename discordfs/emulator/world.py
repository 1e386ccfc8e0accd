"""The guild in memory: users, roles, channels, and what they allow; changes are written through to the
store.

Everything here is small (a guild has at most 500 channels), so permission checks need no database.
Threading: event loop only, but for `founded`, which runs before there is one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import errors, permissions
from .database import Database
from .model import TEXT, Channel, Guild, Role, User
from .store import Store


@dataclass(frozen=True, slots=True)
class Founding:
    """What a directory has from its first start on."""

    guild: Guild
    bot: User
    url_key: bytes


def founded(database: Database, next_id: Callable[[], int]) -> Founding:
    """The directory's guild and default bot, made at the first call."""
    guild_id = database.meta("guild_id")
    if guild_id is None:
        _found(database, next_id)
        guild_id = database.meta("guild_id")
    facts = {key: database.meta(key) or "" for key in ("guild_name", "owner_id", "bot_id", "url_key")}
    guild = Guild(int(guild_id or 0), facts["guild_name"], int(facts["owner_id"]))
    bot = next(user for user in database.users() if user.id == int(facts["bot_id"]))
    return Founding(guild, bot, bytes.fromhex(facts["url_key"]))


def _found(database: Database, next_id: Callable[[], int]) -> None:
    guild_id = next_id()
    owner = User(next_id(), "owner", new_token(), bot=False)
    role = Role(next_id(), "discordfs", permissions.DEFAULT_BOT, managed=True)
    bot = User(next_id(), "discordfs", new_token(), role_ids=(role.id,))
    database.put_role(Role(guild_id, "@everyone", permissions.EVERYONE))
    database.put_role(role)
    database.put_user(owner)
    database.put_user(bot)
    database.put_channel(Channel(next_id(), TEXT, "general"))
    facts = {"guild_name": "Emulated server", "owner_id": owner.id, "bot_id": bot.id}
    for key, value in (*facts.items(), ("url_key", secrets.token_hex(32)), ("guild_id", guild_id)):
        database.set_meta(key, str(value))  # guild_id last: it marks the founding as complete


def new_token() -> str:
    """A token of the shape that clients check for: three parts with dots between."""
    return f"{secrets.token_urlsafe(18)}.{secrets.token_urlsafe(5)[:6]}.{secrets.token_urlsafe(28)}"


class World:
    """The guild as it is now."""

    def __init__(self, guild: Guild, bot: User, store: Store) -> None:
        self.guild = guild
        self.bot = bot
        self._store = store
        self.users = {user.id: user for user in store.run_now(Database.users)}
        self.roles = {role.id: role for role in store.run_now(Database.roles)}
        self.channels = {channel.id: channel for channel in store.run_now(Database.channels)}

    # --- asking

    def by_token(self, authorization: str) -> User:
        """Who sends this Authorization header; ApiError 401 if nobody does."""
        prefixed = authorization.startswith("Bot ")
        token = authorization.removeprefix("Bot ")
        for user in self.users.values():
            if user.bot == prefixed and secrets.compare_digest(user.token.encode(), token.encode()):
                return user
        raise errors.unauthorized()

    def guild_permissions(self, user: User) -> int:
        return permissions.in_guild(user, self.roles.values(), self.guild.id, self.guild.owner_id)

    def permissions(self, user: User, channel: Channel) -> int:
        base = self.guild_permissions(user)
        return permissions.in_channel(base, user, self.guild.id, channel.overwrites)

    def can_view(self, user: User, channel: Channel) -> bool:
        return bool(self.permissions(user, channel) & permissions.VIEW_CHANNEL)

    def channel(self, user: User, channel_id: int, *needed: int) -> Channel:
        """A channel this user may see and has all `needed` bits in; else 10003, 50001 or 50013."""
        channel = self.channels.get(channel_id)
        if channel is None:
            raise errors.unknown_channel()
        held = self.permissions(user, channel)
        if not held & permissions.VIEW_CHANNEL:
            raise errors.missing_access()
        for bit in needed:
            if not held & bit:
                raise errors.missing_permissions()
        return channel

    # --- changing

    async def put_user(self, user: User) -> None:
        self.users[user.id] = user
        if user.id == self.bot.id:
            self.bot = user
        await self._store.run(lambda database: database.put_user(user))

    async def put_role(self, role: Role) -> None:
        self.roles[role.id] = role
        await self._store.run(lambda database: database.put_role(role))

    async def put_channel(self, channel: Channel) -> None:
        self.channels[channel.id] = channel
        await self._store.run(lambda database: database.put_channel(channel))

    async def drop_channel(self, channel_id: int) -> list[int]:
        """Deletes a channel with all that is in it; the ids of the attachments that died."""
        del self.channels[channel_id]
        return await self._store.run(lambda database: database.delete_channel(channel_id))

    def note_message(self, channel_id: int, message_id: int) -> None:
        """Remembers a channel's last message; the store has written it with the message."""
        channel = self.channels.get(channel_id)
        if channel is not None and message_id > (channel.last_message_id or 0):
            self.channels[channel_id] = replace(channel, last_message_id=message_id)
