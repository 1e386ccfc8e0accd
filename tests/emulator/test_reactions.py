"""Reactions and votes: each user behind them is found, of both kinds, page by page."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from discordfs.emulator.emojis import is_unicode

from .harness import NO_LIMITS, Client, Emulate, check
from .test_gateway import GUILDS, gateway, identify, receive
from .test_people import somebody

THUMB = quote("👍")


async def person(client: Client, name: str) -> Client:
    return await somebody(client, name=name, bot=False)


async def listed(client: Client, path: str) -> list[str]:
    """All users behind a reaction, in pages of 25."""
    seen: list[str] = []
    while True:
        after = f"{'&' if '?' in path else '?'}after={seen[-1]}" if seen else ""
        page = (await client.ask("GET", path + after)).json
        check(page, "UserResponse", many=True)
        seen += [each["id"] for each in page]
        if len(page) < 25:
            return seen


def test_everybody_behind_a_reaction_is_found(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        one = f"{client.messages}/{(await client.posted('x'))['id']}"
        people = [await person(client, f"person{number}") for number in range(30)]
        for each in people:
            assert (await each.ask("PUT", f"{one}/reactions/{THUMB}/@me")).status == 204
        for each in people[:2]:
            burst = f"{one}/reactions/{THUMB}/@me?type=1"
            assert (await each.ask("PUT", burst)).status == 204
        await client.ask("PUT", f"{one}/reactions/{THUMB}/@me")
        await client.ask("PUT", f"{one}/reactions/{quote('1️⃣')}/@me")
        message = (await client.ask("GET", one)).json
        check(message, "MessageResponse")
        thumb, key = message["reactions"]
        assert thumb["emoji"] == {"id": None, "name": "👍"}
        assert thumb["count_details"] == {"normal": 31, "burst": 2}
        assert (thumb["count"], thumb["me"], thumb["me_burst"]) == (33, True, False)
        assert key["emoji"]["name"] == "1️⃣"
        found = await listed(client, f"{one}/reactions/{THUMB}")
        assert len(found) == len(set(found)) == 31
        assert len(await listed(client, f"{one}/reactions/{THUMB}?type=1")) == 2
        everybody = (await client.ask("GET", f"{one}/reactions/{THUMB}?limit=100")).json
        assert [each["id"] for each in everybody] == found

    async def after_a_restart(client: Client) -> None:
        (message,) = (await client.ask("GET", client.messages)).json
        assert [each["count"] for each in message["reactions"]] == [33, 1]

    emulate(scenario, NO_LIMITS)
    emulate(after_a_restart, NO_LIMITS)


def test_reactions_are_taken_back(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        one = f"{client.messages}/{(await client.posted('x'))['id']}/reactions"
        anna = await person(client, "anna")
        me = (await anna.ask("GET", "/users/@me")).json["id"]
        heart = quote("❤️")
        for emoji in (THUMB, heart):
            for who in (client, anna):
                await who.ask("PUT", f"{one}/{emoji}/@me")
        assert (await anna.ask("DELETE", f"{one}/{THUMB}/{me}")).code == 50013
        assert (await client.ask("DELETE", f"{one}/{THUMB}/{me}")).status == 204
        assert len((await client.ask("GET", f"{one}/{THUMB}")).json) == 1
        assert (await client.ask("DELETE", f"{one}/{heart}")).status == 204
        assert (await client.ask("GET", f"{one}/{heart}")).json == []
        assert (await client.ask("DELETE", one)).status == 204
        assert "reactions" not in (await client.ask("GET", client.messages)).json[0]

    emulate(scenario, NO_LIMITS)


def test_what_is_no_reaction(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        one = f"{client.messages}/{(await client.posted('x'))['id']}/reactions"
        for wrong in ("x", "party:123", "1", quote("👍👍x")):
            assert (await client.ask("PUT", f"{one}/{wrong}/@me")).code == 10014
        assert (await client.ask("PUT", f"{one}/{THUMB}/@me?type=1")).code == 50013
        for query in ("limit=101", "limit=0", "type=2", "after=x"):
            assert (await client.ask("GET", f"{one}/{THUMB}?{query}")).code == 50035
        await client.control("POST", "/permissions", channel_id=client.channel, react=False)
        anna = await person(client, "anna")
        assert (await client.ask("PUT", f"{one}/{THUMB}/@me")).code == 50013
        assert (await anna.ask("PUT", f"{one}/{THUMB}/@me")).status == 204
        assert (await client.ask("PUT", f"{one}/{THUMB}/@me")).status == 204

    emulate(scenario, NO_LIMITS)


@pytest.mark.parametrize("emoji", ["👍", "👍🏽", "❤️", "1️⃣", "🇩🇪", "👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "™️", "↔️", "🫠"])
def test_an_emoji_is_one_picture(emoji: str) -> None:
    assert is_unicode(emoji)
    assert not is_unicode(emoji * 2)
    assert not is_unicode(f"{emoji}a")


def test_events_of_reactions(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        one = f"{client.messages}/{(await client.posted('x'))['id']}/reactions"
        anna = await person(client, "anna")
        async with gateway(client) as socket:
            await identify(socket, client.address.token, GUILDS | 1 << 10)
            await anna.ask("PUT", f"{one}/{THUMB}/@me?type=1")
            await anna.ask("PUT", f"{one}/{THUMB}/@me?type=1")
            await anna.ask("DELETE", f"{one}/{THUMB}/@me")
            await anna.ask("PUT", f"{one}/{THUMB}/@me")
            await client.ask("DELETE", f"{one}/{THUMB}")
            await client.ask("DELETE", one)
            await client.ask("PUT", f"{one}/{THUMB}/@me")
            await client.ask("DELETE", one)
            events = [await receive(socket) for _ in range(6)]
            names = ["ADD", "REMOVE", "ADD", "REMOVE_EMOJI", "ADD", "REMOVE_ALL"]
            assert [each["t"] for each in events] == [f"MESSAGE_REACTION_{each}" for each in names]
            added = events[0]["d"]
            assert (added["burst"], added["emoji"]["name"]) == (True, "👍")
            check(added["member"], "GuildMemberResponse")

    emulate(scenario, NO_LIMITS)


def poll(**more: Any) -> dict[str, Any]:
    answers = [{"poll_media": {"text": text}} for text in ("yes", "no")]
    return {"question": {"text": "Shall we?"}, "answers": answers, "duration": 1, **more}


def test_votes_are_counted_and_their_voters_found(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted(poll=poll())
        check(message, "MessageResponse")
        path = f"/channels/{client.channel}/polls/{message['id']}"
        people = [await person(client, f"person{number}") for number in range(27)]
        for each in people:
            assert (await each.ask("PUT", f"{path}/answers/@me", json={"answer_ids": [1]})).status == 204
        await people[0].ask("PUT", f"{path}/answers/@me", json={"answer_ids": [2]})
        assert (await client.ask("PUT", f"{path}/answers/@me", json={"answer_ids": [1]})).status == 403
        both = await people[0].ask("PUT", f"{path}/answers/@me", json={"answer_ids": [1, 2]})
        assert both.code == 50035
        first = (await client.ask("GET", f"{path}/answers/1")).json
        check(first, "PollAnswerDetailsResponse")
        last = first["users"][-1]["id"]
        rest = (await client.ask("GET", f"{path}/answers/1?limit=100&after={last}")).json["users"]
        assert (len(first["users"]), len(rest)) == (25, 1)
        seen = (await people[0].ask("GET", f"{client.messages}/{message['id']}")).json
        check(seen, "MessageResponse")
        counts = [(each["count"], each["me_voted"]) for each in seen["poll"]["results"]["answer_counts"]]
        assert counts == [(26, False), (1, True)]
        assert (await client.ask("GET", f"{path}/answers/3")).status == 404
        ended = await client.ask("POST", f"{path}/expire")
        check(ended.json, "MessageResponse")
        assert ended.json["poll"]["results"]["is_finalized"]
        result = (await client.ask("GET", client.messages)).json[0]
        check(result, "MessageResponse")
        assert (result["type"], result["embeds"][0]["type"]) == (46, "poll_result")
        late = await people[1].ask("PUT", f"{path}/answers/@me", json={"answer_ids": [2]})
        assert late.status == 400

    emulate(scenario, NO_LIMITS)


def test_a_poll_has_answers(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        for wrong in (poll(answers=[]), poll(question={}), poll(duration=10_000), "x"):
            assert (await client.post(poll=wrong)).code == 50035

    emulate(scenario, NO_LIMITS)
