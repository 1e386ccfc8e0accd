"""A run holds all that Discord showed, says what it did not show, and ends well or says why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from discordfs.archive import CaptureSettings, estimate
from discordfs.errors import Unauthorized
from discordfs.remote.base import snowflake_ns

from .harness import NO_LIMIT, Run, Server, lines_of


def test_every_message_is_there_once_and_the_metadata_counts_them(server: Server) -> None:
    said = server.posts(230)
    run = server.run()
    assert sorted(run.ids(server.channel)) == said
    assert run.result.completed
    assert run.result.num_messages == 230
    meta = run.meta(str(server.guild), f"{server.channel}.meta.json")
    assert meta["summary"]["num_messages"] == 230
    assert meta["summary"]["oldest_message"]["id"] == said[0]
    assert meta["summary"]["newest_message"]["id"] == said[-1]
    assert run.meta(str(server.guild), "guild.meta.json")["summary"] == {
        "num_channels": 1,
        "num_messages": 230,
    }
    summary = run.meta()["summary"]
    records = [json.loads(line) for path in run.path.rglob("*.jsonl") for line in lines_of(path)]
    assert summary["num_http_requests"] == sum(record["type"] == "http" for record in records)
    assert summary["num_ws_packets"] == sum(record["type"] == "ws" for record in records)
    assert not (run.path / "state.json").exists()


def test_bodies_are_kept_as_they_came_with_what_mattered_around_them(server: Server) -> None:
    server.post("späße 🙂 \u2028 </script> \\ud800")
    run = server.run("channel", server.channel)
    (record,) = run.http(server.channel, "/messages")
    assert list(record) == [
        "type",
        "datetime_start",
        "datetime_end",
        "request",
        "response",
        "attempt",
        "error",
    ]
    assert list(record["response"]) == ["data", "status", "headers"]
    assert record["response"]["data"] == server.ask("GET", f"/channels/{server.channel}/messages")
    assert (record["response"]["status"], record["attempt"], record["error"]) == (200, 1, None)
    assert record["response"]["headers"]["content-type"] == "application/json"
    assert datetime.fromisoformat(record["datetime_start"]).utcoffset() == timedelta(0)


def test_the_gateway_exchange_stands_in_run_jsonl_as_it_happened(server: Server) -> None:
    run = server.run("profile")
    records = run.records("run")
    urls = [each["request"]["url"].partition("/v10")[2] for each in records if each["type"] == "http"]
    assert urls[:2] == ["/users/@me", "/gateway"]
    frames = [each for each in records if each["type"] == "ws"]
    sent = [json.loads(each["data"]) for each in frames if each["direction"] == "send"]
    assert next(each["d"]["token"] for each in sent if each["op"] == 2) == "[SCRUBBED]"
    assert any(each.get("scrubbed") is True for each in frames)
    heard = [each["data"]["t"] for each in frames if each["direction"] == "recv"]
    assert [event for event in heard if event] == ["READY", "GUILD_CREATE"]
    assert run.meta()["user"]["bot"] is True


def test_after_and_before_bound_what_is_kept_as_messages(server: Server) -> None:
    first = server.posts(3)
    server.discord.control("POST", "/clock", {"advance_s": 86_400})
    second = server.posts(3)
    server.discord.control("POST", "/clock", {"advance_s": 86_400})
    third = server.posts(3)
    server.later()
    between = datetime.fromtimestamp(snowflake_ns(second[0]) / 1e9, UTC)
    run = server.run("channel", server.channel, after=between, before=between + timedelta(hours=1))
    assert run.result.num_messages == 3
    assert not run.path.name.endswith("_full")
    covered = run.coverage(server.channel)
    assert not covered["oldest"]
    assert all(run.covers(server.channel, each) for each in second)
    assert not any(run.covers(server.channel, each) for each in [*first, *third])


def test_what_is_forbidden_or_gone_is_recorded_and_ends_nothing(server: Server) -> None:
    closed, open_ = server.new_channel("closed"), server.channel
    server.discord.control("POST", "/permissions", {"channel_id": closed, "view": False})
    said = server.posts(3)
    run = server.run()
    assert run.ids(open_) == said[::-1]
    assert run.result.completed
    assert any(str(closed) in each for each in run.result.refusals)
    (record,) = run.http(closed, "/messages")
    assert record["response"]["status"] == 403
    assert run.coverage(closed)["ranges"] == []
    assert run.coverage(closed)["errors"]


def test_a_channel_that_does_not_exist_is_said_and_the_others_are_captured(server: Server) -> None:
    said = server.posts(2)
    run = server.run("channel", 1234, server.channel)
    assert run.ids(server.channel) == said[::-1]
    assert run.result.is_target_refused
    assert any(each["response"]["status"] == 404 for each in run.http("run", "/channels/1234"))
    assert run.meta()["run"]["errors"] is True


def test_a_history_that_is_not_shown_never_counts_as_empty(server: Server) -> None:
    """Discord answers [] to who may not read the history: taken for empty, all of it would seem deleted."""
    said = server.posts(2)
    server.discord.control("POST", "/permissions", {"channel_id": server.channel, "read_history": False})
    run = server.run("channel", server.channel)
    assert not run.covers(server.channel, said[0])
    assert run.result.is_target_refused


@pytest.mark.expects_log("429 for")
def test_failed_attempts_are_records_too(server: Server) -> None:
    said = server.posts(2)
    route = "/channels/{id}/messages"
    server.discord.fault(route=route, method="GET", nth=1, kind="status", status=503)
    server.discord.fault(route=route, method="GET", nth=2, kind="reset")
    run = server.run("channel", server.channel)
    told = [
        (each["response"]["status"], each["attempt"], each["error"] is None)
        for each in run.http(server.channel, "/messages")
    ]
    assert told == [(503, 1, True), (0, 2, False), (200, 3, True)]
    assert run.http(server.channel, "/messages")[1]["response"]["data"] is None
    assert run.ids(server.channel) == said[::-1]


def test_what_could_not_be_had_leaves_a_run_to_go_on_with(server: Server) -> None:
    said = server.posts(150)
    server.discord.fault(
        route="/channels/{id}/messages", method="GET", probability=1.0, kind="status", status=500
    )
    broken = server.run("channel", server.channel)
    assert not broken.result.completed
    assert broken.result.failures
    assert broken.meta()["run"]["completed"] is False
    server.discord.control("DELETE", "/faults")
    run = server.run("channel", server.channel, resume=True)
    assert run.path == broken.path
    assert run.result.completed
    assert sorted(run.ids(server.channel)) == said
    assert run.meta()["summary"]["num_messages"] == 150


def test_a_token_that_is_refused_ends_the_run_and_the_metadata_says_why(server: Server) -> None:
    wrong = Wrong(server)
    with pytest.raises(Unauthorized):
        wrong.run("profile")
    (path,) = server.root.iterdir()
    meta = json.loads((path / "run.meta.json").read_text())["run"]
    assert (meta["finished"], meta["completed"], meta["errors"]) == (True, False, True)
    assert meta["exception"].startswith("Unauthorized: ")
    assert "Traceback" in meta["traceback"]
    assert "no.such.token" not in (path / "run.meta.json").read_text()


class Wrong(Server):
    """The same server, with a token that is none."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.discord, server.root)

    @property
    def token(self) -> str:
        return "no.such.token"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_no_token_stands_anywhere(server: Server, compressed: bool, strict: bool) -> None:
    hook = server.ask("POST", f"/channels/{server.channel}/webhooks", {"name": "hook"}, by=server.owner)
    server.post(f"see https://discord.com/api/webhooks/{hook['id']}/{hook['token']} and {server.token}")
    run = server.run(
        "guild", gzip=compressed, strict=strict, command=("discordfs", "archive", "-t", server.token, "guild")
    )
    everything = run.bytes()
    for secret in (server.token, hook["token"]):
        assert secret.encode() not in everything
    assert run.meta()["command"] == ["discordfs", "archive", "-t", "[SCRUBBED]", "guild"]
    assert any(record.get("scrubbed") for record in run.records(server.channel))


