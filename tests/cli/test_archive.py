"""The archive's commands, as whoever used Discard types them."""

from __future__ import annotations

import gzip
import json
import urllib.request
from pathlib import Path

import pytest

from tests.mounting import EmulatorProcess, run_command


@pytest.fixture
def home(module_emulator: EmulatorProcess, tmp_path: Path) -> dict[str, str]:
    """The environment; the archive is in its state directory."""
    return module_emulator.environment() | {"DISCORDFS_STATE_DIR": str(tmp_path / "state")}


def captured(home: dict[str, str], *arguments: str) -> Path:
    done = run_command("archive", *arguments, env=home)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_discards_command_lines_work_as_they_are(
    module_emulator: EmulatorProcess, home: dict[str, str], tmp_path: Path
) -> None:
    """With another program's name in front."""
    token, guild, channel = (
        module_emulator.token,
        str(module_emulator.guild),
        str(module_emulator.channels[0]),
    )
    home = {name: value for name, value in home.items() if name != "DISCORD_TOKEN"}
    out = tmp_path / "out"
    before = (
        "-t",
        token,
        "-o",
        str(out),
        "--gzip",
        "--after",
        "2015-01-02",
        "--before",
        "2099-01-01T12:00:00",
    )
    path = captured(home, *before, "--before", "2099-01-01T12:00:00", "guild", guild)
    assert path.parent == out
    assert path.name.endswith("_guild")
    meta = json.loads((path / "run.meta.json").read_text())
    assert meta["settings"]["after"] == "2015-01-02T00:00:00+00:00"
    assert meta["settings"]["gzip"] is True
    assert (path / guild / f"{channel}.jsonl.gz").exists()
    everything = b"".join(
        gzip.decompress(each.read_bytes()) if each.suffix == ".gz" else each.read_bytes()
        for each in path.rglob("*")
        if each.is_file()
    )
    assert token.encode() not in everything
    assert captured(home, "--token", token, "-o", str(out), "profile").name.endswith("_profile_full")


def test_without_o_the_archive_is_in_the_state_directory(
    module_emulator: EmulatorProcess, home: dict[str, str], tmp_path: Path
) -> None:
    path = captured(home, "channel", str(module_emulator.channels[0]))
    assert path.parent == (tmp_path / "state" / "archive").resolve()


def test_a_run_says_that_it_is_on_this_machine_only(home: dict[str, str]) -> None:
    done = run_command("archive", "profile", env=home)
    assert "on this machine only" in done.stderr


def test_json_is_one_line(module_emulator: EmulatorProcess, home: dict[str, str]) -> None:
    done = run_command("archive", "--json", "guild", str(module_emulator.guild), env=home)
    told = json.loads(done.stdout)
    assert told["completed"] is True
    assert Path(told["directory"]).is_dir()


def test_an_estimate_writes_nothing(
    module_emulator: EmulatorProcess, home: dict[str, str], tmp_path: Path
) -> None:
    done = run_command("archive", "--estimate", "guild", str(module_emulator.guild), env=home)
    assert done.returncode == 0
    assert "messages in" in done.stdout
    assert not (tmp_path / "state").exists()


def test_the_cron_line_can_be_said_twice(module_emulator: EmulatorProcess, home: dict[str, str]) -> None:
    line = ("--incremental", "--resume", "--media", "all", "guild", str(module_emulator.guild))
    assert captured(home, *line) != captured(home, *line)


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (1, "Unknown Channel", ("channel", "99")),
        (1, "does not accept the token", ("-t", "no.such.token", "profile")),
        (2, "media 'pictures'", ("--media", "pictures", "channel", "1")),
        (2, "is no time", ("--window", "soon", "channel", "1")),
        (2, "does not match the formats", ("--after", "yesterday", "channel", "1")),
        (2, "Missing argument", ("channel",)),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    home: dict[str, str], code: int, words: str, arguments: tuple[str, ...]
) -> None:
    done = run_command("archive", *arguments, env=home)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_persons_own_account_is_warned_of(module_emulator: EmulatorProcess, home: dict[str, str]) -> None:
    anna = module_emulator.control("POST", "users", {"name": "anna", "bot": False})
    done = run_command("archive", "-U", "-t", anna["token"], "profile", env=home)
    assert done.returncode == 0, done.stderr
    assert "against Discord's terms" in done.stderr
    meta = json.loads((Path(done.stdout.strip()) / "run.meta.json").read_text())
    assert meta["user"] == {"id": int(anna["id"]), "name": "anna", "discriminator": "0", "bot": False}


def test_contents_that_come_empty_fail_the_command(
    module_emulator: EmulatorProcess, home: dict[str, str]
) -> None:
    bot = module_emulator.control("POST", "users", {"name": "blind", "bot": True, "message_content": False})
    channel = module_emulator.channels[0]
    post(module_emulator, channel, "for your eyes only")
    done = run_command("archive", "-t", bot["token"], "channel", str(channel), env=home)
    assert done.returncode == 1
    assert "MESSAGE_CONTENT" in done.stderr


def post(emulator: EmulatorProcess, channel: int, content: str) -> None:
    body = json.dumps({"content": content}).encode()
    request = urllib.request.Request(
        f"{emulator.api}/channels/{channel}/messages",
        body,
        method="POST",
    )
    request.add_header("Authorization", f"Bot {emulator.token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20):
        pass
