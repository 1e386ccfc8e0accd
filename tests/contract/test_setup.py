"""What `init` can find out and make, and how it says what is missing."""

from __future__ import annotations

import pytest

from discordfs.errors import Forbidden
from discordfs.remote.client import DiscordRemote
from discordfs.remote.setup import check_channel, find_channels, find_guilds, make_channels, who_am_i

from .harness import Discord, Rig


def test_channels_are_made_under_one_category_and_fit_for_use(
    discord: Discord, bot: DiscordRemote, bare: Rig
) -> None:
    guild = bare.call(find_guilds(bot))[0]
    assert guild.id == int(discord.address.guild_id)
    first = bare.call(make_channels(bot, guild.id, ["log", "data"]))
    second = bare.call(make_channels(bot, guild.id, ["more"]))
    made = {channel.id: channel for channel in bare.call(find_channels(bot, guild.id))}
    assert [made[channel].name for channel in (*first, *second)] == ["log", "data", "more"]
    assert len({made[channel].parent for channel in (*first, *second)}) == 1
    assert bare.call(check_channel(bot, first[0])) == []
    assert bare.call(who_am_i(bot)).id == bare.call(bot.login())


def test_a_category_that_is_full_gets_another_beside_it(bot: DiscordRemote, bare: Rig) -> None:
    """A drive's channels stay together."""
    guild = bare.call(find_guilds(bot))[0].id
    bare.call(make_channels(bot, guild, ["filling"] * 48))
    together = bare.call(make_channels(bot, guild, ["log", "a", "b"]))
    beside = bare.call(make_channels(bot, guild, ["c", "d"]))
    parents = {channel.id: channel.parent for channel in bare.call(find_channels(bot, guild))}
    categories = [channel for channel in bare.call(find_channels(bot, guild)) if channel.type == 4]
    assert len({parents[channel] for channel in together}) == 1
    assert parents[beside[0]] != parents[together[0]]
    assert {channel.name for channel in categories} == {"discordfs"}


@pytest.mark.parametrize(
    ("denied", "named"),
    [
        ("view", "VIEW_CHANNEL"),
        ("send", "SEND_MESSAGES"),
        ("attach", "ATTACH_FILES"),
        ("read_history", "READ_MESSAGE_HISTORY"),
    ],
)
def test_a_missing_permission_is_named(
    discord: Discord, bot: DiscordRemote, bare: Rig, denied: str, named: str
) -> None:
    """Else the first sign would be a drive whose uploads never succeed."""
    discord.control("POST", "/permissions", {"channel_id": str(bare.channel), denied: False})
    problems = bare.call(check_channel(bot, bare.channel))
    assert len(problems) == 1
    assert named in problems[0]


def test_a_channel_that_does_not_exist_is_said_so(bot: DiscordRemote, bare: Rig) -> None:
    assert bare.call(check_channel(bot, 42 << 22)) == [f"channel {42 << 22} does not exist"]


def test_a_category_is_no_place_for_messages(bot: DiscordRemote, bare: Rig) -> None:
    guild = bare.call(find_guilds(bot))[0]
    bare.call(make_channels(bot, guild.id, ["log"]))
    category = next(each for each in bare.call(find_channels(bot, guild.id)) if not each.holds_messages)
    assert "no text channel" in bare.call(check_channel(bot, category.id))[0]


def test_a_bot_that_may_not_make_channels_is_told_what_to_do(
    discord: Discord, bot: DiscordRemote, bare: Rig
) -> None:
    discord.control("POST", "/permissions", {"guild": str(1 << 10 | 1 << 11)})
    guild = bare.call(find_guilds(bot))[0]
    with pytest.raises(Forbidden, match="MANAGE_CHANNELS"):
        bare.call(make_channels(bot, guild.id, ["log"]))
