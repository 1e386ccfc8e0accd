"""The guild in memory: users, roles, channels, threads, emojis and so on, and what they allow; changes
are written through to the store.

Everything here is small beside the messages, so permission checks need no database.
Threading: event loop only, but for `founded`, which runs before there is one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from . import errors, permissions
from .database import Database, counts
from .model import (
    POST_CHANNELS,
    PRIVATE,
    PRIVATE_THREAD,
    TEXT,
    THREADS,
    Ban,
    Channel,
    Emoji,
    Guild,
    Invite,
    Message,
    Role,
    Sticker,
    User,
    Webhook,
)
from .store import Store

T = TypeVar("T")


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
    icon = database.meta("guild_icon") or None
    guild = Guild(int(guild_id or 0), facts["guild_name"], int(facts["owner_id"]), icon)
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


class Things(Generic[T]):
    """The emojis of the guild, or its stickers, webhooks, invites or bans: by their key, and in the store."""

    def __init__(self, store: Store, name: str, kind: type[T], key: Callable[[T], str]) -> None:
        self._store = store
        self._name = name
        self._key = key
        self._by_key = {
            key(each): each for each in store.run_now(lambda database: database.things(name, kind))
        }

    def __iter__(self) -> Iterator[T]:
        return iter(self._by_key.values())

    def get(self, key: object) -> T | None:
        return self._by_key.get(str(key))

    async def put(self, thing: T) -> None:
        key = self._key(thing)
        self._by_key[key] = thing
        await self._store.run(lambda database: database.put_thing(self._name, key, thing))

    async def drop(self, thing: T) -> None:
        key = self._key(thing)
        self._by_key.pop(key, None)
        await self._store.run(lambda database: database.drop_thing(self._name, key))


class World:
    """The guild as it is now. `channels` are the guild's own; threads and direct messages stand apart."""

    def __init__(self, guild: Guild, bot: User, store: Store) -> None:
        self.guild = guild
        self.bot = bot
        self._store = store
        self.users = {user.id: user for user in store.run_now(Database.users)}
        self._tokens = {(user.bot, user.token): user for user in self.users.values()}
        self.roles = {role.id: role for role in store.run_now(Database.roles)}
        self.channels: dict[int, Channel] = {}
        self.threads: dict[int, Channel] = {}
        self.private: dict[int, Channel] = {}
        for channel in store.run_now(Database.channels):
            self._home(channel.kind)[channel.id] = channel
        self.emojis = Things(store, "emoji", Emoji, lambda each: str(each.id))
        self.stickers = Things(store, "sticker", Sticker, lambda each: str(each.id))
        self.webhooks = Things(store, "webhook", Webhook, lambda each: str(each.id))
        self.invites = Things(store, "invite", Invite, lambda each: each.code)
        self.bans = Things(store, "ban", Ban, lambda each: str(each.id))

    def _home(self, kind: int) -> dict[int, Channel]:
        """Where channels of this kind stand."""
        if kind in THREADS:
            return self.threads
        return self.private if kind in PRIVATE else self.channels

    # --- asking

    def by_token(self, authorization: str) -> User:
        """Who sends this Authorization header; ApiError 401 if nobody does."""
        user = self._tokens.get((authorization.startswith("Bot "), authorization.removeprefix("Bot ")))
        if user is None:
            raise errors.unauthorized()
        return user

    @property
    def members(self) -> list[User]:
        """Who is in the guild, by id."""
        return sorted((user for user in self.users.values() if user.member), key=lambda user: user.id)

    def find(self, channel_id: int | None) -> Channel | None:
        """A channel of any kind."""
        key = channel_id or 0
        return self.channels.get(key) or self.threads.get(key) or self.private.get(key)

    def guild_permissions(self, user: User) -> int:
        return permissions.in_guild(user, self.roles.values(), self.guild.id, self.guild.owner_id)

    def permissions(self, user: User, channel: Channel) -> int:
        if channel.kind in PRIVATE:
            return permissions.IN_PRIVATE if user.id in channel.recipients else 0
        if channel.thread is not None:
            return self._in_thread(user, channel)
        base = self.guild_permissions(user)
        return permissions.in_channel(base, user, self.guild.id, channel.overwrites)

    def _in_thread(self, user: User, thread: Channel) -> int:
        parent = self.channels.get(thread.parent_id or 0)
        held = 0 if parent is None else permissions.in_thread(self.permissions(user, parent))
        if thread.kind != PRIVATE_THREAD or held & permissions.MANAGE_THREADS:
            return held
        assert thread.thread is not None
        return held if thread.thread.has(user.id) else 0

    def can_view(self, user: User, channel: Channel) -> bool:
        return bool(self.permissions(user, channel) & permissions.VIEW_CHANNEL)

    def active_threads(self, user: User) -> list[Channel]:
        """The threads that are not archived and that this user sees."""
        active = (
            each for each in self.threads.values() if each.thread is not None and not each.thread.archived
        )
        return [each for each in active if self.can_view(user, each)]

    def channel(self, user: User, channel_id: int, *needed: int) -> Channel:
        """A channel this user may see and has all `needed` bits in; else 10003, 50001 or 50013."""
        channel = self.find(channel_id)
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
        before = self.users.get(user.id)
        if before is not None:
            del self._tokens[before.bot, before.token]
        self.users[user.id] = self._tokens[user.bot, user.token] = user
        if user.id == self.bot.id:
            self.bot = user
        await self._store.run(lambda database: database.put_user(user))

    async def leave(self, user: User) -> None:
        """A user is no member any more, and has no roles."""
        await self.put_user(replace(user, member=False, role_ids=()))

    async def put_role(self, role: Role) -> None:
        self.roles[role.id] = role
        await self._store.run(lambda database: database.put_role(role))

    async def put_guild(self, guild: Guild) -> None:
        """Keeps another name and icon of the guild."""
        self.guild = guild

        def work(database: Database) -> None:
            database.set_meta("guild_name", guild.name)
            database.set_meta("guild_icon", guild.icon or "")

        await self._store.run(work)

    async def put_channel(self, channel: Channel) -> None:
        """Keeps a new or changed channel; messages that came meanwhile stay counted."""
        now = self.find(channel.id)
        if now is not None:
            newest = max(now.last_message_id or 0, channel.last_message_id or 0) or None
            channel = replace(channel, last_message_id=newest, messages=now.messages, sent=now.sent)
        self._home(channel.kind)[channel.id] = channel
        parent = self.channels.get(channel.parent_id or 0)
        if channel.thread is not None and parent is not None and parent.kind in POST_CHANNELS:
            newest = max(channel.id, parent.last_message_id or 0)  # there, the last message is a thread
            await self.put_channel(replace(parent, last_message_id=newest))
        await self._store.run(lambda database: database.put_channel(channel))

    async def drop_channel(self, channel_id: int) -> list[int]:
        """Deletes a channel with all that is in it, threads too; the ids of the attachments that died."""
        below = [each.id for each in self.threads.values() if each.parent_id == channel_id]
        for each in (channel_id, *below):
            channel = self.find(each)
            if channel is not None:
                del self._home(channel.kind)[each]
        return await self._store.run(lambda database: database.delete_channels([channel_id, *below]))

    def note_message(self, message: Message) -> None:
        """Remembers a channel's last message, and counts it; the store has done so with the message."""
        channel = self.find(message.channel_id)
        if channel is not None:
            counted = counts(message)
            self._home(channel.kind)[channel.id] = replace(
                channel,
                last_message_id=max(message.id, channel.last_message_id or 0),
                messages=channel.messages + counted,
                sent=channel.sent + counted,
            )

    def note_deleted(self, gone: Sequence[Message]) -> None:
        """Counts messages that were deleted; the store has done so with the deletion."""
        for message in gone:
            channel = self.find(message.channel_id)
            if channel is not None and counts(message):
                left = max(0, channel.messages - 1)
                self._home(channel.kind)[channel.id] = replace(channel, messages=left)

    async def load(self) -> None:
        """Takes up channels and users that were put into the store in bulk."""
        self.users = {user.id: user for user in await self._store.run(Database.users)}
        self._tokens = {(user.bot, user.token): user for user in self.users.values()}
        for channel in await self._store.run(Database.channels):
            self._home(channel.kind)[channel.id] = channel
