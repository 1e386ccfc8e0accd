"""Cold reads: how many requests they cost, and how long they take when every answer is slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from discordfs.errors import RemoteGone
from discordfs.remote.base import Message
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop

from .harness import Discord, Rig, remote

LISTING = "GET /channels/{id}/messages"


@pytest.fixture
def cold(discord: Discord, loop: Loop, bare: Rig) -> Iterator[Rig]:
    """A second client, that has seen no message and knows no URL."""
    with remote(discord, loop) as store:
        yield Rig(store, loop, bare.channel, bare.directory)


def post_many(rig: Rig, count: int) -> list[Message]:
    async def all_of_them() -> list[Message]:
        files = [rig.file(b"%06d" % number * 100) for number in range(count)]
        posts = (rig.store.post(rig.channel, "text", [file], "") for file in files)
        return await asyncio.gather(*posts)

    return rig.call(all_of_them())


def read_all(rig: Rig, messages: list[Message]) -> list[bytes]:
    async def all_of_them() -> list[bytes]:
        reads = (rig.store.read(rig.channel, each.id, each.attachments[0].id, 6, 6) for each in messages)
        return await asyncio.gather(*reads)

    return rig.call(all_of_them())


def test_64_cold_readers_cost_one_listing_and_two_round_trips(discord: Discord, bare: Rig, cold: Rig) -> None:
    """`grep -r` over a fresh mount: 500 ms away, it must take two waits, not 64."""
    messages = post_many(bare, 64)
    discord.settings(latency_ms=500, rate_limits=True)
    discord.control("POST", "/stats/reset")
    began = time.monotonic()
    assert read_all(cold, messages) == [b"%06d" % number for number in range(64)]
    assert time.monotonic() - began < 2.0
    assert discord.count(LISTING) == 1
    assert discord.stats()["cdn"]["requests"] == 64


def test_pages_further_down_follow_and_serve_all_their_readers(
    discord: Discord, bare: Rig, cold: Rig
) -> None:
    messages = post_many(bare, 130)
    discord.control("POST", "/stats/reset")
    read_all(cold, [messages[0], *messages[20:60], messages[-1]])
    assert discord.count(LISTING) == 2
    assert discord.count("GET /channels/{id}/messages/{id}") == 0


def test_neighbours_of_a_read_message_need_no_listing(discord: Discord, bare: Rig, cold: Rig) -> None:
    messages = post_many(bare, 40)
    read_all(cold, messages[20:21])
    read_all(cold, messages)
    assert discord.count(LISTING) == 1


def test_a_message_that_listings_do_not_show_yet_is_read_all_the_same(
    discord: Discord, bare: Rig, cold: Rig
) -> None:
    """Listings lag behind posts; a chunk just written is no lost chunk."""
    discord.settings(list_lag_ms=60_000)
    messages = post_many(bare, 2)
    assert len(read_all(cold, messages)) == 2


def test_one_missing_message_among_many_fails_alone(bare: Rig, cold: Rig) -> None:
    messages = post_many(bare, 10)
    bare.call(bare.store.delete(bare.channel, [messages[4].id]))

    async def all_of_them() -> list[object]:
        reads = (cold.store.read(cold.channel, each.id, each.attachments[0].id, 0, 6) for each in messages)
        return [*await asyncio.gather(*reads, return_exceptions=True)]

    results = cold.call(all_of_them())
    assert isinstance(results.pop(4), RemoteGone)
    assert all(isinstance(each, bytes) for each in results)


def test_a_reader_that_goes_away_does_not_take_the_others_along(
    discord: Discord, bare: Rig, cold: Rig
) -> None:
    message = post_many(bare, 1)[0]
    discord.settings(latency_ms=100)

    async def two() -> bytes:
        def read() -> asyncio.Task[bytes]:
            attachment = message.attachments[0].id
            return asyncio.ensure_future(cold.store.read(cold.channel, message.id, attachment, 0, 6))

        leaving, staying = read(), read()
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert cold.call(two()) == b"000000"


def test_urls_from_a_post_are_used_without_asking(discord: Discord, bare: Rig, bot: DiscordRemote) -> None:
    message = bare.post(b"x" * 100)
    discord.control("POST", "/stats/reset")
    bare.read(message, 0, 100)
    assert discord.count(LISTING) == 0
    assert bot.traffic().requests["GET cdn"] == 1


def test_a_forwarded_file_is_read_by_the_message_that_forwards_it(
    discord: Discord, bot: DiscordRemote, bare: Rig, cold: Rig
) -> None:
    """It stays when the original goes, and its link is renewed like any other."""
    original = bare.post(b"forwarded " * 100)
    reference = {"type": 1, "channel_id": str(bare.channel), "message_id": str(original.id)}
    route = f"/channels/{bare.channel}/messages"
    forward = bare.call(bot.request("POST", route, json={"message_reference": reference}))
    (file,) = forward["message_snapshots"][0]["message"]["attachments"]
    assert not forward["attachments"]
    bare.call(bare.store.delete(bare.channel, [original.id]))

    def read(attachment: int) -> bytes:
        return cold.call(cold.store.read(cold.channel, int(forward["id"]), attachment, 10, 9))

    assert read(int(file["id"])) == b"forwarded"
    discord.control("POST", "/clock", {"advance_s": 2 * 86_400})
    assert read(int(file["id"])) == b"forwarded"
    with pytest.raises(RemoteGone):
        read(original.attachments[0].id)
