"""Each kind of message, and direct messages: what they look like, and what is empty without the intent."""

from __future__ import annotations

from typing import Any

from .harness import NO_LIMITS, Client, Emulate, check
from .test_gateway import CONTENT, GUILDS, MESSAGES, gateway, identify, receive
from .test_people import somebody

DIRECT = 1 << 12


async def channel(client: Client, name: str) -> Any:
    path = f"/guilds/{client.address.guild_id}/channels"
    return (await client.ask("POST", path, json={"name": name})).json


async def newest(client: Client, path: str | None = None) -> Any:
    listed = (await client.ask("GET", path or client.messages)).json
    check(listed, "MessageResponse", many=True)
    return listed[0]


def test_a_forward_stays_when_the_original_goes(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        other = await channel(client, "other")
        embed = {"title": "t", "image": {"url": f"{client.address.cdn}/world/cat.png"}}
        original = await client.posted("look", {"a.bin": b"abc"}, embeds=[embed])
        reference = {"type": 1, "channel_id": client.channel, "message_id": original["id"]}
        path = f"/channels/{other['id']}/messages"
        forward = (await client.ask("POST", path, json={"message_reference": reference})).json
        check(forward, "MessageResponse")
        assert (forward["type"], forward["content"], forward["attachments"]) == (0, "", [])
        assert forward["flags"] & 1 << 14
        assert forward["message_reference"]["type"] == 1
        await client.ask("DELETE", f"{client.messages}/{original['id']}")
        inner = (await newest(client, path))["message_snapshots"][0]["message"]
        assert (inner["content"], inner["embeds"][0]["title"]) == ("look", "t")
        assert "author" not in inner
        assert (await client.fetch("GET", inner["attachments"][0]["url"])).data == b"abc"
        assert (await client.fetch("GET", inner["embeds"][0]["image"]["proxy_url"])).status == 200
        gone = await client.ask("POST", path, json={"message_reference": reference})
        assert gone.code == 50035
        await client.ask("DELETE", f"{path}/{forward['id']}")
        assert (await client.stats())["attachments"] == 0

    emulate(scenario, NO_LIMITS)


def test_nobody_forwards_what_they_may_not_read(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        other = await channel(client, "other")
        original = await client.posted("look")
        await client.control("POST", "/permissions", channel_id=client.channel, view=False)
        reference = {"type": 1, "channel_id": client.channel, "message_id": original["id"]}
        path = f"/channels/{other['id']}/messages"
        assert (await client.ask("POST", path, json={"message_reference": reference})).code == 50001

    emulate(scenario, NO_LIMITS)


def test_a_reply_shows_what_it_answers_while_that_is_there(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        question = await client.posted("why?")
        made = await client.posted("because", message_reference={"message_id": question["id"]})
        check(made, "MessageResponse")
        assert made["referenced_message"]["content"] == "why?"
        assert made["message_reference"]["guild_id"] == client.address.guild_id
        assert (await newest(client))["referenced_message"]["id"] == question["id"]
        await client.ask("DELETE", f"{client.messages}/{question['id']}")
        assert (await newest(client))["referenced_message"] is None

    emulate(scenario, NO_LIMITS)


def test_system_messages(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        for kind in (7, 8, 9, 12, 22, 32):
            await client.control("POST", "/messages", channel_id=client.channel, type=kind, content="2")
            assert (await newest(client))["type"] == kind

    emulate(scenario, NO_LIMITS)


def test_components_and_embeds(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        button = {"type": 2, "style": 5, "label": "Site", "url": "https://example.org"}
        made = await client.posted("press", components=[{"type": 1, "components": [button]}])
        check(made, "MessageResponse")
        assert [made["components"][0]["id"], made["components"][0]["components"][0]["id"]] == [1, 2]
        assert (await client.post("x", components=[{"type": 2}])).code == 50035
        picture = {"url": "https://example.org/a.png"}
        shown = await client.posted(embeds=[{"title": "t", "image": picture}])
        check(shown, "MessageResponse")
        assert shown["embeds"][0]["image"]["proxy_url"].endswith("/https/example.org/a.png")

    emulate(scenario, NO_LIMITS)


def test_direct_messages(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        anna = await somebody(client, name="anna", bot=False)
        blind = await somebody(client, name="blind", message_content=False)
        me = (await anna.ask("GET", "/users/@me")).json["id"]
        made = (await blind.ask("POST", "/users/@me/channels", json={"recipient_id": me})).json
        check(made, "PrivateChannelResponse")
        assert [each["id"] for each in made["recipients"]] == [me]
        again = (await blind.ask("POST", "/users/@me/channels", json={"recipient_id": me})).json
        assert again["id"] == made["id"]
        path = f"/channels/{made['id']}"
        async with gateway(client) as socket:
            await identify(socket, blind.authorization.removeprefix("Bot "), GUILDS | MESSAGES | DIRECT)
            said = (await anna.ask("POST", f"{path}/messages", json={"content": "psst"})).json
            event = await receive(socket)
            assert (event["t"], event["d"]["content"]) == ("MESSAGE_CREATE", "psst")
            assert "guild_id" not in event["d"]
        assert (await newest(blind, f"{path}/messages"))["id"] == said["id"]
        check((await blind.ask("GET", path)).json, "PrivateChannelResponse")
        assert (await client.ask("GET", path)).code == 50001
        assert (await client.ask("GET", f"{path}/messages")).code == 50001
        bulk = {"messages": [said["id"], said["id"]]}
        assert (await blind.ask("POST", f"{path}/messages/bulk-delete", json=bulk)).status == 403
        assert (await blind.ask("POST", "/users/@me/channels", json={"recipient_id": "1"})).code == 50033
        listed = (await client.ask("GET", f"/guilds/{client.address.guild_id}/channels")).json
        assert made["id"] not in [each["id"] for each in listed]

    emulate(scenario, NO_LIMITS)


def test_without_the_intent_everything_of_others_is_empty(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        blind = await somebody(client, name="blind", message_content=False)
        anna = await somebody(client, name="anna", bot=False)
        embed = {"title": "secret"}
        row = {"type": 1, "components": [{"type": 2, "style": 5, "label": "secret", "url": "https://e.org"}]}
        original = await anna.posted("secret", {"a.bin": b"x"}, embeds=[embed], components=[row])
        ask = {"question": {"text": "secret"}, "answers": [{"poll_media": {"text": "secret"}}]}
        await anna.posted(poll=ask)
        await anna.posted("secret", message_reference={"message_id": original["id"]})
        reference = {"type": 1, "channel_id": client.channel, "message_id": original["id"]}
        await anna.posted(message_reference=reference)
        thread = {"name": "talk"}
        await anna.ask("POST", f"{client.messages}/{original['id']}/threads", json=thread)
        inside = f"/channels/{original['id']}/messages"
        await anna.ask("POST", inside, json={"content": "secret"})
        for path in (client.messages, inside):
            answer = await blind.ask("GET", path)
            check(answer.json, "MessageResponse", many=True)
            assert b"secret" not in answer.data
            assert b"a.bin" not in answer.data
            assert b"secret" in (await client.ask("GET", path)).data
        async with gateway(client) as socket:
            await identify(socket, client.address.token, GUILDS | MESSAGES)
            await anna.posted("secret", message_reference={"message_id": original["id"]})
            assert "secret" not in str(await receive(socket))
        async with gateway(client) as socket:
            await identify(socket, client.address.token, GUILDS | MESSAGES | CONTENT)
            await anna.posted("secret")
            assert "secret" in str(await receive(socket))

    emulate(scenario, NO_LIMITS)
