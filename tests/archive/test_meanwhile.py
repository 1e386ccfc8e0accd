"""A server goes on while it is captured: nothing slips through between two questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .harness import Server, behind
from .test_media import ATTACHMENTS, Uploads, kept, uploads

__all__ = ["uploads"]

DAY = 86_400.0
ACTIVE = "/guilds/{id}/threads/active"
ARCHIVED = "/channels/{id}/threads/archived/public"
PAGES = "/channels/{id}/messages"


@pytest.fixture
def thread(server: Server) -> tuple[int, int]:
    """A thread that is active, and a message in it."""
    made = server.ask("POST", f"/channels/{server.channel}/threads", {"name": "restless", "type": 11})
    number = int(made["id"])
    return number, server.post("in it", channel=number)


def archive(server: Server, thread: int, archived: bool) -> None:
    server.ask("PATCH", f"/channels/{thread}", {"archived": archived})


@pytest.mark.parametrize("mode", ["guild", "channel"])
def test_a_thread_that_is_archived_between_the_two_lists_is_found(
    server: Server, thread: tuple[int, int], mode: str
) -> None:
    """Active when the archived ones are listed, archived when the active ones are."""
    server.hold(ACTIVE)
    target = server.guild if mode == "guild" else server.channel
    with behind(server, mode, target) as run:
        server.await_held(ACTIVE)
        archive(server, thread[0], True)
        server.release()
    assert run.result().ids(thread[0]) == [thread[1]]


@pytest.mark.parametrize("mode", ["guild", "channel"])
def test_a_thread_that_wakes_up_between_the_two_lists_is_found(
    server: Server, thread: tuple[int, int], mode: str
) -> None:
    """Archived when the active ones are listed, active when the archived ones are."""
    archive(server, thread[0], True)
    server.hold(ARCHIVED)
    target = server.guild if mode == "guild" else server.channel
    with behind(server, mode, target) as run:
        server.await_held(ARCHIVED)
        archive(server, thread[0], False)
        server.release()
    assert run.result().ids(thread[0]) == [thread[1]]


def test_a_thread_that_no_list_ever_shows_is_found_by_its_notice(
    server: Server, thread: tuple[int, int]
) -> None:
    """It may go back and forth so often that each list is asked for at the wrong moment."""
    for route in (ACTIVE, ARCHIVED):
        server.discord.fault(route=route, method="GET", probability=1.0, kind="status", status=403)
    run = server.run("guild")
    assert run.ids(thread[0]) == [thread[1]]


def test_a_thread_that_is_gone_is_no_failure(server: Server, thread: tuple[int, int]) -> None:
    server.ask("DELETE", f"/channels/{thread[0]}", by=server.owner)
    run = server.run("guild")
    assert run.result.completed
    assert run.result.refusals == ()
    assert [each["response"]["status"] for each in run.http("run", f"/channels/{thread[0]}")] == [404]


def test_a_channel_that_is_deleted_meanwhile_is_kept_as_far_as_it_came(server: Server) -> None:
    other = server.new_channel("doomed")
    said = server.posts(150, channel=other)
    server.post("stays")
    server.hold(PAGES, nth=3)
    with behind(server, "guild") as run:
        server.await_held(PAGES)
        server.ask("DELETE", f"/channels/{other}", by=server.owner)
        server.release()
    done = run.result()
    assert done.result.completed, "what is gone ends nothing"
    assert len(done.ids(server.channel)) == 1
    assert set(done.ids(other)) in ({*said[:100]}, set())
    assert any(str(other) in each for each in done.result.refusals)
    assert [each["response"]["status"] for each in done.http(other, "/messages")][-1] == 404


def test_edits_and_deletions_meanwhile_are_as_discord_showed_them(server: Server) -> None:
    """Each message once, with the words of the moment of its page."""
    said = server.posts(300)
    server.hold(PAGES, nth=2)
    with behind(server, "guild") as run:
        server.await_held(PAGES)
        for number in (0, 150):
            server.ask(
                "PATCH", f"/channels/{server.channel}/messages/{said[number]}", {"content": "other words"}
            )
        server.delete(said[1])
        server.delete(said[151])
        late = server.post("late")
        server.release()
    found = {int(each["id"]): each["content"] for each in run.result().messages(server.channel)}
    assert len(found) == len(run.result().ids(server.channel))
    assert found[said[0]] == "message 0"
    assert found[said[150]] == "other words"
    assert found[late] == "late"
    assert set(found) == {*said, late} - {said[151]}


def test_each_page_is_on_disk_before_the_next_is_asked_for(server: Server) -> None:
    """Whatever kills the run then, that page is there."""
    said = server.posts(250)
    server.hold(PAGES, nth=3)
    with behind(server, "channel", server.channel):
        server.await_held(PAGES)
        (path,) = server.root.rglob(f"{server.channel}.jsonl")
        pages = [body for body in bodies(path) if isinstance(body, list)]
        assert sorted(int(each["id"]) for page in pages for each in page) == said[:200]


def bodies(path: Path) -> list[Any]:
    return [json.loads(line)["response"]["data"] for line in path.read_text().split("\n")[:-1]]


def test_a_link_that_runs_out_between_its_page_and_the_file_is_renewed(
    server: Server, uploads: Uploads
) -> None:
    """A run of hours over a channel with many files."""
    (one,) = uploads.post({"one.bin": b"worth the wait"})
    server.hold("cdn")
    with behind(server, "channel", server.channel, media=ATTACHMENTS) as run:
        server.await_held("cdn")
        server.later(2 * DAY)
        server.release()
    assert run.result().result.media_problems == ()
    assert kept(server, f"attachment:{one}") == b"worth the wait"
    assert int(server.discord.stats()["cdn"]["requests"]) == 2


def test_files_of_one_name_are_each_their_own(server: Server, uploads: Uploads) -> None:
    first = uploads.post({"same.bin": b"first"})
    second = uploads.post({"same.bin": b"second"})
    server.run("channel", server.channel, media=ATTACHMENTS)
    assert kept(server, f"attachment:{first[0]}") == b"first"
    assert kept(server, f"attachment:{second[0]}") == b"second"
