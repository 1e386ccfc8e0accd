"""Who sees and may do what: permissions, other bots, people, and the intent that shows what others
wrote.
"""

from __future__ import annotations

from .harness import NO_LIMITS, Client, Emulate, check


async def somebody(client: Client, **fields: object) -> Client:
    return client.as_user((await client.control("POST", "/users", **fields)).json)


def test_a_channel_can_be_closed_to_the_bot(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = (await client.posted("x"))["id"]
        await client.control("POST", "/permissions", channel_id=client.channel, send=False)
        refused = await client.post("x")
        assert (refused.status, refused.code) == (403, 50013)
        assert len((await client.ask("GET", client.messages)).json) == 1
        await client.control("POST", "/permissions", channel_id=client.channel, send=None, read_history=False)
        assert (await client.ask("GET", client.messages)).json == []
        await client.control("POST", "/permissions", channel_id=client.channel, view=False)
        for method, path in (("GET", client.messages), ("DELETE", f"{client.messages}/{message}")):
            refused = await client.ask(method, path)
            assert (refused.status, refused.code) == (403, 50001)
        await client.control("POST", "/permissions", channel_id=client.channel, view=None, read_history=None)
        assert (await client.post("x")).status == 200
        check((await client.ask("GET", f"/channels/{client.channel}")).json, "GuildChannelResponse")

    emulate(scenario, NO_LIMITS)


def test_permissions_in_the_whole_guild(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/permissions", guild=str(1 << 10 | 1 << 11))
        (guild,) = (await client.ask("GET", "/users/@me/guilds")).json
        assert guild["permissions"] == str(1 << 10 | 1 << 11)
        refused = await client.ask("POST", f"/guilds/{guild['id']}/channels", json={"name": "x"})
        assert refused.code == 50013

    emulate(scenario, NO_LIMITS)


def test_a_bot_can_shut_itself_out(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        everyone = {"id": client.address.guild_id, "type": 0, "deny": str(1 << 10)}
        me = {"id": (await client.ask("GET", "/users/@me")).json["id"], "type": 1, "allow": str(1 << 10)}
        path = f"/guilds/{client.address.guild_id}/channels"
        private = await client.ask("POST", path, json={"name": "a", "permission_overwrites": [everyone, me]})
        shut = await client.ask("POST", path, json={"name": "b", "permission_overwrites": [everyone]})
        assert (await client.ask("GET", f"/channels/{private.json['id']}")).status == 200
        assert (await client.ask("GET", f"/channels/{shut.json['id']}")).code == 50001
        too_much = {"id": me["id"], "type": 1, "allow": str(1 << 3)}
        refused = await client.ask("POST", path, json={"name": "c", "permission_overwrites": [too_much]})
        assert refused.code == 50013

    emulate(scenario, NO_LIMITS)


def test_without_the_intent_what_others_wrote_is_empty(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        other = await somebody(client, name="second", message_content=False)
        await client.posted("secret", {"a.bin": b"x"})
        await other.posted("own", {"b.bin": b"y"})
        me = (await other.ask("GET", "/users/@me")).json["id"]
        await client.posted(f"hello <@{me}>")
        mentioned, own, secret = (await other.ask("GET", other.messages)).json
        assert (secret["content"], secret["attachments"]) == ("", [])
        assert (own["content"], len(own["attachments"])) == ("own", 1)
        assert mentioned["content"].startswith("hello")
        application = (await other.ask("GET", "/oauth2/applications/@me")).json
        assert not application["flags"] & (1 << 18 | 1 << 19)
        assert (await client.ask("GET", client.messages)).json[1]["content"] == "own"

    emulate(scenario, NO_LIMITS)


def test_people_have_tokens_without_the_word_bot(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        person = await somebody(client, name="anna", bot=False)
        message = await person.posted("hi")
        assert "bot" not in message["author"]
        check(message, "MessageResponse")
        path = f"{client.messages}/{message['id']}"
        assert (await client.ask("PATCH", path, json={"content": "x"})).code == 50005
        refused = await person.ask("POST", f"{client.messages}/bulk-delete", json={"messages": []})
        assert refused.code == 20002
        assert (await client.ask("DELETE", path)).status == 204
        mine = (await client.posted("mine"))["id"]
        assert (await person.ask("DELETE", f"{client.messages}/{mine}")).code == 50013

    emulate(scenario, NO_LIMITS)


def test_a_new_token_ends_the_old_one(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/users", name="discordfs", token="new")
        assert (await client.ask("GET", "/users/@me")).status == 401
        client.authorization = "Bot new"
        assert (await client.ask("GET", "/users/@me")).status == 200

    emulate(scenario, NO_LIMITS)


def test_statistics_count_api_and_cdn_apart(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("x", {"a.bin": bytes(5000)})
        await client.ask("GET", f"{client.messages}/{message['id']}")
        await client.fetch("GET", message["attachments"][0]["url"], headers={"Range": "bytes=0-99"})
        stats = await client.stats()
        routes = {"POST /channels/{id}/messages": 1, "GET /channels/{id}/messages/{id}": 1}
        assert stats["requests"] == routes
        assert stats["cdn"] == {"requests": 1, "bytes_out": 100}
        assert 5000 < stats["bytes_in"] < 6000
        assert (stats["messages"], stats["attachments"], stats["stored_bytes"]) == (1, 1, 5000)
        await client.control("POST", "/stats/reset")
        stats = await client.stats()
        assert (stats["requests"], stats["bytes_in"], stats["bytes_out"], stats["messages"]) == ({}, 0, 0, 1)

    emulate(scenario, NO_LIMITS)
