"""What `init` and `recover` ask and make: who the bot is, its servers and channels, and what it may not do
there.

Over raw routes of an Api alone. Limits: a bot in more than 200 servers sees the first 200.
Threading: the loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from discordfs.errors import Forbidden, RemoteGone
from discordfs.remote.base import Api

_ADMINISTRATOR = 1 << 3
NEEDED: Mapping[str, int] = {
    "VIEW_CHANNEL": 1 << 10,
    "SEND_MESSAGES": 1 << 11,
    "ATTACH_FILES": 1 << 15,
    "READ_MESSAGE_HISTORY": 1 << 16,
}
"""Permissions without which a channel is of no use (Discord's documents, "Permissions")."""

READING = ("VIEW_CHANNEL", "READ_MESSAGE_HISTORY")
"""Of these, the ones without which nothing in a channel can be read."""

_MESSAGE_CONTENT = (
    1 << 18 | 1 << 19
)  # flags of an application: allowed, or allowed while it is in few servers
_TEXT, _CATEGORY = 0, 4
_CATEGORY_SIZE = 50  # channels (Discord's documents, "Channel Object", CHANNEL_PARENT_MAX_CHANNELS)
_HOLDS_MESSAGES = frozenset({0, 2, 5, 13})  # text, voice, announcement and stage channels


@dataclass(frozen=True, slots=True)
class Identity:
    """The bot's user."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Guild:
    """A server the bot is in; `permissions` are the bot's there, before any channel has its say."""

    id: int
    name: str
    permissions: int


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel; `parent` is its category, 0 without one."""

    id: int
    name: str
    type: int
    parent: int

    @property
    def holds_messages(self) -> bool:
        return self.type in _HOLDS_MESSAGES


@dataclass(frozen=True, slots=True)
class Room:
    """A channel that holds messages, and the names of the permissions that the bot lacks there."""

    channel: Channel
    missing: tuple[str, ...]

    @property
    def is_readable(self) -> bool:
        return not any(name in self.missing for name in READING)


async def who_am_i(api: Api) -> Identity:
    """Unauthorized when the token is no good."""
    me = await api.request("GET", "/users/@me")
    return Identity(int(me["id"]), str(me["username"]))


async def sees_others(api: Api) -> bool:
    """Whether the bot may see what others posted: the intent MESSAGE_CONTENT. Without it the text and the
    attachments of their messages arrive empty (Discord's documents, "Message Content Intent")."""
    application = await api.request("GET", "/applications/@me")
    return bool(int(application.get("flags") or 0) & _MESSAGE_CONTENT)


async def find_guilds(api: Api) -> list[Guild]:
    """The servers the bot is in, oldest first."""
    found = await api.request("GET", "/users/@me/guilds", params={"limit": 200})
    guilds = (Guild(int(each["id"]), str(each["name"]), int(each.get("permissions", 0))) for each in found)
    return sorted(guilds, key=lambda guild: guild.id)


async def find_channels(api: Api, guild: int) -> list[Channel]:
    """All channels of a server, those too that the bot cannot see into."""
    return [_channel(each) for each in await api.request("GET", f"/guilds/{guild}/channels")]


async def find_rooms(api: Api, guild: int) -> list[Room]:
    """The channels of a server that hold messages, with what the bot may not do in each."""
    found = [
        raw for raw in await api.request("GET", f"/guilds/{guild}/channels") if _channel(raw).holds_messages
    ]
    member = await _membership(api, guild)
    return [Room(_channel(raw), tuple(member.lacks(raw))) for raw in found]


async def find_guild_of(api: Api, channel: int) -> int:
    """The server of a channel that holds messages. RemoteGone, or Forbidden when the bot may not see it."""
    raw = await api.request("GET", f"/channels/{channel}")
    if "guild_id" not in raw or not _channel(raw).holds_messages:
        raise RemoteGone(f"channel {channel} is no text channel of a server")
    return int(raw["guild_id"])


async def make_channels(api: Api, guild: int, names: Sequence[str], category: str = "discordfs") -> list[int]:
    """Makes text channels under a category of this name, which is made unless one is there that has room for
    them. Their ids, in the order of `names`. Forbidden when the bot may not."""
    try:
        parent = await _category(api, guild, category, len(names))
        return [
            await _make(api, guild, {"name": name, "type": _TEXT, "parent_id": str(parent)}) for name in names
        ]
    except Forbidden as error:
        raise Forbidden(
            f"the bot may not make channels in server {guild}: give it MANAGE_CHANNELS, or name channels"
            f" that there are ({error})"
        ) from error


async def check_channel(api: Api, channel: int) -> list[str]:
    """What keeps a drive from using this channel, one line each; empty when all is well."""
    try:
        found = await api.request("GET", f"/channels/{channel}")
    except RemoteGone:
        return [f"channel {channel} does not exist"]
    except Forbidden:
        return [f"channel {channel}: permission VIEW_CHANNEL is missing"]
    if "guild_id" not in found or int(found["type"]) not in _HOLDS_MESSAGES:
        return [f"channel {channel} is no text channel of a server"]
    member = await _membership(api, int(found["guild_id"]))
    return [
        f"channel {channel} (#{found['name']}): permission {name} is missing" for name in member.lacks(found)
    ]


# --- inside ---------------------------------------------------------------------------------------


def _channel(raw: Mapping[str, Any]) -> Channel:
    return Channel(int(raw["id"]), str(raw["name"]), int(raw["type"]), int(raw.get("parent_id") or 0))


async def _category(api: Api, guild: int, name: str, wanted: int) -> int:
    channels = await find_channels(api, guild)
    filled = Counter(channel.parent for channel in channels)
    for channel in channels:
        is_one = channel.type == _CATEGORY and channel.name.casefold() == name.casefold()
        if is_one and filled[channel.id] + wanted <= _CATEGORY_SIZE:
            return channel.id
    return await _make(api, guild, {"name": name, "type": _CATEGORY})


async def _make(api: Api, guild: int, body: Mapping[str, Any]) -> int:
    made = await api.request("POST", f"/guilds/{guild}/channels", json=dict(body))
    return int(made["id"])


@dataclass(frozen=True, slots=True)
class _Membership:
    """The bot in a server: its roles there, and what they allow before any channel has its say (-1: all)."""

    id: int
    guild: int
    roles: frozenset[int]
    granted: int

    def lacks(self, channel: Mapping[str, Any]) -> list[str]:
        """What it may not do in this channel, of what is needed there. Overwrites of everyone come first,
        then those of roles, then its own (Discord's documents, "Permission Overwrites")."""
        granted, overwrites = self.granted, channel.get("permission_overwrites", ())
        if granted == -1:
            return []
        for ids in ({self.guild}, self.roles - {self.guild}, {self.id}):
            granted = _overwritten(granted, [each for each in overwrites if int(each["id"]) in ids])
        return [name for name, bit in NEEDED.items() if not granted & bit]


async def _membership(api: Api, guild_id: int) -> _Membership:
    me = await who_am_i(api)
    guild = await api.request("GET", f"/guilds/{guild_id}")
    member = await api.request("GET", f"/guilds/{guild_id}/members/{me.id}")
    roles = frozenset({guild_id, *(int(role) for role in member["roles"])})
    granted = 0
    for role in guild["roles"]:
        if int(role["id"]) in roles:
            granted |= int(role["permissions"])
    may_all = granted & _ADMINISTRATOR or int(guild["owner_id"]) == me.id
    return _Membership(me.id, guild_id, roles, -1 if may_all else granted)


def _overwritten(granted: int, overwrites: Iterable[Mapping[str, Any]]) -> int:
    """Denials first, then what is allowed, within one level."""
    chosen = list(overwrites)
    for each in chosen:
        granted &= ~int(each["deny"])
    for each in chosen:
        granted |= int(each["allow"])
    return granted
