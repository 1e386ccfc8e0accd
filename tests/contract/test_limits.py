"""Rate limits over real HTTP: with the emulator counting as Discord does, nobody is ever told 429."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from discordfs.remote.setup import find_guilds, make_channels

from .harness import Discord, Rig, discord_on_loopback, remote


@pytest.fixture
def discord(tmp_path: Path) -> Iterator[Discord]:
    """Limits on, with Discord's windows shortened: 5 posts in half a second."""
    short = {"post_window": 0.5, "delete_window": 0.5, "write_window": 0.5, "read_window": 0.5}
    with discord_on_loopback(tmp_path / "discord", rate_limits=True, **short) as running:
        yield running


async def everything_at_once(store: DiscordRemote, channels: list[int], rig: Rig) -> None:
    async def one(channel: int, number: int) -> None:
        message = await store.post(channel, "text", [rig.file(b"x" * 50_000)], f"{channel}-{number}"[-25:])
        await store.list(channel)
        await store.fetch(channel, message.id)
        await store.delete(channel, [message.id])

    await asyncio.gather(*(one(channel, number) for channel in channels for number in range(8)))


def test_four_channels_at_once_never_meet_a_429(discord: Discord, bot: DiscordRemote, bare: Rig) -> None:
    """10,000 refused requests block the user's address."""
    bare.call(everything_at_once(bot, bare.call(four_channels(bot)), bare))
    assert discord.stats()["rate_limited"] == 0


def test_two_clients_with_one_token_never_meet_a_429(
    discord: Discord, loop: Loop, bare: Rig, tmp_path: Path
) -> None:
    """A mount and an archive run beside each other."""
    shared = tmp_path / "shared"
    with (
        remote(discord, loop, shared_directory=shared) as one,
        remote(discord, loop, shared_directory=shared) as two,
    ):

        async def both() -> None:
            work = (everything_at_once(store, discord.channels[:1], bare) for store in (one, two))
            await asyncio.gather(*work)

        bare.call(both())
    assert discord.stats()["rate_limited"] == 0


async def four_channels(bot: DiscordRemote) -> list[int]:
    guild = (await find_guilds(bot))[0]
    return await make_channels(bot, guild.id, ["one", "two", "three", "four"])
