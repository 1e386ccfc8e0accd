"""Everything that a server has to read is in a run of it: threads, pins, reactions, people, invites."""

from __future__ import annotations

from typing import Any

import pytest

from .harness import Run, Server


def asked(run: Run, name: str | int, ending: str) -> list[Any]:
    return [each["response"]["data"] for each in run.http(name, ending)]


def test_threads_are_found_wherever_they_are_listed(server: Server) -> None:
    starter = server.post("here it starts")
    active = server.ask(
        "POST", f"/channels/{server.channel}/messages/{starter}/threads", {"name": "still going"}
    )
    old = [
        server.ask("POST", f"/channels/{server.channel}/threads", {"name": f"old {number}", "type": 11})
        for number in range(3)
    ]
    private = server.ask("POST", f"/channels/{server.channel}/threads", {"name": "quiet", "type": 12})
    said = {
        int(each["id"]): server.post("in it", channel=int(each["id"])) for each in [active, *old, private]
    }
    for each in [*old, private]:
        server.ask("PATCH", f"/channels/{each['id']}", {"archived": True})
    run = server.run()
    for thread, message in said.items():
        assert message in run.ids(thread), thread
        meta = run.meta(str(server.guild), f"{thread}.meta.json")["channel"]
        assert meta["parent_id"] == server.channel
        assert meta["type"] in (11, 12)
    assert run.meta(str(server.guild), "guild.meta.json")["summary"]["num_channels"] == 6


def test_a_channel_by_its_id_has_its_threads_with_it(server: Server) -> None:
    other = server.new_channel("other")
    theirs = server.ask("POST", f"/channels/{other}/threads", {"name": "theirs", "type": 11})
    ours = server.ask("POST", f"/channels/{server.channel}/threads", {"name": "ours", "type": 11})
    run = server.run("channel", server.channel)
    assert (run.path / str(server.guild) / f"{ours['id']}.jsonl").exists()
    assert not (run.path / str(server.guild) / f"{theirs['id']}.jsonl").exists()


def test_posts_of_a_forum_are_threads_and_the_forum_itself_has_no_messages(server: Server) -> None:
    forum = server.new_channel("questions", type=15)
    post = server.ask(
        "POST", f"/channels/{forum}/threads", {"name": "how?", "message": {"content": "like this?"}}
    )
    run = server.run()
    assert run.messages(int(post["id"]))[0]["content"] == "like this?"
    assert not run.http(forum, "/messages")


def test_the_users_of_a_reaction_are_paged_to_the_end(server: Server) -> None:
    message = server.post("vote")
    people = [server.person(f"voter{number}") for number in range(103)]
    for each in people:
        server.react(message, "🦊", by=each)
    run = server.run("channel", server.channel)
    pages = [
        (each["request"]["params"], each["response"]["data"])
        for each in run.records(server.channel)
        if each["type"] == "http" and "/reactions/" in each["request"]["url"]
    ]
    users = {user["id"] for params, page in pages if params["type"] == 0 for user in page}
    assert len(users) == 103


def test_pins_are_kept_with_when_they_were_pinned(server: Server) -> None:
    ids = server.posts(3)
    for each in ids[:2]:
        server.ask("PUT", f"/channels/{server.channel}/messages/pins/{each}")
    run = server.run("channel", server.channel)
    (page,) = asked(run, server.channel, "/messages/pins")
    assert {int(each["message"]["id"]) for each in page["items"]} == set(ids[:2])
    assert all(each["pinned_at"] for each in page["items"])


def test_an_invite_that_is_met_is_looked_up_once(server: Server) -> None:
    for _ in range(3):
        server.post("come to https://discord.gg/nowhere123 all of you")
    run = server.run("channel", server.channel)
    (record,) = run.http(server.channel, "/invites/nowhere123")
    assert record["response"]["status"] == 404


def test_people_are_there_where_the_intent_is(server: Server) -> None:
    server.discord.user(server.ask("GET", "/users/@me")["username"], members=True)
    names = {server.person(name) for name in ("anna", "bruno")}
    run = server.run()
    (page,) = asked(run, "guild", "/members")
    assert names <= {each["user"]["username"] for each in page}


def test_direct_messages_lie_under_me(server: Server) -> None:
    anna = server.person("anna")
    number = server.ask("GET", "/users/@me", by=anna)["id"]
    room = int(server.ask("POST", "/users/@me/channels", {"recipient_id": number})["id"])
    said = server.post("just between us", channel=room)
    run = server.run("channel", room)
    assert run.ids(room) == [said]
    assert (run.path / "@me" / f"{room}.jsonl").exists()
    assert run.meta("@me", f"{room}.meta.json")["channel"]["type"] == 1


@pytest.mark.parametrize("part", ["emojis", "stickers", "webhooks", "invites", "members", "roles", "bans"])
def test_each_part_of_a_server_is_asked_for_and_recorded_whatever_comes(server: Server, part: str) -> None:
    run = server.run()
    assert run.http("guild", f"/guilds/{server.guild}/{part}")
    assert run.result.completed
