"""A file that could not be had is not forgotten: each run tries it once more, until it is surely gone."""

from __future__ import annotations

import json
import random
import sqlite3
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from discordfs.capture.media import MediaStore
from discordfs.remote.base import Fetched

from .harness import Run, Server
from .test_media import ATTACHMENTS, Uploads, kept, rows, uploads

__all__ = ["uploads"]

WEEK = 7 * 86_400.0


def fail(server: Server, status: int = 404) -> None:
    """The CDN answers so, whatever is asked of it."""
    server.discord.fault(route="cdn", method="GET", probability=1.0, kind="status", status=status)


def mend(server: Server) -> None:
    server.discord.control("DELETE", "/faults")
    server.discord.control("POST", "/stats/reset")


def again(server: Server, **more: Any) -> Run:
    """A run that sees no message of before."""
    settings: dict[str, Any] = {"media": ATTACHMENTS, "incremental": True, "window_s": 0.001} | more
    return server.run("channel", server.channel, **settings)


def cdn_requests(server: Server) -> int:
    return int(server.discord.stats()["cdn"]["requests"])


@pytest.fixture
def broken(server: Server, uploads: Uploads) -> int:
    """An attachment that a first run could not have; the CDN is well again."""
    (one,) = uploads.post({"one.bin": b"worth waiting for"})
    server.later(2 * WEEK)
    fail(server)
    first = server.run("channel", server.channel, media=ATTACHMENTS)
    assert any(str(one) in problem for problem in first.result.media_problems)
    mend(server)
    return one


@pytest.mark.parametrize("more", [{}, {"resume": True}], ids=["incremental", "resumed"])
def test_a_file_that_failed_is_fetched_by_the_next_run_that_does_not_see_its_message(
    server: Server, broken: int, more: dict[str, Any]
) -> None:
    run = again(server, **more)
    pages = run.http(server.channel, "/messages")
    assert not any(each["response"]["data"] for each in pages if "after" in each["request"]["params"])
    assert kept(server, f"attachment:{broken}") == b"worth waiting for"
    assert run.result.media_problems == ()
    message = rows(server)[f"attachment:{broken}"]["message"]
    assert run.http("run", f"/channels/{server.channel}/messages/{message}"), "the request is on record"
    mend(server)
    again(server)
    assert cdn_requests(server) == 0


def test_the_address_is_a_new_one(server: Server, broken: int) -> None:
    """Two weeks later the old one has run out."""
    server.later(2 * WEEK)
    again(server)
    assert kept(server, f"attachment:{broken}") == b"worth waiting for"
    assert cdn_requests(server) == 1


def test_a_run_that_was_not_to_end_well_is_gone_on_with_and_has_the_file(
    server: Server, uploads: Uploads
) -> None:
    (one,) = uploads.post({"one.bin": b"worth waiting for"})
    other = server.new_channel("other")
    fail(server)
    route = "/channels/{id}/messages/pins"
    server.discord.fault(route=route, method="GET", probability=1.0, kind="status", status=500)
    server.ask("PUT", f"/channels/{other}/messages/pins/{server.post('pinned', channel=other)}")
    broken = server.run("guild", media=ATTACHMENTS)
    assert not broken.result.completed
    mend(server)
    run = server.run("guild", media=ATTACHMENTS, resume=True)
    assert run.path == broken.path
    assert kept(server, f"attachment:{one}") == b"worth waiting for"


def test_it_is_tried_once_in_a_run(server: Server, broken: int) -> None:
    """However often it is seen: two requests, for the page's address and a fresh one."""
    fail(server)
    server.discord.control("POST", "/stats/reset")
    run = server.run("channel", server.channel, media=ATTACHMENTS)
    assert any(str(broken) in problem for problem in run.result.media_problems)
    assert cdn_requests(server) == 2


def test_a_picture_that_many_messages_show_and_nobody_has_is_asked_for_once(server: Server) -> None:
    server.discord.control("POST", "/seed")
    fail(server, 403)
    server.run("guild", media=frozenset({"avatars"}))
    people = {key for key in rows(server) if key.startswith("avatar:")}
    assert people
    assert cdn_requests(server) == len(people)
    mend(server)
    server.run("guild", media=frozenset({"avatars"}), incremental=True, window_s=0.001)
    assert all(row["sha256"] for row in rows(server).values())


