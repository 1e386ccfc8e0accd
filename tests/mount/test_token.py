"""Discord refuses the token of a mount that runs: it says so, waits, and goes on with a new one.

A user would lose: a mount, with everything that is open on it, for a token that was reset.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.mount.tools import MIB, hurry, record_figures, requests, reset, state, wait_until
from tests.mounting import ROOT, MountedDrive
from tests.people import Person

NEW = "a-new.token.for-the-same-bot"
SILENCE_S = 4.0
DRAINED_S = 90.0


@pytest.fixture
def kept(drive: MountedDrive, tmp_path: Path) -> Path:
    """The file that holds the token of `drive`, and that its mount was told of."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(drive.emulator.token)
    drive.umount()
    drive.remount("-o", f"token_file={path}")
    return path


def revoke(drive: MountedDrive) -> None:
    """From now on Discord takes the new token and no other."""
    drive.emulator.control("POST", "users", {"name": "discordfs", "token": NEW})


def test_the_queue_stops_and_drains_with_a_new_token(drive: MountedDrive, kept: Path) -> None:
    old, data = drive.mountpoint / "old", os.urandom(MIB)
    old.write_bytes(data)
    drive.barrier()
    revoke(drive)
    reset(drive.emulator)
    path = drive.mountpoint / "new"
    path.write_bytes(data)
    hurry(drive)
    wait_until("it is said", lambda: any("token" in error for error in drive.status()["errors"]))
    assert old.read_bytes() == path.read_bytes() == data  # the cache and staging go on
    (drive.mountpoint / "another").write_bytes(data)
    asked = requests(drive.stats())
    failed = drive.command("barrier", drive.mountpoint, "--timeout", str(SILENCE_S))
    assert failed.returncode == 75
    assert "does not accept the token" in failed.stderr
    stats = drive.stats()
    assert requests(stats) == asked, "nothing is asked of Discord while the token is bad"
    assert stats["statuses"] == {"401": asked}
    assert asked <= 4, "no more than what was under way at once"
    assert state(path) == "staged"
    kept.write_text(NEW + "\n")
    wait_until("the queue drained", lambda: state(path) == "remote", DRAINED_S)
    drive.barrier()
    said = (drive.state_dir / "discordfs.log").read_text()
    assert "a new token was found" in said
    assert NEW not in said
    assert drive.emulator.token not in said
    record_figures("a new token", refused=asked)


def test_a_token_from_a_variable_is_followed_by_one_in_the_state_directory(drive: MountedDrive) -> None:
    """Nobody can change the environment of a mount that runs."""
    revoke(drive)
    path = drive.mountpoint / "file"
    path.write_bytes(b"precious")
    hurry(drive)
    wait_until("it is said", lambda: any("token" in error for error in drive.status()["errors"]))
    token = drive.state_dir / "token"
    token.touch(0o600)
    token.write_text(NEW)
    wait_until("the queue drained", lambda: state(path) == "remote", DRAINED_S)


def test_reads_go_on_with_a_new_token(drive: MountedDrive, kept: Path) -> None:
    path, data = drive.mountpoint / "file", os.urandom(MIB)
    path.write_bytes(data)
    drive.umount()
    for block in (drive.state_dir / "cache").rglob("*"):
        block.unlink() if block.is_file() else None
    drive.remount("-o", f"token_file={kept}")
    revoke(drive)
    with pytest.raises(OSError, match="Input/output"):
        path.read_bytes()
    kept.write_text(NEW)
    wait_until("it can be read", lambda: _read(path) == data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_mount_in_the_background_finds_the_tokens_of_its_directory(
    drive: MountedDrive, tmp_path: Path
) -> None:
    """It works in / itself, where no .env of the user's is."""
    drive.umount()
    home = tmp_path / "home"
    home.mkdir()
    person = Person(home, (sys.executable,), str(ROOT))
    (home / ".env").write_text(f"DISCORD_TOKEN={drive.emulator.token}\n")
    (home / "tokens").write_text(drive.emulator.token)
    api = {"DISCORDFS_API": drive.emulator.api}
    for more in ({}, {"DISCORD_TOKEN_FILE": "tokens"}):
        done = person.run("mount", "--state-dir", drive.state_dir, drive.mountpoint, env=api | more)
        assert done.returncode == 0, done.stderr
        drive.umount()
        (home / ".env").write_text("DISCORD_TOKEN=wrong\n")
