"""With --strict-discard a run is what Discard would have written, key by key and byte by byte."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from discordfs.capture.run import Result

from .harness import Run, Server

RUN_KEYS: dict[str, list[str]] = {
    "client": ["name", "version", "discord.py_version"],
    "settings": ["mode", "token", "is_user_account", "output_dir", "after", "before", "no_scrub", "gzip"],
    "run": [
        *("datetime_start", "datetime_end", "run_directory", "ident", "completed", "finished", "errors"),
        *("exception", "traceback"),
    ],
    "summary": ["num_http_requests", "num_ws_packets", "num_messages"],
    "user": ["id", "name", "discriminator", "bot"],
}
"""run.meta.json as Discard has it, with `command` after `client`."""

RECORD_KEYS = {
    "http": ["type", "datetime_start", "datetime_end", "request", "response"],
    "ws": ["type", "datetime", "direction", "data"],
}


@pytest.fixture
def run(server: Server) -> Run:
    message = server.posts(120)[0]
    server.react(message, "👍")
    server.ask("POST", f"/channels/{server.channel}/messages/{message}/threads", {"name": "a thread"})
    return server.run("guild", strict=True)


def test_the_tree_is_discards(server: Server, run: Run) -> None:
    assert re.fullmatch(r"\d{8}T\d{6}_guild_full", run.path.name)
    names = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    guild, channel = server.guild, server.channel
    expected = ["run.jsonl", "run.meta.json", f"{guild}/guild.jsonl", f"{guild}/guild.meta.json"]
    assert names == sorted([*expected, f"{guild}/{channel}.jsonl", f"{guild}/{channel}.meta.json"])


def test_the_metadata_has_discards_keys_in_their_order(server: Server, run: Run) -> None:
    meta = run.meta()
    assert list(meta) == ["client", "command", "settings", "run", "summary", "user"]
    assert {key: list(meta[key]) for key in RUN_KEYS} == RUN_KEYS
    guild = run.meta(str(server.guild), "guild.meta.json")
    assert {key: list(guild[key]) for key in guild} == {
        "guild": ["id", "name"],
        "summary": ["num_channels", "num_messages"],
    }
    channel = run.meta(str(server.guild), f"{server.channel}.meta.json")
    assert {key: list(channel[key]) for key in channel} == {
        "channel": ["id", "name", "type"],
        "summary": ["num_messages", "oldest_message", "newest_message"],
    }
    assert list(channel["summary"]["oldest_message"]) == ["id", "timestamp"]
    text = (run.path / "run.meta.json").read_text()
    assert text == json.dumps(meta, indent=4, ensure_ascii=False)
    assert isinstance(meta["user"]["id"], int)


def test_every_line_is_what_json_dumps_gives_of_discards_record(server: Server, run: Run) -> None:
    for path in run.path.rglob("*.jsonl"):
        for line in path.read_text().removesuffix("\n").split("\n"):
            record = json.loads(line)
            assert line == json.dumps(record, ensure_ascii=False)
            keys = [key for key in record if key != "scrubbed"]
            assert keys == RECORD_KEYS[record["type"]]
            if record["type"] == "http":
                assert list(record["request"]) in (["method", "url"], ["method", "url", "params"])
                assert list(record["response"]) == ["data"]


def test_the_requests_are_discards(server: Server, run: Run) -> None:
    def asked(name: str | int) -> list[Any]:
        base = server.discord.address.api
        return [
            (each["request"]["url"].removeprefix(base), each["request"].get("params"))
            for each in run.records(name)
            if each["type"] == "http"
        ]

    assert asked("run") == [("/users/@me", None), ("/gateway", None)]
    guild = f"/guilds/{server.guild}"
    assert asked("guild") == [(guild + part, None) for part in ("", "/channels", "/roles", "/emojis")]
    messages = f"/channels/{server.channel}/messages"
    first, second, third = [each for each in asked(server.channel) if each[0] == messages] + [None] * 1
    assert first == (messages, {"limit": 100, "after": 0})
    assert second is not None
    assert second[1]["limit"] == 100
    assert second[1]["after"] == max(int(each["id"]) for each in run.messages(server.channel)[:100])
    assert third is None
    (reaction,) = [each for each in asked(server.channel) if "/reactions/" in each[0]]
    assert reaction[1] == {"limit": 100}


def test_what_the_body_says_is_kept_whole(server: Server, run: Run) -> None:
    """Numbers, unknown fields and their order."""
    record = run.http(server.channel, "/messages")[0]
    again = server.ask("GET", f"/channels/{server.channel}/messages", limit=100, after=0)
    ours, theirs = record["response"]["data"], again
    assert json.dumps(ours, ensure_ascii=False) == json.dumps(theirs, ensure_ascii=False)


@pytest.mark.expects_log("429 for")
def test_refusals_are_no_records(server: Server) -> None:
    """Discard wrote down what it got, and nothing of what it did not get."""
    server.discord.fault(route="/channels/{id}/messages", method="GET", nth=1, kind="status", status=503)
    run = server.run("channel", server.channel, 99, strict=True)
    assert len(run.http(server.channel, "/messages")) == 1
    assert not run.http("run", "/channels/99")
    assert isinstance(run.result, Result)
    assert run.result.is_target_refused
