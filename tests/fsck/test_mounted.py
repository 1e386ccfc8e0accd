"""`discordfs fsck` on real mounts and without one, and what a mount does by itself when somebody deletes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
import tomllib
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from discordfs.chunks.layout import parse_name
from discordfs.model import Kind
from tests.mount.tools import cold
from tests.mounting import MountedDrive

DATA = os.urandom(2 * 1024**2)


class Stranger:
    """Somebody with the right to delete messages."""

    def __init__(self, drive: MountedDrive) -> None:
        self._drive = drive

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._drive.emulator.api}{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bot {self._drive.emulator.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def messages(self, kind: Kind) -> list[tuple[str, str, list[dict[str, Any]]]]:
        """(channel, message, attachments) of all chunks of this kind, oldest first."""
        found = []
        for channel in self._call("GET", f"/guilds/{self._drive.emulator.guild}/channels"):
            if channel["type"] != 0:
                continue
            for message in self._call("GET", f"/channels/{channel['id']}/messages?limit=100"):
                names = [parse_name(attachment["filename"]) for attachment in message["attachments"]]
                if any(name is not None and name.kind is kind for name in names):
                    found.append((channel["id"], message["id"], message["attachments"]))
        return sorted(found, key=lambda each: int(each[1]))

    def delete_channel(self, channel: int) -> None:
        self._call("DELETE", f"/channels/{channel}")

    def make_channel(self) -> int:
        made = self._call(
            "POST", f"/guilds/{self._drive.emulator.guild}/channels", {"name": "haven", "type": 0}
        )
        return int(made["id"])

    def delete(self, channel: str, message: str) -> None:
        self._call("DELETE", f"/channels/{channel}/messages/{message}")

    def spoil(self, attachment: str) -> None:
        self._drive.emulator.control("POST", "tamper", {"attachment_id": attachment, "kind": "flip"})


def fsck(drive: MountedDrive, code: int, *options: str) -> dict[str, Any]:
    done = drive.command("fsck", "--json", *options)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}{drive.log()}"
    assert "Traceback" not in done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def damage(report: dict[str, Any]) -> dict[str, list[str]]:
    """The paths of what is wrong, by kind."""
    found: dict[str, list[str]] = {}
    for finding in report["findings"]:
        if finding["severity"] == "damage":
            found.setdefault(finding["kind"], []).extend(finding["paths"])
    return found


def eventually(what: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.1)


@pytest.fixture
def filled(drive: MountedDrive) -> MountedDrive:
    for name in ("one", "two"):
        (drive.mountpoint / name).write_bytes(name.encode() + DATA)
        drive.barrier()
    return drive


def test_a_mount_is_asked_and_nobody_else(filled: MountedDrive) -> None:
    assert fsck(filled, 0, "--read-data")["clean"]
    told = filled.checked("fsck", filled.mountpoint)
    assert "as it should be" in told
    (filled.mountpoint / "three").write_bytes(b"not uploaded yet")
    assert fsck(filled, 0)["clean"]
    assert fsck(filled, 0, "--repair", "--read-data=50%")["clean"]
    filled.umount()
    assert fsck(filled, 0, "--read-data")["clean"]
    assert filled.command("fsck", "--read-data=0%").returncode == 2
    assert filled.command("fsck", "/nowhere").returncode == 3


def test_a_deleted_message_is_mended_by_the_mount_from_its_cache(filled: MountedDrive) -> None:
    stranger = Stranger(filled)
    data = stranger.messages(Kind.DATA)
    stranger.delete(*data[0][:2])
    eventually(lambda: len(stranger.messages(Kind.DATA)) == len(data))
    filled.barrier()
    assert damage(fsck(filled, 0)) == {}
    cold(filled)
    assert (filled.mountpoint / "one").read_bytes() == b"one" + DATA
    assert not filled.status()["damaged_files"]


def test_a_deleted_message_that_nobody_has_is_told_with_its_files(filled: MountedDrive) -> None:
    cold(filled)
    stranger = Stranger(filled)
    stranger.delete(*stranger.messages(Kind.DATA)[0][:2])
    eventually(lambda: filled.status()["damaged_files"])
    assert any("/one" in text for text in filled.status()["errors"])
    assert damage(fsck(filled, 4)) == {"missing-chunk": ["/one"]}
    assert damage(fsck(filled, 4, "--repair")) == {"missing-chunk": ["/one"]}
    with pytest.raises(OSError, match="Input/output"):
        (filled.mountpoint / "one").read_bytes()
    assert (filled.mountpoint / "two").read_bytes() == b"two" + DATA
    (filled.mountpoint / "one").unlink()
    filled.barrier()
    assert damage(fsck(filled, 0)) == {}


def test_a_deleted_log_message_makes_the_writer_say_all_again(filled: MountedDrive) -> None:
    stranger = Stranger(filled)
    (snapshot,) = stranger.messages(Kind.SNAPSHOT)
    stranger.delete(*snapshot[:2])
    eventually(lambda: stranger.messages(Kind.SNAPSHOT))
    assert damage(fsck(filled, 0)) == {}


def test_altered_bytes_are_found_and_mended_without_a_mount(filled: MountedDrive) -> None:
    filled.umount()
    stranger = Stranger(filled)
    _, _, attachments = stranger.messages(Kind.DATA)[1]
    stranger.spoil(attachments[0]["id"])
    assert damage(fsck(filled, 0)) == {}
    assert damage(fsck(filled, 4, "--read-data")) == {"damaged-chunk": ["/two"]}
    report = fsck(filled, 0, "--repair", "--read-data")
    assert [finding["kind"] for finding in report["mended"]] == ["damaged-chunk"]
    assert damage(fsck(filled, 0, "--read-data")) == {}
    shutil.rmtree(filled.state_dir / "cache")
    filled.mount()
    assert (filled.mountpoint / "two").read_bytes() == b"two" + DATA


def test_without_discord_the_index_is_checked_and_the_rest_told(filled: MountedDrive) -> None:
    filled.umount()
    filled.emulator.stop()
    report = fsck(filled, 75)
    assert report["offline"]
    assert damage(report) == {}
    with closing(sqlite3.connect(filled.state_dir / "index.sqlite")) as index, index:
        index.execute("UPDATE inodes SET nlink = 9 WHERE ino > 1")
    report = fsck(filled, 4)
    assert damage(report) == {"nlink": ["/one", "/two"]}
    assert not fsck(filled, 4, "--repair")["mended"]


def test_an_index_that_is_noise_is_built_anew_and_the_drive_goes_on(filled: MountedDrive) -> None:
    filled.umount()
    index = filled.state_dir / "index.sqlite"
    index.write_bytes(os.urandom(100_000))
    done = filled.command("mount", filled.mountpoint)
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert damage(fsck(filled, 4)) == {"sqlite": []}
    told = filled.command("fsck", "--repair")
    assert told.returncode == 0, told.stderr
    assert "--take-over" in told.stderr
    filled.emulator.control("POST", "settings", {"time_scale": 10})
    filled.mount("--take-over")
    for name in ("one", "two"):
        assert (filled.mountpoint / name).read_bytes() == name.encode() + DATA


def test_what_a_crash_left_is_no_damage(filled: MountedDrive) -> None:
    (filled.mountpoint / "three").write_bytes(DATA)
    filled.kill9()
    assert fsck(filled, 0)["clean"]
    filled.mount()
    assert (filled.mountpoint / "three").read_bytes() == DATA


def test_contents_come_back_when_index_and_log_are_gone(filled: MountedDrive, tmp_path: Path) -> None:
    filled.umount()
    (filled.state_dir / "index.sqlite").unlink()
    stranger = Stranger(filled)
    log = {
        (channel, message)
        for kind in (Kind.SNAPSHOT, Kind.RECORD)
        for channel, message, _ in stranger.messages(kind)
    }
    for channel, message in log:
        stranger.delete(channel, message)
    refused = filled.command("recover")
    assert refused.returncode != 0
    told = filled.command("fsck", "--repair")
    assert told.returncode == 0, told.stderr + told.stdout
    filled.mount()
    found = filled.mountpoint / "lost+found"
    for name in ("one", "two"):
        assert (found / name).read_bytes() == name.encode() + DATA
    filled.umount()
    assert fsck(filled, 0, "--read-data")["clean"]


def channels_of(drive: MountedDrive) -> tuple[int, list[int]]:
    """The log, and the data channels, as config.toml has them."""
    volume = tomllib.loads((drive.state_dir / "config.toml").read_text())["volume"]
    return volume["log_channel"], volume["data_channels"]


def test_a_volume_leaves_its_dying_channels(filled: MountedDrive) -> None:
    """The log and a data channel are gone; the others go on being used."""
    stranger = Stranger(filled)
    log, data = channels_of(filled)
    victim = int(stranger.messages(Kind.DATA)[0][0])
    refused = filled.command("salvage", "--to", str(data[0]))
    assert refused.returncode == 1
    assert "umount" in refused.stderr
    filled.umount()
    told = filled.checked("salvage", "--to", str(data[0]))
    assert "name the one to leave" in told
    for channel in (log, victim):
        stranger.delete_channel(channel)
    haven = stranger.make_channel()
    done = json.loads(filled.checked("salvage", "--to", str(haven), "--json"))
    assert sorted(done["channels"]) == sorted((log, victim))
    assert done["lost"] == []
    assert channels_of(filled) == (haven, [*(each for each in data if each != victim), haven])
    assert fsck(filled, 0, "--read-data")["clean"]
    shutil.rmtree(filled.state_dir / "cache")
    filled.mount()
    for name in ("one", "two"):
        assert (filled.mountpoint / name).read_bytes() == name.encode() + DATA
    (filled.mountpoint / "three").write_bytes(DATA)
    filled.barrier()
    filled.umount()


def test_what_could_not_be_saved_is_named(filled: MountedDrive) -> None:
    filled.umount()
    stranger = Stranger(filled)
    victim = int(stranger.messages(Kind.DATA)[0][0])
    shutil.rmtree(filled.state_dir / "cache")
    stranger.delete_channel(victim)
    haven = stranger.make_channel()
    done = filled.command("salvage", "--to", str(haven))
    assert done.returncode == 4
    assert "lost are bytes of: /one" in done.stdout
    assert filled.command("salvage", "--to", "123456").returncode == 1
