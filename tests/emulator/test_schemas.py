"""Each kind of answer is what Discord's own description says: a client that works here would read
Discord's answers.
"""

from __future__ import annotations

import struct

from .harness import NO_LIMITS, Client, Emulate, check

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x08\x02\0\0\0" + b"\0" * 64


def test_oneself_and_the_way_to_the_gateway(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        me = await client.ask("GET", "/users/@me")
        check(me.json, "UserPIIResponse")
        assert me.headers["Content-Type"] == "application/json"
        check((await client.ask("GET", f"/users/{me.json['id']}")).json, "UserResponse")
        check((await client.ask("GET", "/oauth2/applications/@me")).json, "PrivateApplicationResponse")
        check((await client.ask("GET", "/users/@me/guilds")).json, "MyGuildResponse", many=True)
        check((await client.ask("GET", "/gateway")).json, "GatewayResponse")
        bot = await client.ask("GET", "/gateway/bot")
        check(bot.json, "GatewayBotResponse")
        assert bot.json["url"] == client.address.gateway

    emulate(scenario, NO_LIMITS)


def test_the_guild(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        guild = f"/guilds/{client.address.guild_id}"
        check((await client.ask("GET", guild)).json, "GuildWithCountsResponse")
        check((await client.ask("GET", guild + "?with_counts=true")).json, "GuildWithCountsResponse")
        check((await client.ask("GET", guild + "/roles")).json, "GuildRoleResponse", many=True)
        check((await client.ask("GET", guild + "/members/@me")).json, "GuildMemberResponse")
        check((await client.ask("GET", guild + "/members?limit=10")).json, "GuildMemberResponse", many=True)
        check((await client.ask("GET", f"/users/@me{guild}/member")).json, "PrivateGuildMemberResponse")
        check((await client.ask("GET", guild + "/threads/active")).json, "ThreadsResponse")
        check((await client.ask("GET", guild + "/channels")).json, "GuildChannelResponse", many=True)

    emulate(scenario, NO_LIMITS)


def test_channels(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        path = f"/guilds/{client.address.guild_id}/channels"
        category = (await client.ask("POST", path, json={"name": "Drives", "type": 4})).json
        check(category, "GuildChannelResponse")
        made = await client.ask(
            "POST", path, json={"name": "My Drive", "parent_id": category["id"], "topic": "t"}
        )
        assert made.status == 201
        check(made.json, "GuildChannelResponse")
        assert (made.json["name"], made.json["parent_id"]) == ("my-drive", category["id"])
        one = f"/channels/{made.json['id']}"
        for kind in (2, 5, 15):
            check(
                (await client.ask("POST", path, json={"name": "x", "type": kind})).json,
                "GuildChannelResponse",
            )
        check((await client.ask("PATCH", one, json={"topic": None})).json, "GuildChannelResponse")
        assert (await client.ask("DELETE", f"/channels/{category['id']}")).status == 200
        assert (await client.ask("GET", one)).json["parent_id"] is None
        check((await client.ask("DELETE", one)).json, "GuildChannelResponse")
        assert (await client.ask("GET", one)).code == 10003

    emulate(scenario, NO_LIMITS)


def test_messages(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("hello", {"a.bin": b"abc", "b.png": PNG, "c.jpg": b"?"}, nonce="n1")
        check(message, "MessageResponse")
        sizes = [(each.get("width", 0), each.get("height", 0)) for each in message["attachments"]]
        assert sizes == [(0, 0), (640, 480), (None, None)]
        embed = {"title": "t", "description": "d", "fields": [{"name": "n", "value": "v"}]}
        check(await client.posted("x", embeds=[embed]), "MessageResponse")
        check(await client.posted("re", message_reference={"message_id": message["id"]}), "MessageResponse")
        one = f"{client.messages}/{message['id']}"
        got = (await client.ask("GET", one)).json
        assert got == {key: value for key, value in message.items() if key != "nonce"}
        check((await client.ask("PATCH", one, json={"content": "edited"})).json, "MessageResponse")
        assert (await client.ask("PUT", f"{client.messages}/pins/{message['id']}")).status == 204
        check((await client.ask("GET", f"{client.messages}/pins")).json, "PinnedMessagesResponse")
        check(
            (await client.ask("GET", f"/channels/{client.channel}/pins")).json, "MessageResponse", many=True
        )
        listed = (await client.ask("GET", client.messages)).json
        check(listed, "MessageResponse", many=True)
        assert [each["type"] for each in listed] == [6, 19, 0, 0]

    emulate(scenario, NO_LIMITS)


def test_errors(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        expected = {
            ("GET", "/channels/123"): (404, 10003),
            ("GET", f"{client.messages}/123"): (404, 10008),
            ("GET", "/guilds/123"): (404, 10004),
            ("GET", "/nothing"): (404, 0),
            ("PUT", client.messages): (405, 0),
            ("GET", "/channels/abc"): (400, 50035),
            ("GET", f"{client.messages}?limit=101"): (400, 50035),
            ("GET", f"{client.messages}?before=x"): (400, 50035),
            ("POST", client.messages): (400, 50006),
        }
        for (method, path), (status, code) in expected.items():
            answer = await client.ask(method, path)
            assert (answer.status, answer.code) == (status, code), (method, path, answer)
            assert answer.headers["Content-Type"] == "application/json"
            nested = answer.json.pop("errors", None)
            check({key: value for key, value in answer.json.items() if key != "errors"}, "ErrorResponse")
            assert (nested is not None) == (code == 50035)
        client.authorization = "Bot wrong"
        refused = await client.ask("GET", "/users/@me")
        assert (refused.status, refused.json) == (401, {"message": "401: Unauthorized", "code": 0})

    emulate(scenario, NO_LIMITS)


def test_form_errors_name_the_field(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        long = await client.post("x" * 2001)
        assert long.json["errors"]["content"]["_errors"][0]["code"] == "BASE_TYPE_MAX_LENGTH"
        assert "nonce" in (await client.post("x", nonce="n" * 26)).json["errors"]
        missing = await client.post("x", attachments=[{"id": 3}])
        assert "_errors" in missing.json["errors"]["attachments"]["0"]["id"]
        eleven = await client.post("x", {f"{n}.bin": b"x" for n in range(11)})
        assert (eleven.status, eleven.code) == (400, 30015)
        broken = await client.ask(
            "POST", client.messages, data=b"{", headers={"Content-Type": "application/json"}
        )
        assert (broken.status, broken.code) == (400, 50109)
        assert (await client.stats())["attachments"] == 0

    emulate(scenario, NO_LIMITS)
