"""The derived files say what the runs say, whichever way they came about, and only what changed is
written."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from discordfs.archived import observing
from discordfs.archived.catalogue import Catalogue
from discordfs.archived.root import remember_added
from discordfs.archived.views import update_views
from discordfs.remote.base import snowflake_ns
from tests.archived.making import (
    CHANNEL,
    DIRECT,
    GUILD,
    THREAD,
    RunMaker,
    at,
    id_at,
    lines,
    message,
    put_coverage,
)

SERVER = f"The server ({GUILD})"
JANUARY, FEBRUARY, MARCH = id_at("2024-01-05"), id_at("2024-02-05"), id_at("2024-03-05")


def channel(root: Path, name: str = "general") -> Path:
    return root / "views" / SERVER / f"{name} ({CHANNEL})"


def tree(root: Path) -> dict[str, bytes]:
    views = root / "views"
    return {str(path.relative_to(views)): path.read_bytes() for path in views.rglob("*") if path.is_file()}


def run(root: Path, day: str, *messages: dict[str, object], after: int = 0, **names: str) -> Path:
    maker = RunMaker(root, at(day))
    maker.page(list(messages), after=after)
    return maker.write(**names)


def test_messages_stand_as_they_were_received(tmp_path: Path) -> None:
    body = f'{{ "id":"{JANUARY}","author":{{"id":"7"}}, "content":"é\\u00e9", "n":1.50,"type":0 }}'
    maker = RunMaker(tmp_path, at("2024-03-01"))
    maker.http(f"{GUILD}/{CHANNEL}.jsonl", f"/channels/{CHANNEL}/messages", f"[{body}]", limit=100, after=0)
    maker.write()
    done = update_views(tmp_path)
    assert (done.runs, done.channels, done.changed, done.messages) == (1, 1, 1, 1)
    assert (channel(tmp_path) / "messages.jsonl").read_bytes() == body.encode() + b"\n"
    assert (channel(tmp_path) / "messages.jsonl").stat().st_mtime_ns == snowflake_ns(JANUARY)


def test_versions_and_tombstones_are_history(tmp_path: Path) -> None:
    first = run(tmp_path, "2024-03-10", message(JANUARY, "a"), message(FEBRUARY, "b"), message(MARCH, "c"))
    run(tmp_path, "2024-03-11", message(MARCH, "c2", edited_timestamp="2024-03-10"), after=JANUARY)
    update_views(tmp_path)
    history = lines(channel(tmp_path) / "history.jsonl")
    assert [(each["id"], each["event"]) for each in history] == [
        (FEBRUARY, "version"),
        (FEBRUARY, "deleted"),
        (MARCH, "version"),
        (MARCH, "version"),
    ]
    assert (history[0]["run"], history[0]["file"]) == (first.name, f"{GUILD}/{CHANNEL}.jsonl")
    assert history[1]["last_seen"] == "2024-03-10T00:00:00+00:00"
    kept = [(int(each["id"]), each["content"]) for each in lines(channel(tmp_path) / "messages.jsonl")]
    assert kept == [(JANUARY, "a"), (FEBRUARY, "b"), (MARCH, "c2")]


@pytest.mark.parametrize("marks", [1, observing.MARK_BYTES])
def test_any_order_of_runs_and_updates_gives_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marks: int
) -> None:
    """What an update after each run makes is what one update makes of all; also where files are read again
    from their middle on."""
    monkeypatch.setattr(observing, "MARK_BYTES", marks)
    chance = random.Random(4)
    numbers = sorted(id_at("2024-01-01") + chance.randrange(1 << 54) for _ in range(60))
    for case in range(6):
        stepwise, whole = tmp_path / f"step{case}", tmp_path / f"whole{case}"
        for step in range(8):
            day = f"2025-07-{10 + step}"
            there = [each for each in numbers[: 10 + 7 * step] if chance.random() < 0.95]
            after = chance.choice([0, numbers[5 * step]])
            shown = [
                message(each, f"text {each % 3} {step if chance.random() < 0.1 else 0}")
                for each in there
                if each > after and step != 5
            ]
            maker = RunMaker(stepwise, at(day), compressed=chance.random() < 0.3)
            for start in range(0, max(1, len(shown)), 10):
                page = shown[start : start + 10]
                maker.page(page, after=int(shown[start - 1]["id"]) if start else after, limit=10)
            path = maker.write()
            shutil.copytree(path, whole / path.name)
            update_views(stepwise)
        update_views(whole)
        assert tree(stepwise) == tree(whole)


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    run(tmp_path, "2024-03-10", message(JANUARY), message(FEBRUARY))
    update_views(tmp_path)
    folder = channel(tmp_path)
    before = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    assert update_views(tmp_path).changed == 0
    run(tmp_path, "2024-03-11", message(MARCH), after=FEBRUARY)
    assert update_views(tmp_path).changed == 1
    after = {path.relative_to(folder).as_posix(): path.stat() for path in before}
    old = {path.relative_to(folder).as_posix(): status for path, status in before.items()}
    assert after["html/2024-01.html"].st_ino == old["html/2024-01.html"].st_ino
    assert after["messages.jsonl"].st_ino == old["messages.jsonl"].st_ino, "it only grew: appended"
    assert len(lines(folder / "messages.jsonl")) == 3
    quiet = RunMaker(tmp_path, at("2024-03-11T12:00:00"))
    quiet.page([], after=MARCH)
    quiet.write()
    update_views(tmp_path)
    sources = json.loads((folder / "coverage.json").read_text())["sources"]
    assert [each["ranges"] for each in sources][2:] == [[]]
    run(tmp_path, "2024-03-12", message(FEBRUARY, "x", edited_timestamp="2024-03-11"), after=JANUARY)
    update_views(tmp_path)
    assert (folder / "messages.jsonl").stat().st_ino != old["messages.jsonl"].st_ino, "replaced by a rename"


@pytest.mark.parametrize("harm", ["cut", "gone", "catalogue", "old catalogue", "all"])
def test_what_was_lost_of_the_derived_is_made_again(tmp_path: Path, harm: str) -> None:
    run(tmp_path, "2024-03-10", message(JANUARY), message(FEBRUARY))
    update_views(tmp_path)
    before = tree(tmp_path)
    match harm:
        case "cut":
            os.truncate(channel(tmp_path) / "messages.jsonl", 10)
        case "gone":
            (channel(tmp_path) / "messages.txt").unlink()
        case "catalogue":
            for path in tmp_path.glob("catalogue.sqlite*"):
                path.write_bytes(b"no database" * 1000)
        case "old catalogue":
            for path in tmp_path.glob("catalogue.sqlite*"):
                path.unlink()
        case _:
            shutil.rmtree(tmp_path / "views")
    update_views(tmp_path)
    assert tree(tmp_path) == before


def test_a_renamed_channel_keeps_its_place(tmp_path: Path) -> None:
    """Links and scripts point there."""
    run(tmp_path, "2024-03-10", message(JANUARY), name="general")
    update_views(tmp_path)
    run(tmp_path, "2024-03-11", message(MARCH), name="renamed", guild_name="Other")
    update_views(tmp_path)
    assert len(lines(channel(tmp_path) / "messages.jsonl")) == 2
    assert os.listdir(tmp_path / "views") == [SERVER]
    for path in tmp_path.glob("catalogue.sqlite*"):
        path.unlink()
    update_views(tmp_path)
    assert os.listdir(tmp_path / "views") == [SERVER]
    assert "renamed" in (channel(tmp_path) / "html" / "index.html").read_text()


def test_a_channel_is_named_as_it_was_first_whenever_the_views_are_made(tmp_path: Path) -> None:
    """Two machines with the same runs must not have different paths."""
    run(tmp_path, "2024-03-11", message(MARCH), name="renamed", guild_name="Other")
    run(tmp_path, "2024-03-10", message(JANUARY), name="general")
    update_views(tmp_path)
    assert len(lines(channel(tmp_path) / "messages.jsonl")) == 2
    assert os.listdir(tmp_path / "views") == [SERVER]


def test_threads_lie_below_their_channel_and_direct_messages_apart(tmp_path: Path) -> None:
    maker = RunMaker(tmp_path, at("2024-03-10"))
    maker.page([message(JANUARY, thread={"id": str(THREAD), "name": "talk"})], after=0)
    maker.page([message(FEBRUARY)], channel=THREAD, after=0)
    maker.page([message(MARCH)], channel=DIRECT, guild=0, after=0)
    maker.write(types={THREAD: (11, CHANNEL)}, names={THREAD: "../talk", DIRECT: "ada"})
    update_views(tmp_path)
    thread = channel(tmp_path) / "threads" / f"___talk ({THREAD})"
    assert len(lines(thread / "messages.jsonl")) == 1
    assert len(lines(tmp_path / "views" / "Direct messages" / f"ada ({DIRECT})" / "messages.jsonl")) == 1
    page = (channel(tmp_path) / "html" / "2024-01.html").read_text()
    assert f'href="../threads/___talk%20%28{THREAD}%29/html/index.html"' in page
    assert "../talk" in (channel(tmp_path) / "html" / "index.html").read_text()


def test_the_servers_own_files(tmp_path: Path) -> None:
    maker = RunMaker(tmp_path, at("2024-03-10"))
    place = f"{GUILD}/guild.jsonl"
    maker.page([message(JANUARY)], after=0)
    maker.http(place, f"/guilds/{GUILD}", '{"id": "100",  "x": 1.0}')
    maker.http(place, f"/guilds/{GUILD}/roles", [{"id": "1"}])
    maker.http(place, f"/guilds/{GUILD}/emojis", {"message": "no"}, 403)
    for user in ("9", "7"):
        maker.http(place, f"/guilds/{GUILD}/members", [{"user": {"id": user}, "nick": "a"}], limit=1)
    maker.write()
    late = RunMaker(tmp_path, at("2024-03-11"))
    late.http(place, f"/guilds/{GUILD}/members", [{"user": {"id": "7"}, "nick": "b"}], limit=1000)
    late.write()
    update_views(tmp_path)
    folder = tmp_path / "views" / SERVER
    assert '"guild": {"id": "100",  "x": 1.0}' in (folder / "guild.json").read_text()
    assert sorted(json.loads((folder / "guild.json").read_text())) == ["guild", "roles"]
    members = [(each["user"]["id"], each["nick"]) for each in lines(folder / "members.jsonl")]
    assert members == [("7", "b"), ("9", "a")]


def test_runs_that_were_added_are_shown_in_place(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    run(elsewhere, "2024-03-10", message(JANUARY))
    run(root, "2024-03-10", message(MARCH))
    assert remember_added(root, elsewhere) == 1
    assert update_views(root).runs == 2
    assert len(lines(channel(root) / "messages.jsonl")) == 2
    shutil.rmtree(elsewhere)
    assert update_views(root).runs == 1
    assert len(lines(channel(root) / "messages.jsonl")) == 1


def test_a_channel_that_no_run_has_leaves_the_views(tmp_path: Path) -> None:
    path = run(tmp_path, "2024-03-10", message(JANUARY))
    update_views(tmp_path)
    shutil.rmtree(path)
    assert update_views(tmp_path).channels == 0
    assert not channel(tmp_path).exists()
    with Catalogue(tmp_path / "catalogue.sqlite") as catalogue:
        assert not catalogue.built()


def test_coverage_says_what_is_known_and_what_is_not(tmp_path: Path) -> None:
    maker = RunMaker(tmp_path, at("2024-03-10"))
    maker.page([message(JANUARY), message(JANUARY + 1)], after=JANUARY - 1, limit=2)
    maker.page([message(FEBRUARY), message(FEBRUARY + 1)], after=FEBRUARY - 1, limit=2)
    path = maker.write()
    put_coverage(path, [[0, 5]])
    update_views(tmp_path)
    said = json.loads((channel(tmp_path) / "coverage.json").read_text())
    assert said["ranges"] == [[JANUARY, JANUARY + 1], [FEBRUARY, FEBRUARY + 1]]
    assert said["gaps"] == [[JANUARY + 2, FEBRUARY - 1]]
    assert (said["messages"], said["deleted"], said["oldest"]) == (4, 0, False)
    assert said["sources"][0]["claimed"] == [[0, 5]]


def test_what_the_gateway_said_is_there(tmp_path: Path) -> None:
    """A run that stayed: what was written, edited and deleted while nobody asked for a page."""
    maker = RunMaker(tmp_path, at("2024-03-10"))
    maker.page([message(JANUARY), message(FEBRUARY)], after=0)
    place = {"guild_id": str(GUILD), "channel_id": str(CHANNEL)}
    heard = message(MARCH, "first", **place)
    maker.heard("run.jsonl", "MESSAGE_CREATE", heard)
    maker.heard(
        "run.jsonl", "MESSAGE_UPDATE", {**heard, "content": "second", "edited_timestamp": "2024-03-10"}
    )
    maker.heard("run.jsonl", "MESSAGE_UPDATE", {"id": str(MARCH), "embeds": [], **place})
    maker.heard("run.jsonl", "MESSAGE_CREATE", {**heard, "channel_id": "5", "content": "elsewhere"})
    maker.heard("run.jsonl", "MESSAGE_DELETE", {"id": str(JANUARY), **place})
    maker.heard("run.jsonl", "MESSAGE_DELETE_BULK", {"ids": [str(FEBRUARY), "9"], **place})
    maker.write()
    update_views(tmp_path)
    shown = lines(channel(tmp_path) / "messages.jsonl")
    assert [each["content"] for each in shown] == ["hello", "hello", "second"]
    history = lines(channel(tmp_path) / "history.jsonl")
    assert [(each["id"], each["event"]) for each in history] == [
        (JANUARY, "version"),
        (JANUARY, "deleted"),
        (FEBRUARY, "version"),
        (FEBRUARY, "deleted"),
        (MARCH, "version"),
        (MARCH, "version"),
    ]
    assert {each["file"] for each in history[2:]} == {f"{GUILD}/{CHANNEL}.jsonl", "run.jsonl"}
    assert len(lines(tmp_path / "views" / SERVER / "channel (5)" / "messages.jsonl")) == 1
    assert update_views(tmp_path).changed == 0
