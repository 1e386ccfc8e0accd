"""discord.py reads what an archive reads: threads, reactions, polls, forwards, emojis, webhooks, members."""

from __future__ import annotations

from typing import Any

import pytest

from .harness import NO_LIMITS, Client, Emulate
from .test_belongings import owner
from .test_discordpy import _addresses as _addresses_put_back
from .test_discordpy import connected, discord
from .test_people import somebody

_addresses = _addresses_put_back


async def seeded(client: Client) -> None:
    assert (await client.control("POST", "/seed")).status == 204


def named(guild: Any, name: str) -> Any:
    return next(each for each in guild.channels if each.name == name)


def test_it_reads_the_seeded_server(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await seeded(client)
        judge = (await client.control("GET", "/everything")).json
        async with connected(client) as listener:
            (guild,) = listener.guilds
            assert len(guild.members) == sum(each["facts"].get("member", True) for each in judge["users"])
            assert {each.name for each in guild.emojis} == {"party", "shrug"}
            assert {each.name for each in guild.stickers} == {"wave", "dance", "spin", "jump"}
            found = {each.id for each in guild.threads}
            assert found == {each.id for each in await guild.active_threads()}
            for channel in guild.channels:
                if channel.type.name in ("text", "news", "forum", "media") and channel.name not in (
                    "closed",
                    "no-history",
                ):
                    found |= {each.id async for each in channel.archived_threads(limit=None)}
                    if channel.type.name == "text":
                        private = channel.archived_threads(private=True, limit=None)
                        found |= {each.id async for each in private}
            threads = [each for each in judge["channels"] if each["kind"] in (10, 11, 12)]
            hidden = {int(each["id"]) for each in threads if each["name"] == "Behind closed doors"}
            assert found == {int(each["id"]) for each in threads} - hidden
            lounge = named(guild, "lounge")
            messages = {each.id: each async for each in lounge.history(limit=None)}
            there = [each for each in judge["messages"] if each["channel_id"] == str(lounge.id)]
            assert set(messages) == {int(each["id"]) for each in there}
            for each in there:
                for reaction in messages[int(each["id"])].reactions:
                    emoji = reaction.emoji
                    key = emoji if isinstance(emoji, str) else str(emoji.id)
                    kinds = each["reactions"][key]
                    assert (reaction.normal_count, reaction.burst_count) == tuple(
                        len(kinds[kind]) for kind in ("normal", "burst")
                    )
                    users = {str(user.id) async for user in reaction.users(limit=None)}
                    assert users == set(kinds["normal"])
            poll = next(each.poll for each in messages.values() if each.poll and not each.poll.is_finalised())
            assert len([each async for each in poll.answers[0].voters(limit=None)]) == 121
            pins = [each async for each in lounge.pins()]
            assert [each.content for each in pins] == ["A picture from the trip."]
            assert [each.name for each in await named(guild, "general").webhooks()] == ["Build <b>"]
            invites = {each.code for each in await guild.invites()}
            assert len(invites) == 2
            assert (await listener.fetch_invite(invites.pop())).guild.id == guild.id
            with pytest.raises(discord.NotFound):
                await listener.fetch_invite("unknowncode")
            assert len([each async for each in guild.bans()]) == 1

    emulate(scenario, NO_LIMITS)


def test_it_makes_threads_posts_and_forwards(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with connected(client) as listener:
            (guild,) = listener.guilds
            channel: Any = listener.get_channel(int(client.channel))
            message = await channel.send("hello")
            thread = await message.create_thread(name="talk")
            inside = await thread.send("inside")
            assert [each.type.name async for each in thread.history()] == [
                "default",
                "thread_starter_message",
            ]
            forward = await inside.forward(channel)
            assert forward.message_snapshots[0].content == "inside"
            answer = await inside.reply("answer")
            assert answer.reference.resolved.id == inside.id
            await inside.add_reaction("🎉")
            assert (await thread.fetch_message(inside.id)).reactions[0].me
            await thread.edit(archived=True, locked=True)
            assert [each.id async for each in channel.archived_threads()] == [thread.id]
            forum = await guild.create_forum("help", available_tags=[discord.ForumTag(name="open")])
            made = await forum.create_thread(
                name="question", content="why?", applied_tags=[forum.available_tags[0]]
            )
            assert (made.message.content, made.thread.id) == ("why?", made.message.id)
            assert made.thread.applied_tags[0].name == "open"

    emulate(scenario, NO_LIMITS)


def test_a_webhook_and_a_direct_message(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        boss = await owner(client)
        path = f"/channels/{client.channel}/webhooks"
        made = (await boss.ask("POST", path, json={"name": "Build"})).json
        anna = await somebody(client, name="anna", bot=False)
        me = int((await anna.ask("GET", "/users/@me")).json["id"])
        async with connected(client) as listener:
            hook = discord.Webhook.partial(int(made["id"]), made["token"], client=listener)
            sent = await hook.send("green", username="CI", wait=True)
            heard = await listener.next("message")
            assert (heard.id, heard.webhook_id, heard.author.name) == (sent.id, hook.id, "CI")
            user = await listener.fetch_user(me)
            private = await user.create_dm()
            await private.send("hi")
            assert (await listener.next("message")).guild is None
            assert [each.content async for each in private.history()] == ["hi"]

    emulate(scenario, NO_LIMITS)
