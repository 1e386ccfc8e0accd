"""What is promised of records: every attempt and every answer, byte for byte, each thing once, and no page of
a web server in place of a picture."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from discordfs.archive import CaptureSettings, capture, media_kinds

from .harness import HASTE, NO_LIMIT, Run, Server, lines_of
from .test_media import rows

ODD = {
    "nonce": 12345678901234567890123,
    "x_float": 1.0,
    "x_small": 1e-7,
    "x_text": "späße \u2028 \ud83d\ude42 </script>",
    "x_null": None,
    "x_nested": {"z": [], "a": {"": ""}},
}
"""Keys of a message that no client knows, and numbers that a careless reader changes."""


def raw(server: Server, url: str, params: dict[str, Any]) -> str:
    """An answer's body, past all code of ours."""
    query = "&".join(f"{key}={value}" for key, value in params.items())
    request = urllib.request.Request(f"{url}?{query}" if query else url)
    request.add_header("Authorization", f"Bot {server.token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        text: str = answer.read().decode()
    return text


@pytest.fixture
def odd(server: Server) -> Server:
    server.discord.control("POST", "/seed")
    for number in range(3):
        order = {"channel_id": str(server.channel), "content": f"odd {number}", "extra": ODD}
        server.discord.control("POST", "/messages", order)
    server.later()
    return server


def answers(run: Run) -> list[tuple[str, Any]]:
    """Lines of whole answers to requests whose answer stays the same, and each line read."""
    lines = [line for path in sorted(run.path.rglob("*.jsonl")) for line in lines_of(path)]
    read = [(line, json.loads(line)) for line in lines]
    return [(line, each) for line, each in read if each["type"] == "http" and not each.get("scrubbed")]


def test_a_strict_line_is_discards_record_of_the_body_that_came(odd: Server) -> None:
    """json.dumps(…, ensure_ascii=False) of the record with the received body in it, byte for byte."""
    run = odd.run("guild", strict=True)
    seen = answers(run)
    for line, record in seen:
        request = {"method": "GET", "url": record["request"]["url"]}
        params = record["request"].get("params")
        body = json.loads(raw(odd, record["request"]["url"], params or {}))
        theirs = {
            "type": "http",
            "datetime_start": record["datetime_start"],
            "datetime_end": record["datetime_end"],
            "request": request | ({"params": params} if params else {}),
            "response": {"data": body},
        }
        assert line == json.dumps(theirs, ensure_ascii=False)
    assert len(seen) > 25
    assert any(
        '"nonce": 12345678901234567890123, "x_float": 1.0, "x_small": 1e-07' in line for line, _ in seen
    )


def test_an_ordinary_line_has_the_bytes_that_came(odd: Server) -> None:
    run = odd.run("guild")
    count = 0
    for line, record in answers(run):
        if record["response"]["status"] == 200 and "with_counts" not in str(record["request"].get("params")):
            body = raw(odd, record["request"]["url"], record["request"].get("params") or {})
            assert f'"response": {{"data": {body}, "status": 200, ' in line
            count += 1
    assert count > 60


@pytest.mark.expects_log("429 for")
def test_a_429_is_a_record_with_what_it_said(server: Server) -> None:
    said = server.posts(2)
    order = {"route": "/channels/{id}/messages", "method": "GET", "kind": "status", "status": 429}
    server.discord.fault(**order, nth=1, delay_s=0.05)
    run = server.run("channel", server.channel)
    first, second = run.http(server.channel, "/messages")
    assert (first["response"]["status"], first["attempt"]) == (429, 1)
    assert first["response"]["data"]["retry_after"] == 0.05
    assert first["response"]["headers"]["retry-after"] == "1"
    assert first["response"]["headers"]["x-ratelimit-scope"] == "shared"
    assert (second["response"]["status"], second["attempt"]) == (200, 2)
    assert run.ids(server.channel) == said[::-1]


def invites(run: Run) -> int:
    return sum(len(run.http(path.stem, "/invites/nowhere123")) for path in run.path.rglob("*.jsonl"))


def test_an_invite_is_looked_up_once_wherever_it_is_met(server: Server) -> None:
    """In many pages and channels, however it is written."""
    for channel in (server.channel, server.new_channel("other")):
        server.post("come to https://discord.gg/nowhere123", channel=channel)
        server.posts(110, channel=channel)
        server.post("or https://discord.com/invite/nowhere123", channel=channel)
    assert invites(server.run()) == 1


def test_an_invite_is_not_looked_up_again_by_who_goes_on_with_a_run(server: Server) -> None:
    server.post("come to https://discord.gg/nowhere123")
    server.posts(110)
    server.post("or https://discord.com/invite/nowhere123")
    order = {"route": "/channels/{id}/messages", "method": "GET", "kind": "status", "status": 500}
    server.discord.fault(**order, nth=2, count=1000)
    broken = server.run("channel", server.channel)
    assert not broken.result.completed
    assert invites(broken) == 1
    server.discord.control("DELETE", "/faults")
    run = server.run("channel", server.channel, resume=True)
    assert (run.path, len(run.ids(server.channel))) == (broken.path, 112)
    assert invites(run) == 1


def test_parts_of_a_server_that_are_not_shown_are_recorded_and_end_nothing(server: Server) -> None:
    """VIEW_CHANNEL and READ_MESSAGE_HISTORY alone: no webhooks, invites or bans."""
    said = server.posts(3)
    server.discord.control("POST", "/permissions", {"guild": str(1 << 10 | 1 << 16)})
    run = server.run()
    assert run.result.completed
    assert run.ids(server.channel) == said[::-1]
    for part in ("webhooks", "invites", "bans"):
        (record,) = run.http("guild", f"/guilds/{server.guild}/{part}")
        assert record["response"]["status"] == 403
    told = [each["response"]["status"] for each in run.http(server.channel, "/threads/archived/private")]
    assert told == [403, 200], "then one's own"


def test_all_kinds_of_media_are_had_and_a_second_run_fetches_nothing(server: Server) -> None:
    """But for the picture that is gone, of which the run says so."""
    server.discord.control("POST", "/seed")
    first = server.run("guild", media=media_kinds("all"))
    assert {row["kind"] for row in rows(server).values()} == media_kinds("all")
    (problem,) = first.result.media_problems
    assert "gone.png" in problem
    assert [row["name"] for row in rows(server).values() if not row["sha256"]] == ["gone.png"]
    for _ in range(3):
        server.discord.control("POST", "/stats/reset")
        server.run("guild", media=media_kinds("all"))
    assert server.discord.stats()["cdn"]["requests"] == 0


def test_a_web_page_is_never_kept_as_a_picture(server: Server) -> None:
    """A proxy that asks for a password answers 200 with a page."""
    server.discord.control("POST", "/seed")
    server.discord.fault(route="cdn", method="GET", probability=1.0, kind="page")
    run = server.run("guild", media=media_kinds("avatars,emojis,stickers,embeds"))
    assert run.result.media_problems
    assert all(row["sha256"] == "" for row in rows(server).values())


def test_a_person_captures_with_their_own_account(server: Server) -> None:
    """As with Discard's -U: the token stands alone in the header, and contents come without any intent."""
    anna = server.person("anna")
    said = server.posts(3)
    settings = CaptureSettings("channel", (server.channel,), is_user_account=True)
    api, token = server.discord.address.api, server.people[anna]
    result = capture(token, settings, server.root, api=api, requests_a_second=NO_LIMIT, patience=HASTE)
    run = Run(result.directory, result)
    assert run.ids(server.channel) == said[::-1]
    assert run.messages(server.channel)[0]["content"] == "message 2"
    assert run.meta()["settings"]["is_user_account"] is True
    assert run.meta()["user"]["bot"] is False
    assert token.encode() not in run.bytes()


def test_unscrubbed_records_have_what_came(server: Server) -> None:
    hook = server.ask("POST", f"/channels/{server.channel}/webhooks", {"name": "hook"}, by=server.owner)
    address = f"https://discord.com/api/webhooks/{hook['id']}/{hook['token']}"
    server.post(f"use {address}")
    assert hook["token"].encode() not in server.run().bytes()
    run = server.run("guild", no_scrub=True)
    assert run.messages(server.channel)[0]["content"] == f"use {address}"
    assert not any(each.get("scrubbed") for each in run.records(server.channel))
