"""Threads: what an archive must find of them, and who may see them."""

from __future__ import annotations

from typing import Any

from .harness import NO_LIMITS, Client, Emulate, check, form
from .test_gateway import GUILDS, MESSAGES, gateway, identify, receive
from .test_people import somebody

PUBLIC, PRIVATE = 11, 12


async def thread(client: Client, name: str, kind: int = PUBLIC, **more: Any) -> Any:
    answer = await client.ask(
        "POST", f"/channels/{client.channel}/threads", json={"name": name, "type": kind, **more}
    )
    assert answer.status == 201, answer
    check(answer.json, "CreatedThreadResponse")
    return answer.json


async def channel(client: Client, kind: int, name: str = "x", **more: Any) -> Any:
    body = {"name": name, "type": kind, **more}
    answer = await client.ask("POST", f"/guilds/{client.address.guild_id}/channels", json=body)
    assert answer.status == 201, answer
    check(answer.json, "GuildChannelResponse")
    return answer.json


async def archive(client: Client, one: Any) -> Any:
    answer = await client.ask("PATCH", f"/channels/{one['id']}", json={"archived": True})
    check(answer.json, "ThreadResponse")
    return answer.json


def test_a_thread_has_messages_and_counts_them(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        made = await thread(client, " Plans ")
        assert (made["name"], made["type"], made["parent_id"]) == ("Plans", PUBLIC, client.channel)
        messages = f"/channels/{made['id']}/messages"
        posted = [(await client.ask("POST", messages, json={"content": str(n)})).json for n in range(3)]
        assert (await client.ask("DELETE", f"{messages}/{posted[0]['id']}")).status == 204
        now = (await client.ask("GET", f"/channels/{made['id']}")).json
        check(now, "ThreadResponse")
        assert (now["message_count"], now["total_message_sent"], now["member_count"]) == (2, 3, 1)
        assert now["last_message_id"] == posted[-1]["id"]
        assert now["member"]["id"] == made["id"]
        (notice,) = (await client.ask("GET", client.messages)).json
        assert (notice["type"], notice["content"]) == (18, "Plans")
        assert notice["message_reference"]["channel_id"] == made["id"]
        check(notice, "MessageResponse")
        listed = (await client.ask("GET", f"/guilds/{client.address.guild_id}/channels")).json
        assert made["id"] not in [each["id"] for each in listed]

    async def after_a_restart(client: Client) -> None:
        active = (await client.ask("GET", f"/guilds/{client.address.guild_id}/threads/active")).json
        check(active, "ThreadsResponse")
        assert [(each["message_count"], each["total_message_sent"]) for each in active["threads"]] == [(2, 3)]
        assert [each["id"] for each in active["members"]] == [active["threads"][0]["id"]]

    emulate(scenario, NO_LIMITS)
    emulate(after_a_restart, NO_LIMITS)


def test_a_message_has_one_thread_at_most(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("What do you think?")
        path = f"{client.messages}/{message['id']}/threads"
        made = await client.ask("POST", path, json={"name": "opinions"})
        assert (made.status, made.json["id"]) == (201, message["id"])
        again = await client.ask("POST", path, json={"name": "again"})
        assert (again.status, again.code) == (400, 160004)
        starter = (await client.ask("GET", f"{client.messages}/{message['id']}")).json
        check(starter, "MessageResponse")
        assert starter["flags"] & 1 << 5
        assert starter["thread"]["id"] == message["id"]
        (first,) = (await client.ask("GET", f"/channels/{message['id']}/messages")).json
        check(first, "MessageResponse")
        assert (first["type"], first["referenced_message"]["content"]) == (21, "What do you think?")
        assert made.json["message_count"] == 0
        assert (await client.ask("DELETE", f"/channels/{message['id']}")).status == 200
        assert "thread" not in (await client.ask("GET", f"{client.messages}/{message['id']}")).json

    emulate(scenario, NO_LIMITS)


def test_archived_threads_are_found_page_by_page(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        made = [await thread(client, f"t{number}") for number in range(5)]
        for each in made:
            await archive(client, each)
        path = f"/channels/{client.channel}/threads/archived/public"
        seen: list[str] = []
        query = "?limit=2"
        while True:
            page = (await client.ask("GET", path + query)).json
            check(page, "ThreadsResponse")
            seen += [each["id"] for each in page["threads"]]
            if not page["has_more"]:
                break
            last = page["threads"][-1]["thread_metadata"]["archive_timestamp"]
            query = f"?limit=2&before={last.replace('+', '%2B')}"
        assert seen == [each["id"] for each in made[::-1]]
        active = (await client.ask("GET", f"/guilds/{client.address.guild_id}/threads/active")).json
        assert active["threads"] == []
        for wrong in ("?limit=1", "?limit=101", "?before=yesterday"):
            assert (await client.ask("GET", path + wrong)).code == 50035

    emulate(scenario, NO_LIMITS)


def test_private_threads_are_for_members_and_those_who_manage(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        person = await somebody(client, name="anna", bot=False)
        secret, open_ = await thread(client, "secret", PRIVATE), await thread(client, "open")
        path = f"/channels/{secret['id']}"
        assert (await person.ask("GET", path)).code == 50001
        active = f"/guilds/{client.address.guild_id}/threads/active"
        assert [each["id"] for each in (await person.ask("GET", active)).json["threads"]] == [open_["id"]]
        me = (await person.ask("GET", "/users/@me")).json["id"]
        assert (await client.ask("PUT", f"{path}/thread-members/{me}")).status == 204
        assert (await person.ask("GET", path)).status == 200
        members = (await client.ask("GET", f"{path}/thread-members?with_member=true&limit=100")).json
        check(members, "ThreadMemberResponse", many=True)
        assert [each["user_id"] for each in members][-1] == me
        await archive(client, secret)
        private = f"/channels/{client.channel}/threads/archived/private"
        assert (await person.ask("GET", private)).code == 50013
        for who, where in (
            (client, private),
            (person, f"/channels/{client.channel}/users/@me/threads/archived/private"),
        ):
            found = (await who.ask("GET", where)).json
            check(found, "ThreadsResponse")
            assert [each["id"] for each in found["threads"]] == [secret["id"]]
        joined = f"/channels/{client.channel}/users/@me/threads/archived/private?before={secret['id']}"
        assert (await client.ask("GET", joined)).json["threads"] == []

    emulate(scenario, NO_LIMITS)


def test_archived_and_locked(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        person = await somebody(client, name="anna", bot=False)
        made = await thread(client, "t")
        path = f"/channels/{made['id']}"
        message = (await client.ask("POST", f"{path}/messages", json={"content": "x"})).json
        await archive(client, made)
        edited = await client.ask("PATCH", f"{path}/messages/{message['id']}", json={"content": "y"})
        assert edited.code == 50083
        assert (await client.ask("PATCH", path, json={"name": "z"})).code == 50083
        assert (await person.ask("POST", f"{path}/messages", json={"content": "wake"})).status == 200
        assert not (await client.ask("GET", path)).json["thread_metadata"]["archived"]
        locked = (await client.ask("PATCH", path, json={"archived": True, "locked": True})).json
        assert locked["thread_metadata"]["locked"]
        refused = await person.ask("POST", f"{path}/messages", json={"content": "wake"})
        assert (refused.status, refused.code) == (403, 160005)
        assert (await person.ask("PATCH", path, json={"name": "mine"})).code == 50013

    emulate(scenario, NO_LIMITS)


def test_forums_hold_posts(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        for kind in (15, 16):
            forum = await channel(client, kind, available_tags=[{"name": "bug", "emoji_name": "🐛"}])
            tag = forum["available_tags"][0]["id"]
            path = f"/channels/{forum['id']}"
            assert (await client.ask("POST", f"{path}/messages", json={"content": "x"})).code == 50008
            payload = {"name": "It fails", "applied_tags": [tag], "message": {"content": "Look."}}
            made = await client.ask("POST", f"{path}/threads", data=form(payload, {"log.txt": b"boom"}))
            assert made.status == 201
            check(made.json, "CreatedThreadResponse")
            post, first = made.json, made.json["message"]
            assert (post["id"], post["applied_tags"], post["message_count"]) == (first["id"], [tag], 0)
            (listed,) = (await client.ask("GET", f"/channels/{post['id']}/messages")).json
            check(listed, "MessageResponse")
            assert (listed["content"], listed["attachments"][0]["filename"]) == ("Look.", "log.txt")
            assert "thread" not in listed
            assert (await client.ask("GET", path)).json["last_message_id"] == post["id"]
            assert (await client.ask("POST", f"{path}/threads", json={"name": "x"})).code == 50035
            assert (await client.ask("DELETE", path)).status == 200
            assert (await client.ask("GET", f"/channels/{post['id']}")).code == 10003

    emulate(scenario, NO_LIMITS)


def test_each_kind_of_channel(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        for kind in (0, 2, 5, 13):
            made = await channel(client, kind, f"kind {kind}")
            path = f"/channels/{made['id']}"
            assert (await client.ask("POST", f"{path}/messages", json={"content": "x"})).status == 200
            started = await client.ask(
                "POST", f"{path}/threads", json={"name": "t", "type": 10 if kind == 5 else 11}
            )
            assert started.status == (201 if kind in (0, 5) else 400)
            if started.status == 201:
                check(started.json, "CreatedThreadResponse")

    emulate(scenario, NO_LIMITS)


def test_events_of_threads(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async with gateway(client) as socket:
            await identify(socket, client.address.token, GUILDS | MESSAGES)
            made = await thread(client, "t")
            await archive(client, made)
            await client.ask("POST", f"/channels/{made['id']}/messages", json={"content": "wake"})
            await client.ask("DELETE", f"/channels/{made['id']}")
            events = [await receive(socket) for _ in range(6)]
            assert [each["t"] for each in events] == [
                "THREAD_CREATE",
                "MESSAGE_CREATE",
                "THREAD_UPDATE",
                "THREAD_UPDATE",
                "MESSAGE_CREATE",
                "THREAD_DELETE",
            ]
            assert events[0]["d"]["newly_created"]
            assert events[-1]["d"]["id"] == made["id"]
            other = await thread(client, "other")
            await client.control("POST", "/permissions", channel_id=client.channel, view=False)
            await client.control("POST", "/permissions", channel_id=client.channel, view=True)
            names = {}
            while "THREAD_LIST_SYNC" not in names:
                event = await receive(socket)
                names[event["t"]] = event["d"]
            assert [each["id"] for each in names["THREAD_LIST_SYNC"]["threads"]] == [other["id"]]

    emulate(scenario, NO_LIMITS)


def test_whoever_is_added_to_a_private_thread_hears_of_it(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        other = await somebody(client, name="second")
        me = (await other.ask("GET", "/users/@me")).json["id"]
        await client.control(
            "POST", "/permissions", channel_id=client.channel, user_id=me, manage_threads=False
        )
        async with gateway(client) as socket:
            await identify(socket, other.authorization.removeprefix("Bot "), GUILDS)
            secret = await thread(client, "secret", PRIVATE)
            await client.ask("PUT", f"/channels/{secret['id']}/thread-members/{me}")
            created, joined = await receive(socket), await receive(socket)
            assert (created["t"], created["d"]["id"]) == ("THREAD_CREATE", secret["id"])
            assert joined["d"]["added_members"][0]["user_id"] == me
            assert (
                await client.ask("PUT", f"/channels/{secret['id']}/permissions/{me}", json={})
            ).code == 50024

    emulate(scenario, NO_LIMITS)
