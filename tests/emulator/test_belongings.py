"""What else a guild has: roles, emojis, stickers, webhooks, invites, bans, and its members."""

from __future__ import annotations

import aiohttp

from .harness import NO_LIMITS, Client, Emulate, check
from .test_people import somebody

WEBHOOKS, GUILD, EXPRESSIONS, BANS = 1 << 29, 1 << 5, 1 << 30, 1 << 2


async def owner(client: Client) -> Client:
    users = (await client.control("GET", "/users")).json
    return client.as_user(next(each for each in users if each["name"] == "owner"))


def test_emojis_and_reactions_with_them(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        path = f"/guilds/{client.address.guild_id}/emojis"
        body = {"name": "party", "image": "data:image/gif;base64,AAAA"}
        assert (await client.ask("POST", path, json=body)).code == 50013
        boss = await owner(client)
        assert (await boss.ask("POST", path, json=body | {"name": "x y"})).code == 50035
        made = (await boss.ask("POST", path, json=body)).json
        check(made, "EmojiResponse")
        assert made["animated"]
        check((await client.ask("GET", f"{path}/{made['id']}")).json, "EmojiResponse")
        (seen,) = (await client.ask("GET", path)).json
        assert ("user" in seen, "user" in (await boss.ask("GET", path)).json[0]) == (False, True)
        reaction = f"{client.messages}/{(await client.posted('x'))['id']}/reactions/party:{made['id']}"
        assert (await client.ask("PUT", f"{reaction}/@me")).status == 204
        await boss.ask("DELETE", f"{path}/{made['id']}")
        (message,) = (await client.ask("GET", client.messages)).json
        check(message, "MessageResponse")
        assert message["reactions"][0]["emoji"] == {"id": made["id"], "name": "party", "animated": True}
        assert len((await client.ask("GET", reaction)).json) == 1
        assert (await client.ask("GET", f"{path}/{made['id']}")).code == 10014

    emulate(scenario, NO_LIMITS)


def test_stickers_on_messages(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        path = f"/guilds/{client.address.guild_id}/stickers"
        boss = await owner(client)
        data = aiohttp.FormData()
        for key, value in {"name": "wave", "description": "a hand", "tags": "wave"}.items():
            data.add_field(key, value)
        data.add_field("file", b"{}", filename="wave.json", content_type="application/json")
        made = (await boss.ask("POST", path, data=data)).json
        check(made, "GuildStickerResponse")
        assert made["format_type"] == 3
        check((await client.ask("GET", path)).json, "GuildStickerResponse", many=True)
        for each in (f"{path}/{made['id']}", f"/stickers/{made['id']}"):
            check((await client.ask("GET", each)).json, "GuildStickerResponse")
        message = await client.posted(sticker_ids=[made["id"]])
        check(message, "MessageResponse")
        assert message["sticker_items"] == [{"id": made["id"], "name": "wave", "format_type": 3}]
        assert (await client.post(sticker_ids=["1"])).code == 50081
        assert (await client.ask("GET", "/stickers/1")).code == 10060

    emulate(scenario, NO_LIMITS)


def test_a_webhook_posts_under_any_name(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        path = f"/channels/{client.channel}/webhooks"
        assert (await client.ask("GET", path)).code == 50013
        boss = await owner(client)
        made = (await boss.ask("POST", path, json={"name": "Build"})).json
        check(made, "GuildIncomingWebhookResponse")
        for each in (path, f"/guilds/{client.address.guild_id}/webhooks"):
            assert (await boss.ask("GET", each)).json == [made]
        hook = f"{client.address.api}/webhooks/{made['id']}/{made['token']}"
        posted = await client.fetch("POST", f"{hook}?wait=true", json={"content": "green", "username": "CI"})
        check(posted.json, "MessageResponse")
        assert (await client.fetch("POST", hook, json={"content": "silent"})).status == 204
        newest, first = (await client.ask("GET", client.messages)).json
        check([newest, first], "MessageResponse", many=True)
        assert (first["webhook_id"], first["author"]["username"]) == (made["id"], "CI")
        assert (newest["author"]["id"], newest["author"]["username"]) == (made["id"], "Build")
        other = await somebody(client, name="second", message_content=False)
        assert [each["content"] for each in (await other.ask("GET", client.messages)).json] == ["", ""]
        assert (await client.fetch("POST", f"{hook}x", json={"content": "x"})).status == 401
        assert "token" in (await client.fetch("GET", hook)).json
        thread = {"name": "t", "type": 11}
        made_thread = (await client.ask("POST", f"/channels/{client.channel}/threads", json=thread)).json
        inside = f"{hook}?wait=true&thread_id={made_thread['id']}"
        assert (await client.fetch("POST", inside, json={"content": "x"})).json["channel_id"] == made_thread[
            "id"
        ]
        assert (await boss.ask("DELETE", f"/webhooks/{made['id']}")).status == 204
        assert (await client.fetch("POST", hook, json={"content": "x"})).code == 10015
        stats = (await client.stats())["requests"]
        assert made["token"] not in str(stats)

    emulate(scenario, NO_LIMITS)


def test_a_webhook_posts_into_a_forum(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        boss = await owner(client)
        guild = f"/guilds/{client.address.guild_id}"
        forum = (await boss.ask("POST", f"{guild}/channels", json={"name": "f", "type": 15})).json
        made = (await boss.ask("POST", f"/channels/{forum['id']}/webhooks", json={"name": "Build"})).json
        hook = f"{client.address.api}/webhooks/{made['id']}/{made['token']}?wait=true"
        assert (await client.fetch("POST", hook, json={"content": "x"})).status == 400
        post = (await client.fetch("POST", hook, json={"content": "x", "thread_name": "Night"})).json
        check(post, "MessageResponse")
        (thread,) = (await client.ask("GET", f"{guild}/threads/active")).json["threads"]
        assert (thread["id"], thread["name"], thread["owner_id"]) == (post["id"], "Night", made["id"])

    emulate(scenario, NO_LIMITS)


def test_invites(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        path = f"/channels/{client.channel}/invites"
        made = (await client.ask("POST", path, json={"max_age": 60})).json
        check(made, "GuildInviteResponse")
        (listed,) = (await client.ask("GET", path)).json
        assert (listed["code"], listed["max_age"]) == (made["code"], 60)
        guild = f"/guilds/{client.address.guild_id}/invites"
        assert (await client.ask("GET", guild)).code == 50013
        assert len((await (await owner(client)).ask("GET", guild)).json) == 1
        public = f"{client.address.api}/invites/{made['code']}?with_counts=true"
        seen = (await client.fetch("GET", public)).json
        check(seen, "GuildInviteResponse")
        assert (seen["approximate_member_count"], "uses" in seen) == (2, False)
        await client.control("POST", "/clock", advance_s=61)
        gone = await client.fetch("GET", public)
        assert (gone.status, gone.code) == (404, 10006)
        assert (await client.ask("GET", "/invites/nothing")).code == 10006
        assert (await client.ask("GET", path)).json == []

    emulate(scenario, NO_LIMITS)


def test_roles(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        path = f"/guilds/{client.address.guild_id}/roles"
        made = await client.ask("POST", path, json={"name": "Choir", "color": 255, "hoist": True})
        check(made.json, "GuildRoleResponse")
        check((await client.ask("GET", f"{path}/{made.json['id']}")).json, "GuildRoleResponse")
        assert made.json in (await client.ask("GET", path)).json
        assert (await client.ask("POST", path, json={"permissions": "8"})).code == 50013
        mention = await client.posted(f"hello <@&{made.json['id']}> and @everyone")
        assert (mention["mention_roles"], mention["mention_everyone"]) == ([made.json["id"]], True)

    async def after_a_restart(client: Client) -> None:
        roles = (await client.ask("GET", f"/guilds/{client.address.guild_id}/roles")).json
        assert [(each["color"], each["hoist"]) for each in roles][-1] == (255, True)

    emulate(scenario, NO_LIMITS)
    emulate(after_a_restart, NO_LIMITS)


def test_members_page_by_page_behind_their_intent(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        for number in range(4):
            await somebody(client, name=f"person{number}", bot=False)
        path = f"/guilds/{client.address.guild_id}/members"
        seen: list[str] = []
        while page := (await client.ask("GET", f"{path}?after={seen[-1] if seen else 0}")).json:
            check(page, "GuildMemberResponse", many=True)
            assert len(page) == 1
            seen.append(page[0]["user"]["id"])
        assert len(seen) == len(set(seen)) == 6
        blind = await somebody(client, name="blind", members=False)
        assert (await blind.ask("GET", path)).code == 50001

    emulate(scenario, NO_LIMITS)


def test_who_is_banned_is_no_member_but_what_they_wrote_stays(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        anna = await somebody(client, name="anna", bot=False)
        await anna.posted("still here")
        me = (await anna.ask("GET", "/users/@me")).json["id"]
        boss, guild = await owner(client), f"/guilds/{client.address.guild_id}"
        ban = f"{guild}/bans/{me}"
        assert (await client.ask("PUT", ban)).code == 50013
        headers = {"X-Audit-Log-Reason": "spam"}
        assert (await boss.ask("PUT", ban, headers=headers)).status == 204
        check((await boss.ask("GET", f"{guild}/bans")).json, "GuildBanResponse", many=True)
        assert (await boss.ask("GET", ban)).json["reason"] == "spam"
        assert (await client.ask("GET", f"{guild}/members/{me}")).code == 10007
        assert (await anna.ask("GET", client.messages)).code == 50001
        (message,) = (await client.ask("GET", client.messages)).json
        assert (message["content"], message["author"]["id"]) == ("still here", me)

    emulate(scenario, NO_LIMITS)