def test_unscrubbed_is_what_was_asked_for(server: Server) -> None:
    run = server.run("profile", no_scrub=True, command=("discordfs", "-t", server.token))
    assert server.token in (run.path / "run.jsonl").read_text()
    assert run.meta()["settings"]["token"] == server.token


@pytest.mark.expects_log("the bot may not use MESSAGE_CONTENT")
def test_contents_that_come_empty_are_told(server: Server) -> None:
    anna = server.person("anna")
    server.posts(3, by=anna)
    assert not server.run().result.contents_came_empty
    server.discord.user(server.ask("GET", "/users/@me")["username"], message_content=False)
    run = server.run()
    assert run.result.contents_came_empty
    assert run.meta()["discordfs"]["contents_came_empty"] is True


def test_a_second_run_in_the_same_second_has_a_directory_of_its_own(server: Server) -> None:
    runs = [server.run("profile") for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    for run in runs:
        ident = run.meta()["run"]["ident"]
        assert len(ident) == 24
        assert run.path.name.endswith(("_profile_full", f"_profile_full_{ident[:5]}"))


def test_the_ten_lines_of_the_library(server: Server, tmp_path: Path) -> None:
    """They stand in the module's docstring."""
    import discordfs.archive as library

    said = server.posts(2)
    assert library.__doc__
    lines = [line[4:] for line in library.__doc__.split("\n") if line.startswith("    ")]
    program = "\n".join(lines)
    program = program.replace('"TOKEN"', repr(server.token)).replace(
        "1180731401503506453", str(server.channel)
    )
    program = program.replace(
        'Path("archive"))', f'Path({str(tmp_path)!r}), api="{server.discord.address.api}")'
    )
    assert len(lines) <= 10
    found: dict[str, object] = {}
    exec(compile(program, "the docstring", "exec"), found)
    result = found["result"]
    assert isinstance(result, library.Result)
    assert Run(result.directory, result).ids(server.channel) == said[::-1]


def test_an_estimate_is_near_without_reading_it_all(server: Server) -> None:
    """Nine pages, guessed from four."""
    server.discord.control("POST", "/fill", {"channel_id": str(server.channel), "count": 900})
    server.discord.control("POST", "/stats/reset")
    api, settings = server.discord.address.api, CaptureSettings("guild", (server.guild,))
    told = estimate(server.token, settings, api=api, requests_a_second=NO_LIMIT)
    assert 450 <= told.messages <= 1800
    assert (told.channels, told.unreadable) == (1, ())
    assert told.seconds >= told.requests / 5 - 1
    assert server.discord.count("GET /channels/{id}/messages") == 4
    assert not server.root.exists()


def test_answers_of_another_shape_end_one_channel_and_not_the_run(server: Server) -> None:
    """Whatever a proxy or a new API version makes of them."""
    other = server.new_channel("other")
    said = server.post("here", channel=other)
    message = server.post("here too")
    server.ask("PUT", f"/channels/{server.channel}/messages/pins/{message}")
    server.discord.fault(route="/channels/{id}/messages", method="GET", nth=1, kind="status", status=418)
    run = server.run("channel", server.channel, other)
    kept = run.ids(other) + run.ids(server.channel)
    assert (said in kept) != (message in kept), "one of them was refused, the other is whole"
    assert run.result.is_target_refused
