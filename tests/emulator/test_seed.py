"""The seeded server: what an archive must find there can be found, all of it, and is what Discord would
have.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any
from urllib.parse import quote

from discordfs.emulator.seed import seed_server

from .harness import NO_LIMITS, Client, Emulate, check

SHUT = ("closed", "no-history")


class Reader:
    """Reads a server the plain way: every list to its end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.guild = f"/guilds/{client.address.guild_id}"
        self.channels: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self.reactions: dict[tuple[str, str, str], list[str]] = {}
        self.votes: dict[tuple[str, str], list[str]] = {}

    async def get(self, path: str, schema: str, many: bool = False) -> Any:
        answer = await self._client.ask("GET", path)
        assert answer.status == 200, (path, answer)
        check(answer.json, schema, many)
        return answer.json

    async def read(self) -> None:
        listed = await self.get(f"{self.guild}/channels", "GuildChannelResponse", many=True)
        listed += (await self.get(f"{self.guild}/threads/active", "ThreadsResponse"))["threads"]
        for each in list(listed):
            if each["type"] in (0, 5, 15, 16) and each["name"] not in SHUT:
                listed += await self._archived(each["id"])
        self.channels = {each["id"]: each for each in listed}
        assert len(listed) == len(self.channels)
        for each in listed:
            if each["type"] not in (4, 15, 16) and each["name"] != "closed":
                await self.read_channel(each["id"])

    async def _archived(self, channel_id: str) -> list[Any]:
        found: list[Any] = []
        for kind in ("public", "private"):
            path, before = f"/channels/{channel_id}/threads/archived/{kind}?limit=50", ""
            while True:
                page = await self.get(path + before, "ThreadsResponse")
                found += page["threads"]
                if not page["has_more"]:
                    break
                last = page["threads"][-1]["thread_metadata"]["archive_timestamp"]
                before = f"&before={quote(last)}"
        return found

    async def read_channel(self, channel_id: str) -> None:
        after = "0"
        while True:
            path = f"/channels/{channel_id}/messages?limit=100&after={after}"
            page = await self.get(path, "MessageResponse", many=True)
            if not page:
                return
            after = page[0]["id"]
            for message in page:
                assert message["id"] not in self.messages
                self.messages[message["id"]] = message
                await self._around(f"/channels/{channel_id}", message)

    async def _around(self, channel: str, message: Any) -> None:
        one = f"{channel}/messages/{message['id']}/reactions"
        for reaction in message.get("reactions", []):
            emoji = reaction["emoji"]
            name = emoji["name"] if emoji["id"] is None else f"{emoji['name']}:{emoji['id']}"
            for number, kind in enumerate(("normal", "burst")):
                users = await self._users(f"{one}/{quote(name)}?limit=100&type={number}")
                assert len(users) == reaction["count_details"][kind]
                if users:
                    self.reactions[message["id"], emoji["id"] or name, kind] = users
        for answer in message.get("poll", {}).get("answers", []):
            path = f"{channel}/polls/{message['id']}/answers/{answer['answer_id']}?limit=100"
            self.votes[message["id"], str(answer["answer_id"])] = await self._users(path)

    async def _users(self, path: str) -> list[str]:
        seen: list[str] = []
        while True:
            answer = (await self._client.ask("GET", f"{path}&after={seen[-1] if seen else 0}")).json
            page = [each["id"] for each in (answer["users"] if isinstance(answer, dict) else answer)]
            seen += page
            if len(page) < 100:
                return seen


def everything(body: Any, shut: set[str]) -> tuple[set[str], dict[Any, Any], dict[Any, Any]]:
    """The messages that the bot may read, the users of their reactions, the votes, as the judge has them."""
    messages = [each for each in body["messages"] if each["channel_id"] not in shut]
    reactions = {
        (each["id"], key, kind): users
        for each in messages
        for key, kinds in each["reactions"].items()
        for kind, users in kinds.items()
        if users
    }
    votes = {(each["id"], answer): users for each in messages for answer, users in each["votes"].items()}
    return {each["id"] for each in messages}, reactions, votes