def test_what_is_gone_for_good_is_not_asked_for_for_ever(server: Server, uploads: Uploads) -> None:
    """The message is there, its file is not."""
    (one,) = uploads.post({"one.bin": b"soon gone"})
    server.later()
    server.discord.control("POST", "/tamper", {"attachment_id": str(one), "kind": "delete"})
    server.run("channel", server.channel, media=ATTACHMENTS)
    told = [again(server).result.media_problems for _ in range(3)]
    assert [bool(problems) for problems in told] == [True, True, False]
    mend(server)
    again(server)
    server.run("channel", server.channel, media=ATTACHMENTS)
    assert cdn_requests(server) == 0
    assert server.discord.count("GET /channels/{id}/messages/{id}") == 0


def test_of_a_message_that_is_gone_nothing_is_asked_again(server: Server, broken: int) -> None:
    server.delete(rows(server)[f"attachment:{broken}"]["message"])
    (problem,) = again(server).result.media_problems
    assert str(broken) in problem
    mend(server)
    again(server)
    assert cdn_requests(server) == 0
    assert server.discord.count("GET /channels/{id}/messages/{id}") == 0


@pytest.mark.expects_log("the bot may not use MESSAGE_CONTENT")
def test_a_message_that_comes_empty_is_not_taken_for_one_without_files(server: Server) -> None:
    """Without MESSAGE_CONTENT; once it is allowed, the file is had."""
    anna = server.person("anna")
    key = person_uploads(server, anna)
    server.later(2 * WEEK)
    fail(server)
    server.run("channel", server.channel, media=ATTACHMENTS)
    mend(server)
    bot = server.ask("GET", "/users/@me")["username"]
    server.discord.user(bot, message_content=False)
    assert again(server).result.media_problems
    server.discord.user(bot, message_content=True)
    again(server)
    assert kept(server, key) == b"of a person"


def person_uploads(server: Server, name: str) -> str:
    """The key of a file that somebody else posted."""
    head = 'Content-Disposition: form-data; name="files[0]"; filename="theirs.bin"'
    body = f"--x\r\n{head}\r\n\r\nof a person\r\n--x--\r\n".encode()
    url = f"{server.discord.address.api}/channels/{server.channel}/messages"
    request = urllib.request.Request(url, body, method="POST")
    request.add_header("Authorization", server.people[name])
    request.add_header("Content-Type", "multipart/form-data; boundary=x")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return f"attachment:{json.loads(answer.read())['attachments'][0]['id']}"


def test_the_longest_failing_come_first(server: Server, uploads: Uploads) -> None:
    """A run that is ended early does not try the same few for ever."""
    keys = [f"attachment:{uploads.post({f'{number}.bin': bytes([number])})[0]}" for number in range(3)]
    server.later(2 * WEEK)
    fail(server)
    server.run("channel", server.channel, media=ATTACHMENTS)
    mend(server)
    with closing(sqlite3.connect(server.root / "media" / "media.sqlite", isolation_level=None)) as db:
        for number, key in enumerate(reversed(keys)):
            db.execute("UPDATE media SET at = ? WHERE key = ?", (f"2020-01-0{number + 1}", key))
    with closing(store_of(server)) as store:
        assert [item.key for some in store.left_over() for item in some] == keys[::-1]


def store_of(server: Server) -> MediaStore:
    def download(url: str, sink: Callable[[bytes], object]) -> Fetched:
        raise AssertionError("nothing is fetched here")

    chance, clock = random.Random(1), time.time_ns
    return MediaStore(server.root / "media", ATTACHMENTS, "", download, clock, chance, lambda seconds: None)


def test_files_of_channels_that_are_not_asked_for_are_left_alone(server: Server, broken: int) -> None:
    other = server.new_channel("other")
    run = server.run("channel", other, media=ATTACHMENTS)
    assert cdn_requests(server) == 0
    assert any(str(broken) in problem for problem in run.result.media_problems), "it is still said"
