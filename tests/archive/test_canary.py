"""A canary token is nowhere: in no file of an archive, no log, nothing that is said, and not on the mount.

Whoever hands an archive to somebody would hand over the bot and the webhooks with it."""

from __future__ import annotations

import gzip
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.mounting import MountedDrive

HOOK = "C4naRy-hook_" * 5 + "tail1234"


def ask(drive: MountedDrive, method: str, route: str, body: Any = None, authorization: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{drive.emulator.api}{route}", data, method=method)
    request.add_header("Authorization", authorization or f"Bot {drive.emulator.token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def places(drive: MountedDrive) -> list[Path]:
    """All files of the state directory and of the mount."""
    found = [
        Path(folder) / name
        for root in (drive.state_dir, drive.mountpoint)
        for folder, _, names in os.walk(root)
        for name in names
    ]
    return [path for path in found if path.is_file()]


def bytes_of(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


@pytest.fixture
def secrets(drive: MountedDrive) -> list[str]:
    """Of the bot, and of a webhook, all of which stand in messages, names and a webhook's own list."""
    drive.emulator.control("POST", "seed", {})
    hooks = ask(drive, "GET", f"/guilds/{drive.emulator.guild}/webhooks")
    token = next(str(each["token"]) for each in hooks if each.get("token"))
    address = f"{drive.emulator.api}/webhooks/{hooks[0]['id']}"
    channel = drive.emulator.channels[0]
    for text in (f"mine is {drive.emulator.token}", f"use {address}/{token}", f"or {address}/{HOOK}"):
        ask(drive, "POST", f"/channels/{channel}/messages", {"content": text})
    return [drive.emulator.token, token, HOOK]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="plain"),
        pytest.param(("--gzip",), id="gzip", marks=pytest.mark.long),
        pytest.param(("--strict-discard",), id="strict", marks=pytest.mark.long),
    ],
)
def test_a_canary_is_nowhere(drive: MountedDrive, secrets: list[str], options: tuple[str, ...]) -> None:
    guild, channel = str(drive.emulator.guild), str(drive.emulator.channels[0])
    live = () if "--strict-discard" in options else ("--live-for", "1s")
    archive = ("archive", "-t", drive.emulator.token, *options)
    runs = [
        drive.command(*archive, "--media", "all", *live, "guild", guild),
        drive.command(*archive, "--incremental", "channel", channel),
        drive.command("archive", "-t", drive.emulator.token, "search", "mine"),
        drive.command("archive", "-t", drive.emulator.token, "read", str(drive.state_dir / "archive")),
    ]
    # A run that ends in an error has a traceback in its metadata; what the CDN says is in addresses.
    drive.emulator.control("POST", "faults", {"route": "/users/@me", "kind": "status", "status": 401})
    failed = drive.command(*archive, "profile")
    assert failed.returncode == 1
    said = "".join(done.stdout + done.stderr for done in (*runs, failed))
    shown = [path for path in places(drive) if drive.mountpoint in path.parents]
    assert len(shown) > 20, "the archive shows on the mount"
    assert sum(b"[SCRUBBED]" in bytes_of(path) for path in shown) > 3
    traceback = [path for path in places(drive) if path.name == "run.meta.json"]
    assert any(b"Traceback" in path.read_bytes() for path in traceback)
    for secret in secrets:
        assert secret not in said
        for path in places(drive):
            assert secret.encode() not in bytes_of(path), path
    assert (drive.state_dir / "discordfs.log").exists()