def test_all_that_there_is_can_be_read(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        assert (await client.control("POST", "/seed")).status == 204
        judge = (await client.control("GET", "/everything?hashes=1")).json
        reader = Reader(client)
        await reader.read()
        (private,) = [each for each in judge["channels"] if each["kind"] == 1]
        check((await client.ask("GET", f"/channels/{private['id']}")).json, "PrivateChannelResponse")
        await reader.read_channel(private["id"])
        closed = {each["id"] for each in judge["channels"] if each["name"] in SHUT}
        closed |= {each["id"] for each in judge["channels"] if each.get("parent_id") in closed}
        messages, reactions, votes = everything(judge, closed)
        assert set(reader.messages) == messages
        assert reader.reactions == reactions
        assert {key: users for key, users in reader.votes.items() if users} == votes
        there = {each["id"] for each in judge["channels"]} - closed - {private["id"]}
        assert set(reader.channels) - closed == there
        for each in judge["messages"]:
            if each["channel_id"] in closed:
                continue
            seen = reader.messages[each["id"]]
            shown = seen["attachments"] + [
                file for one in seen.get("message_snapshots", []) for file in one["message"]["attachments"]
            ]
            assert [file["id"] for file in shown] == [file["id"] for file in each["attachments"]]
            for file, known in zip(shown, each["attachments"], strict=True):
                data = (await client.fetch("GET", file["url"])).data
                assert hashlib.sha256(data).hexdigest() == known["sha256"]

    emulate(scenario, NO_LIMITS)


def test_it_has_a_little_of_everything(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        for _ in range(2):
            await seed_server(client.emulator.context)
        judge = (await client.control("GET", "/everything")).json
        kinds = Counter(each["kind"] for each in judge["channels"])
        assert set(kinds) == {0, 1, 2, 4, 5, 10, 11, 12, 13, 15, 16}
        assert {each["kind"] for each in judge["messages"]} >= {0, 6, 7, 8, 9, 12, 18, 19, 21, 22, 27, 28, 46}
        users = [
            users
            for each in judge["messages"]
            for kind in each["reactions"].values()
            for users in kind.values()
        ]
        assert max(map(len, users)) > 100
        assert all(judge[f"{kind}s"] for kind in ("emoji", "sticker", "webhook", "invite", "ban"))
        assert any(each["size"] == 0 for message in judge["messages"] for each in message["attachments"])
        assert any(len(each["name"].encode()) > 255 for each in judge["channels"])
        names = Counter(each["name"] for each in judge["channels"] if each["kind"] == 0)
        assert names["twins"] == 2
        tags = {str(tag["id"]) for each in judge["channels"] for tag in each["facts"].get("tags", [])}
        assert not tags & {each["id"] for each in judge["channels"]}
        for each in judge["messages"]:
            assert int(each["id"]) >= int(each["channel_id"])  # nothing is older than where it stands
        guild = f"/guilds/{client.address.guild_id}"
        for path, schema in {
            "/roles": "GuildRoleResponse",
            "/emojis": "EmojiResponse",
            "/stickers": "GuildStickerResponse",
            "/members?limit=1000": "GuildMemberResponse",
            "/invites": "GuildInviteResponse",
            "/bans": "GuildBanResponse",
        }.items():
            answer = await client.ask("GET", guild + path)
            check(answer.json, schema, many=True)
            assert answer.json
        hooks = (await client.ask("GET", f"{guild}/webhooks")).json
        for hook in hooks:
            kind = "GuildIncoming" if hook["type"] == 1 else "ChannelFollower"
            check(hook, f"{kind}WebhookResponse")
        check((await client.ask("GET", guild)).json, "GuildWithCountsResponse")

    async def once_more(client: Client) -> None:
        before = await client.stats()
        await client.control("POST", "/seed")
        assert (await client.stats())["messages"] == before["messages"]

    emulate(scenario, NO_LIMITS)
    emulate(once_more, NO_LIMITS)


def test_what_is_shut_stays_shut(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/seed")
        channels = (await client.ask("GET", f"/guilds/{client.address.guild_id}/channels")).json
        ids = {each["name"]: each["id"] for each in channels}
        refused = await client.ask("GET", f"/channels/{ids['closed']}/messages")
        assert (refused.status, refused.code) == (403, 50001)
        assert (await client.ask("GET", f"/channels/{ids['no-history']}/messages")).json == []
        active = (await client.ask("GET", f"/guilds/{client.address.guild_id}/threads/active")).json
        assert "Behind closed doors" not in [each["name"] for each in active["threads"]]

    emulate(scenario, NO_LIMITS)


def test_the_pictures_that_it_names_are_there(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.control("POST", "/seed")
        members = (await client.ask("GET", f"/guilds/{client.address.guild_id}/members?limit=1000")).json
        pictured = [each["user"] for each in members if each["user"]["avatar"]]
        assert len(pictured) >= 2
        for user in pictured:
            url = f"{client.address.cdn}/avatars/{user['id']}/{user['avatar']}.png?size=4096"
            assert (await client.fetch("GET", url)).status == 200
        lounge = next(
            each for each in client.emulator.context.world.channels.values() if each.name == "lounge"
        )
        messages = (await client.ask("GET", f"/channels/{lounge.id}/messages?limit=100")).json
        (embedded,) = [each["embeds"] for each in messages if len(each["embeds"]) == 2]
        there, gone = embedded[0]["image"], embedded[1]["thumbnail"]
        for key in ("url", "proxy_url"):
            assert (await client.fetch("GET", there[key])).headers["Content-Type"] == "image/png"
            assert (await client.fetch("GET", gone[key])).status == 404

    emulate(scenario, NO_LIMITS)


def test_many_messages_at_once(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        await client.posted("before")
        await client.control("POST", "/fill", channel_id=client.channel, count=20_000)
        await client.posted("after")
        seen: list[str] = []
        before = ""
        while page := (await client.ask("GET", f"{client.messages}?limit=100{before}")).json:
            seen += [each["id"] for each in page]
            before = f"&before={page[-1]['id']}"
        assert len(seen) == len(set(seen)) == 20_002
        assert seen == sorted(seen, key=int, reverse=True)
        assert (await client.control("GET", f"/ids?channel_id={client.channel}")).json == seen[::-1]
        made = (await client.control("POST", "/fill", channels=1000, count=3)).json["channel_ids"]
        assert len((await client.ask("GET", f"/guilds/{client.address.guild_id}/channels")).json) == 1001
        for each in (made[0], made[-1]):
            listed = (await client.ask("GET", f"/channels/{each}/messages")).json
            check(listed, "MessageResponse", many=True)
            assert len(listed) == 3
        fill = {"channel_id": client.channel, "threads": 150, "archived": True, "count": 2}
        await client.control("POST", "/fill", **fill)
        archived = f"/channels/{client.channel}/threads/archived/public?limit=100"
        first = (await client.ask("GET", archived)).json
        check(first, "ThreadsResponse")
        assert first["has_more"]
        assert {each["message_count"] for each in first["threads"]} == {2}

    emulate(scenario, NO_LIMITS)


def test_many_members_and_reactions(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("x")
        await client.control("POST", "/fill", members=2500, message_id=message["id"], reactions=1500)
        path = f"/guilds/{client.address.guild_id}/members?limit=1000"
        seen: list[str] = []
        while page := (await client.ask("GET", f"{path}&after={seen[-1] if seen else 0}")).json:
            seen += [each["user"]["id"] for each in page]
        assert len(seen) == len(set(seen)) == 2502
        (listed,) = (await client.ask("GET", client.messages)).json
        assert listed["reactions"][0]["count"] == 1500
        one = f"{client.messages}/{message['id']}/reactions/{quote('👍')}?limit=100"
        users: list[str] = []
        while page := (await client.ask("GET", f"{one}&after={users[-1] if users else 0}")).json:
            users += [each["id"] for each in page]
        assert len(users) == len(set(users)) == 1500

    emulate(scenario, NO_LIMITS)
