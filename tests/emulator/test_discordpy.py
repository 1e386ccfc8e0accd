"""discord.py, changed in nothing but its three addresses: whoever uses it against Discord can use it
here.
"""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yarl

from .harness import NO_LIMITS, Client, Emulate

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # discord.py imports audioop
    import discord


class Listener(discord.Client):
    """Notes what happens."""

    def __init__(self) -> None:
        super().__init__(intents=discord.Intents.all())
        self.seen: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def on_ready(self) -> None:
        self.seen.put_nowait(("ready", None))

    async def on_resumed(self) -> None:
        self.seen.put_nowait(("resumed", None))

    async def on_message(self, message: discord.Message) -> None:
        self.seen.put_nowait(("message", message))

    async def on_message_edit(self, _: discord.Message, after: discord.Message) -> None:
        self.seen.put_nowait(("edit", after))

    async def on_message_delete(self, message: discord.Message) -> None:
        self.seen.put_nowait(("delete", message))

    async def next(self, kind: str) -> Any:
        seen, value = await asyncio.wait_for(self.seen.get(), 20)
        assert seen == kind
        return value


@pytest.fixture(autouse=True)
def _addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in (
        (discord.http.Route, "BASE"),
        (discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY"),
        (discord.asset.Asset, "BASE"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back at the end


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[Listener]:
    discord.http.Route.BASE = client.address.api
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(client.address.gateway)
    discord.asset.Asset.BASE = client.address.cdn
    async with Listener() as listener:
        await listener.login(client.address.token)
        connection = asyncio.ensure_future(listener.connect())
        await listener.next("ready")
        yield listener
        await listener.close()
        await connection


def test_a_file_is_sent_heard_of_edited_and_deleted(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        data = bytes(range(256)) * 4096 * 4
        async with connected(client) as listener:
            channel: Any = listener.get_channel(int(client.channel))
            sent = await channel.send("hello", files=[discord.File(io.BytesIO(data), "a.bin")] * 1)
            heard = await listener.next("message")
            assert heard.id == sent.id
            assert heard.author == listener.user
            assert await heard.attachments[0].read() == data
            await sent.edit(content="edited")
            assert (await listener.next("edit")).content == "edited"
            assert [each.content async for each in channel.history()] == ["edited"]
            assert (await channel.fetch_message(sent.id)).content == "edited"
            await sent.delete()
            assert (await listener.next("delete")).id == sent.id
            with pytest.raises(discord.NotFound):
                await channel.fetch_message(sent.id)

    emulate(scenario)


def test_channels_pins_and_bulk_delete(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with connected(client) as listener:
            (guild,) = listener.guilds
            category = await guild.create_category("Drive")
            me = {guild.me: discord.PermissionOverwrite(view_channel=True)}
            hidden = {guild.default_role: discord.PermissionOverwrite(view_channel=False)}
            channel = await guild.create_text_channel("data", category=category, overwrites={**me, **hidden})
            assert channel.category == category
            assert channel.permissions_for(guild.me).send_messages
            messages = [await channel.send(str(number)) for number in range(4)]
            await messages[0].pin()
            assert [each.id async for each in channel.pins()] == [messages[0].id]
            await channel.delete_messages(messages[:2])
            left = [each.id async for each in channel.history(oldest_first=True)]
            assert left[:2] == [each.id for each in messages[2:]]
            await channel.delete()
            with pytest.raises(discord.NotFound):
                await listener.fetch_channel(channel.id)

    emulate(scenario, NO_LIMITS)


def test_it_waits_out_a_rate_limit(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with connected(client) as listener:
            for _ in range(5):
                await client.post("spent by somebody else")
            await listener.get_partial_messageable(int(client.channel)).send("sent in the end")
        assert (await client.stats())["rate_limited"] >= 1
        assert (await client.ask("GET", client.messages)).json[0]["content"] == "sent in the end"

    emulate(scenario, "post_window=3000", "time_scale=1000")


def test_a_lost_answer_is_posted_once(emulate: Emulate) -> None:
    """discord.py's nonce holds over its own retries."""

    async def scenario(client: Client) -> None:
        await client.control("POST", "/faults", method="POST", kind="status", status=500)
        async with connected(client) as listener:
            await listener.get_partial_messageable(int(client.channel)).send("x")
        assert (await client.stats())["messages"] == 1

    emulate(scenario, NO_LIMITS)


def test_without_the_gateway(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        discord.http.Route.BASE = client.address.api
        async with discord.Client(intents=discord.Intents.none()) as library:
            await library.login(client.address.token)
            channel: Any = await library.fetch_channel(int(client.channel))
            assert channel.name == "general"
            (guild,) = [each async for each in library.fetch_guilds()]
            assert str(guild.id) == client.address.guild_id
            whole = await library.fetch_guild(guild.id)
            assert (await whole.fetch_member(library.user.id)).guild_permissions.manage_channels  # type: ignore[union-attr]
            await library.get_partial_messageable(channel.id).send("hi")
        with pytest.raises(discord.LoginFailure):
            async with discord.Client(intents=discord.Intents.none()) as library:
                await library.login("wrong")

    emulate(scenario, NO_LIMITS)
