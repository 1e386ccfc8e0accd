"""The clips' commands, as whoever ran the clip scraper types them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from discordfs.cli import main
from discordfs.clipping.catalogue import Catalogue, Found
from discordfs.clipping.place import ClipsDirectory
from tests.mounting import ROOT

from .harness import ClipServer
from .shown import film


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@dataclass
class Home:
    """Runs commands with a state directory of its own."""

    server: ClipServer
    path: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def directory(self) -> ClipsDirectory:
        return ClipsDirectory(self.state / "clips")

    def environment(self) -> dict[str, str]:
        given = {"DISCORDFS_API": self.server.discord.address.api, "DISCORD_TOKEN": self.server.token}
        given |= {"DISCORDFS_STATE_DIR": str(self.state), "PYTHONPATH": str(ROOT)}
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {name: value for name, value in (kept | given | self.more).items() if value}

    def run(self, *arguments: str | Path) -> Done:
        """In this process: starting another for each takes longer than what they do."""
        self.path.mkdir(exist_ok=True)
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment(), clear=True),
            contextlib.chdir(self.path),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main([*map(str, arguments)])
        return Done(code, out.getvalue(), err.getvalue())

    def command(self, *arguments: str | Path) -> Sequence[str]:
        return [sys.executable, "-m", "discordfs", *map(str, arguments)]

    def done(self, *arguments: str | Path) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, code: int, words: str, *arguments: str | Path) -> None:
        done = self.run(*arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert words in done.stderr

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.done("clips", "list", "--json", *arguments).splitlines()]


@pytest.fixture
def home(server: ClipServer, tmp_path: Path) -> Home:
    return Home(server, tmp_path / "home")


def sync(home: Home, *arguments: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(home.done("clips", "sync", "--json", *arguments))
    return told


def test_a_first_sync_and_what_it_found(home: Home) -> None:
    """With thumbnails and runtimes, and the option as the predecessor had it."""
    server = home.server
    server.person("ada")
    first = server.clip("goal.mp4", content="what a goal", by="ada", data=film(2.0))
    second = server.clip("other.mp4", channel=server.new_channel("side"), data=film(1.0, "b"))
    broken = server.clip("broken.mp4")
    server.later()
    told = sync(home, "--guild", str(server.guild), "--fetch_history")
    assert (told["clips"], told["waiting"], told["failed"], told["new_clips"]) == (3, 0, 1, 3)
    clips = {each["id"]: each for each in home.listed()}
    assert set(clips) == {str(first), str(second), str(broken)}
    assert clips[str(first)]["runtime"] == pytest.approx(2.0, abs=0.1)
    assert clips[str(broken)]["look_error"]
    assert (home.directory.thumbs / f"{first}.png").read_bytes().startswith(b"\x89PNG")
    text = home.done("clips", "list", "--poster", "ada")
    assert "what a goal" in text
    assert len(text.splitlines()) == 1
    assert sync(home, "--fetch-history")["new_clips"] == 0, "the choice is remembered"


def test_lists_can_be_narrowed_down(home: Home) -> None:
    server = home.server
    server.person("ada")
    one = server.clip("goal.mp4", content="What a GOAL", by="ada")
    side = server.new_channel("side")
    two = server.upload("miss.mp4", channel=side)
    server.later()
    sync(home, "--guild", str(server.guild), "--fetch-history", "--no-thumbnails")
    server.remove(two)
    server.later()
    sync(home, "--no-thumbnails")
    gone = two["attachments"][0]["id"]

    def ids(*arguments: str) -> list[str]:
        return [each["id"] for each in home.listed(*arguments)]

    assert ids() == ids("--text", "goal") == ids("--poster", "ADA") == [str(one)]
    assert ids("--deleted") == ids("--deleted", "--channel", str(side)) == [gone]
    assert ids("--channel", "side") == ids("--text", "miss") == ids("--until", "2020-01-01") == []
    assert ids("--since", "2020-01-01") == [str(one)]


def test_what_is_exported_is_imported_again_and_nothing_twice(home: Home, tmp_path: Path) -> None:
    server = home.server
    server.person("ada")
    server.clip("one.mp4", content="first", by="ada", data=film(2.0))
    server.upload("two.mp4", "three.mp4", content="more")
    lost = server.upload("lost.mp4", content="soon gone", by="ada")
    server.later()
    sync(home, "--guild", str(server.guild), "--fetch-history")
    target = tmp_path / "export"
    told = json.loads(home.done("clips", "export", "--json", target))
    assert told == {"clips": 4, "thumbs": 1}
    lines = (target / "catalogue.jsonl").read_text().splitlines()
    files = {path.name: path.read_text() for path in (target / "messages").iterdir()}
    assert sorted(lines) == sorted(files.values())
    assert {f"{json.loads(line)['Id']}.json" for line in lines} == set(files)
    (target / "messages" / "junk.json").write_text("{}")
    server.remove(lost)
    server.later()

    other = Home(server, tmp_path / "other")
    done = other.run("clips", "import", "--json", target)
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert (result["taken"], result["known"], result["gone"], len(result["refused"])) == (3, 0, 1, 1)
    assert "junk.json: it does not say which message" in done.stderr
    (kept,) = other.listed("--deleted")
    assert (kept["description"], kept["id"]) == ("soon gone", lost["attachments"][0]["id"])
    again = json.loads(other.run("clips", "import", "--json", target).stdout)
    assert (again["taken"], again["known"], again["gone"]) == (0, 4, 0)

    back = tmp_path / "back"
    other.done("clips", "export", "--deleted", back)
    for name, text in files.items():
        before, after = json.loads(text), json.loads((back / "messages" / name).read_text())
        for each in (before, after):
            del each["Attachment_URL"], each["Expire_Timestamp"]
        assert after == before, "but for links, which were renewed"


def test_ids_that_collide_are_exported_both(home: Home, tmp_path: Path) -> None:
    server = home.server
    clips = [server.clip("one.mp4"), server.clip("two.mp4")]
    server.later()
    sync(home, "--guild", str(server.guild), "--no-thumbnails")
    catalogue = Catalogue(home.directory.catalogue)
    try:
        for clip in catalogue.clips():
            poster, place = catalogue.poster(clip.clip.poster), catalogue.place(clip.clip.channel)
            assert poster is not None
            assert place is not None
            catalogue.merge([Found(clip.clip, poster, place)])
        with catalogue._writing() as db:
            db.execute("UPDATE clip SET alias = 'a2d3a331'")
    finally:
        catalogue.close()
    home.done("clips", "export", tmp_path / "export")
    names = {path.name for path in (tmp_path / "export" / "messages").iterdir()}
    assert names == {"a2d3a331.json", f"a2d3a331-{max(clips)}.json"}


def test_links_are_renewed_when_asked_for(home: Home) -> None:
    server = home.server
    one, two = server.clip("one.mp4"), server.clip("two.mp4")
    server.later()
    sync(home, "--guild", str(server.guild), "--no-thumbnails")
    before = {each["id"]: each["expires"] for each in home.listed()}
    server.later(3600)
    told = json.loads(home.done("clips", "refresh", "--json", str(one)))
    assert told == {"clips": 1, "renewed": 1, "gone": 0}
    after = {each["id"]: each["expires"] for each in home.listed()}
    assert after[str(one)] > before[str(one)]
    assert after[str(two)] == before[str(two)]
    assert "2 of 2 links renewed" in home.done("clips", "refresh")
    home.refused(3, "there is no clip 123", "clips", "refresh", "123")


def test_what_cannot_be_is_refused_with_the_reason(home: Home, tmp_path: Path) -> None:
    server = home.server
    home.refused(3, "there are no clips", "clips", "list")
    home.refused(2, "no channel was chosen yet", "clips", "sync")
    home.refused(2, "is no extension", "clips", "sync", "--types", "mp4,../x")
    home.refused(2, "is no time", "clips", "sync", "--window", "long")
    home.refused(1, "12345", "clips", "sync", "--channel", "12345")
    home.refused(2, "does not exist", "clips", "import", tmp_path / "nothing")
    home.more = {"DISCORD_TOKEN": "no.token.atall"}
    home.refused(1, "does not accept the token", "clips", "sync", "--guild", str(server.guild))
    home.more = {"DISCORD_TOKEN": ""}
    home.refused(2, "no bot token", "clips", "sync", "--guild", str(server.guild))


def test_without_message_content_it_is_said(home: Home) -> None:
    server = home.server
    server.clip(by=server.person("ada"))
    server.later()
    server.discord.user(server.ask("GET", "/users/@me")["username"], message_content=False)
    home.refused(1, "allow the intent MESSAGE_CONTENT", "clips", "sync", "--guild", str(server.guild))


def test_without_a_choice_it_is_the_server_of_the_volume_but_not_its_own_channels(home: Home) -> None:
    server = home.server
    home.done("init", "--channel", str(server.channel))
    server.clip("in the drive's channel.mp4")
    clip = server.clip(channel=server.new_channel("talk"))
    server.later()
    sync(home, "--no-thumbnails")
    assert [each["id"] for each in home.listed()] == [str(clip)]


def test_the_token_may_stand_in_env_as_the_predecessor_had_it(home: Home) -> None:
    home.more = {"DISCORD_TOKEN": ""}
    home.path.mkdir()
    (home.path / ".env").write_text(f"TOKEN={home.server.token}\n")
    assert sync(home, "--guild", str(home.server.guild))["clips"] == 0
    (home.path / ".env").write_text("TOKEN=' '\n")
    home.refused(2, "TOKEN in .env is empty", "clips", "sync")


def test_status_shows_each_worker_and_whether_the_process_is_gone(home: Home) -> None:
    home.server.clip()
    home.server.later()
    arguments = ["clips", "sync", "--guild", str(home.server.guild), "--live"]
    home.path.mkdir()
    process = subprocess.Popen(
        home.command(*arguments), cwd=home.path, env=home.environment(), stderr=subprocess.DEVNULL
    )
    try:
        found = _status(home)
        while not (found.get("sync") and found["sync"]["progress"]["is_live"]):
            assert process.poll() is None
            found = _status(home)
        assert found["clips"] == 1
        assert found["sync"]["pid"] == process.pid
        workers = {each["name"]: each["state"] for each in found["sync"]["workers"]}
        assert set(workers) >= {"collector", "renewer", "thumbnailer"}
        assert set(workers.values()) == {"running"}
        assert "listening" in home.done("status", "--state-dir", home.state)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert _status(home)["sync"]["died"]
    assert "is gone without having ended" in home.done("status", "--state-dir", home.state)


def _status(home: Home) -> dict[str, Any]:
    """Empty before there is a catalogue."""
    done = home.run("status", "--json", "--state-dir", home.state)
    found: dict[str, Any] = json.loads(done.stdout)[0]["clips"] if done.returncode == 0 else {}
    return found
