"""The CDN's other pictures: each at its path while somebody has it, and a page of HTML when not."""

from __future__ import annotations

import struct
from dataclasses import replace

import aiohttp
import pytest

from discordfs.emulator.model import Emoji, Sticker

from .harness import NO_LIMITS, Client, Emulate


def test_avatars_icons_emojis_and_stickers(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        context = client.emulator.context
        world, bot = context.world, context.world.bot
        await world.put_user(replace(bot, avatar="abc", guild_avatar="a_def"))
        await world.put_guild(replace(world.guild, icon="fed"))
        await world.put_role(replace(world.roles[bot.role_ids[0]], icon="123"))
        await world.emojis.put(Emoji(7, "still", bot.id))
        await world.emojis.put(Emoji(8, "moving", bot.id, animated=True))
        for form in (1, 3, 4):
            await world.stickers.put(Sticker(10 + form, f"s{form}", bot.id, form))
        guild = world.guild.id
        there = {
            f"/avatars/{bot.id}/abc.png": "image/png",
            f"/avatars/{bot.id}/abc.webp": "image/webp",
            f"/guilds/{guild}/users/{bot.id}/avatars/a_def.gif": "image/gif",
            f"/icons/{guild}/fed.png": "image/png",
            f"/role-icons/{bot.role_ids[0]}/123.png": "image/png",
            "/embed/avatars/3.png": "image/png",
            "/emojis/7.png": "image/png",
            "/emojis/8.gif": "image/gif",
            "/stickers/11.png": "image/png",
            "/stickers/13.json": "application/json",
            "/stickers/14.gif": "image/gif",
            "/world/cat.png": "image/png",
            "/external/x/http/127.0.0.1:1/world/cat.png": "image/png",
        }
        for path, kind in there.items():
            answer = await client.fetch("GET", client.address.cdn + path)
            assert (answer.status, answer.headers["Content-Type"]) == (200, kind), path
            assert answer.data == (await client.fetch("GET", client.address.cdn + path)).data
        gone = (
            f"/avatars/{bot.id}/old.png",
            "/avatars/1/abc.png",
            "/emojis/9.png",
            "/stickers/11.json",
            "/icons/1/fed.png",
            "/world/gone.png",
            "/embed/avatars/9.png",
        )
        for path in gone:
            answer = await client.fetch("GET", client.address.cdn + path)
            assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8"), path
        assert (await client.fetch("GET", f"{client.address.cdn}/emojis/7.gif")).status == 415
        assert (await client.stats())["cdn"]["requests"] == 2 * len(there) + len(gone) + 1

    emulate(scenario, NO_LIMITS)


def test_a_picture_is_as_wide_as_asked_for(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        url = f"{client.address.cdn}/embed/avatars/0.png"
        for size, width in ((16, 16), (128, 128), (4096, 256)):
            data = (await client.fetch("GET", f"{url}?size={size}")).data
            assert struct.unpack(">II", data[16:24]) == (width, width)
        assert (await client.fetch("GET", f"{url}?size=17")).status == 400

    emulate(scenario, NO_LIMITS)


def test_a_picture_can_be_cut_on_the_way(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        url = f"{client.address.cdn}/embed/avatars/0.png"
        whole = (await client.fetch("GET", url)).data
        await client.control("POST", "/faults", route="cdn", kind="corrupt")
        assert (await client.fetch("GET", url)).data != whole
        await client.control("POST", "/faults", route="cdn", kind="truncate")
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.fetch("GET", url)
        assert (await client.fetch("GET", url)).data == whole

    emulate(scenario, NO_LIMITS)
