"""The emulator's own books judge a run: nothing is missing, nothing is there twice, whatever happens."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import Counter, defaultdict
from contextlib import closing
from typing import Any

import pytest

from discordfs.archive import media_kinds

from .harness import Run, Server


def books(server: Server, **query: Any) -> Any:
    asked = "&".join(f"{key}={value}" for key, value in query.items())
    return server.discord.control("GET", f"/everything?{asked}")


def readable(server: Server, run: Run) -> set[int]:
    """Channels and threads of the server but those that a run says are not shown, and what is below."""
    closed = {int(word) for text in run.result.refusals for word in text.split() if word.isdecimal()}
    all_of_them = books(server)["channels"]
    direct = {int(each["id"]) for each in all_of_them if each["kind"] in (1, 3)}
    below = {int(each["id"]) for each in all_of_them if int(each["parent_id"] or 0) in closed}
    return {int(each["id"]) for each in all_of_them} - direct - closed - below


@pytest.fixture
def seeded(server: Server) -> Server:
    server.discord.control("POST", "/seed")
    return server


def test_each_message_of_the_seeded_server_is_there_once(seeded: Server) -> None:
    run = seeded.run()
    expected: dict[int, list[int]] = defaultdict(list)
    open_ones = readable(seeded, run)
    for message in books(seeded)["messages"]:
        if int(message["channel_id"]) in open_ones:
            expected[int(message["channel_id"])].append(int(message["id"]))
    assert sum(map(len, expected.values())) > 300
    for channel, ids in expected.items():
        assert sorted(run.ids(channel)) == sorted(ids), channel
    assert run.result.num_messages == sum(map(len, expected.values()))
    assert len(run.result.refusals) == 2, "one channel is closed, of one the history may not be read"
    assert run.result.completed


def test_each_reaction_and_vote_is_there_with_all_its_people(seeded: Server) -> None:
    run = seeded.run()
    found: dict[str, set[str]] = defaultdict(set)
    for path in run.path.rglob("*.jsonl"):
        for record in run.records(path.stem):
            url = record.get("request", {}).get("url", "")
            if "/reactions/" in url:
                kind = "burst" if record["request"]["params"]["type"] else "normal"
                found[f"{url.split('/')[-3]} {kind}"] |= {user["id"] for user in record["response"]["data"]}
            elif "/answers/" in url:
                users = record["response"]["data"]["users"]
                found[f"{url.split('/')[-3]} vote"] |= {user["id"] for user in users}
    expected: dict[str, set[str]] = defaultdict(set)
    open_ones = readable(seeded, run)
    for message in books(seeded)["messages"]:
        if int(message["channel_id"]) not in open_ones:
            continue
        for people in message["reactions"].values():
            for kind, users in people.items():
                expected[f"{message['id']} {kind}"] |= set(users)
        for users in message["votes"].values():
            expected[f"{message['id']} vote"] |= set(users)
    assert {key: users for key, users in found.items() if users} == {
        key: users for key, users in expected.items() if users
    }
    assert expected


@pytest.mark.parametrize("part", ["emojis", "stickers", "webhooks", "bans", "roles"])
def test_each_thing_of_the_server_is_there(seeded: Server, part: str) -> None:
    run = seeded.run()
    (record,) = run.http("guild", f"/guilds/{seeded.guild}/{part}")
    items = [each["user"] if part == "bans" else each for each in record["response"]["data"]]
    found = Counter(str(each["id"]) for each in items)
    assert found
    assert len(found) == len(books(seeded)[part])
    assert max(found.values()) == 1


def test_each_attachment_is_there_byte_for_byte(seeded: Server) -> None:
    run = seeded.run(media=media_kinds("attachments"))
    open_ones = readable(seeded, run)
    with closing(sqlite3.connect(seeded.root / "media" / "media.sqlite")) as db:
        kept = dict(db.execute("SELECT key, sha256 FROM media"))
    count = 0
    for message in books(seeded, hashes=1)["messages"]:
        for attachment in message["attachments"] if int(message["channel_id"]) in open_ones else ():
            sha256 = kept[f"attachment:{attachment['id']}"]
            assert sha256 == attachment["sha256"]
            data = (seeded.root / "media" / sha256[:2] / sha256).read_bytes()
            assert hashlib.sha256(data).hexdigest() == sha256
            count += 1
    assert count > 3


def test_hundreds_of_archived_threads_are_found(server: Server) -> None:
    order = {"channel_id": str(server.channel), "threads": 230, "archived": True, "count": 2}
    threads = [int(each) for each in server.discord.control("POST", "/fill", order)["channel_ids"]]
    run = server.run()
    assert all(len(run.ids(thread)) == 2 for thread in threads)


def test_reactions_beyond_a_page_and_members_beyond_theirs(server: Server) -> None:
    message = server.post("vote")
    server.discord.user(server.ask("GET", "/users/@me")["username"], members=True)
    server.discord.control("POST", "/fill", {"members": 1100})
    server.discord.control("POST", "/fill", {"message_id": str(message), "reactions": 250})
    run = server.run()
    (kept,) = [each for each in books(server)["messages"] if each["id"] == str(message)]
    expected = {user for people in kept["reactions"].values() for users in people.values() for user in users}
    found = {
        user["id"]
        for record in run.records(server.channel)
        if "/reactions/" in record["request"]["url"]
        for user in record["response"]["data"]
    }
    assert found == expected
    pages = run.http("guild", "/members")
    assert len({user["user"]["id"] for page in pages for user in page["response"]["data"]}) >= 1100
    assert len(pages) == 2


def test_what_comes_and_goes_meanwhile_takes_nothing_away(server: Server) -> None:
    """Messages that were there all the time are all there, whatever is posted and deleted beside."""
    stay = server.posts(450)
    go = [stay.pop(number) for number in range(400, 40, -40)]
    thread = server.ask("POST", f"/channels/{server.channel}/threads", {"name": "moving", "type": 11})
    inside = [server.post("in it", channel=int(thread["id"])) for _ in range(3)]
    server.discord.settings(latency_ms=10)
    is_over = threading.Event()

    def disturb() -> None:
        while not is_over.is_set():
            server.post("meanwhile")
            if go:
                server.delete(go.pop())
            server.ask("PATCH", f"/channels/{thread['id']}", {"archived": bool(len(go) % 2)})

    other = threading.Thread(target=disturb)
    other.start()
    try:
        run = server.run()
    finally:
        is_over.set()
        other.join()
    found = run.ids(server.channel)
    assert set(stay) <= set(found)
    assert len(found) == len(set(found))
    assert run.ids(int(thread["id"]))[::-1][:3] == inside


def test_no_secret_of_the_seeded_server_is_in_its_archive(seeded: Server) -> None:
    """Nor the bot's token, in records, metadata, media or what live runs add."""
    hooks = seeded.ask("GET", f"/guilds/{seeded.guild}/webhooks")
    secrets = [hook["token"] for hook in hooks if hook.get("token")]
    assert secrets
    seeded.post(f"look: {seeded.discord.address.cdn}/api/webhooks/{hooks[0]['id']}/{secrets[0]}")
    run = seeded.run(media=media_kinds("all"), live_s=0.5)
    everything = run.bytes()
    assert b"[SCRUBBED]" in everything
    for secret in (seeded.token, *secrets):
        assert secret.encode() not in everything
